// StreamOrder: where a stream is in its cyclic list of firings. A pure state machine beside the
// actors: it says whose turn it is, and when all firings of a step have finished.
//
// Owned by an executor. Threads: as the actors of its worker. Invariant: no firing of step s gets
// its turn before step s was launched. Allocates only when made. Read next: runtime/actor.h.
#ifndef ONEFLOW_RUNTIME_STREAM_ORDER_H_
#define ONEFLOW_RUNTIME_STREAM_ORDER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace oneflow {

class StreamOrder {
 public:
  static constexpr int64_t kNobody = -1;

  // `order` are the tasks of one step's firings, in order; it outlives this object.
  explicit StreamOrder(const std::vector<uint32_t>* order) : order_(order) {}

  // One more step may begin. Returns the task whose turn begins with that, or kNobody.
  int64_t Launch() {
    ++launched_;
    return launched_ == step_ + 1 && place_ == 0 ? Current() : kNobody;
  }

  // The current turn is over. Returns the task whose turn begins, or kNobody (end of what was
  // launched).
  int64_t Advance() {
    if (++place_ == order_->size()) {
      place_ = 0;
      ++step_;
    }
    return Current();
  }

  // RECV streams: whose slot is filled next, in the order of the stream. Slots of several channels
  // fill in any order; they are handed on in this one, which the proofs of a plan take for granted.
  uint32_t NextArrival() const { return (*order_)[arrival_place_]; }
  void Arrive() { arrival_place_ = arrival_place_ + 1 == order_->size() ? 0 : arrival_place_ + 1; }

  // A firing finished. True if it was the last of its step.
  bool Finish() {
    if (++finished_in_step_ < order_->size()) return false;
    finished_in_step_ = 0;
    return true;
  }

  // The task whose turn it is, or kNobody.
  int64_t Current() const {
    return step_ < launched_ && !order_->empty() ? int64_t{(*order_)[place_]} : kNobody;
  }
  int64_t step() const { return step_; }

 private:
  const std::vector<uint32_t>* order_;
  size_t place_ = 0;             // in order_
  int64_t step_ = 0;             // of the firing at place_
  int64_t launched_ = 0;         // steps that may run
  size_t arrival_place_ = 0;     // in order_, of the next arrival
  size_t finished_in_step_ = 0;  // firings finish in order, so one count is enough
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_STREAM_ORDER_H_
