// NarrowUpdates: an optimizer's update reads the gradient that a product in bf16 or f16 gave, and widens it itself.
//
//   %8 = cast(%7) {dtype="f32"}              %7: bf16
//   %9 = adamw_update(%1, %8, ..)    ->      %9 = adamw_update(%1, %7, ..)
//
// Where nobody else reads the wide gradient and nothing moves between the two: sums over devices and micro-batches are
// nodes of their own by now, so those of wide gradients stay as they are. Bits do not change: to widen is exact, and
// kernels do it first. Before FuseElementwise, which would take the cast into the chain above it.
// Pure. Threads: any. Read next: compiler/ops/optimizer.cc, docs/decisions/0023-operands-where-they-lie.md.
#ifndef ONEFLOW_COMPILER_PASSES_NARROW_UPDATES_H_
#define ONEFLOW_COMPILER_PASSES_NARROW_UPDATES_H_

#include "absl/status/status.h"
#include "compiler/graph/graph.h"
#include "compiler/parallel/decide.h"

namespace oneflow {

// Makes the updates anew; grows decisions->nodes for them.
absl::Status NarrowUpdates(Graph* graph, Decisions* decisions);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PASSES_NARROW_UPDATES_H_
