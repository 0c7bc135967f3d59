// HoistBatch: computes values that depend on the batch alone (the number of unmasked tokens) before
// the loop over micro-batches, from the whole batch.
//
//   %s = sum(%loss * %mask)  : P on micro          in the loop, summed over it
//   %n = sum(%mask)          : needed in the loop, for the gradient of %s / %n
//   becomes
//   %m = input {name="mask", kind="whole"} ; %n' = sum(%m)       once, before the loop
//   and whoever read %n reads %n'
//
// A value can be hoisted if no state stands behind it: the batch is there when the step begins. Pure;
// edits the graph of one Decide. Threads: any. Read next: compiler/parallel/micro_search.h.
#ifndef ONEFLOW_COMPILER_PARALLEL_HOIST_BATCH_H_
#define ONEFLOW_COMPILER_PARALLEL_HOIST_BATCH_H_

#include <vector>

#include "compiler/graph/graph.h"

namespace oneflow {

// Hoists those of `values` that depend on the batch alone; false if none does. Nodes that nobody
// reads any more are removed. REQUIRES: stages are assigned.
bool HoistBatchValues(Graph* graph, const std::vector<ValueId>& values);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PARALLEL_HOIST_BATCH_H_
