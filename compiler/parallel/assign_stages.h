// AssignStages: gives every node a stage (its coordinate on `pp`).
//
//   with flow.stage(0): h = a(x)      %3 = matmul(%0, %1) @0        %7 = matmul(%6, %2) {d %3} @0
//   with flow.stage(1): y = b(h)      %5 = matmul(%3, %4) @1   ->   %6 = matmul(%d, %4) {d %5} @1
//
// Forward nodes keep what flow.stage asked; those without follow their inputs. If nothing was
// asked, the forward nodes are cut into contiguous ranges that balance predicted time, where few
// bytes cross. Gradient nodes go with the node that they differentiate, states with their first
// forward use, updates with their state. Feeding is cheap, so `input` and `constant` nodes are
// copied to each stage that reads them; a state read on another stage is moved (insert_reshard).
// Without a `pp` axis all is stage 0.
//
// Pure, equal on all ranks. Threads: any. Invariant afterwards: stages never decrease along forward
// edges. Read next: compiler/parallel/layout_search.h.
#ifndef ONEFLOW_COMPILER_PARALLEL_ASSIGN_STAGES_H_
#define ONEFLOW_COMPILER_PARALLEL_ASSIGN_STAGES_H_

#include "absl/status/status.h"
#include "compiler/graph/graph.h"
#include "compiler/parallel/cost_model.h"

namespace oneflow {

// Fills Node::stage of every live node. ShardingError with the user's line: a stage that the mesh
// lacks, a value that would flow backwards.
absl::Status AssignStages(Graph* graph, int stages, const CostModel& cost);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PARALLEL_ASSIGN_STAGES_H_
