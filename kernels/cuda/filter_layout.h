// FiltersChannelsLast: the filters of a convolution from [k, c, r, s], as the framework has them, into [k, r, s, c], as
// tensor cores read them, and back.
//
// Functions that enqueue one kernel. Threads: kernels of one stream from one thread at a time. Read next:
// kernels/cuda/convolution.cu.
#ifndef ONEFLOW_KERNELS_CUDA_FILTER_LAYOUT_H_
#define ONEFLOW_KERNELS_CUDA_FILTER_LAYOUT_H_

#include "kernels/cuda/cuda_api.h"

namespace oneflow::kernels {

// c is that of one group. Elements of 2 or 4 bytes.
CudaError FiltersChannelsLast(const CudaConvolution& p, const void* from, void* to,
                              CudaStreamHandle stream);
CudaError FiltersChannelsFirst(const CudaConvolution& p, const void* from, void* to,
                               CudaStreamHandle stream);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_FILTER_LAYOUT_H_
