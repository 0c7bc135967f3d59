#include "runtime/step_schedule.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/dtype.h"
#include "base/status.h"
#include "plan/firings.h"
#include "plan/shape_of.h"

namespace oneflow {
namespace {

constexpr uint32_t kNobody = ~0u;

class Scheduler {
 public:
  Scheduler(const Program& program, const StepCalls& calls)
      : program_(program),
        plan_(program.plan()),
        calls_(calls),
        member_of_(program.tasks().size()),
        place_of_call_(program.tasks().size(), 0) {
    work_.rings = calls.rings;
    work_.messengers = calls.messengers;
    for (uint32_t r = 0; r < work_.rings.size(); ++r) {
      for (uint32_t m = 0; m < work_.rings[r].members.size(); ++m) {
        for (const uint32_t task : TasksOf(work_.rings[r].members[m])) {
          member_of_[task] = {r + 1, m};
        }
      }
    }
    NumberCalls();
  }

  absl::StatusOr<StepWork> Run() {
    OF_RETURN_IF_ERROR(CheckMessages());
    AddLanes();
    OF_RETURN_IF_ERROR(OrderFirings());
    OF_RETURN_IF_ERROR(AddWaits());
    for (uint32_t i = 0; i < work_.firings.size(); ++i) Describe(i);
    GroupMessages();
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
  static std::vector<uint32_t> TasksOf(const WholeRing::Member& member) {
    std::vector<uint32_t> tasks = {member.send, member.reduce};
    for (const uint32_t task : {member.ship, member.receive}) {
      if (task != WholeRing::kNoTask) tasks.push_back(task);
    }
    return tasks;
  }

  // Of calls with one stamp the names decide, on all ranks alike.
  void NumberCalls() {
    std::map<std::pair<bool, std::string>, std::vector<uint32_t>> tasks_of;  // messages last
    for (const WholeRing& ring : work_.rings) {
      if (!IsShared(ring)) continue;
      std::vector<uint32_t>& tasks = tasks_of[{false, CallName(ring, plan_)}];
      for (const WholeRing::Member& member : ring.members) tasks.push_back(member.send);
    }
    for (uint32_t t = 0; t < program_.tasks().size(); ++t) {
      if (!IsMessage(t) || member_of_[t].ring != 0) continue;
      tasks_of[{true, ChannelOf(t).name()}].push_back(t);
    }
    uint32_t place = 0;
    for (const auto& [name, tasks] : tasks_of) {
      ++place;
      for (const uint32_t task : tasks) place_of_call_[task] = place;
    }
  }

  bool IsMessage(uint32_t t) const {
    const plan::TaskKind kind = program_.tasks()[t].proto->kind();
    return kind == plan::SEND || kind == plan::RECV;
  }
  const plan::ChannelProto& ChannelOf(uint32_t t) const {
    return plan_.channels(static_cast<int>(program_.tasks()[t].proto->channel()));
  }

  absl::Status CheckMessages() const {
    for (uint32_t t = 0; t < program_.tasks().size(); ++t) {
      if (!IsMessage(t) || member_of_[t].ring != 0) continue;
      if (calls_.peers.contains(ChannelOf(t).name())) continue;
      return MakeError(
          ErrorKind::kPlan,
          absl::StrCat("plan ", plan_.name(), ": ", program_.NameOf(t), " is one end of channel \"",
                       ChannelOf(t).name(), "\", and no rank has the other"),
          LocationOfTask(plan_, t));
    }
    return absl::OkStatus();
  }

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

  // Which ring of work_.rings a task is of, from 1 on, and of which member; 0: of none that is one call.
  struct RingPlace {
    uint32_t ring = 0;
    uint32_t member = 0;
  };

  absl::Status OrderFirings() {
    struct Place {
      Stamp stamp;
      uint32_t call;
      RingPlace of;
      uint32_t lane;
      size_t at;
      uint32_t task;
      bool operator<(const Place& other) const {
        return std::tie(stamp, call, of.ring, of.member, lane, at) <
               std::tie(other.stamp, other.call, other.of.ring, other.of.member, other.lane,
                        other.at);
      }
    };
    std::vector<Place> places;
    std::vector<int64_t> next(program_.tasks().size(), 0);
    for (uint32_t s = 0; s < program_.streams().size(); ++s) {
      const std::vector<uint32_t>& tasks = program_.streams()[s].tasks;
      for (size_t at = 0; at < tasks.size(); ++at) {
        const FiringId firing = program_.FiringAt(tasks[at], next[tasks[at]]++);
        const RingPlace of = member_of_[tasks[at]];
        // A member's part stands where its first chunk is sent.
        if (of.ring != 0 &&
            (firing.chunk != 0 || work_.rings[of.ring - 1].members[of.member].send != tasks[at])) {
          continue;
        }
        // A message arrives where it is sent.
        places.push_back({BeginStampOf(plan_, firing), place_of_call_[tasks[at]], of, lane_of_[s],
                          at, tasks[at]});
      }
    }
    std::sort(places.begin(), places.end());
    firing_of_.resize(program_.tasks().size());
    std::vector<int64_t> last(work_.lanes.size(), -1);
    std::vector<size_t> count(work_.lanes.size(), 0);
    for (size_t i = 0; i < places.size(); ++i) {
      const Place& place = places[i];
      StepWork::Firing firing;
      firing.task = place.task;
      firing.lane = place.lane;
      const auto number = static_cast<uint32_t>(work_.firings.size());
      ordinals_.push_back(static_cast<int64_t>(firing_of_[place.task].size()));
      if (place.of.ring == 0) {
        firing_of_[place.task].push_back(number);
      } else {
        firing.kind = StepWork::Kind::kCollective;
        firing.ring = place.of.ring - 1;
        firing.member = place.of.member;
        const WholeRing::Member& member = work_.rings[firing.ring].members[firing.member];
        const size_t chunks = program_.tasks()[member.send].chunks;
        for (const uint32_t task : TasksOf(member)) {
          firing_of_[task].insert(firing_of_[task].end(), chunks, number);
        }
      }
      in_lane_.push_back(count[place.lane]++);
      work_.firings.push_back(std::move(firing));
      if (static_cast<int64_t>(place.at) <= last[place.lane]) return NoOrder(number);
      last[place.lane] = static_cast<int64_t>(place.at);
      const bool last_of_all = i + 1 == places.size();
      if (!BesideItsRing(number) || (last_of_all && !EndsItsRing(number))) return NoOrder(number);
    }
    return absl::OkStatus();
  }

  // True if the members of a call follow each other.
  bool BesideItsRing(uint32_t i) const {
    const auto position = [&](uint32_t at) {
      const StepWork::Firing& firing = work_.firings[at];
      return firing.kind == StepWork::Kind::kCollective ? std::pair(firing.ring, firing.member)
                                                        : std::pair(~0u, 0u);
    };
    const auto [ring, member] = position(i);
    if (i > 0) {
      const auto [before, its_member] = position(i - 1);
      // A call that began goes on.
      if (before != ~0u && its_member + 1 < work_.rings[before].members.size()) {
        return ring == before && member == its_member + 1;
      }
    }
    return ring == ~0u || member == 0;
  }

  bool EndsItsRing(uint32_t i) const {
    const StepWork::Firing& firing = work_.firings[i];
    return firing.kind != StepWork::Kind::kCollective ||
           firing.member + 1 == work_.rings[firing.ring].members.size();
  }

  // True if both are parts of one call.
  bool InOneCall(uint32_t a, uint32_t b) const {
    const StepWork::Firing& one = work_.firings[a];
    const StepWork::Firing& other = work_.firings[b];
    return one.kind == StepWork::Kind::kCollective && other.kind == StepWork::Kind::kCollective &&
           one.ring == other.ring && ordinals_[a] == ordinals_[b];
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
    const StepWork::Firing& firing = work_.firings[i];
    if (firing.kind != StepWork::Kind::kCollective) return FindEdges(firing.task, ordinals_[i]);
    const WholeRing::Member& member = work_.rings[firing.ring].members[firing.member];
    const int64_t chunks = program_.tasks()[member.send].chunks;
    for (const uint32_t task : TasksOf(member)) {
      const int64_t first = ordinals_[i];
      for (int64_t chunk = 0; chunk < chunks; ++chunk) FindEdges(task, first + chunk);
    }
    std::erase_if(before_, [&](uint32_t other) { return InOneCall(i, other); });
  }

  void FindEdges(uint32_t t, int64_t ordinal) {
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

  static bool IsEnd(const StepWork::Firing& firing) {
    return firing.kind == StepWork::Kind::kSend || firing.kind == StepWork::Kind::kReceive;
  }

  std::pair<Stamp, std::string> KeyOf(uint32_t i) const {
    const uint32_t task = work_.firings[i].task;
    return {BeginStampOf(plan_, program_.FiringAt(task, ordinals_[i])), ChannelOf(task).name()};
  }

  // Runs of messages of one place, none of which waits for another of its run: the memory of one that is sent may
  // be that of one that comes.
  void GroupMessages() {
    std::vector<StepWork::Firing>& firings = work_.firings;
    std::pair<Stamp, std::string> before;
    for (uint32_t i = 0; i < firings.size(); ++i) {
      if (!IsEnd(firings[i])) continue;
      firings[i].first_of_call = i;
      const auto last = std::exchange(before, KeyOf(i));
      if (!calls_.groups || i == 0 || !IsEnd(firings[i - 1])) continue;
      const uint32_t first = firings[i - 1].first_of_call;
      if (PlaceOf(before.first) != PlaceOf(last.first) || i - first >= kMostInCall) continue;
      if (calls_.breaks.upper_bound(last) != calls_.breaks.upper_bound(before)) continue;
      FindEdges(i);
      if (std::any_of(before_.begin(), before_.end(), [&](uint32_t b) { return b >= first; })) {
        continue;
      }
      firings[i].first_of_call = first;
      firings[i - 1].last_of_call = false;
    }
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
    if (firing.kind == StepWork::Kind::kCollective) {
      firing.outputs = {task.inputs[0].At(ordinal)};
      return;
    }
    if (IsMessage(firing.task)) {
      const bool sends = proto.kind() == plan::SEND;
      firing.kind = sends ? StepWork::Kind::kSend : StepWork::Kind::kReceive;
      firing.own = calls_.messenger_of.at(plan_.devices(static_cast<int>(proto.device())).id());
      firing.peer = calls_.messenger_of.at(calls_.peers.at(ChannelOf(firing.task).name()));
      firing.bytes = Program::BytesOf(sends ? proto.inputs(0) : proto.outputs(0));
      return;
    }
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
  const StepCalls& calls_;
  StepWork work_;
  std::vector<uint32_t> lane_of_;                 // by stream
  std::vector<std::vector<uint32_t>> firing_of_;  // by task and ordinal
  std::vector<int64_t> ordinals_;                 // by firing
  std::vector<size_t> in_lane_;                   // by firing: its place there
  std::vector<uint32_t> before_;                  // of the firing at hand
  std::vector<RingPlace> member_of_;              // by task
  std::vector<uint32_t> place_of_call_;  // by task, among calls with other ranks; 0: it is none
};

}  // namespace

std::string NameOf(const WholeRing& ring, const plan::Plan& plan) {
  const char* kind = "all_reduce";
  if (ring.kind == RingKind::kReduceScatter) kind = "reduce_scatter";
  if (ring.kind == RingKind::kAllGather) kind = "all_gather";
  const plan::StampProto& stamp = plan.tasks(static_cast<int>(ring.members[0].send)).stamp();
  return absl::StrCat(kind, " ", ring.kind == RingKind::kAllGather ? "" : ring.mode + " ", "of ",
                      ring.elements, " ", NameOf(ring.dtype).data(), ring.even ? "" : " uneven",
                      " at (", stamp.slot(), ", ", stamp.slot_per_micro(), ", ", stamp.position(),
                      ")");
}

std::string CallName(const WholeRing& ring, const plan::Plan& plan) {
  return absl::StrCat(NameOf(ring, plan), " of devices ", absl::StrJoin(ring.devices, ","));
}

Stamp PlaceOf(Stamp stamp) {
  stamp.back() = 0;
  return stamp;
}

bool IsShared(const WholeRing& ring) { return ring.members.size() < ring.devices.size(); }

absl::StatusOr<StepWork> StepWorkOf(const Program& program, const StepCalls& calls) {
  return Scheduler(program, calls).Run();
}

std::vector<WholeRing> OwnRings(const Program& program,
                                const std::function<bool(const WholeRing&)>& whole) {
  std::vector<WholeRing> rings = RingsOf(program.plan());
  std::erase_if(rings, [&](const WholeRing& ring) {
    return whole != nullptr ? !whole(ring) : !program.device(0)->RunsWholeRing(ring, ring.devices);
  });
  return rings;
}

StepCalls OwnCalls(const Program& program, std::function<bool(const WholeRing&)> whole) {
  StepCalls calls;
  calls.rings = OwnRings(program, whole);
  if (!calls.rings.empty() && !StepWorkOf(program, calls).ok()) calls.rings.clear();
  return calls;
}

absl::StatusOr<std::unique_ptr<StepRunner>> MakeStepRunner(const Program& program,
                                                           const StepCalls& calls) {
  if (!program.runs_whole_steps()) return std::unique_ptr<StepRunner>();
  OF_ASSIGN_OR_RETURN(StepWork work, StepWorkOf(program, calls));
  return program.device(0)->MakeStepRunner(std::move(work));
}

}  // namespace oneflow
