// JoinBiasGrads: on GPUs the gradients of a layer's weight and of its bias, a product and the sum of one of its
// operands, are one node, which reads that operand once.
//
//   %5 = sum(%dy) {dims=[0,1]}                     : bf16[n]
//   %6 = reshape(%dy)                              : bf16[k,n]
//   %7 = matmul(%x, %6) {transpose_a}              ->   %7, %5 = matmul_sums(%x, %6) {transpose_a,of="b"}
//
// Joined are a product of two matrices of 16-bit floats (of others no product makes sums) and a sum, in one stage and
// phase, over all dims but the last of an operand, or of what the operand is another view of, where it lies as
// [k, ..]. Results keep their layouts, which must be what the joined op gives of its operands': partial sums both, or
// none. Where the product's other dim is cut, each device would make all of the sums beside its part of the product:
// no rule says that, so they stay two nodes.
//
// The node stands where the product did, or before the first reader of the sums (which may be the sum over devices)
// if that comes earlier and the other operand is there: the product of the other gradient, between the two, comes
// later then.
//
// After BucketSums, when it is known that nothing moves between them. Pure. Threads: any.
// Read next: compiler/ops/matmul.cc.
#ifndef ONEFLOW_COMPILER_PASSES_JOIN_BIAS_GRADS_H_
#define ONEFLOW_COMPILER_PASSES_JOIN_BIAS_GRADS_H_

#include "absl/status/status.h"
#include "compiler/graph/graph.h"
#include "compiler/parallel/decide.h"

namespace oneflow {

// For targets of GPUs. Grows decisions->nodes for new nodes.
absl::Status JoinBiasGrads(Graph* graph, Decisions* decisions);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PASSES_JOIN_BIAS_GRADS_H_
