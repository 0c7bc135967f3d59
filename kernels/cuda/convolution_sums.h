// ChannelPivots and PivotedSums: what a library's convolution needs around it to make statistics that a mean does not
// hide: a number of each channel before it, about which it sums, and the statistics of the sums behind it.
//
//   pivot   = one pixel of the result, computed by itself                                -> [k]
//   raw     = sum(y - pivot), sum((y - pivot)^2), by the library, in f32                 -> [k], [k]
//   sums    = raw sums + rows * pivot
//   squares = raw squares - (raw sums)^2 / rows, about the mean
//
// The pixel is one of the numbers, so that what cancels is a few bits of f32 at worst, as in bn_sample_sums
// (docs/decisions/0022-statistics-in-one-pass.md): any number would be right, a distant one less exact.
//
// Functions that enqueue one kernel. Threads: kernels of one stream from one thread at a time. Read next:
// kernels/cuda/cudnn_convolution.h.
#ifndef ONEFLOW_KERNELS_CUDA_CONVOLUTION_SUMS_H_
#define ONEFLOW_KERNELS_CUDA_CONVOLUTION_SUMS_H_

#include "kernels/cuda/cuda_api.h"

namespace oneflow::kernels {

// Of the result's middle pixel of the first image; filters as [k, c, r, s]. 16-bit floats.
// REQUIRES: p.n, p.p, p.q > 0.
CudaError ChannelPivots(const CudaConvolution& p, const void* x, const void* filters, float* pivots,
                        CudaStreamHandle stream);
CudaError PivotedSums(const CudaConvolution& p, const float* pivots, const float* raw_sums,
                      const float* raw_squares, float* sums, float* squares,
                      CudaStreamHandle stream);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_CONVOLUTION_SUMS_H_
