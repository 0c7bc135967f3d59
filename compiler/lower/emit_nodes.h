// EmitNodes: every node of the graph -> tasks and registers on this rank's devices, in graph order.
//
//   %0 = input {name="x"}                 t0 feed            -> r0   stream feed
//   %1 = state_read {name="w"}            no task: consumers read the state
//   %2 = matmul(%0, %1)             ->    t1 matmul r0 w     -> r1   stream compute
//   %3 = reshape(%2)                      no task: a port with its own shape
//   %4 = sgd_update(..)                   t2 sgd_update ..   -> w    writes the state in place
//   output(%2) {name="y"}                 t3 fetch r1                stream fetch
//
// Where kernels may fail (OpDef::may_fail) states are written behind them: `after` edges hold the
// first write of each stream back, and a value made before them is copied into its state at the end.
//
// Runs first of the lowering steps: streams, credits and memory look at what it made. Pure; edits
// the draft of one call. Read next: emit_reshard.h, streams.h.
#ifndef ONEFLOW_COMPILER_LOWER_EMIT_NODES_H_
#define ONEFLOW_COMPILER_LOWER_EMIT_NODES_H_

#include "absl/status/status.h"
#include "compiler/lower/draft.h"

namespace oneflow {

// Errors: a state that is read after the node that writes it (with both lines).
absl::Status EmitNodes(Draft* draft);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_LOWER_EMIT_NODES_H_
