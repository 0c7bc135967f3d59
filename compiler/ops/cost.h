// Cost functions: floating-point operations and bytes moved by one node on local shapes, as a
// kernel that reads each input once and writes each output once has them. Integers, so that plans
// are reproducible.
//
// Pure functions; threads: any. Read next: compiler/parallel/.
#ifndef ONEFLOW_COMPILER_OPS_COST_H_
#define ONEFLOW_COMPILER_OPS_COST_H_

#include <algorithm>
#include <cstdint>

#include "compiler/ops/op_def.h"

namespace oneflow {

// Bytes of all inputs and outputs.
inline int64_t BytesOf(const OpContext& op) {
  int64_t bytes = 0;
  for (const TensorType& type : op.inputs) bytes += type.bytes();
  for (const TensorType& type : op.outputs) bytes += type.bytes();
  return bytes;
}

// `flops` per element of the largest operand, every operand moved once.
inline CostFn FlopsPerElement(int64_t flops) {
  return [flops](const OpContext& op) {
    int64_t elements = 0;
    for (const TensorType& type : op.inputs) elements = std::max(elements, NumElements(type.shape));
    for (const TensorType& type : op.outputs) {
      elements = std::max(elements, NumElements(type.shape));
    }
    return OpCost{flops * elements, BytesOf(op)};
  };
}

// Of an element: gelu_tanh, alone or behind a product; the gradient of any activation.
inline constexpr int64_t kGeluTanhFlops = 20, kActivationGradFlops = 2;

// No work: a view or a node that has no kernel.
inline CostFn NoCost() {
  return [](const OpContext&) { return OpCost{}; };
}

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_OPS_COST_H_
