#include "runtime/threaded_executor.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "runtime/receiver.h"

namespace oneflow {
namespace {

constexpr size_t kStepsRemembered = 31;

const char* LaneName(Program::Lane lane) {
  return lane == Program::Lane::kCompute ? "compute" : "movement";
}

}  // namespace

ThreadedExecutor::ThreadedExecutor(const DeviceSet* devices, comm::Transport* transport,
                                   size_t trace_capacity, const Waiting& waiting)
    : devices_(devices),
      transport_(transport),
      trace_capacity_(trace_capacity),
      cores_(waiting.cores),
      around_{this,
              transport,
              &halted_,
              &cores_,
              waiting.cores > 0 ? waiting.patience_ns : 0,
              /*lend=*/waiting.cores <= 0 ||
                  (waiting.cores == 1 && transport != nullptr && transport->looking_suffices())},
      finisher_([this](PlanRun* run, int64_t step) { FinishStep(run, step); }) {
  step_ns_.reserve(kStepsRemembered);
  cores_.Hold(1);  // the caller's
}

ThreadedExecutor::~ThreadedExecutor() { Stop(); }

ActorHost* ThreadedExecutor::HostOf(const Program& program, uint32_t stream) {
  const Program::Lane lane = program.LaneOfStream(stream);
  const plan::DeviceProto& device = program.plan().devices(
      static_cast<int>(program.plan().streams(static_cast<int>(stream)).device()));
  const int64_t key = lane == Program::Lane::kReceive ? -1 : int64_t{device.id()};
  auto [found, is_new] = host_of_.try_emplace({key, lane}, nullptr);
  if (is_new) {
    hosts_.push_back(MakeHost(device, lane));
    found->second = hosts_.back().get();
  }
  return found->second;
}

std::unique_ptr<ActorHost> ThreadedExecutor::MakeHost(const plan::DeviceProto& device,
                                                      Program::Lane lane) const {
  if (lane == Program::Lane::kReceive) {
    return std::make_unique<Receiver>(trace_capacity_, around_);
  }
  Worker::Options options;
  options.name = absl::StrCat(device.kind(), ":", device.id(), " ", LaneName(lane));
  options.device = devices_->at(device.id()).device.get();
  options.compute = lane == Program::Lane::kCompute;
  options.trace_capacity = trace_capacity_;
  return std::make_unique<Worker>(std::move(options), around_);
}

PlanRun* ThreadedExecutor::AddProgram(Program* program, std::unique_ptr<StepRunner> runner) {
  std::lock_guard<std::mutex> lists_lock(lists_mutex_);
  auto owned = std::make_unique<PlanRun>();
  PlanRun* run = owned.get();
  if (free_.empty()) {
    OF_CHECK(runs_.size() <= std::numeric_limits<uint16_t>::max())
        << "no number for a plan is left";
    free_.push_back(static_cast<uint16_t>(runs_.size()));
    runs_.emplace_back();
  }
  run->index = free_.back();
  free_.pop_back();
  run->program = program;
  run->runner = std::move(runner);
  run->blocks.resize(static_cast<size_t>(program->plan().devices_size()));
  const std::vector<Program::Task>& tasks = program->tasks();
  run->actors.reserve(tasks.size());
  for (const Program::Task& task : tasks) run->actors.emplace_back(&task.actor);
  run->stream_of.resize(tasks.size());
  run->arrived.resize(tasks.size(), 0);
  run->host_of.resize(tasks.size());
  run->posted_ns.resize(tasks.size());
  run->queues.resize(program->streams().size());
  for (uint32_t s = 0; s < program->streams().size(); ++s) {
    const StreamPlan& stream = program->streams()[s];
    run->streams.emplace_back(&stream);
    if (stream.tasks.empty() || run->runner != nullptr) continue;
    ActorHost* host = HostOf(*program, s);
    if (std::find(run->hosts.begin(), run->hosts.end(), host) == run->hosts.end()) {
      run->hosts.push_back(host);
    }
    for (uint32_t task : stream.tasks) {
      run->stream_of[task] = s;
      run->host_of[task] = host;
    }
    if (program->DeviceStreamOf(s) == nullptr) continue;
    DeviceQueue& queue = run->queues[s];
    queue.host = host;
    queue.plan = run->index;
    queue.stream = s;
    queue.Reserve(stream.tasks.size() * (Invocation::kWindow + 1));
  }
  for (Invocation& invocation : run->ring) {
    invocation.input_bytes.resize(static_cast<size_t>(program->plan().inputs_size()));
    invocation.output_bytes.resize(static_cast<size_t>(program->plan().outputs_size()));
  }
  if (run->runner != nullptr) {
    std::lock_guard<std::mutex> lock(progress_mutex_);
    for (const plan::DeviceProto& device : program->plan().devices()) {
      const auto same = [&](const ActorHost::Counts& c) { return c.device == device.id(); };
      if (std::none_of(step_counts_.begin(), step_counts_.end(), same)) {
        step_counts_.push_back({device.id()});
      }
    }
  }
  for (ActorHost* host : run->hosts) host->AddRun(run);
  for (ActorHost* host : run->hosts) host->Start();
  runs_[run->index] = std::move(owned);
  std::lock_guard<std::mutex> lock(channels_mutex_);
  channels_.resize(runs_.size());
  channels_[run->index] = std::make_unique<ChannelEnds>();
  return run;
}

void ThreadedExecutor::RemoveProgram(PlanRun* run) {
  std::lock_guard<std::mutex> lists_lock(lists_mutex_);
  // The firing that ended the last step may still be telling others so. Once every host has been
  // seen between two messages, all that it said is in the mailboxes, and it causes nothing more.
  for (ActorHost* host : run->hosts) host->Inspect([](const ActorHost::Activity&) {});
  for (ActorHost* host : run->hosts) host->RemoveRun(run);
  {
    std::lock_guard<std::mutex> lock(channels_mutex_);
    channels_[run->index].reset();
  }
  if (trace_capacity_ == 0) free_.push_back(run->index);
  runs_[run->index].reset();
}

void ThreadedExecutor::BindChannels(PlanRun* run, std::vector<comm::ChannelId> channels) {
  std::vector<std::pair<MessageKind, uint32_t>> early;
  run->channels = std::move(channels);
  {
    std::lock_guard<std::mutex> lock(channels_mutex_);
    ChannelEnds& ends = *channels_[run->index];
    for (uint32_t t = 0; t < run->program->tasks().size(); ++t) {
      const plan::Task& task = *run->program->tasks()[t].proto;
      if (task.kind() != plan::SEND && task.kind() != plan::RECV) continue;
      ends.task_of[run->channels[task.channel()]] = t;
    }
    ends.bound = true;
    for (const auto& [kind, channel] : ends.early)
      early.push_back({kind, ends.task_of.at(channel)});
    ends.early.clear();
  }
  for (const auto& [kind, task] : early) DeliverToChannel(run, kind, task);
}

void ThreadedExecutor::OnChannel(PlanRun* run, MessageKind kind, comm::ChannelId channel) {
  uint32_t task = 0;
  {
    std::lock_guard<std::mutex> lock(channels_mutex_);
    ChannelEnds& ends = *channels_[run->index];
    if (!ends.bound) {
      ends.early.push_back({kind, channel});
      return;
    }
    const auto found = ends.task_of.find(channel);
    OF_CHECK(found != ends.task_of.end()) << "no task uses channel " << channel;
    task = found->second;
  }
  DeliverToChannel(run, kind, task);
}

void ThreadedExecutor::DeliverToChannel(PlanRun* run, MessageKind kind, uint32_t task) {
  run->host_of[task]->Deliver({kind, run->index, task, 0});
}

void ThreadedExecutor::Launch(PlanRun* run) {
  const int64_t now = NowNs();
  {
    std::lock_guard<std::mutex> lock(progress_mutex_);
    run->program->BeginStep(run->launched);
    Invocation& invocation = run->InvocationOf(run->launched++);
    invocation.launched_ns = now;
    invocation.feeds_left.store(run->program->feeds_per_step());
    invocation.fetches_left.store(run->program->fetches_per_step());
    invocation.streams_left.store(run->program->busy_streams());
    if (run->program->busy_streams() == 0) {  // this rank has no part in the plan
      ++run->completed;
      if (invocation.fetch != nullptr) invocation.fetch->done.store(true);
    }
  }
  if (run->runner == nullptr) {
    for (ActorHost* host : run->hosts) host->Deliver({MessageKind::kLaunch, run->index, 0, 0});
    return;
  }
  if (run->program->busy_streams() == 0) return;
  const int64_t step = run->launched - 1;  // only this thread launches
  const absl::Status launched =
      run->runner->Launch(step, run->InvocationOf(step).input_bytes.data());
  if (!launched.ok()) return Failed(launched);
  finisher_.Push(run, step);
}

void ThreadedExecutor::FinishStep(PlanRun* run, int64_t step) {
  Invocation& invocation = run->InvocationOf(step);
  const absl::Status finished =
      run->runner->Finish(step, invocation.output_bytes.data(), &run->blocks);
  if (!finished.ok()) {
    return Failed(WithContext(
        finished, absl::StrCat("step ", step, " of plan ", run->program->plan().name())));
  }
  if (!failure().ok()) return;  // it was made to end, and is nothing
  if (run->program->NoteDataErrors(step, run->blocks) && HasPeers()) {
    return Failed(run->program->DataErrorOfFailedStep());  // as WrongData
  }
  if (step >= run->program->failed_step() && invocation.fetch != nullptr) {
    invocation.fetch->skipped.store(true);
  }
  {
    std::lock_guard<std::mutex> lock(progress_mutex_);
    if (invocation.fetch != nullptr) invocation.fetch->done.store(true);
    const int64_t now = NowNs();
    CountStep(*run->program, now - std::max(invocation.launched_ns, last_finish_ns_));
    last_finish_ns_ = now;
    CountDuration(invocation.launched_ns);
    ++run->completed;
  }
  progress_changed_.notify_all();
}

void ThreadedExecutor::CountStep(const Program& program, int64_t busy_ns) {
  const auto counts_of = [this](uint32_t device) {
    return &*std::find_if(step_counts_.begin(), step_counts_.end(),
                          [&](const ActorHost::Counts& c) { return c.device == device; });
  };
  for (const Program::Task& task : program.tasks()) {
    const uint64_t firings = static_cast<uint64_t>(task.firings_per_step());
    const plan::DeviceProto& device =
        program.plan().devices(static_cast<int>(task.proto->device()));
    ActorHost::Counts* counts = counts_of(device.id());
    counts->firings += firings;
    counts->flops += firings * static_cast<uint64_t>(task.proto->flops());
    if (task.received_bytes > 0) {
      counts_of(task.receiver)->received_bytes += firings * task.received_bytes;
    }
  }
  for (const plan::DeviceProto& device : program.plan().devices()) {
    counts_of(device.id())->busy_ns += static_cast<uint64_t>(std::max<int64_t>(0, busy_ns));
  }
}

std::vector<ActorHost::Counts> ThreadedExecutor::step_counts() const {
  std::lock_guard<std::mutex> lock(progress_mutex_);
  return step_counts_;
}

void ThreadedExecutor::CountDuration(int64_t launched_ns) {
  const int64_t duration = NowNs() - launched_ns;
  if (step_ns_.size() < kStepsRemembered) {
    step_ns_.push_back(duration);
  } else {
    step_ns_[steps_ % kStepsRemembered] = duration;
  }
  ++steps_;
}

bool ThreadedExecutor::CanFeedAtOnce(PlanRun* run) {
  if (!run->program->feeds_first()) return false;
  for (uint32_t s = 0; s < run->streams.size(); ++s) {
    const std::vector<uint32_t>& order = run->program->streams()[s].tasks;
    if (order.empty() || run->program->tasks()[order[0]].proto->kind() != plan::FEED) continue;
    bool can = false;
    run->host_of[order[0]]->Inspect([&](const ActorHost::Activity&) {
      can = run->streams[s].Current() == StreamOrder::kNobody &&
            std::all_of(order.begin(), order.end(),
                        [run](uint32_t task) { return run->actors[task].WaitsOnlyForItsTurn(); });
    });
    if (!can) return false;
  }
  return true;
}

absl::Status ThreadedExecutor::WaitUntil(const std::function<bool()>& reached) {
  std::unique_lock<std::mutex> lock(progress_mutex_);
  cores_.GiveBack(1);
  progress_changed_.wait(lock, [&] { return !failure_.ok() || reached(); });
  cores_.Hold(1);
  return failure_;
}

bool ThreadedExecutor::WaitUntilQuiet(std::chrono::milliseconds limit) {
  std::unique_lock<std::mutex> lock(progress_mutex_);
  progress_changed_.wait_for(lock, limit, [this] { return !failure_.ok() || Quiet(); });
  return Quiet();
}

bool ThreadedExecutor::Quiet() const {
  return std::all_of(runs_.begin(), runs_.end(), [](const std::unique_ptr<PlanRun>& run) {
    return run == nullptr || run->launched == run->completed;
  });
}

bool ThreadedExecutor::Fail(const absl::Status& cause) {
  {
    std::lock_guard<std::mutex> lock(progress_mutex_);
    if (!failure_.ok()) return false;
    failure_ = cause;
  }
  halted_.store(true);
  devices_->Abandon();
  progress_changed_.notify_all();
  return true;
}

absl::Status ThreadedExecutor::failure() const {
  std::lock_guard<std::mutex> lock(progress_mutex_);
  return failure_;
}

void ThreadedExecutor::Stop() {
  for (const std::unique_ptr<ActorHost>& host : hosts_) host->Stop();
  finisher_.Stop();
  // What devices were given runs to its end: it uses memory, and tells hosts, that go after this.
  for (const auto& [id, entry] : devices_->entries()) {
    for (const auto& [name, stream] : entry.streams) stream->Drain();
  }
}

void ThreadedExecutor::StreamFinished(PlanRun* run, int64_t step) {
  Invocation& invocation = run->InvocationOf(step);
  if (invocation.streams_left.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  {
    std::lock_guard<std::mutex> lock(progress_mutex_);
    ++run->completed;
    // Else OutputsFetched has said so, and the entry may serve another invocation already.
    if (invocation.fetch != nullptr && run->program->fetches_per_step() == 0) {
      invocation.fetch->done.store(true);
    }
    CountDuration(invocation.launched_ns);
  }
  progress_changed_.notify_all();
}

void ThreadedExecutor::InputsFed() {
  // With the lock: the caller has looked before, or waits.
  { std::lock_guard<std::mutex> lock(progress_mutex_); }
  progress_changed_.notify_all();
}

void ThreadedExecutor::OutputsFetched(PlanRun* run, int64_t step) {
  {
    std::lock_guard<std::mutex> lock(progress_mutex_);
    if (FetchEntry* fetch = run->InvocationOf(step).fetch; fetch != nullptr)
      fetch->done.store(true);
  }
  progress_changed_.notify_all();
}

void ThreadedExecutor::WrongData(PlanRun* run, uint32_t task, int64_t step) {
  // Alone this rank can go on behind the step (the session sees Program::failed_step). Others may
  // have changed states by what they received before, so with them nobody can.
  if (!HasPeers()) return;
  Failed(run->program->DataErrorOf(task, step));
}

void ThreadedExecutor::Failed(const absl::Status& cause) {
  if (Fail(cause) && transport_ != nullptr) transport_->Abort(cause);
}

ThreadedExecutor::Progress ThreadedExecutor::progress() const {
  Progress progress;
  std::lock_guard<std::mutex> lists_lock(lists_mutex_);
  for (const std::unique_ptr<ActorHost>& host : hosts_) progress.firings += host->firings();
  std::lock_guard<std::mutex> lock(progress_mutex_);
  for (const ActorHost::Counts& counts : step_counts_) progress.firings += counts.firings;
  progress.in_flight = failure_.ok() && !Quiet();
  if (!step_ns_.empty()) {
    // On the stack: the watchdog asks while steps run, and a steady step allocates nothing.
    std::array<int64_t, kStepsRemembered> sorted;
    const auto end = std::copy(step_ns_.begin(), step_ns_.end(), sorted.begin());
    const auto middle = sorted.begin() + step_ns_.size() / 2;
    std::nth_element(sorted.begin(), middle, end);
    progress.median_step_ns = *middle;
  }
  return progress;
}

std::vector<RunSnapshot> ThreadedExecutor::Snapshot(bool only_in_flight) const {
  std::vector<RunSnapshot> snapshots;
  std::lock_guard<std::mutex> lists_lock(lists_mutex_);
  const int64_t now = NowNs();
  for (const std::unique_ptr<PlanRun>& run : runs_) {
    if (run == nullptr) continue;
    RunSnapshot snapshot;
    snapshot.program = run->program;
    {
      std::lock_guard<std::mutex> lock(progress_mutex_);
      if (only_in_flight && run->launched == run->completed) continue;
      snapshot.launched = run->launched;
      snapshot.completed = run->completed;
    }
    for (const Program::Task& task : run->program->tasks())
      snapshot.actors.emplace_back(&task.actor);
    snapshot.turns.resize(run->streams.size(), StreamOrder::kNobody);
    snapshot.stream_of = run->stream_of;
    snapshot.running_ns.resize(snapshot.actors.size(), -1);
    for (ActorHost* host : run->hosts) {
      host->Inspect([&](const ActorHost::Activity& activity) {
        for (size_t t = 0; t < snapshot.actors.size(); ++t) {
          if (run->host_of[t] != host) continue;
          snapshot.actors[t] = run->actors[t];
          snapshot.turns[run->stream_of[t]] = run->streams[run->stream_of[t]].Current();
        }
        if (activity.running >= 0 && activity.plan == run->index) {
          snapshot.running_ns[static_cast<size_t>(activity.running)] = now - activity.since_ns;
        }
      });
    }
    snapshots.push_back(std::move(snapshot));
  }
  return snapshots;
}

std::vector<TraceSlice> ThreadedExecutor::TraceSlices() const {
  std::vector<TraceSlice> slices;
  for (const std::unique_ptr<ActorHost>& host : hosts_) {
    const std::vector<TraceSlice> more = host->TraceSlices();
    slices.insert(slices.end(), more.begin(), more.end());
  }
  return slices;
}

}  // namespace oneflow
