// OrderStreams: writes every stream as the loops of one step.
//
//   stage 0 of 2, 4 micro-batches:
//     t1 ; micro 0..1 { F }  micro 1..4 { F  B[-1] }  micro 3..4 { B } ; t9
//
// Within a phase tasks stand in stamp order; consecutive CHUNK tasks of one node share a chunk
// loop, so that their firings interleave (send 0, reduce 0, send 1, ..). Runs after EmitNodes,
// before credits and memory: both take this order as given. Pure; edits the draft of one call.
// Read next: credits.h.
#ifndef ONEFLOW_COMPILER_LOWER_STREAMS_H_
#define ONEFLOW_COMPILER_LOWER_STREAMS_H_

#include "compiler/lower/draft.h"

namespace oneflow {

void OrderStreams(Draft* draft);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_LOWER_STREAMS_H_
