// StreamOrder: where a stream is in its cyclic list of firings. A pure state machine beside the
// actors: it says whose turn it is, and when all firings of a step have finished.
//
// Owned by an executor. Threads: as the actors of its worker. Invariants: no firing of step s gets
// its turn before step s was launched; work of the host gets its turn only when all device work
// before it in the stream is finished, so that each place in a stream begins when what stands before
// it is over (the device keeps its own works apart). Allocates only when made. Read next:
// runtime/actor.h.
#ifndef ONEFLOW_RUNTIME_STREAM_ORDER_H_
#define ONEFLOW_RUNTIME_STREAM_ORDER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace oneflow {

// One step's firings of a stream, in order.
struct StreamPlan {
  std::vector<uint32_t> tasks;
  // By place: true if its device must report that this firing is finished, because an edge, the host
  // work that is next or the end of the step waits for it. Of the others that is known when a later
  // one is reported. All false where there is no device work.
  std::vector<bool> reports;
  // By place: true for work that a stream of the device takes (kEnqueued, then kFired).
  std::vector<bool> on_device;
};

class StreamOrder {
 public:
  static constexpr int64_t kNobody = -1;

  // `plan` outlives this object.
  explicit StreamOrder(const StreamPlan* plan) : plan_(plan) {}

  // One more step may begin. Returns the task whose turn begins with that, or kNobody.
  int64_t Launch() {
    ++launched_;
    return launched_ == step_ + 1 && place_ == 0 ? Offer() : kNobody;
  }

  // The current turn is over. Returns the task whose turn begins, or kNobody (end of what was
  // launched, or host work that waits for the device).
  int64_t Advance() {
    if (++place_ == plan_->tasks.size()) {
      place_ = 0;
      ++step_;
    }
    return Offer();
  }

  // The firing at the current place was enqueued on the device. Before Advance.
  void Enqueued() { ++on_device_; }
  // The oldest that was enqueued is finished. Returns the task whose turn begins with that.
  int64_t DeviceFinished() {
    if (--on_device_ > 0 || !held_) return kNobody;
    return Offer();
  }

  // RECV streams: whose slot is filled next, in the order of the stream. Slots of several channels
  // fill in any order; they are handed on in this one, which the proofs of a plan take for granted.
  uint32_t NextArrival() const { return plan_->tasks[arrival_place_]; }
  void Arrive() {
    arrival_place_ = arrival_place_ + 1 == plan_->tasks.size() ? 0 : arrival_place_ + 1;
  }

  // A firing finished. True if it was the last of its step.
  bool Finish() {
    if (++finished_in_step_ < plan_->tasks.size()) return false;
    finished_in_step_ = 0;
    return true;
  }

  // The task whose turn it is, or kNobody.
  int64_t Current() const {
    return step_ < launched_ && !plan_->tasks.empty() ? int64_t{plan_->tasks[place_]} : kNobody;
  }
  int64_t step() const { return step_; }
  bool CurrentReports() const { return plan_->reports[place_]; }

 private:
  int64_t Offer() {
    const int64_t task = Current();
    held_ = task != kNobody && on_device_ > 0 && !plan_->on_device[place_];
    return held_ ? kNobody : task;
  }

  const StreamPlan* plan_;
  size_t place_ = 0;             // in plan_
  int64_t step_ = 0;             // of the firing at place_
  int64_t launched_ = 0;         // steps that may run
  size_t arrival_place_ = 0;     // in plan_, of the next arrival
  size_t finished_in_step_ = 0;  // firings finish in order, so one count is enough
  size_t on_device_ = 0;         // enqueued and not finished
  bool held_ = false;            // the current turn waits for the device
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_STREAM_ORDER_H_
