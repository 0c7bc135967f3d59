// CancelPermutes: removes the permutes between channels-last ops.
//
//   %2 = permute(%1) {dims=[0,2,3,1]}                %2 = permute(%1) {dims=[0,2,3,1]}
//   %3 = conv2d(%2, %w)                              %3 = conv2d(%2, %w)
//   %4 = permute(%3) {dims=[0,3,1,2]}          ->    %5 = relu(%3)
//   %5 = relu(%4)                                    %7 = conv2d(%5, %v)
//   %6 = permute(%5) {dims=[0,2,3,1]}
//   %7 = conv2d(%6, %v)
//
// Four rules, each on one node and its inputs, in one sweep down the graph, forward and gradient
// nodes alike:
// 1. A permute of a permute is one permute, or nothing.
// 2. A permute that moves only dims of extent 1 is a reshape (a view).
// 3. An op that treats all elements alike, or names dims by number, permutes behind itself:
//    elementwise ops whose operands are permuted alike (or hold one element, or are small and can
//    be permuted), reductions, cat, slice.
// 4. A permute of a broadcast_to is a broadcast_to of the permuted small tensor.
//
// `dropout` stays where it is: its mask is keyed by the logical index of the element, so moving a
// permute over it would change the mask. A value that the user annotated keeps its dims. Runs
// first: later passes should not see layout noise. Leaves dead permutes behind (RemoveDead).
#ifndef ONEFLOW_COMPILER_PASSES_CANCEL_PERMUTES_H_
#define ONEFLOW_COMPILER_PASSES_CANCEL_PERMUTES_H_

#include "absl/status/status.h"
#include "compiler/graph/graph.h"

namespace oneflow {

absl::Status CancelPermutes(Graph* graph);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PASSES_CANCEL_PERMUTES_H_
