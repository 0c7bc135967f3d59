// PackAttention: attention reads queries, keys and values where the layer that made all three left them, and leaves
// their gradients there.
//
//   %2 = slice(%1) {dim=2, start=0, ..}     %1: [b, s, 3 h], by one product
//   %3 = reshape(%2) {shape=[b,s,n,d]}                         %2 = reshape(%1) {shape=[b,s,3 n,d]}
//   .. and so %5 of keys, %7 of values               ->        %8, %9 = attention(%2, %2, %2) {packed=[0,n,2 n,n,n], ..}
//   %8, %9 = attention(%3, %5, %7)
//
//   %20, %21, %22 = attention_grad(%3, %5, %7, ..)             %20 = attention_grad(%2, %2, %2, ..) {packed=.., ..}
//   %29 = cat(reshape(%20), reshape(%21), reshape(%22)) ->     %29 = reshape(%20) {shape=[b,s,3 h]}
//
// Where the slices fill the tensor, nobody else reads them or the gradients, and all of it is split over the batch
// alone: nothing moves in between. Both calls or none: memory holds no more than before. After InsertReshard, beside
// FuseElementwise. Bits do not change. Pure. Threads: any. Read next: plan/packed_heads.h, compiler/ops/attention.cc,
// docs/decisions/0023-operands-where-they-lie.md.
#ifndef ONEFLOW_COMPILER_PASSES_PACK_ATTENTION_H_
#define ONEFLOW_COMPILER_PASSES_PACK_ATTENTION_H_

#include "absl/status/status.h"
#include "compiler/graph/graph.h"
#include "compiler/parallel/decide.h"

namespace oneflow {

// Makes the calls anew; grows decisions->nodes for them.
absl::Status PackAttention(Graph* graph, Decisions* decisions);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PASSES_PACK_ATTENTION_H_
