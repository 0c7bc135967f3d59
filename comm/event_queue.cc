#include "comm/event_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <utility>

#include "base/check.h"

namespace oneflow::comm {

EventQueue::EventQueue()
    : epoll_(epoll_create1(EPOLL_CLOEXEC)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      events_(16) {
  OF_CHECK(epoll_.open() && wake_.open());
  Watch(EPOLL_CTL_ADD, wake_.fd(), EPOLLIN, kWake);
}

void EventQueue::Watch(int operation, int fd, uint32_t events, uint64_t number) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = number;
  // What was forgotten meanwhile is watched no more: nothing to do.
  (void)epoll_ctl(epoll_.fd(), operation, fd, &event);
}

void EventQueue::Forget(int fd) { epoll_ctl(epoll_.fd(), EPOLL_CTL_DEL, fd, nullptr); }

void EventQueue::Wake() {
  work_.store(true);
  // It sleeps, or will before it looks at `work_`.
  if (!parked_.exchange(false)) return;
  const uint64_t one = 1;
  (void)!write(wake_.fd(), &one, sizeof(one));
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

std::span<const epoll_event> EventQueue::Wait(int limit_ms, const std::function<bool()>& has_news) {
  parked_.store(true);
  const bool news = has_news();
  const int limit = news || work_.load() ? 0 : limit_ms;
  const int count =
      epoll_wait(epoll_.fd(), events_.data(), static_cast<int>(events_.size()), limit);
  parked_.store(false);
  const auto end = std::remove_if(events_.begin(), events_.begin() + std::max(0, count),
                                  [this](const epoll_event& event) {
                                    if (event.data.u64 != kWake) return false;
                                    uint64_t drained;
                                    (void)!read(wake_.fd(), &drained, sizeof(drained));
                                    return true;
                                  });
  return {events_.data(), static_cast<size_t>(end - events_.begin())};
}

}  // namespace oneflow::comm
