// SoftGpus: how many GPUs software CUDA has, which one each thread is with, and who reaches whose memory.
//
// Test code only; one set for the process. Threads: any. Invariant: memory, streams and events belong to the
// GPU that their thread was with when they were made. Read next: kernels/cuda/soft_memory_for_test.h.
#ifndef ONEFLOW_KERNELS_CUDA_SOFT_GPUS_FOR_TEST_H_
#define ONEFLOW_KERNELS_CUDA_SOFT_GPUS_FOR_TEST_H_

#include <atomic>
#include <mutex>
#include <set>
#include <utility>

#include "kernels/cuda/soft_errors_for_test.h"

namespace oneflow::kernels {

class SoftGpus {
 public:
  static SoftGpus& Of() {
    static SoftGpus* gpus = new SoftGpus;  // streams may outlive static objects
    return *gpus;
  }
  // REQUIRES: nothing runs. `reach`: peers can be let into each other's memory.
  void Set(int count, bool reach) {
    std::lock_guard<std::mutex> lock(mutex_);
    count_ = count;
    reach_ = reach;
    peers_.clear();
  }
  int count() const { return count_; }
  // Of the calling thread.
  static int& Current() {
    static thread_local int current = 0;
    return current;
  }
  CudaError SetCurrent(int gpu) {
    if (gpu < 0 || gpu >= count_) return kSoftNoDevice;
    Current() = gpu;
    return 0;
  }
  CudaError EnablePeer(int gpu, int peer, bool* direct) {
    *direct = false;
    if (peer < 0 || peer >= count_ || gpu == peer) return kSoftNoDevice;
    if (const CudaError error = SetCurrent(gpu); error != 0) return error;
    std::lock_guard<std::mutex> lock(mutex_);
    if (reach_) peers_.insert({gpu, peer});
    *direct = reach_;
    return 0;
  }
  // True if what runs on `gpu` may touch memory of `owner`.
  bool Reaches(int gpu, int owner) {
    if (gpu == owner) return true;
    std::lock_guard<std::mutex> lock(mutex_);
    return peers_.contains({gpu, owner});
  }

 private:
  std::mutex mutex_;
  std::atomic<int> count_{1};
  bool reach_ = false;
  std::set<std::pair<int, int>> peers_;
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_SOFT_GPUS_FOR_TEST_H_
