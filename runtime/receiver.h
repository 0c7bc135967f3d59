// Receiver: the host of the `recv` streams of a session. It has no thread: whoever delivers a message
// to it (the transport's thread, or a worker that gives a slot back) steps its actors and posts their
// slots. A post only enqueues (comm/transport.h), so nobody waits for the network here.
//
// Owned by the executor. Threads: as ActorHost. Invariant: one thread at a time is inside; the first
// to find nothing undelivered handles its own message and those that others bring meanwhile. Read
// next: runtime/threaded_executor.h.
#ifndef ONEFLOW_RUNTIME_RECEIVER_H_
#define ONEFLOW_RUNTIME_RECEIVER_H_

#include <atomic>
#include <cstdint>

#include "runtime/actor_host.h"

namespace oneflow {

class Receiver : public ActorHost {
 public:
  Receiver(size_t trace_capacity, const Surroundings& surroundings)
      : ActorHost("receive", trace_capacity, surroundings) {}

  void Deliver(const Message& message) override;

 private:
  void Execute(const Item& item, std::unique_lock<std::mutex>* state) override;  // posts

  std::atomic<int64_t> undelivered_{0};  // messages that nobody has handled yet
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_RECEIVER_H_
