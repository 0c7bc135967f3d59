// SamplesOf: the problem of bn_sample_sums, and its workspace; what makes the sums beside a convolution asks too.
//
// Functions. Threads: any. Read next: kernels/cuda/norm_kernels.cc, kernels/cuda/image_kernels.cc.
#ifndef ONEFLOW_KERNELS_CUDA_SAMPLE_SUMS_H_
#define ONEFLOW_KERNELS_CUDA_SAMPLE_SUMS_H_

#include <cstdint>

#include "kernels/cuda/cuda_api.h"
#include "kernels/cuda/shares.h"
#include "kernels/kernel.h"

namespace oneflow::kernels {

// REQUIRES: a spec that its row has checked.
inline CudaBatchNorm SamplesOf(const KernelSpec& spec) {
  const Shape& shape = spec.inputs.at(0).shape;
  CudaBatchNorm problem = {};
  problem.samples = shape.front();
  problem.c = shape.back();
  problem.end = 1;
  for (size_t d = 1; d + 1 < shape.size(); ++d) problem.end *= shape[d];
  problem.splits =
      SharesOfRows(problem.samples, problem.end, problem.c * SizeOf(spec.inputs[0].dtype));
  return problem;
}
inline int64_t SampleSumsWorkspace(const CudaBatchNorm& p) {
  return p.splits == 1 ? 0 : p.splits * p.samples * 2 * p.c * 8;
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_SAMPLE_SUMS_H_
