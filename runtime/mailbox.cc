#include "runtime/mailbox.h"

#include <immintrin.h>
#include <sched.h>

#include "base/check.h"
#include "runtime/clock.h"

namespace oneflow {
namespace {

// Looks between two times at which a reader gives its core away (and looks at the clock): few where
// those it hears from run on the same core, as they cannot push meanwhile; else about a microsecond.
constexpr int kLooksOfASharedCore = 4;
constexpr int kLooks = 64;

}  // namespace

void Mailbox::Reserve(size_t more) {
  std::lock_guard<std::mutex> lock(mutex_);
  reserved_ += more;
  if (reserved_ <= ring_.size()) return;
  std::vector<Message> larger(reserved_);
  for (size_t i = 0; i < unread_; ++i) larger[i] = ring_[(head_ + i) % ring_.size()];
  ring_ = std::move(larger);
  head_ = 0;
}

void Mailbox::Release(size_t less) {
  std::lock_guard<std::mutex> lock(mutex_);
  OF_CHECK(less <= reserved_) << "a mailbox for " << reserved_ << " messages gives back " << less;
  reserved_ -= less;
}

void Mailbox::Wake() {
  reader_ = Reader::kAwake;
  // On its behalf, so that those who look make room before it runs.
  cores_->Hold(threads_);
}

void Mailbox::Rouse() {
  not_empty_.notify_one();
  if (stands_in_.load()) transport_->Rouse();
}

bool Mailbox::Push(const Message& message, bool borrow) {
  bool wake = false;
  bool borrowed = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    OF_CHECK(unread_ < reserved_) << "a mailbox for " << reserved_ << " messages is full";
    size_t place = head_ + unread_;
    if (place >= ring_.size()) place -= ring_.size();
    ring_[place] = message;
    ++unread_;
    borrowed = borrow && reader_ == Reader::kParked;
    wake = !borrowed && reader_ == Reader::kParked;
    if (borrowed) reader_ = Reader::kBorrowed;
    if (wake) Wake();
  }
  pushed_on_.store(sched_getcpu(), std::memory_order_relaxed);
  pushed_.store(true, std::memory_order_release);
  if (wake) Rouse();
  if (borrowed) borrows_.fetch_add(1, std::memory_order_relaxed);
  return borrowed;
}

bool Mailbox::GiveBack(bool wake) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (unread_ > 0 && !wake && !stopped_.load(std::memory_order_relaxed)) return false;
    if (wake) {
      Wake();
    } else {
      reader_ = Reader::kParked;
    }
  }
  if (wake) Rouse();
  return true;
}

void Mailbox::Drain(std::vector<Message>* messages) {
  // Before the lock: what is pushed behind this is seen by the next look, or taken now already.
  pushed_.exchange(false, std::memory_order_acq_rel);
  std::lock_guard<std::mutex> lock(mutex_);
  for (; unread_ > 0; --unread_) {
    messages->push_back(ring_[head_]);
    if (++head_ == ring_.size()) head_ = 0;
  }
}

bool Mailbox::LookFor(Patience* patience, int64_t* begin) {
  const bool shared = pushed_on_.load(std::memory_order_relaxed) == sched_getcpu();
  const int looks_per_turn = shared ? kLooksOfASharedCore : kLooks;
  int64_t waited = 0;
  for (int looks = 1; waited < patience->ns(cores_->Suffice()); ++looks) {
    if (HasMessages() || stopped_.load(std::memory_order_relaxed)) {
      patience->Waited(waited);
      return true;
    }
    if (transport_ != nullptr && transport_->Look()) continue;
    _mm_pause();
    if (looks % looks_per_turn != 0) continue;
    const int64_t now = NowNs();
    if (*begin == 0) *begin = now;
    waited = now - *begin;
    // Whoever it waits for may be short of this core.
    sched_yield();
  }
  return false;
}

void Mailbox::Wait(int threads, Patience* patience, bool stands_in) {
  if (HasMessages() || stopped_.load(std::memory_order_relaxed)) return;
  waits_.fetch_add(1, std::memory_order_relaxed);
  if (threads > 1) cores_->GiveBack(threads - 1);
  int64_t begin = 0;
  // One that does not look has no need that peers take it for one that does.
  const bool looks = patience->ns(cores_->Suffice()) > 0;
  if (looks && transport_ != nullptr) transport_->BeginLooking();
  const bool found = looks && LookFor(patience, &begin);
  if (looks && transport_ != nullptr) transport_->EndLooking();
  if (found) {
    if (threads > 1) cores_->Hold(threads - 1);
    return;
  }
  if (begin == 0) begin = NowNs();
  stands_in &= transport_ != nullptr;
  std::unique_lock<std::mutex> lock(mutex_);
  if (unread_ > 0 || stopped_.load(std::memory_order_relaxed)) {
    cores_->Hold(threads - 1);
  } else {
    cores_->GiveBack(1);
    threads_ = threads;
    reader_ = Reader::kParked;
    parks_.fetch_add(1, std::memory_order_relaxed);
    const auto is_over = [this] {
      return reader_ == Reader::kAwake || stopped_.load(std::memory_order_relaxed);
    };
    if (stands_in) {
      stands_in_.store(true);
      lock.unlock();
      // What comes is handled by this thread, and what that leaves to it is found here without a call.
      (void)transport_->StandIn([&] {
        std::lock_guard<std::mutex> again(mutex_);
        return is_over();
      });
      lock.lock();
      stands_in_.store(false);
    }
    not_empty_.wait(lock, is_over);
    // Whoever woke it holds them already, but Stop does not.
    if (reader_ != Reader::kAwake) cores_->Hold(threads);
  }
  lock.unlock();
  patience->Waited(NowNs() - begin);
}

void Mailbox::Stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopped_.store(true, std::memory_order_relaxed);
  }
  not_empty_.notify_all();
  if (stands_in_.load()) transport_->Rouse();
}

}  // namespace oneflow
