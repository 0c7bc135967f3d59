// The clock that waits, traces and reports go by: nanoseconds of the steady clock.
//
// A function. Threads: any. Read next: runtime/trace.h.
#ifndef ONEFLOW_RUNTIME_CLOCK_H_
#define ONEFLOW_RUNTIME_CLOCK_H_

#include <chrono>
#include <cstdint>

namespace oneflow {

inline int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_CLOCK_H_
