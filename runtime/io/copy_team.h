// CopyTeam: copies large stretches of the host's memory with several threads, because one core moves less than a
// GPU's link does.
//
// Owned by who copies. Threads: Copy from one thread at a time; the team's own wait asleep between two copies and
// start with the first large one. Invariant: all bytes are there when Copy returns. Read next:
// runtime/devices/cuda/cuda_step.cc.
#ifndef ONEFLOW_RUNTIME_IO_COPY_TEAM_H_
#define ONEFLOW_RUNTIME_IO_COPY_TEAM_H_

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace oneflow {

class CopyTeam {
 public:
  // `threads`: the caller's among them, at least 1.
  explicit CopyTeam(int threads) : threads_(threads) {}
  CopyTeam(const CopyTeam&) = delete;
  CopyTeam& operator=(const CopyTeam&) = delete;
  ~CopyTeam();

  // Shares of at least kLeastShare each; less is the caller's alone.
  void Copy(std::byte* to, const std::byte* from, int64_t bytes);

  static constexpr int64_t kLeastShare = int64_t{2} << 20;

 private:
  struct Job {
    std::byte* to = nullptr;
    const std::byte* from = nullptr;
    int64_t bytes = 0;
    int shares = 0;
  };

  void Work(int share);
  static void CopyShare(const Job& job, int share);

  const int threads_;
  std::mutex mutex_;
  std::condition_variable begun_;
  std::condition_variable done_;
  Job job_;             // under mutex_, as all below
  int64_t number_ = 0;  // of the job
  int left_ = 0;        // shares of others that are not copied
  bool ends_ = false;
  std::vector<std::thread> team_;  // the caller's
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_IO_COPY_TEAM_H_
