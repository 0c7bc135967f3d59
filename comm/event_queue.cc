#include "comm/event_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <utility>

#include "base/check.h"

namespace oneflow::comm {

EventQueue::EventQueue()
    : outer_(epoll_create1(EPOLL_CLOEXEC)),
      inner_(epoll_create1(EPOLL_CLOEXEC)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      rouse_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  OF_CHECK(outer_.open() && inner_.open() && wake_.open() && rouse_.open());
  Control(outer_, EPOLL_CTL_ADD, wake_.fd(), EPOLLIN, kWake);
  Control(inner_, EPOLL_CTL_ADD, rouse_.fd(), EPOLLIN, kRouse);
  Control(outer_, EPOLL_CTL_ADD, inner_.fd(), EPOLLIN, kInner);
}

void EventQueue::Control(const Socket& epoll, int operation, int fd, uint32_t events,
                         uint64_t number) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = number;
  // What was forgotten meanwhile is watched no more: nothing to do.
  (void)epoll_ctl(epoll.fd(), operation, fd, &event);
}

void EventQueue::Ring(const Socket& bell) {
  const uint64_t one = 1;
  (void)!write(bell.fd(), &one, sizeof(one));
}

void EventQueue::Silence(const Socket& bell) {
  uint64_t drained;
  (void)!read(bell.fd(), &drained, sizeof(drained));
}

void EventQueue::WatchInput(int fd, uint64_t number) {
  Control(inner_, EPOLL_CTL_ADD, fd, EPOLLIN, number);
}

void EventQueue::ForgetInput(int fd) { Control(inner_, EPOLL_CTL_DEL, fd, 0, 0); }

void EventQueue::WatchOutput(int fd, uint64_t number) {
  epoll_event event{};
  event.events = EPOLLOUT | EPOLLONESHOT;
  event.data.u64 = number;
  if (epoll_ctl(outer_.fd(), EPOLL_CTL_MOD, fd, &event) == 0 || errno != ENOENT) return;
  (void)epoll_ctl(outer_.fd(), EPOLL_CTL_ADD, fd, &event);
}

void EventQueue::Wake() {
  work_.store(true);
  // It sleeps, or will before it looks at `work_`.
  if (parked_.exchange(false)) Ring(wake_);
}

void EventQueue::Command(Work work) {
  {
    std::lock_guard lock(mutex_);
    commands_.push_back(std::move(work));
  }
  Wake();
}

void EventQueue::Run(const Work& work) {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  Command([&] {
    work();
    std::lock_guard lock(mutex);
    done = true;
    changed.notify_all();
  });
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return done; });
}

bool EventQueue::TakeCommands(std::vector<Work>* commands) {
  if (!work_.exchange(false)) return false;
  std::lock_guard lock(mutex_);
  commands->swap(commands_);
  return true;
}

size_t EventQueue::TakeInput(epoll_event* events, int limit_ms) {
  const int count = epoll_wait(inner_.fd(), events, kAtOnce, limit_ms);
  return static_cast<size_t>(std::max(0, count));
}

EventQueue::Events EventQueue::Wait(int limit_ms, const std::function<bool()>& has_news) {
  parked_.store(true);
  const bool news = has_news();
  const int limit = news || work_.load() ? 0 : limit_ms;
  const int count = epoll_wait(outer_.fd(), events_.data(), kAtOnce, limit);
  parked_.store(false);
  bool input = false;
  epoll_event* end = std::remove_if(events_.data(), events_.data() + std::max(0, count),
                                    [&](const epoll_event& event) {
                                      if (event.data.u64 == kWake) Silence(wake_);
                                      if (event.data.u64 == kInner) input = true;
                                      return event.data.u64 == kWake || event.data.u64 == kInner;
                                    });
  if (input) {
    epoll_event* const begin = end;
    end = std::remove_if(begin, begin + TakeInput(begin, 0), [this](const epoll_event& event) {
      if (event.data.u64 != kRouse) return false;
      Silence(rouse_);
      // Taken from one who has begun to stand in meanwhile.
      if (stands_in_.load()) Ring(rouse_);
      return true;
    });
  }
  return {events_.data(), static_cast<size_t>(end - events_.data())};
}

bool EventQueue::BeginStandingIn() {
  if (stands_in_.exchange(true)) return false;
  Control(outer_, EPOLL_CTL_MOD, inner_.fd(), 0, kInner);
  return true;
}

void EventQueue::EndStandingIn() {
  Control(outer_, EPOLL_CTL_MOD, inner_.fd(), EPOLLIN, kInner);
  stands_in_.store(false);
}

EventQueue::Events EventQueue::WaitInstead(const std::function<bool()>& has_news) {
  sleeps_.store(true);
  const bool news = has_news();
  const size_t count = TakeInput(instead_.data(), news ? 0 : -1);
  sleeps_.store(false);
  const auto end =
      std::remove_if(instead_.begin(), instead_.begin() + count, [this](const epoll_event& event) {
        if (event.data.u64 == kRouse) Silence(rouse_);
        return event.data.u64 == kRouse;
      });
  return {instead_.data(), static_cast<size_t>(end - instead_.begin())};
}

void EventQueue::Rouse() {
  if (sleeps_.exchange(false)) Ring(rouse_);
}

}  // namespace oneflow::comm
