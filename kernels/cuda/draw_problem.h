// DrawOf: the elements of a kernel's first input as what draws by logical indices.
//
// Functions only. Threads: any. Read next: kernels/cuda/math_kernels.cc, kernels/cuda/fused_kernels.cc.
#ifndef ONEFLOW_KERNELS_CUDA_DRAW_PROBLEM_H_
#define ONEFLOW_KERNELS_CUDA_DRAW_PROBLEM_H_

#include "kernels/cpu/dropout_mask.h"
#include "kernels/cuda/definition.h"

namespace oneflow::kernels {

// Where the elements of input 0 stand in the logical tensor, in micro-batch 0.
inline CudaDraw DrawOf(const KernelSpec& spec) {
  const Operand& x = spec.inputs.at(0);
  const Shape logical = StridesOf(x.logical_shape);
  CudaDraw draw = {};
  draw.nest = NestOf(LoopNest<2>(x.shape, {StridesOf(x.shape), logical}));
  for (size_t d = 0; d < x.shape.size(); ++d) draw.base += x.begin[d] * logical[d];
  draw.key = StreamKey(spec.attrs);
  return draw;
}
// Logical indices from a micro-batch to the next.
inline int64_t DrawMicroStride(const KernelSpec& spec) {
  const Operand& x = spec.inputs.at(0);
  return x.shape.empty() ? 0 : x.micro_stride * StridesOf(x.logical_shape).at(x.micro_dim);
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_DRAW_PROBLEM_H_
