// Worker: the actors of some streams and the thread that runs them: one per device for `compute`,
// one for feed, comm and fetch. The receive worker has no thread: whoever delivers a message to it
// runs it.
//
// Owned by the executor. Threads: Deliver from any; Start and Stop from the executor's caller. Two
// locks: the state lock (actors, streams, counters), held while messages are handled and not while
// work runs, and the mailbox's, a leaf. Invariant: after AddRun nothing is allocated. Read next:
// runtime/threaded_executor.h.
#ifndef ONEFLOW_RUNTIME_WORKER_H_
#define ONEFLOW_RUNTIME_WORKER_H_

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "comm/transport.h"
#include "runtime/devices/device.h"
#include "runtime/mailbox.h"
#include "runtime/plan_run.h"
#include "runtime/trace.h"

namespace oneflow {

// What workers tell the executor.
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

class Worker {
 public:
  struct Options {
    std::string name;                // "cpu:0 compute"
    const Device* device = nullptr;  // nullptr: the receive worker
    bool compute = false;
    size_t trace_capacity = 0;
    int spins = 0;  // looks at the mailbox before it parks
  };
  // By position of the device in the plan; the receive worker has one for each.
  struct Counts {
    uint32_t device = 0;  // global id
    uint64_t firings = 0;
    uint64_t flops = 0;
    uint64_t received_bytes = 0;
    uint64_t busy_ns = 0;
  };

  // Once *halted is true nothing more is started. All pointers outlive the worker.
  Worker(Options options, StepListener* listener, comm::Transport* transport,
         const std::atomic<bool>* halted);
  ~Worker() { Stop(); }

  const std::string& name() const { return options_.name; }
  bool has_thread() const { return options_.device != nullptr; }

  // Makes room for the run's messages. REQUIRES: run->worker_of is filled.
  void AddRun(PlanRun* run);
  // Forgets the run and gives its room back. REQUIRES: nothing of it is in flight, and nobody will
  // deliver to it any more.
  void RemoveRun(PlanRun* run);
  void Start();  // the thread, if it has one and it does not run yet
  void Stop();   // and join; what runs now finishes first

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
  // Firings so far, over all devices; allocates nothing (the watchdog asks while steps run).
  uint64_t firings();
  std::vector<TraceSlice> TraceSlices();

 private:
  // Work that an actor has started.
  struct Item {
    PlanRun* run = nullptr;
    uint32_t task = 0;
    int64_t ordinal = 0;
  };

  bool Stopped() const {
    return stopped_.load(std::memory_order_relaxed) || halted_->load(std::memory_order_relaxed);
  }
  void Loop();
  // Handles what is in the mailbox and runs what became possible, until neither is left or Stop was
  // called.
  void RunUntilIdle(std::unique_lock<std::mutex>* state);
  void HandleMail();
  void Handle(const Message& message);  // and what it causes on this worker
  void Step(const Message& message);
  void StepActor(PlanRun* run, const Message& message);
  void Route(PlanRun* run, Message message);
  void GiveTurn(PlanRun* run, int64_t task);
  void Execute(const Item& item, std::unique_lock<std::mutex>* state);
  void Finish(PlanRun* run, uint32_t task, int64_t ordinal);

  const Options options_;
  StepListener* const listener_;
  comm::Transport* const transport_;
  const std::atomic<bool>* const halted_;
  Mailbox mailbox_;
  std::atomic<bool> stopped_{false};
  std::atomic<int64_t> undelivered_{0};  // receive worker: messages that nobody has handled yet
  std::thread thread_;

  std::mutex state_mutex_;
  std::vector<PlanRun*> runs_;  // by number; nullptr: none has it
  std::vector<Message> inbox_;
  std::vector<Message> local_;  // caused by Step, for actors of this worker
  std::vector<Item> runnable_;  // ring
  size_t runnable_head_ = 0;
  size_t runnable_count_ = 0;
  Effects effects_;
  Activity activity_;
  std::vector<Counts> counts_;
  TraceRing trace_;
  int team_ = 0;
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_WORKER_H_
