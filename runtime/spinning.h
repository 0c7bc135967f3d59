// Spinning: whether a thread that has nothing to do looks for messages for a while, or parks at once.
// A message to a thread that looks costs a cache line; one to a parked thread costs both sides a call
// of the kernel, some microseconds. But a thread that looks holds a core.
//
// Cores counts the threads of a session that hold one: those that work (a compute thread with its
// team), those that look, and the caller while it does not wait for the session. A thread looks only
// while all of these have a core. Patience is one thread's: how long it looks, by how long its last
// waits were.
//
// Cores: owned by an executor, any thread. Patience: owned and used by one thread. Neither allocates
// or waits. Read next: runtime/mailbox.h.
#ifndef ONEFLOW_RUNTIME_SPINNING_H_
#define ONEFLOW_RUNTIME_SPINNING_H_

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace oneflow {

class Cores {
 public:
  explicit Cores(int total) : total_(total) {}

  void Hold(int threads) { held_.fetch_add(threads, std::memory_order_relaxed); }
  void GiveBack(int threads) { held_.fetch_sub(threads, std::memory_order_relaxed); }
  // True if every thread that holds a core has one.
  bool Suffice() const { return held_.load(std::memory_order_relaxed) <= total_; }
  int held() const { return held_.load(std::memory_order_relaxed); }

 private:
  const int total_;
  std::atomic<int> held_{0};
};

class Patience {
 public:
  // What it takes until a parked thread runs again where that is slow (a core of a virtual machine that
  // had nothing to do): two threads that wait for each other must outlast it, or both park for ever.
  static constexpr int64_t kMostNs = 100'000;
  static constexpr int64_t kShare = 16;  // the least is this part of the most

  explicit Patience(int64_t most_ns) : Patience(most_ns, most_ns / kShare) {}
  Patience(int64_t most_ns, int64_t least_ns) : most_(most_ns), least_(least_ns), now_(most_ns) {}

  // While cores do not suffice it is the least: a thread that gives its core away at every look hands
  // over to one that is short of a core for less than parking costs, but not for long.
  int64_t ns(bool cores_suffice) const { return cores_suffice ? now_ : least_; }
  // A wait is over. One that looking would have seen the end of makes it look its longest again;
  // after each longer one it looks half as long.
  void Waited(int64_t ns) { now_ = ns <= most_ ? most_ : std::max(now_ / 2, least_); }

 private:
  const int64_t most_;
  const int64_t least_;
  int64_t now_;
};

// The cores that a session of one of so many ranks may count on, if all ranks are on this host: an equal
// share of those that this process may run on, less one if the transport's thread is needed: it is not
// where threads that look find all that other ranks send.
int CoresOfRank(int world_size, bool looking_suffices);

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_SPINNING_H_
