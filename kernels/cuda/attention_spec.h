// AttentionOf: the problem of an attention or of its gradient from its spec, with the workspace that its kernel gets.
//
// A function. Threads: any. Read next: kernels/cuda/attention_kernels.cc, kernels/cuda/attention_space.h.
#ifndef ONEFLOW_KERNELS_CUDA_ATTENTION_SPEC_H_
#define ONEFLOW_KERNELS_CUDA_ATTENTION_SPEC_H_

#include "kernels/cuda/attention_problem.h"
#include "kernels/kernel.h"

namespace oneflow::kernels {

// Of the first micro-batch. REQUIRES: a spec that its row has checked.
CudaAttention AttentionOf(const KernelSpec& spec);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_ATTENTION_SPEC_H_
