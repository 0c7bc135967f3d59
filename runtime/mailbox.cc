#include "runtime/mailbox.h"

#include <immintrin.h>

#include "base/check.h"

namespace oneflow {

void Mailbox::Reserve(size_t more) {
  std::lock_guard<std::mutex> lock(mutex_);
  reserved_ += more;
  if (reserved_ <= ring_.size()) return;
  std::vector<Message> larger(reserved_);
  const size_t unread = unread_.load(std::memory_order_relaxed);
  for (size_t i = 0; i < unread; ++i) larger[i] = ring_[(head_ + i) % ring_.size()];
  ring_ = std::move(larger);
  head_ = 0;
}

void Mailbox::Release(size_t less) {
  std::lock_guard<std::mutex> lock(mutex_);
  OF_CHECK(less <= reserved_) << "a mailbox for " << reserved_ << " messages gives back " << less;
  reserved_ -= less;
}

void Mailbox::Push(const Message& message) {
  bool wake = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const size_t unread = unread_.load(std::memory_order_relaxed);
    OF_CHECK(unread < reserved_) << "a mailbox for " << reserved_ << " messages is full";
    size_t place = head_ + unread;
    if (place >= ring_.size()) place -= ring_.size();
    ring_[place] = message;
    unread_.store(unread + 1, std::memory_order_release);
    wake = parked_;
    parked_ = false;
  }
  if (wake) not_empty_.notify_one();
}

void Mailbox::Drain(std::vector<Message>* messages) {
  std::lock_guard<std::mutex> lock(mutex_);
  const size_t unread = unread_.load(std::memory_order_relaxed);
  for (size_t i = 0; i < unread; ++i) {
    messages->push_back(ring_[head_]);
    if (++head_ == ring_.size()) head_ = 0;
  }
  unread_.store(0, std::memory_order_relaxed);
}

void Mailbox::Wait(int spins) {
  for (int i = 0; i < spins; ++i) {
    if (HasMessages() || stopped_.load(std::memory_order_relaxed)) return;
    _mm_pause();
  }
  std::unique_lock<std::mutex> lock(mutex_);
  while (!HasMessages() && !stopped_.load(std::memory_order_relaxed)) {
    parked_ = true;
    not_empty_.wait(lock);
  }
  parked_ = false;
}

void Mailbox::Stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopped_.store(true, std::memory_order_relaxed);
  }
  not_empty_.notify_all();
}

}  // namespace oneflow
