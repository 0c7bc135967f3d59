// SearchMicro: how every node runs over the micro-batches, the axis in time.
//
// accumulate=4:
//   %x = input{batch}      : S(0)   each micro-batch has a quarter of the samples
//   %h = matmul(%x, %w)    : S(0)   once per micro-batch
//   %g = matmul(%x^T, %d)  : P      the sum over the micro-batches is the value
//   %m = mul_scalar(%g)    : B      needs the sum: once per step, after the last micro-batch
//
// The loop over micro-batches is entered once, so a node is before it, in it, or after it, and
// nothing in the loop may read what is known only after it. The pieces of all micro-batches come
// together (S -> B) only in outputs and in new values of states (running statistics). One forward
// sweep decides: a node stays in the loop while one of its signatures lets it; where only sums arrive (gradients) the cheaper
// of summing first and summing later is taken. A second sweep, backwards, moves nodes that were
// before the loop into it where all readers want their result in pieces anyway (the gradient of a
// mean, broadcast to all samples).
//
// Runs before the mesh axes are searched: its choices are constraints there. Pure. Threads: any.
// Read next: compiler/parallel/layout_search.h.
#ifndef ONEFLOW_COMPILER_PARALLEL_MICRO_SEARCH_H_
#define ONEFLOW_COMPILER_PARALLEL_MICRO_SEARCH_H_

#include <vector>

#include "absl/status/statusor.h"
#include "compiler/parallel/bound_graph.h"
#include "compiler/parallel/cost_model.h"

namespace oneflow {

// Why a search failed: what a node of the loop needs before it is known.
struct NeededEarly {
  NodeId node = -1;           // the node
  std::vector<ValueId> sums;  // the sums over the batch behind it (hoist_batch.h may save some)
  std::vector<bool> late;     // by ValueId: known only after the last micro-batch
};

// By NodeId: index into rule->signatures() on the axis `micro` (0 where a node has no rule).
// ShardingError with the user's line where a micro-batch needs what is known only after the last
// one; `early` then says what.
absl::StatusOr<std::vector<int>> SearchMicro(const BoundGraph& bound, const CostModel& cost,
                                             NeededEarly* early = nullptr);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PARALLEL_MICRO_SEARCH_H_
