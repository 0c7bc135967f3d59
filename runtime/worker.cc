#include "runtime/worker.h"

#include <algorithm>
#include <chrono>

#include "base/check.h"
#include "base/status.h"

namespace oneflow {
namespace {

int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Messages to the actors of `worker` that can be unread at once: what the credits and the window
// allow.
size_t MessageBound(const PlanRun& run, const Worker* worker) {
  const Program& program = *run.program;
  size_t bound = Invocation::kWindow + run.streams.size();
  for (size_t t = 0; t < program.tasks().size(); ++t) {
    if (run.worker_of[t] != worker) continue;
    const Program::Task& task = program.tasks()[t];
    const ActorSpec& actor = task.actor;
    for (const ActorSpec::Input& input : actor.inputs) {
      bound += program.plan().registers(static_cast<int>(input.register_id)).slots();
    }
    for (const ActorSpec::Output& output : actor.outputs) {
      bound += output.slots * output.consumers.size();
    }
    for (const ActorSpec::After& after : actor.after) {
      const int64_t firings = program.tasks()[after.task].firings_per_step();
      bound += static_cast<size_t>(firings * (Invocation::kWindow + 1));
    }
    bound += 1;  // kFired
    if (actor.sends || actor.receives) {
      bound += 2 * program.plan().channels(static_cast<int>(task.proto->channel())).slots() + 1;
    }
  }
  return bound;
}

}  // namespace

Worker::Worker(Options options, StepListener* listener, comm::Transport* transport,
               const std::atomic<bool>* halted)
    : options_(std::move(options)),
      listener_(listener),
      transport_(transport),
      halted_(halted),
      trace_(options_.trace_capacity) {}

void Worker::AddRun(PlanRun* run) {
  const size_t bound = MessageBound(*run, this);
  mailbox_.Reserve(bound);
  std::lock_guard<std::mutex> lock(state_mutex_);
  runs_.resize(std::max<size_t>(runs_.size(), run->index + size_t{1}));
  runs_[run->index] = run;
  inbox_.reserve(mailbox_.reserved());
  local_.reserve(mailbox_.reserved());
  OF_CHECK(runnable_count_ == 0) << "a plan is loaded only while nothing runs";
  runnable_.resize(std::max(runnable_.size(), mailbox_.reserved()));
  for (const Program::Task& task : run->program->tasks()) {
    effects_.messages.reserve(std::max(effects_.messages.capacity(), task.actor.MaxMessages()));
  }
  for (const plan::DeviceProto& device : run->program->plan().devices()) {
    auto same = [&](const Counts& counts) { return counts.device == device.id(); };
    if (std::none_of(counts_.begin(), counts_.end(), same)) counts_.push_back({device.id()});
  }
}

void Worker::RemoveRun(PlanRun* run) {
  std::lock_guard<std::mutex> lock(state_mutex_);
  HandleMail();  // what a peer said beyond its due reaches its own plan, not the next of that number
  runs_[run->index] = nullptr;
  mailbox_.Release(MessageBound(*run, this));
}

void Worker::Start() {
  if (has_thread() && !thread_.joinable()) thread_ = std::thread([this] { Loop(); });
}

void Worker::Stop() {
  stopped_.store(true);
  mailbox_.Stop();
  if (thread_.joinable()) thread_.join();
}

void Worker::Deliver(const Message& message) {
  if (has_thread()) {
    mailbox_.Push(message);
    return;
  }
  // The first to find nothing undelivered handles its own message and those that others bring
  // meanwhile.
  mailbox_.Push(message);
  if (undelivered_.fetch_add(1) > 0) return;
  std::unique_lock<std::mutex> state(state_mutex_);
  int64_t seen = 1;
  while (true) {
    if (Stopped()) return;
    RunUntilIdle(&state);
    const int64_t left = undelivered_.fetch_sub(seen) - seen;
    if (left == 0) return;
    seen = left;
  }
}

void Worker::Loop() {
  std::unique_lock<std::mutex> state(state_mutex_);
  while (!Stopped()) {
    RunUntilIdle(&state);
    state.unlock();
    mailbox_.Wait(options_.spins);
    state.lock();
  }
}

void Worker::RunUntilIdle(std::unique_lock<std::mutex>* state) {
  while (!Stopped()) {
    HandleMail();
    if (runnable_count_ == 0) return;
    const Item item = runnable_[runnable_head_];
    runnable_head_ = (runnable_head_ + 1) % runnable_.size();
    --runnable_count_;
    Execute(item, state);
  }
}

void Worker::HandleMail() {
  if (!mailbox_.HasMessages()) return;
  inbox_.clear();
  mailbox_.Drain(&inbox_);
  for (const Message& message : inbox_) Handle(message);
}

void Worker::Handle(const Message& message) {
  local_.clear();
  local_.push_back(message);
  for (size_t i = 0; i < local_.size(); ++i) {
    const Message next = local_[i];
    Step(next);
  }
}

void Worker::Step(const Message& message) {
  PlanRun* run = runs_[message.plan];
  if (run == nullptr) return;  // a peer says more than it owes
  if (message.kind == MessageKind::kLaunch) {
    for (uint32_t s = 0; s < run->streams.size(); ++s) {
      const std::vector<uint32_t>& order = run->program->orders()[s];
      if (!order.empty() && run->worker_of[order.front()] == this) {
        GiveTurn(run, run->streams[s].Launch());
      }
    }
    return;
  }
  if (message.kind != MessageKind::kArrived) {
    StepActor(run, message);
    return;
  }
  // The bytes are there; the order of the stream says when they count.
  ++run->arrived[message.task];
  StreamOrder& stream = run->streams[run->stream_of[message.task]];
  while (run->arrived[stream.NextArrival()] > 0) {
    Message next = message;
    next.task = stream.NextArrival();
    --run->arrived[next.task];
    stream.Arrive();
    StepActor(run, next);
  }
}

void Worker::StepActor(PlanRun* run, const Message& message) {
  run->actors[message.task].Step(message, &effects_);
  if (effects_.completed) Finish(run, message.task, effects_.finished);
  for (const Message& caused : effects_.messages) Route(run, caused);
  if (effects_.turn_ended) {
    GiveTurn(run, run->streams[run->stream_of[message.task]].Advance());
  }
  if (effects_.fire) {
    OF_CHECK(runnable_count_ < runnable_.size()) << "more work than streams";
    runnable_[(runnable_head_ + runnable_count_++) % runnable_.size()] = {run, message.task,
                                                                          effects_.started};
  }
}

void Worker::Route(PlanRun* run, Message message) {
  message.plan = run->index;
  Worker* receiver = run->worker_of[message.task];
  if (receiver == this) {
    local_.push_back(message);
  } else {
    receiver->Deliver(message);
  }
}

void Worker::GiveTurn(PlanRun* run, int64_t task) {
  if (task == StreamOrder::kNobody) return;
  local_.push_back({MessageKind::kTurn, run->index, static_cast<uint32_t>(task), 0});
}

void Worker::Execute(const Item& item, std::unique_lock<std::mutex>* state) {
  const Program::Task& task = item.run->program->tasks()[item.task];
  const int64_t begin = NowNs();
  activity_ = {item.task, item.run->index, begin};
  const plan::TaskKind kind = task.proto->kind();
  if (kind == plan::SEND || kind == plan::RECV) {
    if (task.proto->kind() == plan::SEND) item.run->posted_ns[item.task] = begin;
    state->unlock();
    const comm::ChannelId channel = item.run->channels[task.proto->channel()];
    bool is_over = false;
    if (kind == plan::SEND) {
      is_over = transport_->Send(channel);
    } else {
      transport_->Post(channel);
    }
    state->lock();
    activity_.running = -1;
    // Else kFired or kArrived comes from the transport.
    if (is_over) Handle({MessageKind::kFired, item.run->index, item.task, 0});
    return;
  }
  const plan::DeviceProto& device =
      item.run->program->plan().devices(static_cast<int>(task.proto->device()));
  state->unlock();
  if (const int team = options_.compute ? static_cast<int>(device.threads()) : 1; team != team_) {
    options_.device->EnterThread(team);
    team_ = team;
  }
  Invocation& invocation =
      item.run->InvocationOf(item.run->program->StepOf(item.task, item.ordinal));
  const absl::Status enqueued = item.run->program->RunFiring(item.task, item.ordinal, invocation);
  if (!enqueued.ok()) {
    listener_->Failed(WithContext(enqueued, item.run->program->NameOf(item.task)));
  }
  state->lock();
  if (!enqueued.ok()) return;  // still running in every report; nothing follows
  const int64_t end = NowNs();
  activity_.running = -1;
  trace_.Add({item.run->index, item.task, item.ordinal, begin, end});
  for (Counts& counts : counts_) {
    if (counts.device == device.id()) counts.busy_ns += static_cast<uint64_t>(end - begin);
  }
  Handle({MessageKind::kFired, item.run->index, item.task, 0});
}

void Worker::Finish(PlanRun* run, uint32_t id, int64_t ordinal) {
  const Program::Task& task = run->program->tasks()[id];
  const uint32_t device = run->program->plan().devices(static_cast<int>(task.proto->device())).id();
  for (Counts& counts : counts_) {
    if (counts.device == task.receiver) counts.received_bytes += task.received_bytes;
    if (counts.device != device) continue;
    ++counts.firings;
    counts.flops += static_cast<uint64_t>(task.proto->flops());
  }
  const int64_t step = run->program->StepOf(id, ordinal);
  if (run->program->FindDataError(id, ordinal)) listener_->WrongData(run, id, step);
  const plan::TaskKind kind = task.proto->kind();
  if (kind == plan::FEED) {
    Invocation& invocation = run->InvocationOf(step);
    if (invocation.feeds_left.fetch_sub(1, std::memory_order_acq_rel) == 1 &&
        invocation.caller_waits) {
      listener_->InputsFed();
    }
  } else if (kind == plan::FETCH) {
    if (run->InvocationOf(step).fetches_left.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      listener_->OutputsFetched(run, step);
    }
  } else if (kind == plan::SEND || kind == plan::RECV) {
    const int64_t now = NowNs();
    // Slices of a track may not overlap: a receive is shown from the later of launch and the one
    // before.
    const int64_t begin = kind == plan::SEND
                              ? run->posted_ns[id]
                              : std::max(run->posted_ns[id], run->InvocationOf(step).launched_ns);
    trace_.Add({run->index, id, ordinal, begin, now});
    if (kind == plan::RECV) run->posted_ns[id] = now;
  }
  if (run->streams[run->stream_of[id]].Finish()) listener_->StreamFinished(run, step);
}

std::vector<Worker::Counts> Worker::counts() {
  std::lock_guard<std::mutex> lock(state_mutex_);
  return counts_;
}

uint64_t Worker::firings() {
  std::lock_guard<std::mutex> lock(state_mutex_);
  uint64_t firings = 0;
  for (const Counts& counts : counts_) firings += counts.firings;
  return firings;
}

std::vector<TraceSlice> Worker::TraceSlices() {
  std::lock_guard<std::mutex> lock(state_mutex_);
  return trace_.Slices();
}

}  // namespace oneflow
