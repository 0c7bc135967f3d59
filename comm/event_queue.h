// EventQueue: what the transport's thread sleeps on: what comes in (sockets and bells), sockets that take bytes again,
// and what other threads leave to it. Another thread may stand in for it where things come in.
//
// Owned by the transport. Threads: Wait and TakeCommands from the one, WaitInstead from the one that stands in, the rest
// from any. Two epolls: the inner one has all that comes in, the outer one the inner, what takes bytes, and the bell of
// Wake. Who stands in takes the inner one out of the outer and sleeps on it, so that one thread is woken and not two;
// putting it back wakes the thread if something is in it. Invariants: what was left before the thread sleeps, or while
// it does, wakes it; so does what comes in while nobody stands in; Rouse wakes who stands in, or keeps it from sleeping.
// Read next: comm/tcp_transport.cc.
#ifndef ONEFLOW_COMM_EVENT_QUEUE_H_
#define ONEFLOW_COMM_EVENT_QUEUE_H_

#include <sys/epoll.h>

#include <array>
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
  // In data.u64 is the number that the descriptor was watched under; EPOLLOUT: it takes bytes again.
  using Events = std::span<const epoll_event>;
  EventQueue();

  // From here on there are events when something comes in.
  void WatchInput(int fd, uint64_t number);
  void ForgetInput(int fd);
  // There is one event when `fd` takes bytes, for the thread alone.
  void WatchOutput(int fd, uint64_t number);

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
  Events Wait(int limit_ms, const std::function<bool()>& has_news);

  // Begins to stand in, until EndStandingIn; false if another thread does.
  bool BeginStandingIn();
  void EndStandingIn();
  // Sleeps until something comes in or Rouse is called, with `has_news` as Wait. Valid until the next call.
  Events WaitInstead(const std::function<bool()>& has_news);
  // Calls the kernel only if somebody sleeps there.
  void Rouse();

 private:
  static constexpr uint64_t kWake = ~uint64_t{0}, kRouse = kWake - 1, kInner = kWake - 2;
  static constexpr size_t kAtOnce = 16;

  static void Control(const Socket& epoll, int operation, int fd, uint32_t events, uint64_t number);
  static void Ring(const Socket& bell);
  static void Silence(const Socket& bell);
  // What is in the inner epoll, at most kAtOnce, into `events`; how many. Sleeps at most so long.
  size_t TakeInput(epoll_event* events, int limit_ms);

  Socket outer_, inner_;
  Socket wake_, rouse_;  // eventfds
  std::array<epoll_event, 2 * kAtOnce> events_;
  std::array<epoll_event, kAtOnce> instead_;
  std::atomic<bool> work_{false};
  std::atomic<bool> parked_{false};
  std::atomic<bool> stands_in_{false};  // some thread does
  std::atomic<bool> sleeps_{false};     // and sleeps, or is about to
  std::mutex mutex_;
  std::vector<Work> commands_;
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_EVENT_QUEUE_H_
