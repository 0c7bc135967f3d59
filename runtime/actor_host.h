// ActorHost: some streams of a session with their actors: takes messages, steps actors, routes what
// they say, and gives what they start to Execute. Two kinds: a Worker has a thread and a device; the
// Receiver has neither. A host whose thread is parked may be lent: whoever brings it a message runs it
// until nothing is left to do, or until work comes up that is too long for a stranger's thread.
//
// Owned by the executor. Threads: Deliver from any; one at a time runs the host. Two locks: the state
// lock (actors, streams, counters), held while messages are handled and not while work runs, and the
// mailbox's, a leaf. Nobody holds the state locks of two hosts. Invariant: after AddRun nothing is
// allocated. Read next: runtime/worker.h, runtime/receiver.h.
#ifndef ONEFLOW_RUNTIME_ACTOR_HOST_H_
#define ONEFLOW_RUNTIME_ACTOR_HOST_H_

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "comm/transport.h"
#include "runtime/clock.h"
#include "runtime/mailbox.h"
#include "runtime/plan_run.h"
#include "runtime/trace.h"

namespace oneflow {

// What hosts tell the executor.
class StepListener {
 public:
  virtual ~StepListener() = default;
  // All firings of a stream in `step` are finished; the last call of a step ends it.
  virtual void StreamFinished(PlanRun* run, int64_t step) = 0;
  virtual void OutputsFetched(PlanRun* run, int64_t step) = 0;
  // A kernel found wrong data; what waits for it has not been told yet.
  virtual void WrongData(PlanRun* run, uint32_t task, int64_t step) = 0;
  // All FEEDs of a step whose caller waits for them are finished.
  virtual void InputsFed() = 0;
  // A device did not take a firing; nothing more will start.
  virtual void Failed(const absl::Status& cause) = 0;
};

class ActorHost {
 public:
  // What all hosts of an executor share. All pointers outlive them.
  struct Surroundings {
    StepListener* listener = nullptr;
    comm::Transport* transport = nullptr;       // nullptr for one rank
    const std::atomic<bool>* halted = nullptr;  // once true nothing more is started
    Cores* cores = nullptr;
    int64_t patience_ns = 0;  // how long threads look for messages at most before they park
    // No core is to spare: another thread would not do short work sooner than the one that brings it.
    bool lend = false;
  };
  // By position of the device in the plan; the receiver has one for each.
  struct Counts {
    uint32_t device = 0;  // global id
    uint64_t firings = 0;
    uint64_t flops = 0;
    uint64_t received_bytes = 0;
    uint64_t busy_ns = 0;
  };

  // `lends`: whoever delivers may run the host; `reader`: as of a Mailbox.
  ActorHost(std::string name, size_t trace_capacity, const Surroundings& surroundings, bool lends,
            Mailbox::Reader reader);
  virtual ~ActorHost() = default;

  const std::string& name() const { return name_; }

  // Makes room for the run's messages. REQUIRES: run->host_of is filled; nothing runs.
  void AddRun(PlanRun* run);
  // Forgets the run and gives its room back. REQUIRES: nothing of it is in flight, and nobody will
  // deliver to it any more.
  void RemoveRun(PlanRun* run);
  virtual void Start() {}  // from the executor's caller, after AddRun
  virtual void Stop();     // handles no more messages; what runs now finishes first

  // REQUIRES: the caller holds no host's state lock.
  void Deliver(const Message& message);

  // What is going on, for reports. `running` is the task whose work runs now, or -1.
  struct Activity {
    int64_t running = -1;
    uint16_t plan = 0;
    int64_t since_ns = 0;
  };
  // Calls `look` under the state lock.
  template <typename Look>
  void Inspect(Look look) {
    std::lock_guard<std::mutex> lock(state_mutex_);
    look(activity_);
  }
  std::vector<Counts> counts();
  size_t message_room() const { return mailbox_.reserved(); }
  uint64_t waits() const { return mailbox_.waits(); }
  uint64_t parks() const { return mailbox_.parks(); }
  uint64_t borrows() const { return mailbox_.borrows(); }
  // Firings so far, over all devices; allocates nothing (the watchdog asks while steps run).
  uint64_t firings();
  std::vector<TraceSlice> TraceSlices();

 protected:
  // Work that an actor has started.
  struct Item {
    PlanRun* run = nullptr;
    uint32_t task = 0;
    int64_t ordinal = 0;
  };
  // Does the work. Called with the state lock held; gives it up while the work runs.
  virtual void Execute(const Item& item, std::unique_lock<std::mutex>* state) = 0;
  bool lends() const { return lends_; }
  // Whether a thread that is not the host's may do it.
  virtual bool IsShort(const Item& item) const = 0;

  bool Stopped() const {
    return stopped_.load(std::memory_order_relaxed) ||
           around_.halted->load(std::memory_order_relaxed);
  }
  // Handles what is in the mailbox and executes what became possible, until neither is left or Stop
  // was called. `borrowed`: by a thread that is not the host's, which leaves what is not short: then it
  // is false.
  bool RunUntilIdle(std::unique_lock<std::mutex>* state, bool borrowed);
  void Handle(const Message& message);  // and what it causes on this host
  void CountBusy(uint32_t device, int64_t nanoseconds);

  const Surroundings around_;
  Mailbox mailbox_;
  std::mutex state_mutex_;
  Activity activity_;
  TraceRing trace_;
  Program::Scratch scratch_;  // for the one firing that runs

 private:
  void HandleMail();
  // As whoever has borrowed it, and gives it back.
  void Serve();
  // Runs the hosts that messages of this one have borrowed, without its state lock.
  void ServeOthers(std::unique_lock<std::mutex>* state);
  void Step(const Message& message);
  void StepActor(PlanRun* run, const Message& message);
  void StreamDone(PlanRun* run, uint32_t stream);
  void Route(PlanRun* run, Message message);
  void GiveTurn(PlanRun* run, int64_t task);
  void Finish(PlanRun* run, uint32_t task, int64_t ordinal);

  const std::string name_;
  const bool lends_;
  std::atomic<bool> stopped_{false};
  std::vector<PlanRun*> runs_;  // by number; nullptr: none has it
  std::vector<Message> inbox_;
  std::vector<Message> local_;        // caused by Step, for actors of this host
  std::vector<ActorHost*> borrowed_;  // that ServeOthers has to run
  std::vector<Item> runnable_;        // ring
  size_t runnable_head_ = 0;
  size_t runnable_count_ = 0;
  Effects effects_;
  std::vector<Counts> counts_;
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_ACTOR_HOST_H_
