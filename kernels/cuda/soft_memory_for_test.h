// SoftMemory: the memory of GPUs without one. Every block lies between guards, and one that was released is
// kept for a while: a write out of bounds or too late is told, once, by a later call, as a GPU tells an
// illegal address. A block belongs to a GPU, or to the host (pinned): work of another GPU that is given a
// place in it is told likewise. A block that grows has addresses that nobody may touch behind what it is; work that is
// given one is told, and would end the process if it went on.
//
// Test code only. Threads: any. Read next: kernels/cuda/soft_cuda_for_test.cc.
#ifndef ONEFLOW_KERNELS_CUDA_SOFT_MEMORY_FOR_TEST_H_
#define ONEFLOW_KERNELS_CUDA_SOFT_MEMORY_FOR_TEST_H_

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <utility>

#include "kernels/cuda/soft_errors_for_test.h"
#include "kernels/cuda/soft_gpus_for_test.h"

namespace oneflow::kernels {

class SoftMemory {
 public:
  static SoftMemory& Of() {
    static SoftMemory* memory = new SoftMemory;  // streams may outlive static objects
    return *memory;
  }

  static constexpr int kHost = -1;  // in the place of a GPU: pinned memory

  // What every GPU has, and how much of it something else holds. REQUIRES: that is no less than is in use.
  void SetSize(const CudaMemory& size) {
    std::lock_guard<std::mutex> lock(mutex_);
    size_ = size;
  }
  // As a driver says it now; free in `size` is what was set.
  CudaMemory SizeOf(int gpu) {
    std::lock_guard<std::mutex> lock(mutex_);
    CudaMemory size = size_;
    size.free -= used_[gpu].now;
    return size;
  }

  // As on a GPU: more than the device has is refused, and memory comes with anything in it.
  CudaError Allocate(void** data, int64_t bytes, int gpu) {
    if (gpu != kHost && bytes > SizeOf(gpu).free) return kSoftOutOfMemory;
    const size_t room = static_cast<size_t>((bytes + kGuard - 1) / kGuard * kGuard);
    char* begin = static_cast<char*>(std::aligned_alloc(kGuard, room + 2 * kGuard));
    if (begin == nullptr) return kSoftOutOfMemory;
    std::memset(begin, kGuardByte, room + 2 * kGuard);
    std::memset(begin + kGuard, kFreshByte, static_cast<size_t>(bytes));
    *data = begin + kGuard;
    std::lock_guard<std::mutex> lock(mutex_);
    live_[*data] = {begin, static_cast<size_t>(bytes), room + 2 * kGuard, gpu, false};
    Use& use = used_[gpu];
    use.now += bytes;
    use.peak = std::max(use.peak, use.now);
    return Take();
  }

  // False: devices have no memory that grows.
  void SetGrowth(bool grows) {
    std::lock_guard<std::mutex> lock(mutex_);
    grows_ = grows;
  }
  CudaError Reserve(void** data, int64_t bytes, int gpu) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!grows_) return kSoftNotSupported;
    const size_t whole = Pages(static_cast<size_t>(bytes));
    void* begin =
        mmap(nullptr, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (begin == MAP_FAILED) return kSoftOutOfMemory;
    *data = begin;
    live_[begin] = {static_cast<char*>(begin), 0, whole, gpu, true};
    return 0;
  }
  // Behind what it holds new pages have anything in them, and the rest of the last is a guard.
  CudaError Grow(void* data, int64_t bytes) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto it = live_.find(data);
    if (it == live_.end() || !it->second.grows) return kSoftInvalid;
    Block& block = it->second;
    const size_t now = static_cast<size_t>(bytes);
    if (Pages(now) > block.whole || now < block.bytes) return kSoftInvalid;
    const int64_t more = bytes - static_cast<int64_t>(block.bytes);
    Use& use = used_[block.gpu];
    if (more > size_.free - use.now) return kSoftOutOfMemory;
    CheckGuard(block);
    if (mprotect(block.begin, Pages(now), PROT_READ | PROT_WRITE) != 0) return kSoftOutOfMemory;
    std::memset(block.begin + block.bytes, kFreshByte, now - block.bytes);
    std::memset(block.begin + now, kGuardByte, Pages(now) - now);
    block.bytes = now;
    use.now += more;
    use.peak = std::max(use.peak, use.now);
    return Take();
  }
  CudaError ReleaseGrown(void* data) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto it = live_.find(data);
    if (it == live_.end() || !it->second.grows) return kSoftInvalid;
    const Block block = it->second;
    live_.erase(it);
    used_[block.gpu].now -= static_cast<int64_t>(block.bytes);
    CheckGuard(block);
    munmap(block.begin, block.whole);
    return Take();
  }
  // How many blocks there are that grow.
  size_t grown() {
    std::lock_guard<std::mutex> lock(mutex_);
    return static_cast<size_t>(std::count_if(live_.begin(), live_.end(),
                                             [](const auto& entry) { return entry.second.grows; }));
  }

  CudaError Release(void* data) {
    if (data == nullptr) return 0;
    std::lock_guard<std::mutex> lock(mutex_);
    const auto it = live_.find(data);
    if (it == live_.end() || it->second.grows) return kSoftInvalid;
    const Block block = it->second;
    live_.erase(it);
    used_[block.gpu].now -= static_cast<int64_t>(block.bytes);
    const char* end = block.begin + kGuard + block.bytes;
    const size_t behind = block.whole - kGuard - block.bytes;
    if (!IsAll(block.begin, kGuardByte, kGuard) || !IsAll(end, kGuardByte, behind)) Note();
    std::memset(block.begin, kReleasedByte, block.whole);
    kept_.push_back(block);
    kept_bytes_ += block.whole;
    while (kept_bytes_ > kKeptBytes) Drop();
    return Take();
  }

  // Whose memory that is; false: no block of ours.
  bool OwnerOf(const void* data, int* gpu) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto it = live_.upper_bound(const_cast<void*>(data));
    if (it == live_.begin()) return false;
    --it;
    const char* begin = static_cast<const char*>(it->first);
    if (static_cast<const char*>(data) >= begin + it->second.bytes) return false;
    *gpu = it->second.gpu;
    return true;
  }
  // `what` on `gpu` will touch `data`: an illegal address if that is memory which it does not reach. Small words
  // are numbers: in a program that is not position-independent the heap begins so low that one, as the 32 MiB of
  // a workspace, can be the address of a block. False: there is no memory, so the work must not be done.
  bool Touch(int gpu, const void* data, const char* what) {
    if (reinterpret_cast<uintptr_t>(data) < kLeastAddress) return true;
    if (IsBehind(data)) {
      std::fprintf(stderr, "software CUDA: %s on GPU %d touches addresses with no memory\n", what,
                   gpu);
      std::lock_guard<std::mutex> lock(mutex_);
      Note();
      return false;
    }
    int owner = kHost;
    if (!OwnerOf(data, &owner) || owner == kHost || SoftGpus::Of().Reaches(gpu, owner)) {
      return true;
    }
    std::fprintf(stderr, "software CUDA: %s on GPU %d touches memory of GPU %d\n", what, gpu,
                 owner);
    std::lock_guard<std::mutex> lock(mutex_);
    Note();
    return true;
  }
  // The most bytes that a GPU held at once since the last ForgetPeaks.
  int64_t PeakOf(int gpu) {
    std::lock_guard<std::mutex> lock(mutex_);
    return used_[gpu].peak;
  }
  void ForgetPeaks() {
    std::lock_guard<std::mutex> lock(mutex_);
    for (auto& [gpu, use] : used_) use.peak = use.now;
  }

  // What was found so far; looks at all that is kept.
  CudaError Check() {
    std::lock_guard<std::mutex> lock(mutex_);
    while (!kept_.empty()) Drop();
    return Take();
  }
  // A later call tells that error.
  void Tell(CudaError error) {
    std::lock_guard<std::mutex> lock(mutex_);
    error_ = error;
  }
  CudaError TellError() {
    std::lock_guard<std::mutex> lock(mutex_);
    return Take();
  }

 private:
  struct Block {
    char* begin;
    size_t bytes, whole;  // asked for; with its guards
    int gpu;
    bool grows;  // `whole` are addresses, of which `bytes` are memory
  };
  struct Use {
    int64_t now = 0, peak = 0;
  };
  static constexpr int64_t kDeviceBytes = int64_t{4} << 30;
  static constexpr uintptr_t kLeastAddress = uintptr_t{1} << 32;
  static constexpr size_t kGuard = 256;
  static constexpr size_t kPage = 4096;
  static constexpr size_t kKeptBytes = 16 << 20;
  static constexpr char kFreshByte = static_cast<char>(0xA5);
  static constexpr char kGuardByte = 0x6B;
  static constexpr char kReleasedByte = 0x5A;

  static bool IsAll(const char* data, char byte, size_t n) {
    return n == 0 || (data[0] == byte && std::memcmp(data, data + 1, n - 1) == 0);
  }
  void Drop() {
    const Block block = kept_.front();
    kept_.pop_front();
    kept_bytes_ -= block.whole;
    if (!IsAll(block.begin, kReleasedByte, block.whole)) Note();
    std::free(block.begin);
  }
  static size_t Pages(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }
  void CheckGuard(const Block& block) {
    if (!IsAll(block.begin + block.bytes, kGuardByte, Pages(block.bytes) - block.bytes)) Note();
  }
  // In the part of a growing block that is no memory yet; its end may be an empty operand's.
  bool IsBehind(const void* data) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto it = live_.upper_bound(const_cast<void*>(data));
    if (it == live_.begin()) return false;
    const Block& block = (--it)->second;
    const char* at = static_cast<const char*>(data);
    return block.grows && at > block.begin + block.bytes && at < block.begin + block.whole;
  }
  void Note() { error_ = kSoftIllegalAddress; }
  CudaError Take() { return std::exchange(error_, 0); }

  std::mutex mutex_;
  CudaMemory size_ = {kDeviceBytes, kDeviceBytes, 0, 0, 0};
  std::map<void*, Block> live_;
  std::map<int, Use> used_;  // by GPU
  std::deque<Block> kept_;   // released, the oldest first
  size_t kept_bytes_ = 0;
  bool grows_ = true;
  CudaError error_ = 0;
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_SOFT_MEMORY_FOR_TEST_H_
