// CudaAlgorithms: what cuBLASLt offers for a product, cuDNN for a convolution, or software CUDA for either, by name.
//
// Plain data that crosses the seam (kernels/cuda/cuda_api.h). Owner: the caller. Threads: one. Invariant: names end within their
// places. Read next: kernels/cuda/product_algorithms.h,
// kernels/cuda/convolution_algorithms.h.
#ifndef ONEFLOW_KERNELS_CUDA_OFFERED_ALGORITHMS_H_
#define ONEFLOW_KERNELS_CUDA_OFFERED_ALGORITHMS_H_

#include <cstdint>

namespace oneflow::kernels {

// What a problem may be done by, by names that stand for the same in every process with the same `place` (kind of
// GPU, version of the library). The first is what its plan has when it is made. Each sums as the first does, with
// the same bits in every run.
inline constexpr int kMostAlgorithms = 8;
struct CudaAlgorithms {
  char place[384];
  int32_t count;
  char names[kMostAlgorithms][192];
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_OFFERED_ALGORITHMS_H_
