// DeviceQueue: what a stream of a plan has in flight on a device that answers later, oldest first.
//
// Owned by a PlanRun, used by the host of its actors under its state lock; only Report, on a thread of
// the device, touches no more than the three constants. Invariant: never full, because its room is a
// stream's firings of all steps that may be in flight. Allocates only in Reserve. Read next:
// runtime/worker.h.
#ifndef ONEFLOW_RUNTIME_DEVICE_QUEUE_H_
#define ONEFLOW_RUNTIME_DEVICE_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/check.h"

namespace oneflow {

class ActorHost;

class DeviceQueue {
 public:
  // A firing between enqueued and finished.
  struct Entry {
    uint32_t task = 0;
    int64_t ordinal = 0;
    int64_t enqueued_ns = 0;
    bool reported = false;  // the device was asked to say when it is finished
  };

  void Reserve(size_t firings) { ring_.resize(firings); }
  void Push(const Entry& entry) {
    OF_CHECK(count_ < ring_.size()) << "more firings in flight than steps allow";
    ring_[(head_ + count_++) % ring_.size()] = entry;
  }
  Entry Pop() {
    OF_CHECK(count_ > 0) << "a device reports more than it was given";
    const Entry entry = ring_[head_];
    head_ = (head_ + 1) % ring_.size();
    --count_;
    return entry;
  }

  // Whom a report goes to.
  ActorHost* host = nullptr;
  uint16_t plan = 0;
  uint32_t stream = 0;

  int64_t last_end_ns = 0;  // of the trace: slices of a track do not overlap

 private:
  std::vector<Entry> ring_;
  size_t head_ = 0;
  size_t count_ = 0;
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_DEVICE_QUEUE_H_
