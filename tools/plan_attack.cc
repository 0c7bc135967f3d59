#include "tools/plan_attack.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "base/text.h"
#include "kernels/cpu/cpu_kernels.h"
#include "plan/shape_of.h"
#include "plan/text.h"
#include "plan/verify.h"
#include "runtime/guarded_block.h"
#include "runtime/virtual_runtime.h"
#include "tools/plan_tool.h"

namespace oneflow {
namespace {

namespace fs = std::filesystem;

// A change that takes longer than this is a hang; the plans themselves take milliseconds.
constexpr unsigned kAlarmSeconds = 60;
// More than this is proved but not run: it is the machine's to give.
constexpr int64_t kMaxBytes = int64_t{64} << 20;
constexpr int kSteps = 2;

int64_t BytesOf(plan::DTypeProto dtype, const google::protobuf::RepeatedField<int64_t>& shape) {
  return NumElements(ShapeOf(shape)) * SizeOf(static_cast<DType>(dtype));
}

// Of arenas, states, inputs and outputs. REQUIRES: the plan is well formed.
int64_t MemoryOf(const plan::Plan& plan) {
  int64_t most = 0;
  for (const plan::DeviceProto& device : plan.devices())
    most = std::max(most, device.arena_bytes());
  for (const plan::StateProto& state : plan.states()) {
    most = std::max(most, BytesOf(state.dtype(), state.logical_shape()));
  }
  for (const plan::InputProto& input : plan.inputs()) {
    most = std::max(most, BytesOf(input.dtype(), input.logical_shape()));
  }
  for (const plan::OutputProto& output : plan.outputs()) {
    most = std::max(most, BytesOf(output.dtype(), output.logical_shape()));
  }
  return most;
}

// Small numbers that no kernel minds: indices, labels, steps and halves.
HostTensor Filled(const plan::InputProto& input) {
  const HostTensor tensor =
      GuardedTensor(static_cast<DType>(input.dtype()), ShapeOf(input.logical_shape()));
  if (tensor.dtype == DType::kF32) {
    float* const data = reinterpret_cast<float*>(tensor.data.get());
    for (int64_t i = 0; i < NumElements(tensor.shape); ++i)
      data[i] = 0.125f * static_cast<float>(i % 7);
  }
  return tensor;
}

const char* NameOf(AttackOutcome outcome) {
  switch (outcome) {
    case AttackOutcome::kRefusedByParser:
      return "refused_by_parser";
    case AttackOutcome::kRefusedByProof:
      return "refused_by_proof";
    case AttackOutcome::kRefusedAtLoading:
      return "refused_at_loading";
    case AttackOutcome::kRan:
      return "ran";
    case AttackOutcome::kUnnamed:
      return "unnamed";
    case AttackOutcome::kTooLarge:
      return "too_large";
    case AttackOutcome::kHurt:
      break;
  }
  return "hurt";
}

// The most memory that this process has held; ru_maxrss would begin with that of its parent.
int64_t PeakMib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return std::atoll(line.c_str() + 6) / 1024;
  }
  return 0;
}

std::string ChangeText(const TextMutation& mutation) {
  std::vector<std::string> lines;
  for (const TextChange& change : mutation.changes) {
    lines.push_back(absl::StrCat("  line ", change.line, " (", change.item, "): ", change.before,
                                 " -> ", change.after, "\n    ", change.text));
  }
  return absl::StrJoin(lines, "\n");
}

}  // namespace

PlanAttack::PlanAttack(std::vector<AttackedJob> jobs) : jobs_(std::move(jobs)) {
  for (size_t j = 0; j < jobs_.size(); ++j) {
    for (size_t r = 0; r < jobs_[j].plans.size(); ++r) {
      const plan::Plan& plan = jobs_[j].plans[r];
      ranks_.push_back({j, r, TextMutator(plan, PrintPlan(plan))});
    }
  }
}

AttackResult PlanAttack::Run(uint64_t seed, uint64_t index) const {
  const Rank& rank = ranks_[index % ranks_.size()];
  AttackResult result;
  result.mutation =
      rank.mutator.Mutate(seed ^ (index << 20), 1 + static_cast<int>(index / ranks_.size() % 2));
  const auto refused = [&](AttackOutcome outcome, const absl::Status& status) {
    result.message = MessageOf(status);
    if (const auto location = LocationOf(status); location.has_value() && location->known()) {
      result.message += " at " + location->Short();
    }
    result.outcome =
        NamesChange(result.message, result.mutation) ? outcome : AttackOutcome::kUnnamed;
    return result;
  };
  const absl::StatusOr<plan::Plan> changed = ParsePlan(result.mutation.text);
  if (!changed.ok()) return refused(AttackOutcome::kRefusedByParser, changed.status());
  std::vector<const plan::Plan*> plans;
  for (const plan::Plan& plan : jobs_[rank.job].plans) plans.push_back(&plan);
  plans[rank.rank] = &*changed;
  if (const absl::Status status = VerifyPlans(plans); !status.ok()) {
    return refused(AttackOutcome::kRefusedByProof, status);
  }
  if (MemoryOf(*changed) > kMaxBytes) {
    result.outcome = AttackOutcome::kTooLarge;
    return result;
  }
  VirtualRuntime::Setup setup;
  setup.cpu_kernels = &kernels::CpuKernels();
  setup.isolate = true;
  setup.verify = false;  // done
  absl::StatusOr<std::unique_ptr<VirtualRuntime>> runtime = VirtualRuntime::Create(plans, setup);
  if (!runtime.ok()) return refused(AttackOutcome::kRefusedAtLoading, runtime.status());
  std::vector<HostTensor> inputs;
  for (const plan::InputProto& input : changed->inputs()) inputs.push_back(Filled(input));
  VirtualOptions options;
  options.seed = index;
  options.steps = kSteps;
  const absl::StatusOr<VirtualRun> run =
      (*runtime)->Run({}, std::vector<std::vector<HostTensor>>(kSteps, inputs), options);
  // Other numbers hurt nobody, also where the copies of a state differ or ranks call it otherwise.
  const std::string error = MessageOf(run.status());
  const bool only_states =
      error.rfind("replicas of state", 0) == 0 || error.rfind("state ", 0) == 0;
  if (!run.ok() && !only_states) {
    result.message = MessageOf(run.status());
    result.outcome = AttackOutcome::kHurt;
  }
  return result;
}

int PlanAttackMain(const std::vector<std::string>& arguments, std::ostream& out,
                   std::ostream& err) {
  std::map<std::string, uint64_t> numbers = {
      {"--seed", 1}, {"--first", 0}, {"--count", 500}, {"--seconds", 3600}};
  std::string progress;
  bool verbose = false;
  std::vector<AttackedJob> jobs;
  for (const std::string& argument : arguments) {
    const std::string key = argument.substr(0, argument.find('='));
    const std::string value = argument.substr(std::min(argument.size(), key.size() + 1));
    if (key == "--progress") {
      progress = value;
    } else if (key == "--verbose") {
      verbose = true;
    } else if (const auto number = numbers.find(key); number != numbers.end()) {
      const std::optional<uint64_t> parsed = ParseUnsigned(value);
      if (!parsed.has_value()) {
        err << argument << ": no number\n";
        return kPlanToolUnusable;
      }
      number->second = *parsed;
    } else {
      AttackedJob job;
      job.name = fs::path(argument).filename().string();
      absl::StatusOr<std::vector<plan::Plan>> plans = ReadJob(argument);
      if (!plans.ok()) {
        err << MessageOf(plans.status()) << "\n";
        return kPlanToolUnusable;
      }
      job.plans = *std::move(plans);
      jobs.push_back(std::move(job));
    }
  }
  if (jobs.empty()) {
    err << "plan_attack: which plans?\n";
    return kPlanToolUnusable;
  }
  const int file = progress.empty() ? -1 : open(progress.c_str(), O_WRONLY | O_CREAT, 0644);
  const PlanAttack attack(std::move(jobs));
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(numbers["--seconds"]);
  std::map<std::string, uint64_t> counts;
  uint64_t made = 0;
  uint64_t index = numbers["--first"];
  for (; made < numbers["--count"] && std::chrono::steady_clock::now() < end; ++made, ++index) {
    if (file >= 0 && pwrite(file, &index, sizeof(index), 0) != sizeof(index)) {
      err << progress << ": cannot be written\n";
      return kPlanToolUnusable;
    }
    alarm(kAlarmSeconds);
    const AttackResult result = attack.Run(numbers["--seed"], index);
    alarm(0);
    ++counts[NameOf(result.outcome)];
    const bool wrong =
        result.outcome == AttackOutcome::kHurt || result.outcome == AttackOutcome::kUnnamed;
    if (wrong || verbose) {
      out << index << " " << NameOf(result.outcome) << "\n"
          << ChangeText(result.mutation) << "\n  " << result.message << "\n";
    }
  }
  if (file >= 0) close(file);
  out << "{\"made\": " << made << ", \"next\": " << index << ", \"rss_mib\": " << PeakMib();
  for (const auto& [name, count] : counts) out << ", \"" << name << "\": " << count;
  out << "}\n";
  return counts.contains("hurt") ? kPlanToolRefused : kPlanToolOk;
}

}  // namespace oneflow
