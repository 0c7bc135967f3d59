// Mailbox: messages on their way to the actors of one worker: a bounded ring, many writers, one
// reader.
//
// Owned by a host of actors. Threads: Push and the counts from any, the rest from the reader. The
// reader is the host's thread; while that is parked (or if there is none) whoever pushes may become the
// reader instead of waking it: it borrows the mailbox. Invariants: one reader at a time; never full,
// because plans bound what can be unread at once and Reserve is told before they run (a full mailbox is
// our bug, CHECKed); whoever pushes calls the kernel only if the reader has parked. Nothing allocates
// but Reserve; room that a plan gave back serves the next one. Its lock is a leaf: no other lock is
// taken under it. Read next: runtime/spinning.h, runtime/actor_host.h.
#ifndef ONEFLOW_RUNTIME_MAILBOX_H_
#define ONEFLOW_RUNTIME_MAILBOX_H_

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <vector>

#include "comm/transport.h"
#include "runtime/message.h"
#include "runtime/spinning.h"

namespace oneflow {

class Mailbox {
 public:
  // Who reads: the host's thread, nobody, or somebody else in its place.
  enum class Reader { kAwake, kParked, kBorrowed };

  // `cores` outlives the mailbox, and so does `transport` (nullptr: none), in which a reader that waits
  // looks as well. A host without a thread begins, and rests, as kParked.
  Mailbox(Cores* cores, Reader reader, comm::Transport* transport = nullptr)
      : cores_(cores), transport_(transport), reader_(reader) {}

  // Makes room for `more` messages beyond what was reserved before.
  void Reserve(size_t more);
  // Takes back what was reserved for messages that will not come. REQUIRES: they are not unread.
  void Release(size_t less);
  size_t reserved() const { return reserved_; }

  // Wakes a parked reader, or with `borrow` makes the caller the reader instead: then it is true, and the
  // caller reads and ends with GiveBack.
  bool Push(const Message& message, bool borrow = false);
  // Ends a borrowing; false if something is unread, which is the borrower's too. With `wake` the host's
  // thread goes on where the borrower stops.
  bool GiveBack(bool wake);
  // Appends everything unread to `messages`, in order. REQUIRES: it has room.
  void Drain(std::vector<Message>* messages);
  bool HasMessages() const { return pushed_.load(std::memory_order_acquire); }

  // Returns when there is a message or Stop was called; looks for one as long as cores and patience
  // allow, also for what other ranks have sent, then parks the thread. REQUIRES: no lock is held, for
  // what is found so is handled by this thread; so is what comes while it stands in for the transport's
  // thread, as it does with `stands_in` unless another thread does. Of the `threads` that hold cores for the reader only
  // its own does while it looks, and none while it is parked.
  void Wait(int threads, Patience* patience, bool stands_in = false);
  void Stop();

  // Waits that found nothing at first, those of them that parked, and pushes that borrowed.
  uint64_t waits() const { return waits_.load(std::memory_order_relaxed); }
  uint64_t parks() const { return parks_.load(std::memory_order_relaxed); }
  uint64_t borrows() const { return borrows_.load(std::memory_order_relaxed); }

 private:
  void Wake();   // REQUIRES: the lock is held, the reader is not awake
  void Rouse();  // then, without the lock
  // Looks for a message as long as cores and patience allow; *begin is when it began, for a wait that
  // goes on. True if there is one, or Stop was called.
  bool LookFor(Patience* patience, int64_t* begin);

  Cores* const cores_;
  comm::Transport* const transport_;
  alignas(64) std::mutex mutex_;
  std::condition_variable not_empty_;
  std::vector<Message> ring_;
  size_t reserved_ = 0;  // messages that may be unread; ring_ may have more room
  size_t head_ = 0;      // oldest unread
  size_t unread_ = 0;
  Reader reader_;
  // The parked reader sleeps in the transport (set and cleared with the lock held).
  std::atomic<bool> stands_in_{false};
  int threads_ = 0;  // that hold cores again when a parked reader is woken
  // What a reader that looks reads, in a line of its own: something was pushed since the last Drain
  // began (set when the lock is free again, for the reader takes it at once), and the processor on
  // which it was.
  alignas(64) std::atomic<bool> pushed_{false};
  std::atomic<int> pushed_on_{-1};
  std::atomic<bool> stopped_{false};
  alignas(64) std::atomic<uint64_t> waits_{0};
  std::atomic<uint64_t> parks_{0};
  std::atomic<uint64_t> borrows_{0};
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_MAILBOX_H_
