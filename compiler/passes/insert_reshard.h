// InsertReshard: makes every layout change a node.
//
//   %3 = matmul(%1, %2) : P on dp           %3 = matmul(%1, %2)                           : (P)
//   %4 = relu(%3)                     ->    %5 = reshard(%3) {axis=1, change="P->B on dp"} : (B)
//                                           %4 = relu(%5)                                 : (B)
// Runs after Decide: only then is it known where layouts differ. One reshard per (value, sharding),
// shared by all consumers. A multi-axis change becomes a chain of one-axis steps, the cheapest
// sequence by search (compiler/parallel/reshard_path.h lists the steps that exist); what one-axis
// steps cannot do (another stage, other units, an outer axis of a nested split) is one general
// exchange, axis -1.
//
// Where: a chain that moves bytes stands right behind the producer, so that it overlaps with what
// follows; one that only slices, that starts at a leaf, or that brings a forward value to gradient
// nodes stands before its first reader, so that its bytes live shortly.
#ifndef ONEFLOW_COMPILER_PASSES_INSERT_RESHARD_H_
#define ONEFLOW_COMPILER_PASSES_INSERT_RESHARD_H_

#include "absl/status/status.h"
#include "compiler/graph/graph.h"
#include "compiler/parallel/decide.h"

namespace oneflow {

// Adds `reshard` nodes (op "reshard": attr `axis`: layout axis index or -1 for a general exchange,
// attr `change`) whose output Value::sharding is the new layout; grows decisions->nodes for them;
// removes the pins of flow.shard. With world_size > 1 every output of the graph also becomes B on
// the stages whose ranks do not hold it: one `output` node per such stage, with the same name and
// Node::stage telling the stage.
absl::Status InsertReshard(Graph* graph, Decisions* decisions, int world_size,
                           const plan::Target& target);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PASSES_INSERT_RESHARD_H_
