// Turns: one thread at a time takes what peers have said and runs callbacks: the transport's own, one that stands in for
// it, or one that looks.
//
// Owned by the transport. Threads: any. Invariant: turns exclude each other. Who takes a turn with a Shift writes, when
// it is over, what was said in it: frames to one peer gather and go together, and no peer holds the lock up. Read next:
// comm/tcp_transport.cc.
#ifndef ONEFLOW_COMM_TURNS_H_
#define ONEFLOW_COMM_TURNS_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <mutex>
#include <thread>
#include <vector>

#include "comm/transport.h"

namespace oneflow::comm {

// What one of the threads that write has to do after its turn. Its own but for `gathered`, which grows in its turns.
struct Shift {
  std::vector<size_t> gathered;     // peers whose outboxes it writes
  std::vector<size_t> writable;     // those whose sockets take bytes again
  std::vector<ChannelId> finished;  // sources

  explicit Shift(size_t peers) { gathered.reserve(peers); }
  void Gather(size_t peer) {
    if (std::find(gathered.begin(), gathered.end(), peer) == gathered.end()) {
      gathered.push_back(peer);
    }
  }
};

class Turns {
 public:
  // Whether this thread is in one, so in a callback.
  bool Mine() const { return std::this_thread::get_id() == owner_.load(); }
  // The shift of this thread's turn; nullptr if it has none.
  Shift* MyShift() const { return Mine() ? shift_ : nullptr; }

  template <typename Work>
  void Take(Shift* shift, Work work) {
    std::lock_guard lock(mutex_);
    Run(shift, work);
  }
  // False, at once, if another thread is in one.
  template <typename Work>
  bool TakeIfFree(Work work) {
    std::unique_lock lock(mutex_, std::try_to_lock);
    if (lock.owns_lock()) Run(nullptr, work);
    return lock.owns_lock();
  }

 private:
  template <typename Work>
  void Run(Shift* shift, Work& work) {
    shift_ = shift;
    owner_.store(std::this_thread::get_id());
    work();
    owner_.store(std::thread::id());
  }

  std::mutex mutex_;
  std::atomic<std::thread::id> owner_;
  Shift* shift_ = nullptr;  // the owner's
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_TURNS_H_
