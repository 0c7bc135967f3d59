// DeferFactors: moves a factor of the whole loss from the gradients of each micro-batch to their
// sums.
//
//   %s = sum(%each)                        : P on micro; the loss is log(%s)
//   %g = div(%1, %s)                       : known after the loop over micro-batches
//   %b = broadcast_to(%g)                  : but needed in it
//   %w' = sgd_update(%w, matmul(%x, %b))
//   becomes
//   %one = constant 1 ; %b = broadcast_to(%one)
//   %w' = sgd_update(%w, mul(matmul(%x, %b), %g))
//
// The gradient of f(s) is f'(s) times that of s: what is linear in a number can be computed with 1 in
// its place and multiplied later. Which ops are linear in which inputs is what their sharding rules
// say of partial sums. A value that two such factors reach on different ways has no factor of its
// own, and neither has one that something else is added to; their program stays refused.
//
// Pure; edits the graph of one Decide. Threads: any. Read next: compiler/parallel/hoist_batch.h.
#ifndef ONEFLOW_COMPILER_PARALLEL_DEFER_FACTORS_H_
#define ONEFLOW_COMPILER_PARALLEL_DEFER_FACTORS_H_

#include <optional>

#include "compiler/graph/graph.h"
#include "compiler/parallel/bound_graph.h"
#include "compiler/parallel/micro_search.h"

namespace oneflow {

// The single number behind what `early.node` needs before the last micro-batch; nullopt if it is no
// number, or if what lies between is not linear in it.
std::optional<ValueId> FindLateFactor(const BoundGraph& bound, const NeededEarly& early);

// Computes all that is linear in `factor` with 1, and multiplies where it is used otherwise or by
// updates. REQUIRES: stages are assigned; `bound` is of this graph.
void DeferFactor(Graph* graph, const BoundGraph& bound, ValueId factor);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PARALLEL_DEFER_FACTORS_H_
