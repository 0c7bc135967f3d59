#include "runtime/io/copy_team.h"

#include <algorithm>
#include <cstring>

namespace oneflow {

CopyTeam::~CopyTeam() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    ends_ = true;
  }
  begun_.notify_all();
  for (std::thread& thread : team_) thread.join();
}

void CopyTeam::Copy(std::byte* to, const std::byte* from, int64_t bytes) {
  const int shares = static_cast<int>(std::clamp<int64_t>(bytes / kLeastShare, 1, threads_));
  const Job job = {to, from, bytes, shares};
  if (shares > 1) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      job_ = job;
      left_ = shares - 1;
      ++number_;
    }
    begun_.notify_all();
    // Behind the job: a thread that starts now finds it.
    while (static_cast<int>(team_.size()) < threads_ - 1) {
      team_.emplace_back(&CopyTeam::Work, this, static_cast<int>(team_.size()) + 1);
    }
  }
  CopyShare(job, 0);
  if (shares == 1) return;
  std::unique_lock<std::mutex> lock(mutex_);
  done_.wait(lock, [this] { return left_ == 0; });
}

void CopyTeam::Work(int share) {
  int64_t seen = 0;
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    begun_.wait(lock, [&] { return ends_ || number_ != seen; });
    if (ends_) return;
    seen = number_;
    // A copy ends when all its shares are there, so this one is still what its number says.
    if (share >= job_.shares) continue;
    const Job job = job_;
    lock.unlock();
    CopyShare(job, share);
    lock.lock();
    if (--left_ == 0) done_.notify_one();
  }
}

void CopyTeam::CopyShare(const Job& job, int share) {
  const int64_t begin = job.bytes * share / job.shares;
  const int64_t end = job.bytes * (share + 1) / job.shares;
  if (end > begin) std::memcpy(job.to + begin, job.from + begin, static_cast<size_t>(end - begin));
}

}  // namespace oneflow
