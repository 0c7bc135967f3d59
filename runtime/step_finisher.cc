#include "runtime/step_finisher.h"

#include "base/check.h"

namespace oneflow {

void StepFinisher::Push(PlanRun* run, int64_t step) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    OF_CHECK(count_ < entries_.size()) << "more steps in flight than may be";
    entries_[(first_ + count_++) % entries_.size()] = {run, step};
    if (!thread_.joinable()) thread_ = std::thread([this] { Loop(); });
  }
  changed_.notify_all();
}

void StepFinisher::Stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void StepFinisher::Loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || count_ > 0; });
    if (count_ == 0) return;
    const Entry entry = entries_[first_];
    // Its place is free before the next step may be launched, which finish_ tells.
    first_ = (first_ + 1) % entries_.size();
    --count_;
    lock.unlock();
    finish_(entry.run, entry.step);
    lock.lock();
  }
}

}  // namespace oneflow
