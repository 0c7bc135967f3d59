// RemoveDead: removes nodes whose results nobody uses.
//
//   %2 = relu(%1)                        %2 = relu(%1)
//   %3 = exp(%2)                   ->    output(%2) {name="y"}
//   output(%2) {name="y"}
// The roots are `output` and `state_write`; an `input` or `state_read` that nothing reads goes as
// well, so a plan asks only for the data that it uses. Runs after the rewrites, which leave such
// nodes behind, and before Decide, which would find layouts for them.
#ifndef ONEFLOW_COMPILER_PASSES_REMOVE_DEAD_H_
#define ONEFLOW_COMPILER_PASSES_REMOVE_DEAD_H_

#include "compiler/graph/graph.h"

namespace oneflow {

void RemoveDead(Graph* graph);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PASSES_REMOVE_DEAD_H_
