// ConvolutionOf: the problem of a convolution, of one of its gradients, or of one with sums beside it, from its spec.
//
// A function. Threads: any. Read next: kernels/cuda/image_kernels.cc, kernels/cuda/cuda_api.h.
#ifndef ONEFLOW_KERNELS_CUDA_CONVOLUTION_PROBLEM_H_
#define ONEFLOW_KERNELS_CUDA_CONVOLUTION_PROBLEM_H_

#include "kernels/cuda/cuda_api.h"
#include "kernels/kernel.h"

namespace oneflow::kernels {

// REQUIRES: a spec that its row has checked.
CudaConvolution ConvolutionOf(const KernelSpec& spec);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_CONVOLUTION_PROBLEM_H_
