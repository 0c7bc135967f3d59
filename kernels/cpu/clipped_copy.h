// CopyClipped: a run of elements of a line, with zeros for those before its begin and behind its end.
//
// A function. Threads: any. Read next: kernels/cpu/bf16_convolution.h.
#ifndef ONEFLOW_KERNELS_CPU_CLIPPED_COPY_H_
#define ONEFLOW_KERNELS_CPU_CLIPPED_COPY_H_

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace oneflow::kernels {

// to[0, count) = line[at, at + count), where the line is [0, extent).
inline void CopyClipped(const uint16_t* line, int64_t extent, int64_t at, int64_t count,
                        uint16_t* to) {
  if (at >= 0 && at + count <= extent) {
    std::memcpy(to, line + at, 2 * count);
    return;
  }
  const int64_t begin = std::clamp<int64_t>(-at, 0, count);
  const int64_t end = std::clamp<int64_t>(extent - at, begin, count);
  std::memset(to, 0, 2 * begin);
  if (begin < end) std::memcpy(to + begin, line + at + begin, 2 * (end - begin));
  std::memset(to + end, 0, 2 * (count - end));
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_CLIPPED_COPY_H_
