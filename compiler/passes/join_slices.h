// JoinSlices: a sum of gradients of slices that tile a dim is one `cat`.
//
//   %4 = slice_grad(%1) {dim=2, start=0, stop=8, extent=24}
//   %5 = slice_grad(%2) {dim=2, start=8, stop=16, extent=24}
//   %6 = slice_grad(%3) {dim=2, start=16, stop=24, extent=24}        %8 = cat(%1, %2, %3) {dim=2}
//   %7 = add(%4, %5)                                          ->
//   %8 = add(%7, %6)
//
// What chunk and split leave in the backward pass (queries, keys and values of one product): each part would be
// written with zeros around it, and the sums read all of them. Bits do not change, but that -0 + 0 would be 0.
//
// Joined are sums whose additions and parts nobody else reads, in one stage, without annotations, if the parts fill
// the dim and none lie on each other. Before MergeCommon and Decide: a `cat` lies where its parts do. Pure.
// Threads: any. Read next: compiler/ops/shape_ops.cc.
#ifndef ONEFLOW_COMPILER_PASSES_JOIN_SLICES_H_
#define ONEFLOW_COMPILER_PASSES_JOIN_SLICES_H_

#include "absl/status/status.h"
#include "compiler/graph/graph.h"

namespace oneflow {

absl::Status JoinSlices(Graph* graph);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PASSES_JOIN_SLICES_H_
