// EventQueue: what the transport's thread sleeps on: descriptors (sockets and bells), and what other threads leave to
// it.
//
// Owned by the transport. Threads: Wake, Command, Run and Watch from any; Wait and TakeCommands from the one. Invariant:
// what was left before the thread sleeps, or while it does, wakes it. Read next: comm/tcp_transport.cc.
#ifndef ONEFLOW_COMM_EVENT_QUEUE_H_
#define ONEFLOW_COMM_EVENT_QUEUE_H_

#include <sys/epoll.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <vector>

#include "comm/socket.h"

namespace oneflow::comm {

class EventQueue {
 public:
  using Work = std::function<void()>;
  EventQueue();

  // From here on, or with other events, as `operation` (EPOLL_CTL_ADD, _MOD) says; `number` is what its events have in
  // data.u64.
  void Watch(int operation, int fd, uint32_t events, uint64_t number);
  void Forget(int fd);

  // The thread takes a turn.
  void Wake();
  // It does this in its next one.
  void Command(Work work);
  // The same, and waits until it is done. Not from the thread.
  void Run(const Work& work);

  // Whether somebody woke it since the last call, and what is to be done then.
  bool TakeCommands(std::vector<Work>* commands);
  // Sleeps until something happens, at most so long (-1: no limit); not at all if `has_news`, which is asked when
  // whoever brings news from here on wakes the thread. Valid until the next call.
  std::span<const epoll_event> Wait(int limit_ms, const std::function<bool()>& has_news);

 private:
  static constexpr uint64_t kWake = ~uint64_t{0};

  Socket epoll_;
  Socket wake_;  // an eventfd
  std::vector<epoll_event> events_;
  std::atomic<bool> work_{false};
  std::atomic<bool> parked_{false};
  std::mutex mutex_;
  std::vector<Work> commands_;
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_EVENT_QUEUE_H_
