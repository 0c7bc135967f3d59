// WholeOperand, AttentionSpec: specs that no plan has, for programs and tests that make them by hand.
//
// Functions. Threads: any. Read next: kernels/kernel.h.
#ifndef ONEFLOW_KERNELS_CUDA_SPECS_BY_HAND_H_
#define ONEFLOW_KERNELS_CUDA_SPECS_BY_HAND_H_

#include <string>

#include "kernels/kernel.h"

namespace oneflow::kernels {

// A tensor that one device has as a whole.
inline Operand WholeOperand(DType dtype, const Shape& shape) {
  Operand operand;
  operand.dtype = dtype;
  operand.shape = operand.logical_shape = shape;
  operand.begin = Shape(shape.size(), 0);
  return operand;
}

struct AttentionSizes {
  int64_t batch = 4, queries = 64, keys = 192, heads = 2, key_heads = 2, width = 16;
  bool causal = true;
  DType dtype = DType::kBF16;
};
// `op`: attention or attention_grad; without a mask or dropout.
inline KernelSpec AttentionSpec(const std::string& op, const AttentionSizes& s) {
  const Operand q = WholeOperand(s.dtype, {s.batch, s.queries, s.heads, s.width});
  const Operand k = WholeOperand(s.dtype, {s.batch, s.keys, s.key_heads, s.width});
  const Operand lse = WholeOperand(DType::kF32, {s.batch, s.heads, s.queries});
  KernelSpec spec;
  spec.op = op;
  spec.attrs = {{"causal", s.causal}, {"scale", 0.25}, {"p", 0.0}};
  spec.inputs = {q, k, k};
  spec.outputs = {q, lse};
  if (op == "attention_grad") {
    spec.inputs.insert(spec.inputs.end(), {q, lse, q});
    spec.outputs = {q, k, k};
  }
  return spec;
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_SPECS_BY_HAND_H_
