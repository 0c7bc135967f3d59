// FuseElementwise: elementwise ops that hand one value on become one node, `fused` (plan/fused.h), so that the value
// is read and written once and not once per op.
//
//   %5 = bn_apply(%1, ..)                    %1: the result of a convolution
//   %6 = add(%5, %4)                 ->      %8 = fused(%1, .., %4) {ops=["bn_apply","add","relu"], ..}
//   %8 = relu(%6)
//
// A chain grows upwards from its last op while the value that comes in has no other reader, the same layout, stage and
// phase, the same number of elements, and a float type of at most 32 bits. The first op of a chain then runs where its
// last one stood, so what it reads is held until then: it joins only if nothing stands between the two, or if what it
// would hold is no more than what it spares.
//
// A view between two ops is no obstacle: `reshape` moves up over an op of one operand.
//
// After BucketSums: only then is it known between which ops nothing moves; what the user sees of decisions is taken
// before. The node stands where its last op did, with that op's line. Bits do not change: steps round as their ops do.
// Pure. Threads: any. Read next: compiler/ops/fused.cc, docs/decisions/0020-fused-chains.md.
#ifndef ONEFLOW_COMPILER_PASSES_FUSE_ELEMENTWISE_H_
#define ONEFLOW_COMPILER_PASSES_FUSE_ELEMENTWISE_H_

#include "absl/status/status.h"
#include "compiler/graph/graph.h"
#include "compiler/parallel/decide.h"

namespace oneflow {

// Replaces chains of two nodes and more; grows decisions->nodes for them.
absl::Status FuseElementwise(Graph* graph, Decisions* decisions);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PASSES_FUSE_ELEMENTWISE_H_
