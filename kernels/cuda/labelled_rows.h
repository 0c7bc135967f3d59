// CudaLabelled: rows of scores with a label each, as cross_entropy and its gradient take them.
//
// A value: standard layout, no pointers; crosses to the library. Threads: any. Invariant: 0 < classes <= stride,
// or no rows. Read next: kernels/cuda/cross_entropy.cu, kernels/cuda/math_kernels.cc.
#ifndef ONEFLOW_KERNELS_CUDA_LABELLED_ROWS_H_
#define ONEFLOW_KERNELS_CUDA_LABELLED_ROWS_H_

#include <cstdint>

namespace oneflow::kernels {

struct CudaLabelled {
  int64_t rows, stride;  // elements from a row to the next
  int64_t classes;       // of a row, the first so many
  bool wide;             // labels are i64, else i32
  bool has_dlse;         // the gradient's fifth operand
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_LABELLED_ROWS_H_
