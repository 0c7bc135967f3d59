#include "runtime/step_schedule.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "plan/firings.h"

namespace oneflow {
namespace {

Shape ShapeOf(const google::protobuf::RepeatedField<int64_t>& dims) {
  return Shape(dims.begin(), dims.end());
}

constexpr uint32_t kNobody = ~0u;

class Scheduler {
 public:
  explicit Scheduler(const Program& program) : program_(program), plan_(program.plan()) {}

  absl::StatusOr<StepWork> Run() {
    AddLanes();
    OrderFirings();
    OF_RETURN_IF_ERROR(AddWaits());
    for (uint32_t i = 0; i < work_.firings.size(); ++i) Describe(i);
    for (const plan::DeviceProto& device : plan_.devices()) work_.devices.push_back(device.id());
    work_.window = Invocation::kWindow;
    work_.input_bytes.resize(static_cast<size_t>(plan_.inputs_size()));
    work_.output_bytes.resize(static_cast<size_t>(plan_.outputs_size()));
    for (uint32_t t = 0; t < program_.tasks().size(); ++t) {
      const plan::Task& task = *program_.tasks()[t].proto;
      work_.may_fail |= task.may_fail();
      work_.names.push_back(program_.NameOf(t));
      if (task.kind() == plan::FEED) {
        work_.input_bytes[task.index()] = LogicalBytes(task.outputs(0));
      } else if (task.kind() == plan::FETCH) {
        work_.output_bytes[task.index()] = LogicalBytes(task.inputs(0));
      }
    }
    return std::move(work_);
  }

 private:
  static int64_t LogicalBytes(const plan::Port& port) {
    return NumElements(ShapeOf(port.logical_shape())) *
           SizeOf(static_cast<DType>(port.type().dtype()));
  }

  void AddLanes() {
    lane_of_.resize(program_.streams().size(), kNobody);
    for (uint32_t s = 0; s < program_.streams().size(); ++s) {
      if (program_.streams()[s].tasks.empty()) continue;
      const plan::Stream& stream = plan_.streams(static_cast<int>(s));
      lane_of_[s] = static_cast<uint32_t>(work_.lanes.size());
      work_.lanes.push_back({plan_.devices(static_cast<int>(stream.device())).id(), stream.name()});
    }
  }

  void OrderFirings() {
    struct Place {
      Stamp stamp;
      uint32_t lane;
      size_t at;
      uint32_t task;
      bool operator<(const Place& other) const {
        return std::tie(stamp, lane, at) < std::tie(other.stamp, other.lane, other.at);
      }
    };
    std::vector<Place> places;
    std::vector<int64_t> next(program_.tasks().size(), 0);
    for (uint32_t s = 0; s < program_.streams().size(); ++s) {
      const std::vector<uint32_t>& tasks = program_.streams()[s].tasks;
      for (size_t at = 0; at < tasks.size(); ++at) {
        const FiringId firing = program_.FiringAt(tasks[at], next[tasks[at]]++);
        places.push_back({StampOf(plan_, firing), lane_of_[s], at, tasks[at]});
      }
    }
    std::sort(places.begin(), places.end());
    firing_of_.resize(program_.tasks().size());
    for (const Place& place : places) {
      StepWork::Firing firing;
      firing.task = place.task;
      firing.lane = place.lane;
      firing_of_[place.task].push_back(static_cast<uint32_t>(work_.firings.size()));
      ordinals_.push_back(static_cast<int64_t>(firing_of_[place.task].size()) - 1);
      in_lane_.push_back(place.at);
      work_.firings.push_back(std::move(firing));
    }
  }

  // Iteration q of the firing's level waits until `task` has finished iteration q - lag.
  void Depend(uint32_t task, uint32_t their_inner, int64_t ordinal, uint32_t inner, uint32_t lag) {
    const Program::EventWait wait{task, their_inner, inner, lag};
    if (const int64_t other = wait.OrdinalFor(ordinal); other >= 0) {
      before_.push_back(firing_of_[task].at(static_cast<size_t>(other)));
    }
  }

  void FindEdges(uint32_t i) {
    before_.clear();
    const uint32_t t = work_.firings[i].task;
    const int64_t ordinal = ordinals_[i];
    const ActorSpec& actor = program_.tasks()[t].actor;
    for (const ActorSpec::Input& input : actor.inputs) {
      for (const ActorSpec::Output& output : program_.tasks()[input.producer.task].actor.outputs) {
        if (output.register_id != input.register_id) continue;
        Depend(input.producer.task, output.inner, ordinal, input.inner, 0);
      }
    }
    for (const ActorSpec::Output& output : actor.outputs) {
      for (const Address& consumer : output.consumers) {
        const ActorSpec::Input& input = program_.tasks()[consumer.task].actor.inputs[consumer.port];
        Depend(consumer.task, input.inner, ordinal, output.inner, output.slots);
      }
    }
    for (uint32_t e = 0; e < actor.after.size(); ++e) {
      const ActorSpec::After& after = actor.after[e];
      for (const ActorSpec::Waiter& waiter : program_.tasks()[after.task].actor.waiters) {
        if (waiter.address.task != t || waiter.address.port != e) continue;
        Depend(after.task, waiter.inner, ordinal, after.inner, after.lag);
      }
    }
  }

  absl::Status AddWaits() {
    const size_t lanes = work_.lanes.size();
    // By lane: how many firings of each lane stand before what comes next in it; by firing: before
    // those that wait for it.
    std::vector<std::vector<size_t>> lane_knows(lanes, std::vector<size_t>(lanes, 0));
    std::vector<std::vector<size_t>> known(work_.firings.size());
    for (uint32_t i = 0; i < work_.firings.size(); ++i) {
      StepWork::Firing& firing = work_.firings[i];
      std::vector<size_t>& knows = lane_knows[firing.lane];
      if (in_lane_[i] != knows[firing.lane]) return NoOrder(i);
      FindEdges(i);
      // The latest first: it may bring the others along.
      std::sort(before_.rbegin(), before_.rend());
      for (const uint32_t other : before_) {
        if (other >= i) return NoOrder(i);
        const uint32_t lane = work_.firings[other].lane;
        if (in_lane_[other] < knows[lane]) continue;
        firing.waits.push_back(other);
        work_.firings[other].awaited = true;
        for (size_t l = 0; l < lanes; ++l) knows[l] = std::max(knows[l], known[other][l]);
      }
      knows[firing.lane] = in_lane_[i] + 1;
      known[i] = knows;
    }
    return absl::OkStatus();
  }

  absl::Status NoOrder(uint32_t firing) const {
    return MakeError(
        ErrorKind::kPlan,
        absl::StrCat("plan ", plan_.name(), ": ", program_.NameOf(work_.firings[firing].task),
                     " waits for what stands behind it; compile the plan again"));
  }

  void Describe(uint32_t i) {
    StepWork::Firing& firing = work_.firings[i];
    const Program::Task& task = program_.tasks()[firing.task];
    const plan::Task& proto = *task.proto;
    const int64_t ordinal = ordinals_[i];
    const FiringId id = program_.FiringAt(firing.task, ordinal);
    firing.device = proto.device();
    firing.micro = id.micro;
    firing.chunk = id.chunk;
    for (const Program::Buffer& input : task.inputs) firing.inputs.push_back(input.At(ordinal));
    for (const Program::Buffer& output : task.outputs) firing.outputs.push_back(output.At(ordinal));
    if (task.workspace.base != nullptr) firing.workspace = task.workspace.At(ordinal);
    firing.op = &proto.op();
    firing.kernel = task.kernel.get();
    if (proto.kind() == plan::FEED || proto.kind() == plan::FETCH) {
      firing.kind = proto.kind() == plan::FEED ? StepWork::Kind::kFeed : StepWork::Kind::kFetch;
      const plan::Port& port = proto.kind() == plan::FEED ? proto.outputs(0) : proto.inputs(0);
      firing.index = proto.index();
      firing.offset = task.micro_bytes * id.micro;
      firing.dtype = static_cast<DType>(port.type().dtype());
      firing.logical = ShapeOf(port.logical_shape());
      firing.begin = ShapeOf(port.begin());
      firing.extent = ShapeOf(port.type().shape());
      return;
    }
    for (int o = 0; o < proto.outputs_size(); ++o) {
      if (!proto.outputs(o).has_state()) continue;
      firing.states.push_back({static_cast<uint32_t>(o), Program::BytesOf(proto.outputs(o))});
    }
    firing.updates = task.firings_per_step() > 1;
    firing.may_fail = proto.may_fail();
    for (int i = 0; i < proto.inputs_size(); ++i) {
      AddRemote(proto, proto.inputs(i), i, true, &firing.remote_inputs);
    }
    for (int o = 0; o < proto.outputs_size(); ++o) {
      const bool whole = task.outputs[static_cast<size_t>(o)].inner == 1;
      AddRemote(proto, proto.outputs(o), o, whole, &firing.remote_outputs);
    }
  }

  void AddRemote(const plan::Task& task, const plan::Port& port, int number, bool whole,
                 std::vector<StepWork::Firing::Remote>* remotes) const {
    if (port.source_case() != plan::Port::kRegister) return;
    const uint32_t device = plan_.registers(static_cast<int>(port.register_())).device();
    if (device == task.device()) return;
    remotes->push_back({static_cast<uint32_t>(number), device, Program::BytesOf(port), whole});
  }

  const Program& program_;
  const plan::Plan& plan_;
  StepWork work_;
  std::vector<uint32_t> lane_of_;                 // by stream
  std::vector<std::vector<uint32_t>> firing_of_;  // by task and ordinal
  std::vector<int64_t> ordinals_;                 // by firing
  std::vector<size_t> in_lane_;                   // by firing: its place there
  std::vector<uint32_t> before_;                  // of the firing at hand
};

}  // namespace

absl::StatusOr<StepWork> StepWorkOf(const Program& program) { return Scheduler(program).Run(); }

absl::StatusOr<std::unique_ptr<StepRunner>> MakeStepRunner(const Program& program) {
  if (!program.runs_whole_steps()) return std::unique_ptr<StepRunner>();
  OF_ASSIGN_OR_RETURN(StepWork work, StepWorkOf(program));
  return program.device(0)->MakeStepRunner(std::move(work));
}

}  // namespace oneflow
