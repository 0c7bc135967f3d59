// HeldCredits: credits that stay in the outboxes of their peers for a while, because nobody waits for them.
//
// A thread that stands in for the transport's (Transport::StandIn) comes back when it has nothing to do. What it posts
// of small messages is held while the sender has another credit of that channel, which it uses first, and goes with
// what is sent next to that peer; so a message and its answer cost each side one call to the kernel and wake the other
// once. Released at the latest when that thread sleeps, and when a message of that peer counts: so invariant: of a
// channel whose credits are held the sender has another, or a release is under way.
//
// Owned by the transport. Threads: ComesBack from the one that stands in; the rest from any. Read next:
// comm/tcp_transport.cc.
#ifndef ONEFLOW_COMM_HELD_CREDITS_H_
#define ONEFLOW_COMM_HELD_CREDITS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "comm/channel_table.h"
#include "comm/outbox.h"

namespace oneflow::comm {

class HeldCredits {
 public:
  enum class Held {
    kNo,    // send it
    kYes,   // it is in the outbox
    kDone,  // it was, but the other one has been used meanwhile: release what that peer's outbox has
  };

  explicit HeldCredits(size_t peers) : of_(peers) {}

  // This thread stands in from time to time; the one that did before does not any more.
  void ComesBack() { thread_.store(std::this_thread::get_id()); }
  // A credit of `channel`, behind `posted` others, on its way to the outbox of its peer.
  Held Hold(const Channel& channel, int64_t posted, Outbox* outbox);

  bool any() const { return any_.load(); }
  // True, once, if that peer's (some peer's) may be in its outbox: write it.
  bool Release(size_t peer) { return of_[peer].exchange(false); }
  bool ReleaseAny() { return any_.exchange(false); }

 private:
  std::vector<std::atomic<bool>> of_;
  std::atomic<bool> any_{false};
  std::atomic<std::thread::id> thread_;
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_HELD_CREDITS_H_
