#include "runtime/virtual_runtime.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <deque>
#include <limits>
#include <map>
#include <queue>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "plan/shape_of.h"
#include "plan/verify.h"
#include "runtime/actor.h"
#include "runtime/guarded_block.h"
#include "runtime/isolated_firing.h"
#include "runtime/program.h"
#include "runtime/stall.h"
#include "runtime/states.h"
#include "runtime/stream_order.h"

namespace oneflow {
namespace {

// Before jitter: a message from one thread to another, and a credit from one rank to another.
constexpr int64_t kMessageNs = 300;
constexpr int64_t kCreditNs = 2000;
// The last moment: what a plan says takes longer ends here. Sums of two such times do not overflow.
constexpr int64_t kEndOfTime = std::numeric_limits<int64_t>::max() / 4;

// splitmix64: small, and the same everywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1p-53; }
  bool Coin() { return (Next() & 1) != 0; }

 private:
  uint64_t state_;
};

struct Event {
  enum Kind : uint8_t {
    kMessage,
    kWorkOver,  // of a thread
    kSent,
    kLaunch,
    kTaken,       // a thread has enqueued it on its device
    kDeviceOver,  // a stream of a device has run it
    kReported,    // the host knows
  };
  int64_t time = 0;
  uint64_t tie = 0;  // random: what happens at the same time happens in any order
  Kind kind = kMessage;
  uint32_t rank = 0;
  Message message;      // kMessage; its task also for kWorkOver and kSent
  int64_t ordinal = 0;  // kWorkOver, kSent
  bool late = false;    // the work takes effect now, not when it began
};

struct IsLater {
  bool operator()(const Event& a, const Event& b) const {
    return a.time != b.time ? a.time > b.time : a.tie > b.tie;
  }
};

// A thread of a device (or, for receives, nobody): one firing at a time.
struct Lane {
  bool receives = false;
  bool busy = false;
  std::vector<std::pair<uint32_t, int64_t>> runnable;  // (task, ordinal)
};

// A stream of a device that answers later: runs what it was given in order, each behind the events
// that it waits for.
struct DeviceLine {
  std::deque<std::pair<uint32_t, int64_t>> given;  // (task, ordinal); the first runs or waits
  bool busy = false;
  int64_t last_report = 0;  // the host hears in order
};

struct ChannelEnd {
  uint32_t rank = 0;
  uint32_t task = 0;
};

// One rank in a run.
struct Rank {
  explicit Rank(Program* loaded) : program(loaded) {}
  Program* program;
  std::vector<Actor> actors;
  std::vector<StreamOrder> streams;
  std::vector<uint32_t> stream_of;  // task
  std::vector<uint32_t> lane_of;    // task
  std::vector<Lane> lanes;
  std::vector<DeviceLine> lines;      // stream
  std::vector<int64_t> device_over;   // task: firings that its device has run
  std::vector<ChannelEnd> peer;       // task, SEND and RECV
  std::vector<int64_t> last_arrival;  // task, RECV
  std::vector<uint32_t> arrived;      // task, RECV: filled slots that wait for their place
  std::array<Invocation, Invocation::kWindow> ring;
  std::array<int32_t, Invocation::kWindow> streams_left{};
  std::vector<size_t> output_of;  // Plan.outputs -> VirtualRun.outputs
  int64_t launched = 0;
  int64_t completed = 0;
};

class VirtualRuntimeImpl : public VirtualRuntime {
 public:
  VirtualRuntimeImpl(const kernels::KernelTable* kernels, bool isolate)
      : isolate_(isolate), devices_(kernels), states_(&devices_) {}

  absl::Status Load(const std::vector<const plan::Plan*>& plans) {
    for (const plan::Plan* plan : plans) {
      OF_ASSIGN_OR_RETURN(std::unique_ptr<Program> program, Program::Create(*plan, &devices_));
      OF_RETURN_IF_ERROR(states_.Declare(*plan, /*other_ranks=*/true));
      for (const plan::DeviceProto& device : plan->devices()) {
        OF_RETURN_IF_ERROR(devices_.GrowArena(device.id(), device.arena_bytes()).status());
      }
      programs_.push_back(std::move(program));
      ranks_.push_back(std::make_unique<Rank>(programs_.back().get()));
    }
    for (const std::unique_ptr<Program>& program : programs_) {
      program->Bind(devices_, states_);
      scratch_.Reserve(*program);
    }
    for (const std::unique_ptr<Rank>& rank : ranks_) MakeLanes(rank.get());
    NameOutputs();
    return ConnectChannels();
  }

  absl::StatusOr<VirtualRun> Run(const std::vector<std::pair<std::string, HostTensor>>& states,
                                 const std::vector<std::vector<HostTensor>>& inputs,
                                 const VirtualOptions& options) override {
    OF_RETURN_IF_ERROR(CheckInputs(inputs, options.steps));
    options_ = &options;
    inputs_ = &inputs;
    random_ = Random(options.seed * 0x9e3779b97f4a7c15u + 1);
    run_ = VirtualRun();
    now_ = 0;
    queue_ = {};
    failure_ = absl::OkStatus();
    OF_RETURN_IF_ERROR(ResetMemory(states));
    MakeOutputs();
    for (uint32_t r = 0; r < ranks_.size(); ++r) {
      ResetRank(ranks_[r].get());
      LaunchMore(r);
    }
    for (const std::unique_ptr<Program>& program : programs_) program->ForgetDataError();
    while (!queue_.empty() && failure_.ok()) {
      const Event event = queue_.top();
      queue_.pop();
      now_ = event.time;
      Handle(event);
    }
    OF_RETURN_IF_ERROR(failure_);
    OF_RETURN_IF_ERROR(CheckAllCompleted());
    if (!programs_.empty() && programs_[0]->holds_bytes()) {
      for (const std::string& name : states_.Names()) {
        OF_ASSIGN_OR_RETURN(HostTensor value, states_.Read(name, /*check_replicas=*/true));
        run_.states.emplace_back(name, std::move(value));
      }
    }
    return std::move(run_);
  }

 private:
  void MakeLanes(Rank* rank) {
    const Program& program = *rank->program;
    std::map<std::pair<uint32_t, Program::Lane>, uint32_t> lane_of;
    rank->stream_of.resize(program.tasks().size());
    rank->lane_of.resize(program.tasks().size());
    rank->peer.resize(program.tasks().size());
    for (uint32_t s = 0; s < program.streams().size(); ++s) {
      const uint32_t device = program.plan().streams(static_cast<int>(s)).device();
      const auto [lane, is_new] = lane_of.try_emplace({device, program.LaneOfStream(s)},
                                                      static_cast<uint32_t>(rank->lanes.size()));
      if (is_new) {
        rank->lanes.emplace_back();
        rank->lanes.back().receives = program.LaneOfStream(s) == Program::Lane::kReceive;
      }
      for (uint32_t task : program.streams()[s].tasks) {
        rank->stream_of[task] = s;
        rank->lane_of[task] = lane->second;
      }
    }
  }

  absl::Status ConnectChannels() {
    std::map<std::pair<std::string, bool>, ChannelEnd> ends;  // (name, is the sender)
    for (uint32_t r = 0; r < ranks_.size(); ++r) {
      const Program& program = *ranks_[r]->program;
      for (uint32_t t = 0; t < program.tasks().size(); ++t) {
        const ActorSpec& actor = program.tasks()[t].actor;
        if (actor.sends || actor.receives) ends[{ChannelName(program, t), actor.sends}] = {r, t};
      }
    }
    for (const auto& [key, end] : ends) {
      const auto peer = ends.find({key.first, !key.second});
      if (peer == ends.end()) {
        return MakeError(ErrorKind::kPlan, absl::StrCat("channel ", key.first,
                                                        " has one end only, on rank ", end.rank));
      }
      ranks_[end.rank]->peer[end.task] = peer->second;
    }
    return absl::OkStatus();
  }

  static const std::string& ChannelName(const Program& program, uint32_t task) {
    const uint32_t channel = program.tasks()[task].proto->channel();
    return program.plan().channels(static_cast<int>(channel)).name();
  }

  absl::Status ResetMemory(const std::vector<std::pair<std::string, HostTensor>>& states) {
    for (const auto& [id, entry] : devices_.entries()) {
      // All ones is a NaN in every floating dtype: what is read before it is written shows.
      if (entry.arena.data() != nullptr) std::memset(entry.arena.data(), 0xff, entry.arena.bytes());
    }
    states_.FillWithZeros();
    for (const auto& [name, value] : states) OF_RETURN_IF_ERROR(states_.Write(name, value));
    return absl::OkStatus();
  }

  void NameOutputs() {
    for (const std::unique_ptr<Rank>& rank : ranks_) {
      for (const plan::OutputProto& output : rank->program->plan().outputs()) {
        size_t place = 0;
        while (place < outputs_.size() && outputs_[place]->name() != output.name()) ++place;
        if (place == outputs_.size()) outputs_.push_back(&output);
        rank->output_of.push_back(place);
      }
    }
  }

  absl::Status CheckInputs(const std::vector<std::vector<HostTensor>>& inputs, int steps) const {
    if (static_cast<int>(inputs.size()) < steps) {
      return MakeError(ErrorKind::kData,
                       absl::StrCat("inputs for ", inputs.size(), " steps, not ", steps));
    }
    for (const std::unique_ptr<Rank>& rank : ranks_) {
      const plan::Plan& plan = rank->program->plan();
      for (const std::vector<HostTensor>& step : inputs) {
        bool fits = static_cast<int>(step.size()) == plan.inputs_size();
        for (int i = 0; fits && i < plan.inputs_size(); ++i) {
          const plan::InputProto& input = plan.inputs(i);
          const HostTensor& given = step[static_cast<size_t>(i)];
          fits = given.dtype == static_cast<DType>(input.dtype()) &&
                 given.shape == ShapeOf(input.logical_shape());
        }
        if (!fits) {
          return MakeError(ErrorKind::kData, absl::StrCat("the inputs are not those of plan ",
                                                          plan.name(), " rank ", plan.rank()));
        }
      }
    }
    return absl::OkStatus();
  }

  void MakeOutputs() {
    for (const plan::OutputProto* proto : outputs_) run_.output_names.push_back(proto->name());
    for (int step = 0; step < options_->steps; ++step) {
      std::vector<HostTensor>& outputs = run_.outputs.emplace_back();
      for (const plan::OutputProto* proto : outputs_) {
        const DType dtype = static_cast<DType>(proto->dtype());
        const Shape shape = ShapeOf(proto->logical_shape());
        outputs.push_back(isolate_ ? GuardedTensor(dtype, shape)
                                   : HostTensor::Allocate(dtype, shape));
        std::memset(outputs.back().data.get(), 0, static_cast<size_t>(outputs.back().bytes()));
      }
    }
  }

  void ResetRank(Rank* rank) {
    rank->actors.clear();
    for (const Program::Task& task : rank->program->tasks()) rank->actors.emplace_back(&task.actor);
    rank->streams.clear();
    for (const StreamPlan& stream : rank->program->streams()) rank->streams.emplace_back(&stream);
    rank->lines.assign(rank->streams.size(), DeviceLine());
    rank->device_over.assign(rank->program->tasks().size(), 0);
    for (Lane& lane : rank->lanes) {
      lane.busy = false;
      lane.runnable.clear();
    }
    rank->last_arrival.assign(rank->program->tasks().size(), 0);
    rank->arrived.assign(rank->program->tasks().size(), 0);
    rank->launched = rank->completed = 0;
  }

  // A plan's durations are anybody's numbers: times stop at kEndOfTime.
  int64_t Jittered(int64_t nanoseconds) {
    const double scale = 1 + options_->jitter * -std::log1p(-random_.Uniform());
    const double jittered = static_cast<double>(std::max<int64_t>(nanoseconds, 1)) * scale;
    return jittered < static_cast<double>(kEndOfTime) ? static_cast<int64_t>(jittered) : kEndOfTime;
  }

  void Push(Event event, int64_t delay) {
    event.time = delay < kEndOfTime - now_ ? now_ + delay : kEndOfTime;
    event.tie = random_.Next();
    queue_.push(event);
  }

  void PushMessage(uint32_t rank, const Message& message, int64_t delay) {
    Event event;
    event.rank = rank;
    event.message = message;
    Push(event, delay);
  }

  void LaunchMore(uint32_t r) {
    Rank& rank = *ranks_[r];
    while (rank.launched < options_->steps &&
           rank.launched - rank.completed < Invocation::kWindow) {
      const size_t step = static_cast<size_t>(rank.launched);
      rank.program->BeginStep(rank.launched);
      const size_t place = step % Invocation::kWindow;
      Invocation& invocation = rank.ring[place];
      invocation.input_bytes.clear();
      for (const HostTensor& input : (*inputs_)[step]) {
        invocation.input_bytes.push_back(input.data.get());
      }
      invocation.output_bytes.clear();
      for (size_t output : rank.output_of) {
        invocation.output_bytes.push_back(run_.outputs[step][output].data.get());
      }
      rank.streams_left[place] = rank.program->busy_streams();
      if (rank.streams_left[place] == 0) ++rank.completed;
      ++rank.launched;
      Event event;
      event.kind = Event::kLaunch;
      event.rank = r;
      Push(event, Jittered(kMessageNs));
    }
  }

  void Handle(const Event& event) {
    Rank& rank = *ranks_[event.rank];
    switch (event.kind) {
      case Event::kLaunch:
        for (StreamOrder& stream : rank.streams) GiveTurn(event.rank, stream.Launch());
        return;
      case Event::kMessage:
        if (event.message.kind == MessageKind::kArrived) {
          Arrive(event.rank, event.message);
        } else {
          Step(event.rank, event.message);
        }
        return;
      case Event::kSent:
        if (event.late) Transfer(event.rank, event.message.task, event.ordinal);
        break;
      case Event::kWorkOver:
        if (event.late) Work(event.rank, event.message.task, event.ordinal);
        break;
      case Event::kTaken:
        return Taken(event);
      case Event::kDeviceOver:
        return DeviceOver(event);
      case Event::kReported:
        Step(event.rank, {MessageKind::kFired, 0, event.message.task, 0});
        GiveTurn(event.rank, rank.streams[rank.stream_of[event.message.task]].DeviceFinished());
        return;
    }
    if (event.kind == Event::kWorkOver) {
      rank.lanes[rank.lane_of[event.message.task]].busy = false;
    }
    Step(event.rank, {MessageKind::kFired, 0, event.message.task, 0});
    StartWork(event.rank, rank.lane_of[event.message.task]);
  }

  // Messages of several channels arrive in any order; the stream says which counts first.
  void Arrive(uint32_t r, Message message) {
    Rank& rank = *ranks_[r];
    StreamOrder& stream = rank.streams[rank.stream_of[message.task]];
    ++rank.arrived[message.task];
    while (rank.arrived[stream.NextArrival()] > 0) {
      message.task = stream.NextArrival();
      --rank.arrived[message.task];
      stream.Arrive();
      Step(r, message);
    }
  }

  void Step(uint32_t r, const Message& message) {
    Rank& rank = *ranks_[r];
    Effects effects;
    std::swap(effects, spare_);
    rank.actors[message.task].Step(message, &effects);
    if (effects.completed) Finish(r, message.task, effects.finished);
    for (const Message& caused : effects.messages) {
      const bool same_thread = rank.lane_of[caused.task] == rank.lane_of[message.task];
      PushMessage(r, caused, same_thread ? 0 : Jittered(kMessageNs));
    }
    if (effects.turn_ended) {
      GiveTurn(r, rank.streams[rank.stream_of[message.task]].Advance());
    }
    if (effects.fire) {
      Lane& lane = rank.lanes[rank.lane_of[message.task]];
      if (lane.receives) {
        const ChannelEnd& sender = rank.peer[message.task];
        PushMessage(sender.rank, {MessageKind::kCredit, 0, sender.task, 0}, Jittered(kCreditNs));
      } else {
        lane.runnable.emplace_back(message.task, effects.started);
        StartWork(r, rank.lane_of[message.task]);
      }
    }
    std::swap(effects, spare_);
  }

  void GiveTurn(uint32_t r, int64_t task) {
    if (task == StreamOrder::kNobody) return;
    PushMessage(r, {MessageKind::kTurn, 0, static_cast<uint32_t>(task), 0}, 0);
  }

  // The thread picks any of what it could do.
  void StartWork(uint32_t r, uint32_t lane_id) {
    Rank& rank = *ranks_[r];
    Lane& lane = rank.lanes[lane_id];
    if (lane.busy || lane.runnable.empty()) return;
    const size_t pick = random_.Next() % lane.runnable.size();
    const auto [task, ordinal] = lane.runnable[pick];
    lane.runnable.erase(lane.runnable.begin() + static_cast<std::ptrdiff_t>(pick));
    const Program::Task& spec = rank.program->tasks()[task];
    Event event;
    event.rank = r;
    event.message.task = task;
    event.ordinal = ordinal;
    if (spec.on_device) {
      lane.busy = true;
      event.kind = Event::kTaken;
      Push(event, Jittered(kMessageNs));
      return;
    }
    const int64_t duration = Jittered(spec.proto->duration_ns());
    event.late = random_.Coin();
    if (!spec.actor.sends) {
      if (!event.late) Work(r, task, ordinal);
      lane.busy = true;
      event.kind = Event::kWorkOver;
      Push(event, duration);
      return;
    }
    // The network carries it, as long as the receiver's end says; the thread goes on. Messages of a channel arrive in
    // order.
    if (!event.late) Transfer(r, task, ordinal);
    event.kind = Event::kSent;
    const int64_t sent = static_cast<int64_t>(static_cast<double>(duration) * random_.Uniform());
    Push(event, sent);
    const ChannelEnd& receiver = rank.peer[task];
    const plan::Task& recv = *ranks_[receiver.rank]->program->tasks()[receiver.task].proto;
    const int64_t carried = std::max(sent, Jittered(recv.duration_ns()));
    int64_t& last = ranks_[receiver.rank]->last_arrival[receiver.task];
    last = std::min(kEndOfTime, std::max(last, now_ + carried) + 1);
    PushMessage(receiver.rank, {MessageKind::kArrived, 0, receiver.task, 0}, last - now_);
    StartWork(r, lane_id);
  }

  void Taken(const Event& event) {
    Rank& rank = *ranks_[event.rank];
    const uint32_t task = event.message.task;
    const uint32_t stream = rank.stream_of[task];
    rank.lanes[rank.lane_of[task]].busy = false;
    rank.lines[stream].given.emplace_back(task, event.ordinal);
    rank.streams[stream].Enqueued();
    StartLine(event.rank, stream);
    Step(event.rank, {MessageKind::kEnqueued, 0, task, 0});
    StartWork(event.rank, rank.lane_of[task]);
  }

  // Runs the first of a line unless an event that it waits for is still to come.
  void StartLine(uint32_t r, uint32_t stream) {
    Rank& rank = *ranks_[r];
    DeviceLine& line = rank.lines[stream];
    if (line.busy || line.given.empty()) return;
    const auto [task, ordinal] = line.given.front();
    const Program::Task& spec = rank.program->tasks()[task];
    for (const Program::EventWait& wait : spec.waits) {
      if (wait.OrdinalFor(ordinal) >= rank.device_over[wait.task]) return;
    }
    line.busy = true;
    Event event;
    event.rank = r;
    event.message.task = task;
    event.ordinal = ordinal;
    event.kind = Event::kDeviceOver;
    event.late = random_.Coin();
    if (!event.late) Work(r, task, ordinal);
    Push(event, Jittered(spec.proto->duration_ns()));
  }

  void DeviceOver(const Event& event) {
    Rank& rank = *ranks_[event.rank];
    const uint32_t task = event.message.task;
    if (event.late) Work(event.rank, task, event.ordinal);
    ++rank.device_over[task];
    DeviceLine& line = rank.lines[rank.stream_of[task]];
    line.busy = false;
    line.given.pop_front();
    line.last_report = std::max(line.last_report + 1, now_ + Jittered(kMessageNs));
    Event reported = event;
    reported.kind = Event::kReported;
    Push(reported, line.last_report - now_);
    for (uint32_t stream = 0; stream < rank.lines.size(); ++stream) StartLine(event.rank, stream);
  }

  void Work(uint32_t r, uint32_t task, int64_t ordinal) {
    Rank& rank = *ranks_[r];
    const size_t place =
        static_cast<size_t>(rank.program->StepOf(task, ordinal)) % Invocation::kWindow;
    kernels::InlineStream stream;
    absl::Status done =
        isolate_ && rank.program->holds_bytes()
            ? RunIsolated(*rank.program, task, ordinal, rank.ring[place])
            : rank.program->RunFiring(task, ordinal, rank.ring[place], &stream, &scratch_);
    if (failure_.ok() && !done.ok()) failure_ = WithContext(done, rank.program->NameOf(task));
    if (rank.program->FindDataError(task, ordinal) && failure_.ok()) {
      failure_ = rank.program->DataErrorOf(task, rank.program->StepOf(task, ordinal));
    }
  }

  // The n-th message of a channel fills the n-th slot posted.
  void Transfer(uint32_t r, uint32_t task, int64_t ordinal) {
    const ChannelEnd& receiver = ranks_[r]->peer[task];
    const std::byte* source = ranks_[r]->program->SendSource(task, ordinal);
    if (source == nullptr) return;
    std::memcpy(ranks_[receiver.rank]->program->ReceiveSlot(receiver.task, ordinal), source,
                static_cast<size_t>(ranks_[r]->program->tasks()[task].message_bytes));
  }

  void Finish(uint32_t r, uint32_t task, int64_t ordinal) {
    Rank& rank = *ranks_[r];
    ++run_.firings;
    run_.virtual_ns = now_;
    Random mix(run_.event_order_hash ^ (uint64_t{r} << 48) ^ (uint64_t{task} << 24) ^
               static_cast<uint64_t>(ordinal));
    run_.event_order_hash = mix.Next();
    if (!rank.streams[rank.stream_of[task]].Finish()) return;
    const size_t place =
        static_cast<size_t>(rank.program->StepOf(task, ordinal)) % Invocation::kWindow;
    if (--rank.streams_left[place] == 0) {
      ++rank.completed;
      LaunchMore(r);
    }
  }

  absl::Status CheckAllCompleted() const {
    const bool all = std::all_of(ranks_.begin(), ranks_.end(), [&](const auto& rank) {
      return rank->completed == options_->steps;
    });
    if (all) return absl::OkStatus();
    std::vector<RunSnapshot> snapshots;
    std::string actors;
    for (const std::unique_ptr<Rank>& rank : ranks_) {
      RunSnapshot snapshot;
      snapshot.program = rank->program;
      snapshot.actors = rank->actors;
      for (const StreamOrder& stream : rank->streams) snapshot.turns.push_back(stream.Current());
      snapshot.stream_of = rank->stream_of;
      snapshot.running_ns.assign(rank->actors.size(), -1);
      snapshot.launched = rank->launched;
      snapshot.completed = rank->completed;
      absl::StrAppend(&actors, DescribeRun(snapshot));
      snapshots.push_back(std::move(snapshot));
    }
    return MakeError(ErrorKind::kPlan,
                     absl::StrCat("deadlock with seed ", options_->seed, " at ", now_,
                                  " ns; who waits for whom:\n", WaitForCycle(snapshots), actors));
  }

  const bool isolate_;
  DeviceSet devices_;
  StateStore states_;
  std::vector<std::unique_ptr<Program>> programs_;
  std::vector<std::unique_ptr<Rank>> ranks_;
  std::vector<const plan::OutputProto*> outputs_;

  // Of the current run.
  const VirtualOptions* options_ = nullptr;
  const std::vector<std::vector<HostTensor>>* inputs_ = nullptr;
  Random random_{0};
  VirtualRun run_;
  int64_t now_ = 0;
  std::priority_queue<Event, std::vector<Event>, IsLater> queue_;
  Effects spare_;
  Program::Scratch scratch_;
  absl::Status failure_;  // of the first firing that failed
};

}  // namespace

absl::StatusOr<std::unique_ptr<VirtualRuntime>> VirtualRuntime::Create(
    const std::vector<const plan::Plan*>& plans, const Setup& setup) {
  for (size_t r = 0; r < plans.size(); ++r) {
    if (plans[r]->rank() != r || plans[r]->world_size() != plans.size()) {
      return MakeError(ErrorKind::kPlan,
                       absl::StrCat("plan ", r, " of ", plans.size(), " is for rank ",
                                    plans[r]->rank(), " of ", plans[r]->world_size()));
    }
  }
  if (setup.verify) OF_RETURN_IF_ERROR(VerifyPlans(plans, setup.rules));
  auto runtime = std::make_unique<VirtualRuntimeImpl>(setup.cpu_kernels, setup.isolate);
  OF_RETURN_IF_ERROR(runtime->Load(plans));
  return std::unique_ptr<VirtualRuntime>(std::move(runtime));
}

absl::StatusOr<VirtualRun> RunInVirtualTime(
    const std::vector<const plan::Plan*>& plans,
    const std::vector<std::pair<std::string, HostTensor>>& states,
    const std::vector<std::vector<HostTensor>>& inputs, const VirtualOptions& options) {
  VirtualRuntime::Setup setup;
  setup.cpu_kernels = options.cpu_kernels;
  OF_ASSIGN_OR_RETURN(std::unique_ptr<VirtualRuntime> runtime,
                      VirtualRuntime::Create(plans, setup));
  return runtime->Run(states, inputs, options);
}

}  // namespace oneflow
