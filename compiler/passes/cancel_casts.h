// CancelCasts: a float that is widened, viewed and narrowed to the type that it had is a view of the float.
//
//   %2 = cast(%1) {dtype=f32}                  (dead, if nobody else reads them)
//   %3 = reshape(%2) {shape=[40,64]}    ->     %5 = reshape(%1) {shape=[40,64]}
//   %4 = cast(%3) {dtype=bf16}                 readers of %4 read %5
//
// What a widening operand of a mixed step leaves before a product, and its gradient behind one: each was a copy. Every
// bf16 and f16 is an f32, and each of the three an f64, so bits do not change (of NaNs those of the payload may).
//
// Views: reshape, permute, slice, broadcast_to. Any number stand between, none too, all in one asked stage and without
// annotations. Other readers keep the wide value. Narrowing and widening again rounds, and stays. New views have the
// line of the old ones. Before MergeCommon, which joins views that became equal, and RemoveDead. Pure.
// Threads: any. Read next: compiler/passes/cancel_permutes.h.
#ifndef ONEFLOW_COMPILER_PASSES_CANCEL_CASTS_H_
#define ONEFLOW_COMPILER_PASSES_CANCEL_CASTS_H_

#include "absl/status/status.h"
#include "compiler/graph/graph.h"

namespace oneflow {

absl::Status CancelCasts(Graph* graph);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PASSES_CANCEL_CASTS_H_
