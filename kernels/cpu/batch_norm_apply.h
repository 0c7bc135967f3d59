// ApplyLoop: batch norm of rows of c channels whose statistics are known: y = (x - mean) * scale + bias, computed in
// f32 (f64 for f64); scale is rstd * weight. By itself (batch_norm.cc) and in chains (fused.cc).
//
// Functions. Threads: any. Read next: kernels/cpu/batch_norm.cc.
#ifndef ONEFLOW_KERNELS_CPU_BATCH_NORM_APPLY_H_
#define ONEFLOW_KERNELS_CPU_BATCH_NORM_APPLY_H_

#include <cstdint>

#include "kernels/cpu/simd.h"
#include "kernels/scalar/types.h"

namespace oneflow::kernels {

template <typename T>
struct ApplyLoop {
  using C = Compute<T>;
  OF_LOOP static void Run(const T* x, T* y, const C* mean, const C* scale, const C* bias,
                          int64_t rows, int64_t c) {
    for (int64_t row = 0; row < rows; ++row, x += c, y += c) {
#pragma omp simd
      for (int64_t j = 0; j < c; ++j) {
        Store((static_cast<C>(x[j]) - mean[j]) * scale[j] + bias[j], y + j);
      }
    }
  }
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_BATCH_NORM_APPLY_H_
