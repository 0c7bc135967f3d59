#include "runtime/worker.h"

#include <utility>

#include "base/status.h"

namespace oneflow {
namespace {

// Bytes that a firing may touch for a stranger's thread to do it: copying them takes about as long as
// waking the thread that would.
constexpr int64_t kShortBytes = 64 << 10;

// A thread of the device: what the stream was last asked to report is finished.
void Report(void* argument) {
  const DeviceQueue* queue = static_cast<const DeviceQueue*>(argument);
  queue->host->Deliver({MessageKind::kStreamDone, queue->plan, queue->stream, 0});
}

}  // namespace

Worker::Worker(Options options, const Surroundings& surroundings)
    : ActorHost(options.name, options.trace_capacity, surroundings,
                /*lends=*/surroundings.lend && !options.compute && options.device->host_memory(),
                Mailbox::Reader::kAwake),
      options_(std::move(options)),
      patience_(surroundings.patience_ns) {}

void Worker::Start() {
  if (!thread_.joinable()) thread_ = std::thread([this] { Loop(); });
}

void Worker::Stop() {
  ActorHost::Stop();
  if (thread_.joinable()) thread_.join();
}

void Worker::Loop() {
  around_.cores->Hold(Threads());
  if (!options_.compute) options_.device->EnterThread(1);
  std::unique_lock<std::mutex> state(state_mutex_);
  while (!Stopped()) {
    RunUntilIdle(&state, /*borrowed=*/false);
    state.unlock();
    // One that is lent while it is parked is seldom woken: it leaves that place to one that computes.
    mailbox_.Wait(Threads(), &patience_, /*stands_in=*/!lends());
    state.lock();
  }
  around_.cores->GiveBack(Threads());
}

bool Worker::IsShort(const Item& item) const {
  const Program::Task& task = item.run->program->tasks()[item.task];
  return !task.on_device && task.touched_bytes <= kShortBytes;
}

void Worker::Execute(const Item& item, std::unique_lock<std::mutex>* state) {
  PlanRun* run = item.run;
  const Program::Task& task = run->program->tasks()[item.task];
  const int64_t begin = NowNs();
  activity_ = {item.task, run->index, begin};
  if (task.proto->kind() == plan::SEND) {
    run->posted_ns[item.task] = begin;
    state->unlock();
    const bool is_over = around_.transport->Send(run->channels[task.proto->channel()]);
    state->lock();
    activity_.running = -1;
    // Else kFired comes from the transport.
    if (is_over) Handle({MessageKind::kFired, run->index, item.task, 0});
    return;
  }
  const uint32_t stream = run->stream_of[item.task];
  const bool report = task.on_device && run->streams[stream].CurrentReports();
  state->unlock();
  const absl::Status taken = task.on_device ? Enqueue(item, report) : RunHere(item);
  if (!taken.ok()) around_.listener->Failed(WithContext(taken, run->program->NameOf(item.task)));
  state->lock();
  if (!taken.ok()) return;  // still running in every report; nothing follows
  activity_.running = -1;
  if (task.on_device) {
    run->streams[stream].Enqueued();
    run->queues[stream].Push({item.task, item.ordinal, begin, report});
    Handle({MessageKind::kEnqueued, run->index, item.task, 0});
    return;  // kStreamDone comes from the device
  }
  const int64_t end = NowNs();
  trace_.Add({run->index, item.task, item.ordinal, begin, end});
  CountBusy(run->program->plan().devices(static_cast<int>(task.proto->device())).id(), end - begin);
  Handle({MessageKind::kFired, run->index, item.task, 0});
}

absl::Status Worker::RunHere(const Item& item) {
  const Program& program = *item.run->program;
  const plan::Task& task = *program.tasks()[item.task].proto;
  const plan::DeviceProto& device = program.plan().devices(static_cast<int>(task.device()));
  if (const int team = static_cast<int>(device.threads()); options_.compute && team != team_) {
    options_.device->EnterThread(team);
    around_.cores->Hold(team - Threads());
    team_ = team;
  }
  const Invocation& invocation = item.run->InvocationOf(program.StepOf(item.task, item.ordinal));
  kernels::Stream* stream = program.tasks()[item.task].device->stream();
  return program.RunFiring(item.task, item.ordinal, invocation, stream, &scratch_);
}

absl::Status Worker::Enqueue(const Item& item, bool report) {
  const Program& program = *item.run->program;
  const Invocation& invocation = item.run->InvocationOf(program.StepOf(item.task, item.ordinal));
  OF_RETURN_IF_ERROR(program.EnqueueFiring(item.task, item.ordinal, invocation, &scratch_));
  if (!report) return absl::OkStatus();
  const uint32_t stream = item.run->stream_of[item.task];
  return program.DeviceStreamOf(stream)->OnComplete(&Report, &item.run->queues[stream]);
}

}  // namespace oneflow
