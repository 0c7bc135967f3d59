#include "tools/plan_tool.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/text.h"
#include "google/protobuf/stubs/logging.h"
#include "plan/analyse.h"
#include "plan/mutate.h"
#include "plan/text.h"
#include "plan/verify.h"

namespace oneflow {
namespace {

namespace fs = std::filesystem;

constexpr char kUsage[] =
    "usage: plan_tool COMMAND PATH...\n"
    "  print    the text form of each plan\n"
    "  verify   the seven proofs; several plans, or a folder, are the ranks of one job\n"
    "  analyse  memory, predicted step time and what limits it\n"
    "  mutate   breaks each plan on purpose and tells which changes the proofs refuse\n"
    "           [--seed=N] [--per-kind=N] [--verbose]\n"
    "A PATH is a plan file, binary or text, or a folder of them.\n"
    "Exit code: 0 all is well, 1 refused, 2 wrong arguments or not a plan.\n";

constexpr uintmax_t kMaxFileBytes = uintmax_t{1} << 30;

// One plan and where it came from.
struct File {
  std::string path;
  plan::Plan plan;
};

struct Options {
  std::vector<std::string> paths;
  uint64_t seed = 1;
  int per_kind = 1;
  bool verbose = false;
};

std::string Where(const absl::Status& status) {
  const std::optional<Location> location = LocationOf(status);
  return location.has_value() && location->known() ? absl::StrCat("  at ", location->Short(), "\n")
                                                   : "";
}

absl::StatusOr<std::vector<File>> ReadAll(const std::vector<std::string>& paths) {
  std::vector<std::string> names;
  for (const std::string& path : paths) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      names.push_back(path);
      continue;
    }
    std::vector<std::string> inside;
    for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
      if (it->is_regular_file(error)) inside.push_back(it->path().string());
    }
    if (error) return MakeError(ErrorKind::kPlan, absl::StrCat(path, ": ", error.message()));
    if (inside.empty()) return MakeError(ErrorKind::kPlan, absl::StrCat(path, ": an empty folder"));
    std::sort(inside.begin(), inside.end());
    names.insert(names.end(), inside.begin(), inside.end());
  }
  std::vector<File> files;
  for (const std::string& name : names) {
    OF_ASSIGN_OR_RETURN(plan::Plan plan, ReadPlanFile(name));
    files.push_back({name, std::move(plan)});
  }
  std::stable_sort(files.begin(), files.end(),
                   [](const File& a, const File& b) { return a.plan.rank() < b.plan.rank(); });
  return files;
}

int Print(const std::vector<File>& files, std::ostream& out) {
  for (const File& file : files) out << PrintPlan(file.plan);
  return kPlanToolOk;
}

int Verify(const std::vector<File>& files, const OpRules& rules, std::ostream& out,
           std::ostream& err) {
  absl::Status status;
  if (files.size() == 1) {
    status = VerifyPlan(files[0].plan, rules);
    // One rank of a job of one is the whole job.
    if (status.ok() && files[0].plan.world_size() == 1)
      status = VerifyPlans({&files[0].plan}, rules);
  } else {
    std::vector<const plan::Plan*> plans;
    for (const File& file : files) plans.push_back(&file.plan);
    status = VerifyPlans(plans, rules);
  }
  if (!status.ok()) {
    err << "refused: " << MessageOf(status) << "\n" << Where(status);
    return kPlanToolRefused;
  }
  for (const File& file : files) {
    out << file.path << ": proved: " << file.plan.tasks_size() << " tasks, rank "
        << file.plan.rank() << " of " << file.plan.world_size() << "\n";
  }
  if (files.size() == 1 && files[0].plan.world_size() > 1) {
    out << "alone; give the plans of all " << files[0].plan.world_size()
        << " ranks to compare channels\n";
  }
  return kPlanToolOk;
}

int Analyse(const std::vector<File>& files, const OpRules& rules, std::ostream& out,
            std::ostream& err) {
  int code = kPlanToolOk;
  for (const File& file : files) {
    const absl::Status status = VerifyPlan(file.plan, rules);
    if (!status.ok()) {
      err << file.path << ": refused: " << MessageOf(status) << "\n" << Where(status);
      code = kPlanToolRefused;
      continue;
    }
    if (&file != &files.front()) out << "\n";
    out << Summary(file.plan, AnalysePlan(file.plan));
  }
  return code;
}

// How the mutations of one kind went.
struct Tally {
  bool harmful = true;
  int made = 0;
  int refused = 0;
  int named = 0;
};

int MutateOne(const File& file, const Options& options, const OpRules& rules, std::ostream& out,
              std::ostream& err) {
  if (const absl::Status status = VerifyPlan(file.plan, rules); !status.ok()) {
    err << file.path << ": refused before any change: " << MessageOf(status) << "\n"
        << Where(status);
    return kPlanToolRefused;
  }
  std::vector<Mutation> mutations =
      HarmfulMutations(file.plan, options.seed, options.per_kind, /*knows_rules=*/rules != nullptr);
  for (Mutation& mutation : HarmlessMutations(file.plan, options.seed, options.per_kind)) {
    mutations.push_back(std::move(mutation));
  }
  std::map<std::pair<bool, std::string>, Tally> kinds;  // harmless kinds first
  std::string wrong;
  for (const Mutation& mutation : mutations) {
    const absl::Status status = VerifyPlan(mutation.plan, rules);
    Tally& tally = kinds[{mutation.harmful, mutation.kind}];
    tally.harmful = mutation.harmful;
    ++tally.made;
    tally.refused += status.ok() ? 0 : 1;
    const bool named = !status.ok() && NamesItem(MessageOf(status), mutation);
    tally.named += named ? 1 : 0;
    const std::string line = absl::StrCat("  ", mutation.kind, ": ", mutation.item, "\n    ",
                                          status.ok() ? "accepted" : MessageOf(status), "\n");
    if (options.verbose) out << line;
    if (mutation.harmful ? !named : !status.ok()) absl::StrAppend(&wrong, line);
  }
  out << file.path << "\n";
  char row[160];
  std::snprintf(row, sizeof(row), "  %-9s %-24s %5s %8s %6s\n", "change", "kind", "made", "refused",
                "named");
  out << row;
  for (auto kind = kinds.rbegin(); kind != kinds.rend(); ++kind) {
    const Tally& tally = kind->second;
    const std::string named = tally.harmful ? std::to_string(tally.named) : "-";
    std::snprintf(row, sizeof(row), "  %-9s %-24s %5d %8d %6s\n",
                  tally.harmful ? "harmful" : "harmless", kind->first.second.c_str(), tally.made,
                  tally.refused, named.c_str());
    out << row;
  }
  if (wrong.empty()) return kPlanToolOk;
  err << file.path << ": judged wrongly:\n" << wrong;
  return kPlanToolRefused;
}

int Mutate(const std::vector<File>& files, const Options& options, const OpRules& rules,
           std::ostream& out, std::ostream& err) {
  int code = kPlanToolOk;
  for (const File& file : files) code = std::max(code, MutateOne(file, options, rules, out, err));
  return code;
}

std::optional<Options> ParseOptions(const std::vector<std::string>& arguments, std::ostream& err) {
  Options options;
  for (size_t i = 1; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    const auto number = [&](const std::string& name) -> std::optional<uint64_t> {
      return argument.rfind(name, 0) == 0 ? ParseUnsigned(argument.substr(name.size()))
                                          : std::nullopt;
    };
    if (argument == "--verbose") {
      options.verbose = true;
    } else if (const auto seed = number("--seed="); seed.has_value()) {
      options.seed = *seed;
    } else if (const auto per_kind = number("--per-kind=");
               per_kind.has_value() && *per_kind <= 10000) {
      options.per_kind = static_cast<int>(*per_kind);
    } else if (argument.rfind("--", 0) == 0) {
      err << "plan_tool: what is " << argument << "?\n" << kUsage;
      return std::nullopt;
    } else {
      options.paths.push_back(argument);
    }
  }
  return options;
}

}  // namespace

absl::StatusOr<plan::Plan> ReadPlanFile(const std::string& path) {
  std::error_code error;
  const uintmax_t size = fs::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  if (error || !file) return MakeError(ErrorKind::kPlan, absl::StrCat(path, ": cannot be read"));
  if (size > kMaxFileBytes)
    return MakeError(ErrorKind::kPlan, absl::StrCat(path, ": too large for a plan"));
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (bytes.rfind("plan ", 0) == 0) {
    absl::StatusOr<plan::Plan> plan = ParsePlan(bytes);
    if (!plan.ok()) return WithContext(plan.status(), path);
    return plan;
  }
  const google::protobuf::LogSilencer silencer;  // our message is enough
  plan::Plan plan;
  if (bytes.empty() || !plan.ParseFromString(bytes)) {
    return MakeError(ErrorKind::kPlan, absl::StrCat(path, ": is no plan, neither text nor binary"));
  }
  return plan;
}

absl::StatusOr<std::vector<plan::Plan>> ReadJob(const std::string& path) {
  OF_ASSIGN_OR_RETURN(std::vector<File> files, ReadAll({path}));
  std::vector<plan::Plan> plans;
  for (File& file : files) plans.push_back(std::move(file.plan));
  return plans;
}

int PlanTool(const std::vector<std::string>& arguments, std::ostream& out, std::ostream& err,
             const OpRules& rules) {
  const std::string command = arguments.empty() ? "" : arguments[0];
  if (command == "help" || command == "--help") {
    out << kUsage;
    return kPlanToolOk;
  }
  const bool known =
      command == "print" || command == "verify" || command == "analyse" || command == "mutate";
  if (!known) {
    err << kUsage;
    return kPlanToolUnusable;
  }
  const std::optional<Options> options = ParseOptions(arguments, err);
  if (!options.has_value()) return kPlanToolUnusable;
  if (options->paths.empty()) {
    err << kUsage;
    return kPlanToolUnusable;
  }
  const absl::StatusOr<std::vector<File>> files = ReadAll(options->paths);
  if (!files.ok()) {
    err << "plan_tool: " << MessageOf(files.status()) << "\n";
    return kPlanToolUnusable;
  }
  if (command == "print") return Print(*files, out);
  if (command == "verify") return Verify(*files, rules, out, err);
  if (command == "analyse") return Analyse(*files, rules, out, err);
  return Mutate(*files, *options, rules, out, err);
}

}  // namespace oneflow
