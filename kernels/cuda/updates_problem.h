// CudaSgd, CudaAdamW: updates of parameters as plain data that crosses to the library for CUDA.
//
// Values. Threads: any. Read next: kernels/cuda/updates.cu, kernels/cuda/math_kernels.cc.
#ifndef ONEFLOW_KERNELS_CUDA_UPDATES_PROBLEM_H_
#define ONEFLOW_KERNELS_CUDA_UPDATES_PROBLEM_H_

#include <cstdint>

#include "kernels/cuda/cuda_api.h"

namespace oneflow::kernels {

struct CudaSgd {
  int64_t n;
  float momentum, weight_decay, keep;  // keep = 1 - dampening
  bool nesterov, has_momentum;
  int32_t g_dtype;  // of the gradient
  CudaGate gate;
};

struct CudaAdamW {
  int64_t n;
  double beta1, beta2, eps, weight_decay;
  int32_t g_dtype;
  CudaGate gate;
};

// Several parameters: operands as of the op `adamw_updates`; `rates` says all but n and g_dtype.
struct CudaAdamWs {
  CudaAdamW rates;
  int32_t count;
  const int64_t* n;        // of each, read before the launcher returns
  const int32_t* g_dtype;  // of each
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_UPDATES_PROBLEM_H_
