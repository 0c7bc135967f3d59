// JoinNormGrads: on GPUs the two gradients of a layer norm, which read the same x and dy, are one node that reads them
// once.
//
//   %5 = layer_norm_grad(%1, %2, %3, %4, %w)
//   %6, %7 = layer_norm_weight_grad(%1, %2, %3, %4)   ->   %5, %6, %7 = layer_norm_grads(%1, %2, %3, %4, %w)
//
// Joined are two of equal operands, in one stage and phase, of which that of x stands first, as autodiff
// makes them. The node stands in its place and each result keeps its layout: sums over rows that lie apart are partial. So x
// and dy are free no later than before, and only the sums, one row each, may be there earlier.
//
// After BucketSums, when it is known that nothing moves between them. Pure. Threads: any.
// Read next: compiler/ops/layer_norm.cc.
#ifndef ONEFLOW_COMPILER_PASSES_JOIN_NORM_GRADS_H_
#define ONEFLOW_COMPILER_PASSES_JOIN_NORM_GRADS_H_

#include "absl/status/status.h"
#include "compiler/graph/graph.h"
#include "compiler/parallel/decide.h"

namespace oneflow {

// For targets of GPUs. Grows decisions->nodes for new nodes.
absl::Status JoinNormGrads(Graph* graph, Decisions* decisions);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PASSES_JOIN_NORM_GRADS_H_
