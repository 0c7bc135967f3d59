// Stream and Event: a device that answers later. A stream is an in-order queue of a device: what is
// put into it runs in that order, and may be over long after the call that put it there returned.
//
// Made by a device, owned by whoever runs a plan; a stream outlives its events' last use. Threads:
// a stream is used by one thread at a time; an event is recorded by the thread of its stream, may be
// waited for on another stream of the same device, and asked (Done) from any thread. Invariants: no
// call but Drain waits for the device and none allocates; an error says that nothing was enqueued (the device
// is lost), never that data was wrong (kernels/step_block.h). On a CPU the inline stream is enough:
// work is over when the call that enqueues it returns. Collective libraries (NCCL) are tasks on a
// stream, not transports: they belong behind Kernel. Read next: kernels/kernel.h.
#ifndef ONEFLOW_KERNELS_STREAM_H_
#define ONEFLOW_KERNELS_STREAM_H_

#include "absl/status/status.h"

namespace oneflow::kernels {

// A place in a stream.
class Event {
 public:
  virtual ~Event() = default;
  // True if all that stood before the last Record is over; true also before any.
  virtual bool Done() const = 0;
};

class Stream {
 public:
  virtual ~Stream() = default;
  // The event now stands here, wherever it stood: it is over when all enqueued so far is over.
  virtual absl::Status Record(Event* event) = 0;
  // What is enqueued from now on begins after the event's last Record. REQUIRES: of this device.
  virtual absl::Status Wait(const Event& event) = 0;
  // Calls `function(argument)` once all that was enqueued so far is over, on a thread of the
  // device's choice or in this call. It must be short, and enqueue nothing.
  virtual absl::Status OnComplete(void (*function)(void*), void* argument) = 0;
  // Returns when all that was enqueued is over and no call is to come. Before what it uses goes.
  virtual void Drain() = 0;
};

// The event of a device whose work is over when the call that enqueues it returns.
class InlineEvent final : public Event {
 public:
  bool Done() const override { return true; }
};
// The stream of such a device. Stateless.
class InlineStream final : public Stream {
 public:
  absl::Status Record(Event*) override { return absl::OkStatus(); }
  absl::Status Wait(const Event&) override { return absl::OkStatus(); }
  absl::Status OnComplete(void (*function)(void*), void* argument) override {
    function(argument);
    return absl::OkStatus();
  }
  void Drain() override {}
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_STREAM_H_
