// Sums and maxima over a contiguous row, in lanes that vectorise.
//
// Functions, to be called inside a loop of Vectorised (kernels/cpu/simd.h). Threads: any. Invariant:
// the order of additions depends on n alone. Read next: kernels/cpu/softmax.cc.
#ifndef ONEFLOW_KERNELS_CPU_ROW_SUMS_H_
#define ONEFLOW_KERNELS_CPU_ROW_SUMS_H_

#include <cstdint>
#include <limits>

#include "kernels/cpu/simd.h"

namespace oneflow::kernels {

inline constexpr int64_t kRowLanes = 16;

// f(0) + .. + f(n - 1) in kRowLanes partial sums, joined in order.
template <typename C, typename F>
OF_LOOP C LaneSum(int64_t n, const F& f) {
  C lanes[kRowLanes] = {};
  int64_t i = 0;
  for (; i + kRowLanes <= n; i += kRowLanes) {
#pragma omp simd
    for (int64_t l = 0; l < kRowLanes; ++l) lanes[l] += f(i + l);
  }
  for (int64_t l = 0; i + l < n; ++l) lanes[l] += f(i + l);
  C total = 0;
  for (int64_t l = 0; l < kRowLanes; ++l) total += lanes[l];
  return total;
}

// The greatest of f(0) .. f(n - 1), -inf of none; a NaN is passed over.
template <typename C, typename F>
OF_LOOP C LaneMax(int64_t n, const F& f) {
  C lanes[kRowLanes];
  for (int64_t l = 0; l < kRowLanes; ++l) lanes[l] = -std::numeric_limits<C>::infinity();
  int64_t i = 0;
  for (; i + kRowLanes <= n; i += kRowLanes) {
#pragma omp simd
    for (int64_t l = 0; l < kRowLanes; ++l) {
      const C value = f(i + l);
      lanes[l] = value > lanes[l] ? value : lanes[l];
    }
  }
  for (int64_t l = 0; i + l < n; ++l) {
    const C value = f(i + l);
    lanes[l] = value > lanes[l] ? value : lanes[l];
  }
  C most = lanes[0];
  for (int64_t l = 1; l < kRowLanes; ++l) most = lanes[l] > most ? lanes[l] : most;
  return most;
}

template <typename C>
OF_LOOP C RowMax(const C* x, int64_t n) {
  return LaneMax<C>(n, [&](int64_t i) { return x[i]; });
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_ROW_SUMS_H_
