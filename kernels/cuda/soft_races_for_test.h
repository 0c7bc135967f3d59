// SoftRaces: what ThreadSanitizer is told of the threads of a block, so that it sees a race between two of them where
// nothing but a barrier of the block or a meeting of the warp would order them: each is a fiber of its own to it, and
// going from one to another orders nothing by itself. Without the sanitizer all of this is empty.
//
// Test code only. Threads: as SoftGrid. Invariants: the scheduler comes before what it begins; a fiber comes before
// others only through OrderBefore and OrderBehind of the same place. The files that switch are compiled without
// instrumentation (kernels/cuda/CMakeLists.txt): their own notes would be races. Read next:
// kernels/cuda/soft_grid_for_test.cc.
#ifndef ONEFLOW_KERNELS_CUDA_SOFT_RACES_FOR_TEST_H_
#define ONEFLOW_KERNELS_CUDA_SOFT_RACES_FOR_TEST_H_

#include <utility>

#ifdef ONEFLOW_WATCH_FIBERS
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

namespace oneflow::kernels {

#ifdef ONEFLOW_WATCH_FIBERS

inline constexpr bool kWatchFibers = true;

// A fiber as the sanitizer knows it, gone with its owner.
class WatchedFiber {
 public:
  WatchedFiber() : fiber_(__tsan_create_fiber(0)) {}
  WatchedFiber(WatchedFiber&& other) noexcept : fiber_(std::exchange(other.fiber_, nullptr)) {}
  WatchedFiber& operator=(WatchedFiber&& other) noexcept {
    std::swap(fiber_, other.fiber_);
    return *this;
  }
  ~WatchedFiber() {
    if (fiber_ != nullptr) __tsan_destroy_fiber(fiber_);
  }
  // Just before its context is entered.
  void Enter() const { __tsan_switch_to_fiber(fiber_, 0); }

 private:
  void* fiber_;
};
inline void* ThisFiber() { return __tsan_get_current_fiber(); }
// Just before the scheduler's context is: it learns nothing by that.
inline void LeaveFiber(void* scheduler) {
  __tsan_switch_to_fiber(scheduler, __tsan_switch_to_fiber_no_sync);
}
// What was done before the one comes before what is done behind the other, at the same place.
inline void OrderBefore(void* place) { __tsan_release(place); }
inline void OrderBehind(void* place) { __tsan_acquire(place); }
// Writes while it lives are nobody's.
struct UnwatchedWrites {
  UnwatchedWrites() { AnnotateIgnoreWritesBegin(__FILE__, __LINE__); }
  ~UnwatchedWrites() { AnnotateIgnoreWritesEnd(__FILE__, __LINE__); }
};

#else

inline constexpr bool kWatchFibers = false;

class WatchedFiber {
 public:
  void Enter() const {}
};
inline void* ThisFiber() { return nullptr; }
inline void LeaveFiber(void*) {}
inline void OrderBefore(void*) {}
inline void OrderBehind(void*) {}
struct UnwatchedWrites {
  UnwatchedWrites() {}
};

#endif

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_SOFT_RACES_FOR_TEST_H_
