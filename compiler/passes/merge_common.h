// MergeCommon: computes equal things once (common subexpressions).
//
//   %2 = permute(%1) {dims=[0,2,3,1]}        %2 = permute(%1) {dims=[0,2,3,1]}
//   %3 = permute(%1) {dims=[0,2,3,1]}   ->   %4 = add(%2, %2)
//   %4 = add(%2, %3)
// Equal: same op, inputs, attributes and asked stage, and no result that the user annotated. Every
// op of the table is a pure function of these (a dropout's mask too: its key is an attribute). The
// first node stays; gradients of the others then belong to it. Runs after CancelPermutes, which
// makes equal permutes.
#ifndef ONEFLOW_COMPILER_PASSES_MERGE_COMMON_H_
#define ONEFLOW_COMPILER_PASSES_MERGE_COMMON_H_

#include "compiler/graph/graph.h"

namespace oneflow {

void MergeCommon(Graph* graph);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PASSES_MERGE_COMMON_H_
