// InsertReshard: makes every layout change a node.
//
//   %3 = matmul(%1, %2) : P on dp           %3 = matmul(%1, %2)        : (P)
//   %4 = relu(%3)                     ->    %5 = reshard(%3) {change="P->B on dp"} : (B)
//                                           %4 = relu(%5)              : (B)
// Runs after Decide: only then is it known where layouts differ. One reshard per (value, sharding), shared by
// all consumers. A multi-axis change becomes a chain of one-axis steps, the cheapest sequence by search over
// the lattice of shardings; what one-axis steps cannot do (other stage) is one general exchange.
#ifndef ONEFLOW_COMPILER_PASSES_INSERT_RESHARD_H_
#define ONEFLOW_COMPILER_PASSES_INSERT_RESHARD_H_

#include "absl/status/status.h"
#include "compiler/graph/graph.h"
#include "compiler/parallel/decide.h"

namespace oneflow {

// Adds `reshard` nodes (op "reshard": attr `axis`: layout axis index or -1 for a general exchange, attr
// `change`) whose output Value::sharding is the new layout; grows decisions->nodes for them. Every output of
// the graph becomes B on all stages' devices when world_size > 1, so that each rank can fetch it.
absl::Status InsertReshard(Graph* graph, Decisions* decisions, int world_size,
                           const plan::Target& target);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PASSES_INSERT_RESHARD_H_
