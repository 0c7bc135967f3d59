#include "runtime/actor_host.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/check.h"

namespace oneflow {
namespace {

// Messages to the actors of `host` that can be unread at once: what the credits and the window
// allow.
size_t MessageBound(const PlanRun& run, const ActorHost* host) {
  const Program& program = *run.program;
  size_t bound = Invocation::kWindow + run.streams.size();
  for (size_t t = 0; t < program.tasks().size(); ++t) {
    if (run.host_of[t] != host) continue;
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
    bound += 1;            // kFired
    if (task.on_device) {  // of all that is in flight at once, and their reports
      bound += static_cast<size_t>(2 * task.firings_per_step() * (Invocation::kWindow + 1));
    }
    if (actor.sends || actor.receives) {
      bound += 2 * program.plan().channels(static_cast<int>(task.proto->channel())).slots() + 1;
    }
  }
  return bound;
}

}  // namespace

ActorHost::ActorHost(std::string name, size_t trace_capacity, const Surroundings& surroundings,
                     bool lends, Mailbox::Reader reader)
    : around_(surroundings),
      mailbox_(surroundings.cores, reader, surroundings.transport),
      trace_(trace_capacity),
      name_(std::move(name)),
      lends_(lends) {}

void ActorHost::AddRun(PlanRun* run) {
  const size_t bound = MessageBound(*run, this);
  mailbox_.Reserve(bound);
  std::lock_guard<std::mutex> lock(state_mutex_);
  runs_.resize(std::max<size_t>(runs_.size(), run->index + size_t{1}));
  runs_[run->index] = run;
  inbox_.reserve(mailbox_.reserved());
  local_.reserve(mailbox_.reserved());
  borrowed_.reserve(std::max(borrowed_.capacity(), run->hosts.size()));
  OF_CHECK(runnable_count_ == 0) << "a plan is loaded only while nothing runs";
  runnable_.resize(std::max(runnable_.size(), mailbox_.reserved()));
  for (const Program::Task& task : run->program->tasks()) {
    effects_.messages.reserve(std::max(effects_.messages.capacity(), task.actor.MaxMessages()));
  }
  scratch_.Reserve(*run->program);
  for (const plan::DeviceProto& device : run->program->plan().devices()) {
    auto same = [&](const Counts& counts) { return counts.device == device.id(); };
    if (std::none_of(counts_.begin(), counts_.end(), same)) counts_.push_back({device.id()});
  }
}

void ActorHost::RemoveRun(PlanRun* run) {
  std::unique_lock<std::mutex> lock(state_mutex_);
  HandleMail();  // what a peer said beyond its due reaches its own plan, not the next of that number
  ServeOthers(&lock);
  runs_[run->index] = nullptr;
  mailbox_.Release(MessageBound(*run, this));
}

void ActorHost::Stop() {
  stopped_.store(true);
  mailbox_.Stop();
}

void ActorHost::Deliver(const Message& message) {
  if (mailbox_.Push(message, lends_)) Serve();
}

void ActorHost::Serve() {
  bool all_done = true;
  do {
    std::unique_lock<std::mutex> state(state_mutex_);
    all_done = RunUntilIdle(&state, /*borrowed=*/true);
  } while (!mailbox_.GiveBack(/*wake=*/!all_done) && !Stopped());
}

void ActorHost::ServeOthers(std::unique_lock<std::mutex>* state) {
  if (borrowed_.empty()) return;
  state->unlock();
  for (ActorHost* host : borrowed_) host->Serve();
  borrowed_.clear();
  state->lock();
}

bool ActorHost::RunUntilIdle(std::unique_lock<std::mutex>* state, bool borrowed) {
  while (!Stopped()) {
    HandleMail();
    ServeOthers(state);
    if (runnable_count_ == 0) return true;
    const Item item = runnable_[runnable_head_];
    if (borrowed && !IsShort(item)) return false;
    runnable_head_ = (runnable_head_ + 1) % runnable_.size();
    --runnable_count_;
    Execute(item, state);
    ServeOthers(state);
  }
  return true;
}

void ActorHost::HandleMail() {
  if (!mailbox_.HasMessages()) return;
  inbox_.clear();
  mailbox_.Drain(&inbox_);
  for (const Message& message : inbox_) Handle(message);
}

void ActorHost::Handle(const Message& message) {
  local_.clear();
  local_.push_back(message);
  for (size_t i = 0; i < local_.size(); ++i) {
    const Message next = local_[i];
    Step(next);
  }
}

void ActorHost::Step(const Message& message) {
  PlanRun* run = runs_[message.plan];
  if (run == nullptr) return;  // a peer says more than it owes
  if (message.kind == MessageKind::kLaunch) {
    for (uint32_t s = 0; s < run->streams.size(); ++s) {
      const std::vector<uint32_t>& order = run->program->streams()[s].tasks;
      if (!order.empty() && run->host_of[order.front()] == this) {
        GiveTurn(run, run->streams[s].Launch());
      }
    }
    return;
  }
  if (message.kind == MessageKind::kStreamDone) {
    StreamDone(run, message.task);
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

void ActorHost::StepActor(PlanRun* run, const Message& message) {
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

// A device keeps the order of a stream: all up to what it was asked to report is finished.
void ActorHost::StreamDone(PlanRun* run, uint32_t stream) {
  DeviceQueue& queue = run->queues[stream];
  const int64_t now = NowNs();
  for (bool reported = false; !reported;) {
    const DeviceQueue::Entry entry = queue.Pop();
    reported = entry.reported;
    const int64_t begin = std::max(entry.enqueued_ns, queue.last_end_ns);
    queue.last_end_ns = now;
    trace_.Add({run->index, entry.task, entry.ordinal, begin, now});
    const plan::Task& task = *run->program->tasks()[entry.task].proto;
    CountBusy(run->program->plan().devices(static_cast<int>(task.device())).id(), now - begin);
    local_.push_back({MessageKind::kFired, run->index, entry.task, 0});
    GiveTurn(run, run->streams[stream].DeviceFinished());
  }
}

void ActorHost::Route(PlanRun* run, Message message) {
  message.plan = run->index;
  ActorHost* receiver = run->host_of[message.task];
  if (receiver == this) {
    local_.push_back(message);
  } else if (receiver->mailbox_.Push(message, receiver->lends_)) {
    borrowed_.push_back(receiver);
  }
}

void ActorHost::GiveTurn(PlanRun* run, int64_t task) {
  if (task == StreamOrder::kNobody) return;
  local_.push_back({MessageKind::kTurn, run->index, static_cast<uint32_t>(task), 0});
}

void ActorHost::CountBusy(uint32_t device, int64_t nanoseconds) {
  for (Counts& counts : counts_) {
    if (counts.device == device) counts.busy_ns += static_cast<uint64_t>(nanoseconds);
  }
}

void ActorHost::Finish(PlanRun* run, uint32_t id, int64_t ordinal) {
  const Program::Task& task = run->program->tasks()[id];
  const uint32_t device = run->program->plan().devices(static_cast<int>(task.proto->device())).id();
  for (Counts& counts : counts_) {
    if (counts.device == task.receiver) counts.received_bytes += task.received_bytes;
    if (counts.device != device) continue;
    ++counts.firings;
    counts.flops += static_cast<uint64_t>(task.proto->flops());
  }
  const int64_t step = run->program->StepOf(id, ordinal);
  if (run->program->FindDataError(id, ordinal)) around_.listener->WrongData(run, id, step);
  const plan::TaskKind kind = task.proto->kind();
  if (kind == plan::FEED) {
    Invocation& invocation = run->InvocationOf(step);
    if (invocation.feeds_left.fetch_sub(1, std::memory_order_acq_rel) == 1 &&
        invocation.caller_waits) {
      around_.listener->InputsFed();
    }
  } else if (kind == plan::FETCH) {
    if (run->InvocationOf(step).fetches_left.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      around_.listener->OutputsFetched(run, step);
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
  if (run->streams[run->stream_of[id]].Finish()) around_.listener->StreamFinished(run, step);
}

std::vector<ActorHost::Counts> ActorHost::counts() {
  std::lock_guard<std::mutex> lock(state_mutex_);
  return counts_;
}

uint64_t ActorHost::firings() {
  std::lock_guard<std::mutex> lock(state_mutex_);
  uint64_t firings = 0;
  for (const Counts& counts : counts_) firings += counts.firings;
  return firings;
}

std::vector<TraceSlice> ActorHost::TraceSlices() {
  std::lock_guard<std::mutex> lock(state_mutex_);
  return trace_.Slices();
}

}  // namespace oneflow
