#include "runtime/session.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"
#include "base/status.h"
#include "plan/sent_pieces.h"
#include "plan/shape_of.h"
#include "plan/verify.h"
#include "runtime/io/fetch_ring.h"
#include "runtime/io/staging.h"
#include "runtime/step_calls.h"
#include "runtime/step_schedule.h"
#include "runtime/threaded_executor.h"
#include "runtime/trace.h"
#include "runtime/watchdog.h"

namespace oneflow {
namespace {

// A plan that a session has loaded.
struct LoadedPlan {
  std::unique_ptr<Program> program;
  std::unique_ptr<FetchRing> outputs;
  std::vector<std::string> written;  // states
  PlanRun* run = nullptr;
  StepCalls calls;  // where steps run as a whole
};

// Inputs of at least so many bytes are worth a wait for the thread that feeds: a copy of fewer costs
// less than that.
constexpr int64_t kReadInPlace = 1 << 18;

// How long a session that is destroyed goes on with steps in flight, for the sake of its peers.
constexpr std::chrono::seconds kLastSteps(5);

int CoresOf(const SessionOptions& options) {
  if (options.cores >= 0) return options.cores;
  if (options.transport == nullptr) return CoresOfRank(1, /*looking_suffices=*/false);
  return CoresOfRank(options.transport->world_size(), options.transport->looking_suffices());
}

class SessionImpl : public Session {
 public:
  explicit SessionImpl(const SessionOptions& options)
      : options_(options),
        devices_(options.cpu_kernels, options.cuda, options.transport, options.cuda_graphs,
                 options.cuda_placement, options.peer_seconds),
        states_(&devices_),
        executor_(&devices_, options.transport,
                  options.trace_path.empty() ? 0 : options.trace_slices,
                  {CoresOf(options), options.patience_ns}) {
    Watchdog::Options watchdog;
    watchdog.speak_seconds = options.watchdog_seconds;
    watchdog.peer_seconds = options.peer_seconds;
    watchdog.speak = [](const std::string& report) { std::fputs(report.c_str(), stderr); };
    watchdog.give_up = [this](const absl::Status& cause) {
      if (executor_.Fail(cause)) options_.transport->Abort(cause);
    };
    watchdog_ = std::make_unique<Watchdog>(std::move(watchdog), &executor_);
  }

  ~SessionImpl() override {
    // Peers still wait for what the last steps owe them, though this rank has fetched all it wanted.
    if (options_.transport != nullptr && !executor_.WaitUntilQuiet(kLastSteps)) devices_.Abandon();
    executor_.Stop();
    if (executor_.failure().ok() && HasUnseenDataError()) {
      const absl::Status error = running_->program->DataErrorOfFailedStep();
      std::fprintf(stderr,
                   "oneflow: the last steps changed nothing, which nobody has asked for: %s\n",
                   MessageOf(error).c_str());
    }
    // The threads are gone; a callback of the transport may still run (it knows the watchdog), and
    // slots may still be posted.
    for (const auto& [id, plan] : plans_) CloseChannels(plan);
    watchdog_.reset();
    if (options_.trace_path.empty()) return;
    for (auto& [id, plan] : plans_) KeepForTrace(std::move(plan.program), plan.run->index);
    std::vector<const Program*> programs;
    for (const std::unique_ptr<Program>& program : traced_) programs.push_back(program.get());
    const absl::Status written = WriteTrace(options_.trace_path, programs, executor_.TraceSlices());
    if (!written.ok()) std::fprintf(stderr, "oneflow: %s\n", MessageOf(written).c_str());
  }

  absl::StatusOr<PlanId> Load(const plan::Plan& plan) override {
    OF_RETURN_IF_ERROR(Settle());
    if (options_.verify) OF_RETURN_IF_ERROR(VerifyPlan(plan, options_.rules));
    OF_RETURN_IF_ERROR(CheckRank(plan));
    if (plans_.size() + traced_.size() >= options_.max_plans) {
      return MakeError(
          ErrorKind::kPlan,
          absl::StrCat("plan ", plan.name(), ": ", options_.max_plans,
                       " plans are loaded, more a session cannot number; unload some"));
    }
    LoadedPlan loaded;
    OF_ASSIGN_OR_RETURN(loaded.program, Program::Create(plan, &devices_));
    OF_RETURN_IF_ERROR(loaded.program->MakeStreams(&devices_));
    const std::vector<std::string> states = states_.Names();
    OF_RETURN_IF_ERROR(devices_.CheckMemory(plan, {states.begin(), states.end()}));
    OF_RETURN_IF_ERROR(states_.Declare(plan, /*other_ranks=*/false));
    bool moved = false;
    for (const plan::DeviceProto& device : plan.devices()) {
      OF_ASSIGN_OR_RETURN(const bool grown, devices_.GrowArena(device.id(), device.arena_bytes()));
      moved |= grown;
    }
    if (moved) {
      for (auto& [other_id, other] : plans_) {
        other.program->Bind(devices_, states_);
        if (other.run->runner == nullptr) {
          MoveChannels(other);
          continue;
        }
        OF_ASSIGN_OR_RETURN(StepWork work, StepWorkOf(*other.program, other.calls));
        OF_RETURN_IF_ERROR(other.run->runner->Rebind(std::move(work)));
      }
    }
    loaded.program->Bind(devices_, states_);
    loaded.outputs =
        std::make_unique<FetchRing>(loaded.program->plan(), loaded.program->fetches_all());
    loaded.written = StatesWritten(plan);
    std::vector<comm::ChannelId> channels;
    std::unique_ptr<StepRunner> runner;
    if (loaded.program->runs_whole_steps()) {
      OF_ASSIGN_OR_RETURN(channels, OpenChannels(*loaded.program, nullptr));
      const absl::Status made = MakeRunner(&loaded, &runner);
      if (!made.ok()) {
        if (!channels.empty()) options_.transport->CloseChannels(channels);
        return made;
      }
    }
    loaded.run = executor_.AddProgram(loaded.program.get(), std::move(runner));
    // Before channels are opened: the threads hold the program from here on.
    const PlanId id = next_plan_++;
    LoadedPlan* kept = nullptr;
    {
      std::lock_guard<std::mutex> lock(outputs_mutex_);
      kept = &plans_.emplace(id, std::move(loaded)).first->second;
    }
    if (!kept->program->runs_whole_steps()) {
      OF_ASSIGN_OR_RETURN(channels, OpenChannels(*kept->program, kept->run));
    }
    executor_.BindChannels(kept->run, std::move(channels));
    // Those of other plans whose ends have moved as well.
    for (const auto& [other_id, other] : plans_) FollowRings(other);
    return id;
  }

  absl::Status Unload(PlanId id) override {
    OF_ASSIGN_OR_RETURN(LoadedPlan * plan, Find(id));
    OF_RETURN_IF_ERROR(Settle());
    CloseChannels(*plan);
    staging_.ReleaseAll();
    if (running_ == plan->run) running_ = nullptr;
    const uint16_t number = plan->run->index;
    executor_.RemoveProgram(plan->run);
    LoadedPlan gone;
    {
      std::lock_guard<std::mutex> lock(outputs_mutex_);
      gone = std::move(*plan);
      plans_.erase(id);
      if (gone.outputs->unread() > 0) unloaded_outputs_.push_back(std::move(gone.outputs));
    }
    if (!options_.trace_path.empty()) KeepForTrace(std::move(gone.program), number);
    return absl::OkStatus();
  }

  absl::Status WriteState(const std::string& name, const HostTensor& value) override {
    OF_RETURN_IF_ERROR(Settle());
    return states_.Write(name, value);
  }

  absl::StatusOr<HostTensor> ReadState(const std::string& name) override {
    OF_RETURN_IF_ERROR(Settle());
    return states_.Read(name, /*check_replicas=*/false);
  }

  bool HasState(const std::string& name) const override { return states_.Has(name); }
  uint64_t StateVersion(const std::string& name) const override { return states_.Version(name); }

  absl::Status DropState(const std::string& name) override {
    for (const auto& [id, plan] : plans_) {
      for (const plan::StateProto& state : plan.program->plan().states()) {
        if (state.name() != name) continue;
        return MakeError(ErrorKind::kError, absl::StrCat("state \"", name, "\" is used by plan ",
                                                         plan.program->plan().name()));
      }
    }
    OF_RETURN_IF_ERROR(Settle());
    states_.Drop(name);
    return absl::OkStatus();
  }

  absl::StatusOr<InvocationId> Launch(PlanId id, std::vector<HostTensor> inputs) override {
    OF_ASSIGN_OR_RETURN(LoadedPlan * found, Find(id));
    LoadedPlan& plan = *found;
    OF_RETURN_IF_ERROR(CheckInputs(plan.program->plan(), inputs));
    PlanRun* run = plan.run;
    if (running_ != run) {
      OF_RETURN_IF_ERROR(Settle());
      running_ = run;
    }
    OF_RETURN_IF_ERROR(executor_.WaitUntil(
        [run] { return run->launched - run->completed < Invocation::kWindow; }));
    OF_RETURN_IF_ERROR(SeeDataError());
    Invocation& invocation = run->InvocationOf(run->launched);
    invocation.id = next_invocation_++;
    SetInputs(std::move(inputs), run, &invocation);
    {
      std::lock_guard<std::mutex> lock(outputs_mutex_);
      invocation.fetch = plan.outputs->Open(invocation.id);
    }
    for (size_t i = 0; i < invocation.output_bytes.size(); ++i) {
      invocation.output_bytes[i] = invocation.fetch->tensors[i].data.get();
    }
    for (const std::string& state : plan.written) states_.BumpVersion(state);
    executor_.Launch(run);
    if (ThreadedExecutor::ReadsInputs(*run)) invocation.inputs.clear();
    if (invocation.caller_waits) {
      OF_RETURN_IF_ERROR(executor_.WaitUntil([&] { return invocation.feeds_left.load() == 0; }));
      invocation.inputs.clear();
    }
    return invocation.id;
  }

  absl::StatusOr<std::vector<HostTensor>> Fetch(InvocationId id) override {
    FetchRing* ring = nullptr;
    FetchEntry* entry = nullptr;
    {
      std::lock_guard<std::mutex> lock(outputs_mutex_);
      entry = FindOutputs(id, &ring);
    }
    OF_RETURN_IF_ERROR(executor_.failure());
    if (entry == nullptr) {
      return MakeError(ErrorKind::kError, absl::StrCat("invocation ", id,
                                                       " was fetched or discarded before, or never "
                                                       "launched"));
    }
    OF_RETURN_IF_ERROR(executor_.WaitUntil([entry] { return entry->done.load(); }));
    if (entry->skipped.load()) (void)SeeDataError();  // and it stands in the entry then
    std::lock_guard<std::mutex> lock(outputs_mutex_);
    const absl::Status error = entry->error;
    std::vector<HostTensor> outputs = entry->tensors;
    Release(ring, entry);
    if (!error.ok()) return error;
    return outputs;
  }

  void Discard(InvocationId id) override {
    std::lock_guard<std::mutex> lock(outputs_mutex_);
    FetchRing* ring = nullptr;
    if (FetchEntry* entry = FindOutputs(id, &ring); entry != nullptr) Release(ring, entry);
  }

  absl::Status Wait() override {
    OF_RETURN_IF_ERROR(Settle());
    devices_.Drain();
    return absl::OkStatus();
  }

  std::vector<DeviceCounters> Counters() const override {
    std::map<uint32_t, DeviceCounters> by_device;
    for (const auto& [id, entry] : devices_.entries()) {
      DeviceCounters& counters = by_device[id];
      counters.device = id;
      counters.gpu = entry.device->gpu();
      counters.arena_bytes = entry.arena.bytes();
      counters.state_bytes = states_.BytesOn(id);
    }
    for (const std::unique_ptr<ActorHost>& host : executor_.hosts()) {
      for (const ActorHost::Counts& counts : host->counts()) {
        AddCounts(counts, &by_device.at(counts.device));
      }
    }
    for (const ActorHost::Counts& counts : executor_.step_counts()) {
      AddCounts(counts, &by_device.at(counts.device));
    }
    std::vector<DeviceCounters> all;
    for (const auto& [id, counters] : by_device) all.push_back(counters);
    return all;
  }

  InvocationId TakeUndoneFrom() override { return std::exchange(undone_from_, -1); }

  Holdings holdings() const override {
    Holdings holdings;
    holdings.plans = plans_.size();
    holdings.numbers = executor_.numbers();
    holdings.states = states_.size();
    for (const std::unique_ptr<ActorHost>& host : executor_.hosts()) {
      holdings.message_room += host->message_room();
    }
    for (const auto& [id, plan] : plans_) {
      holdings.channels += plan.run->channels.size();
      holdings.rings_in_place += plan.program->rings_in_place();
      holdings.rings_landing += plan.program->rings_landing();
    }
    holdings.fetch_rings = plans_.size() + unloaded_outputs_.size();
    holdings.staging_bytes = staging_.bytes();
    return holdings;
  }

  Waits waits() const override {
    Waits waits;
    for (const std::unique_ptr<ActorHost>& host : executor_.hosts()) {
      waits.all += host->waits();
      waits.parked += host->parks();
      waits.borrowed += host->borrows();
    }
    return waits;
  }

  std::string DebugString() const override {
    std::string text;
    for (const RunSnapshot& run : executor_.Snapshot(/*only_in_flight=*/false)) {
      text += DescribeRun(run);
    }
    return text;
  }

 private:
  static void AddCounts(const ActorHost::Counts& counts, DeviceCounters* counters) {
    counters->flops += counts.flops;
    counters->received_bytes += counts.received_bytes;
    counters->firings += counts.firings;
    counters->busy_ns += counts.busy_ns;
  }

  // Waits until nothing runs. A DataError that nobody has seen yet comes to light here.
  absl::Status Settle() {
    OF_RETURN_IF_ERROR(executor_.WaitUntil([this] { return executor_.Quiet(); }));
    return SeeDataError();
  }

  // A step in flight found wrong data: it and those launched behind it change nothing. The error is
  // returned once, when they are over, and stays with their outputs; then all goes on as if they had
  // not been launched.
  absl::Status SeeDataError() {
    if (!HasUnseenDataError()) return absl::OkStatus();
    OF_RETURN_IF_ERROR(executor_.WaitUntil([this] { return executor_.Quiet(); }));
    const absl::Status error = running_->program->DataErrorOfFailedStep();
    undone_from_ = running_->InvocationOf(running_->program->failed_step()).id;
    running_->program->ForgetDataError();
    if (running_->runner != nullptr) OF_RETURN_IF_ERROR(running_->runner->ForgetErrors());
    std::lock_guard<std::mutex> lock(outputs_mutex_);
    for (auto& [id, plan] : plans_) {
      if (plan.run == running_) plan.outputs->Fail(undone_from_, error);
    }
    return error;
  }

  bool HasUnseenDataError() const {
    return running_ != nullptr && running_->program->failed_step() != Program::kNoStep;
  }

  absl::StatusOr<LoadedPlan*> Find(PlanId id) {
    const auto found = plans_.find(id);
    if (found != plans_.end()) return &found->second;
    return MakeError(ErrorKind::kError, absl::StrCat("no plan ", id, " is loaded"));
  }

  // One copy of large inputs where that is possible: the feeds' own, from the caller's memory.
  void SetInputs(std::vector<HostTensor> inputs, PlanRun* run, Invocation* invocation) {
    if (ThreadedExecutor::ReadsInputs(*run)) {
      for (size_t i = 0; i < inputs.size(); ++i) invocation->input_bytes[i] = inputs[i].data.get();
      invocation->inputs = std::move(inputs);
      invocation->caller_waits = false;
      return;
    }
    const std::vector<bool>& fed = run->program->fed();
    int64_t bytes = 0;
    for (size_t i = 0; i < inputs.size(); ++i) bytes += fed[i] ? inputs[i].bytes() : 0;
    invocation->caller_waits = bytes >= kReadInPlace && executor_.CanFeedAtOnce(run);
    if (!invocation->caller_waits) {
      staging_.Copy(inputs, fed, invocation);
      return;
    }
    for (size_t i = 0; i < inputs.size(); ++i) invocation->input_bytes[i] = inputs[i].data.get();
    invocation->inputs = std::move(inputs);
  }

  void CloseChannels(const LoadedPlan& plan) {
    if (options_.transport == nullptr || plan.run->channels.empty()) return;
    options_.transport->CloseChannels(plan.run->channels);
  }

  // A number of a plan stands in the slices of a trace.
  void KeepForTrace(std::unique_ptr<Program> program, uint16_t number) {
    traced_.resize(std::max<size_t>(traced_.size(), number + size_t{1}));
    traced_[number] = std::move(program);
  }

  // REQUIRES: outputs_mutex_ is held.
  void Release(FetchRing* ring, FetchEntry* entry) {
    ring->Release(entry);
    if (ring->unread() > 0) return;
    std::erase_if(unloaded_outputs_, [ring](const auto& other) { return other.get() == ring; });
  }

  absl::Status CheckRank(const plan::Plan& plan) const {
    const int rank = options_.transport == nullptr ? 0 : options_.transport->rank();
    const int world = options_.transport == nullptr ? 1 : options_.transport->world_size();
    if (plan.rank() == static_cast<uint32_t>(rank) &&
        plan.world_size() == static_cast<uint32_t>(world)) {
      return absl::OkStatus();
    }
    return MakeError(ErrorKind::kPlan,
                     absl::StrFormat("plan %s is for rank %d of %d, this session is rank %d of %d",
                                     plan.name(), plan.rank(), plan.world_size(), rank, world));
  }

  static std::vector<std::string> StatesWritten(const plan::Plan& plan) {
    std::map<std::string, bool> written;
    for (const plan::Task& task : plan.tasks()) {
      for (const plan::Port& port : task.outputs()) {
        if (port.source_case() != plan::Port::kState) continue;
        written[plan.states(static_cast<int>(port.state())).name()] = true;
      }
    }
    std::vector<std::string> names;
    for (const auto& [name, yes] : written) names.push_back(name);
    return names;
  }

  absl::Status CheckInputs(const plan::Plan& plan, const std::vector<HostTensor>& inputs) const {
    if (inputs.size() != static_cast<size_t>(plan.inputs_size())) {
      return MakeError(ErrorKind::kData,
                       absl::StrFormat("plan %s takes %d inputs, not %d", plan.name(),
                                       plan.inputs_size(), inputs.size()));
    }
    for (size_t i = 0; i < inputs.size(); ++i) {
      const plan::InputProto& input = plan.inputs(static_cast<int>(i));
      const DType dtype = static_cast<DType>(input.dtype());
      if (inputs[i].dtype != dtype) {
        return MakeError(ErrorKind::kDType,
                         absl::StrCat("input \"", input.name(), "\" is ", NameOf(dtype).data(),
                                      ", not ", NameOf(inputs[i].dtype).data()));
      }
      if (inputs[i].shape != ShapeOf(input.logical_shape())) {
        return MakeError(ErrorKind::kShape, absl::StrCat("input \"", input.name(), "\" has shape ",
                                                         ToString(ShapeOf(input.logical_shape())),
                                                         ", not ", ToString(inputs[i].shape)));
      }
      if (inputs[i].data == nullptr && inputs[i].bytes() > 0) {
        return MakeError(ErrorKind::kData,
                         absl::StrCat("input \"", input.name(), "\" has no data"));
      }
    }
    return absl::OkStatus();
  }

  // Where the messages of a channel lie at this end, the stretch of a ring that it leads to, and where what that ring
  // gathers belongs.
  struct ChannelEnd {
    comm::Region region;
    comm::RingStretch ring;
    comm::Region landing;
  };
  static std::map<uint32_t, ChannelEnd> EndsOf(const Program& program) {
    std::map<uint32_t, ChannelEnd> ends;
    for (const Program::Task& task : program.tasks()) {
      const plan::TaskKind kind = task.proto->kind();
      if (kind != plan::SEND && kind != plan::RECV) continue;
      const Program::Buffer& buffer = kind == plan::SEND ? task.inputs[0] : task.outputs[0];
      ends[task.proto->channel()].region = {buffer.base, buffer.stride, buffer.slots, buffer.inner,
                                            task.sent.offsets};
    }
    const std::vector<RingPlace>& places = program.ring_places();
    for (const std::vector<size_t>& stretch : RingStretchesOf(places)) {
      const RingPlace &first = places[stretch.front()], &last = places[stretch.back()];
      if (first.receive == WholeRing::kNoTask) continue;
      ends[ChannelOf(program, first.receive)].landing = LandingOf(program, first);
      comm::RingStretch& ring = ends[ChannelOf(program, first.receive)].ring;
      ring.buffers = BuffersOf(program, stretch);
      ring.bytes = program.plan().registers(BufferOf(program, first)).bytes();
      ring.members = first.members;
      const plan::ChannelProto& to =
          program.plan().channels(static_cast<int>(ChannelOf(program, last.ship)));
      ring.to = to.name();
      ring.to_peer = static_cast<int>(to.destination());
    }
    return ends;
  }
  static uint32_t ChannelOf(const Program& program, uint32_t task) {
    return program.tasks()[task].proto->channel();
  }
  // The register that goes round.
  static int BufferOf(const Program& program, const RingPlace& place) {
    return static_cast<int>(program.tasks()[place.reduce].proto->inputs(0).register_());
  }
  static comm::Region LandingOf(const Program& program, const RingPlace& place) {
    const Program::Task& reduce = program.tasks()[place.reduce];
    const Program::Buffer& buffer = reduce.inputs[0];
    std::vector<int64_t> offsets = ReceivedPiecesOf(*reduce.proto)->offsets;
    for (size_t chunk = 0; chunk < offsets.size(); ++chunk) {
      if (!place.Gathers(static_cast<int64_t>(chunk))) offsets[chunk] = -1;
    }
    return {buffer.base, buffer.stride, buffer.slots, buffer.inner, std::move(offsets)};
  }
  static std::vector<comm::Region> BuffersOf(const Program& program,
                                             const std::vector<size_t>& stretch) {
    std::vector<comm::Region> buffers;
    for (const size_t i : stretch) {
      const Program::Buffer& buffer = program.tasks()[program.ring_places()[i].reduce].inputs[0];
      buffers.push_back({buffer.base, buffer.stride, buffer.slots, buffer.inner});
    }
    return buffers;
  }

  // The arenas have moved. Nothing runs, so nothing is posted.
  void MoveChannels(const LoadedPlan& loaded) {
    if (loaded.run->channels.empty()) return;  // none, or they could not be opened
    for (const auto& [channel, end] : EndsOf(*loaded.program)) {
      comm::MovedTo to{end.region.base, {}, end.landing.base};
      for (const comm::Region& buffer : end.ring.buffers) to.ring.push_back(buffer.base);
      options_.transport->MoveRegion(loaded.run->channels[channel], to);
    }
  }

  // Rings are in place where the last OpenChannels has found them so, and where all members are here.
  void FollowRings(const LoadedPlan& loaded) {
    const std::vector<RingPlace>& places = loaded.program->ring_places();
    for (const std::vector<size_t>& stretch : RingStretchesOf(places)) {
      const RingPlace& first = places[stretch.front()];
      std::vector<comm::Region> buffers;
      bool lands = false;
      if (first.receive == WholeRing::kNoTask) {
        buffers = BuffersOf(*loaded.program, stretch);
      } else if (!loaded.run->channels.empty()) {
        const comm::ChannelId into =
            loaded.run->channels[ChannelOf(*loaded.program, first.receive)];
        buffers = options_.transport->InPlace(into);
        lands = options_.transport->Lands(into);
      }
      if (static_cast<int64_t>(buffers.size()) != first.members) buffers.clear();
      for (const size_t i : stretch) {
        loaded.program->SumInPlace(places[i], buffers);
        if (!buffers.empty()) std::rotate(buffers.begin(), buffers.begin() + 1, buffers.end());
      }
      loaded.program->Land(first, lands);
    }
  }

  // Where steps run as a whole, what goes between ranks are calls of their devices.
  absl::Status MakeRunner(LoadedPlan* loaded, std::unique_ptr<StepRunner>* runner) {
    comm::Transport* transport = options_.transport;
    Device* device = loaded->program->device(0);
    if (transport == nullptr || transport->world_size() == 1) {
      OF_RETURN_IF_ERROR(device->SettleKernels(nullptr));
      loaded->calls = OwnCalls(*loaded->program);
    } else {
      const Exchange exchange = [transport](const std::string& mine) {
        return transport->AllGather(mine);
      };
      OF_RETURN_IF_ERROR(device->SettleKernels(exchange));
      OF_ASSIGN_OR_RETURN(loaded->calls, AgreeOnCalls(*loaded->program, exchange));
    }
    OF_ASSIGN_OR_RETURN(*runner, MakeStepRunner(*loaded->program, loaded->calls));
    return absl::OkStatus();
  }

  // Compares the plans of all ranks. `run`: where messages go; nullptr: steps run as a whole, no message goes
  // over a channel, and only that a peer is lost or leaves is heard.
  absl::StatusOr<std::vector<comm::ChannelId>> OpenChannels(const Program& program, PlanRun* run) {
    const plan::Plan& plan = program.plan();
    if (options_.transport == nullptr) {
      if (plan.channels_size() == 0) return std::vector<comm::ChannelId>();
      return MakeError(ErrorKind::kPlan, absl::StrCat("plan ", plan.name(),
                                                      " has channels, the session no transport"));
    }
    std::vector<std::string> rows;
    for (const plan::NodeFingerprint& node : plan.node_fingerprints()) {
      Location location;
      if (node.location() < static_cast<uint32_t>(plan.locations_size())) {
        const plan::LocationProto& place = plan.locations(static_cast<int>(node.location()));
        location = {place.file(), static_cast<int>(place.line()), place.function()};
      }
      rows.push_back(absl::StrFormat("%016x %s", node.hash(), location.Short()));
    }
    std::vector<comm::ChannelSpec> specs;
    std::map<uint32_t, ChannelEnd> ends;
    if (run != nullptr) ends = EndsOf(program);
    for (const plan::ChannelProto& channel : plan.channels()) {
      comm::ChannelSpec spec;
      if (run != nullptr) {
        const ChannelEnd& end = ends.at(static_cast<uint32_t>(specs.size()));
        spec.region = end.region;
        spec.ring = end.ring;
        spec.landing = end.landing;
      }
      spec.name = channel.name();
      spec.sends = channel.source() == plan.rank();
      spec.peer = static_cast<int>(spec.sends ? channel.destination() : channel.source());
      spec.bytes = channel.bytes();
      spec.slots = static_cast<int>(channel.slots());
      spec.check =
          absl::StrFormat("stamp (%d, %d, %d, %d), %d bytes, %d slots", channel.stamp().slot(),
                          channel.stamp().slot_per_micro(), channel.stamp().position(),
                          channel.stamp().sub(), channel.bytes(), channel.slots());
      specs.push_back(std::move(spec));
    }
    comm::TransportCallbacks callbacks;
    const auto tell = [this, run](MessageKind kind) {
      return [this, run, kind](comm::ChannelId channel) {
        if (run != nullptr) executor_.OnChannel(run, kind, channel);
      };
    };
    callbacks.on_credit = tell(MessageKind::kCredit);
    callbacks.on_sent = tell(MessageKind::kFired);
    callbacks.on_arrived = tell(MessageKind::kArrived);
    callbacks.on_error = [this](const absl::Status& cause) { executor_.Fail(cause); };
    callbacks.on_left = [this](int rank) { watchdog_->PeerLeft(rank); };
    return options_.transport->OpenChannels(absl::StrFormat("%016x", plan.graph_fingerprint()),
                                            rows, specs, std::move(callbacks));
  }

  FetchEntry* FindOutputs(InvocationId id, FetchRing** ring) {
    const auto in = [&](const std::unique_ptr<FetchRing>& outputs) {
      *ring = outputs.get();
      return outputs->Find(id);
    };
    for (const auto& [plan_id, plan] : plans_) {
      if (FetchEntry* entry = in(plan.outputs); entry != nullptr) return entry;
    }
    for (const std::unique_ptr<FetchRing>& outputs : unloaded_outputs_) {
      if (FetchEntry* entry = in(outputs); entry != nullptr) return entry;
    }
    return nullptr;
  }

  const SessionOptions options_;
  DeviceSet devices_;
  StateStore states_;
  Staging staging_;
  // Guards fetch rings and the two lists of them: Discard comes from any thread.
  std::mutex outputs_mutex_;
  std::map<PlanId, LoadedPlan> plans_;  // the executor's threads use their programs
  std::vector<std::unique_ptr<FetchRing>> unloaded_outputs_;  // with unread outputs
  // By number of the plan: those unloaded while a trace is kept, and at the end all.
  std::vector<std::unique_ptr<Program>> traced_;
  ThreadedExecutor executor_;
  std::unique_ptr<Watchdog> watchdog_;
  PlanRun* running_ = nullptr;  // the plan of the last invocation
  InvocationId next_invocation_ = 0;
  InvocationId undone_from_ = -1;
  PlanId next_plan_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Session>> Session::Create(const SessionOptions& options) {
  if (options.watchdog_seconds <= 0 || options.peer_seconds <= 0) {
    return MakeError(ErrorKind::kError, "the watchdog's times must be positive");
  }
  return std::unique_ptr<Session>(std::make_unique<SessionImpl>(options));
}

}  // namespace oneflow
