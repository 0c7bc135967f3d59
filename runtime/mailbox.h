// Mailbox: messages on their way to the actors of one worker: a bounded ring, many writers, one
// reader.
//
// Owned by a worker. Threads: Push from any, the rest from the worker. Invariant: never full,
// because plans bound what can be unread at once and Reserve is told before they run (a full
// mailbox is our bug, CHECKed). Nothing allocates but Reserve; room that a plan gave back serves
// the next one. Its lock is a leaf: no other lock is taken under it. Read next: runtime/worker.h.
#ifndef ONEFLOW_RUNTIME_MAILBOX_H_
#define ONEFLOW_RUNTIME_MAILBOX_H_

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <vector>

#include "runtime/message.h"

namespace oneflow {

class Mailbox {
 public:
  // Makes room for `more` messages beyond what was reserved before.
  void Reserve(size_t more);
  // Takes back what was reserved for messages that will not come. REQUIRES: they are not unread.
  void Release(size_t less);
  size_t reserved() const { return reserved_; }

  void Push(const Message& message);
  // Appends everything unread to `messages`, in order. REQUIRES: it has room.
  void Drain(std::vector<Message>* messages);
  bool HasMessages() const { return unread_.load(std::memory_order_acquire) > 0; }

  // Returns when there is a message or Stop was called. Looks `spins` times before it parks the
  // thread.
  void Wait(int spins);
  void Stop();

 private:
  std::mutex mutex_;
  std::condition_variable not_empty_;
  std::vector<Message> ring_;
  size_t reserved_ = 0;  // messages that may be unread; ring_ may have more room
  size_t head_ = 0;      // oldest unread
  std::atomic<size_t> unread_{0};
  bool parked_ = false;
  std::atomic<bool> stopped_{false};
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_MAILBOX_H_
