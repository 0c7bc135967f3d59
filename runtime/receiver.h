// Receiver: the host of the `recv` streams of a session. It has no thread: whoever delivers a message
// to it (the transport's thread, or a worker that gives a slot back) steps its actors and posts their
// slots. A post only enqueues (comm/transport.h), so nobody waits for the network here.
//
// Owned by the executor. Threads: as ActorHost. Invariant: as a host without a thread it is always lent.
// Read next: runtime/threaded_executor.h.
#ifndef ONEFLOW_RUNTIME_RECEIVER_H_
#define ONEFLOW_RUNTIME_RECEIVER_H_

#include "runtime/actor_host.h"

namespace oneflow {

class Receiver : public ActorHost {
 public:
  Receiver(size_t trace_capacity, const Surroundings& surroundings)
      : ActorHost("receive", trace_capacity, surroundings, /*lends=*/true,
                  Mailbox::Reader::kParked) {}

 private:
  void Execute(const Item& item, std::unique_lock<std::mutex>* state) override;  // posts
  bool IsShort(const Item&) const override { return true; }
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_RECEIVER_H_
