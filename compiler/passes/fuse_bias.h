// FuseBias: a product and the bias behind it are one node, `linear`, where that costs nothing: on GPUs, whose
// products add a bias while they write. The sum is rounded once and not twice.
//
//   %4 = matmul(%1, %2)
//   %5 = cast(%3) {dtype=bf16}          ->      %5 = cast(%3) {dtype=bf16}
//   %6 = add(%4, %5)                            %6 = linear(%1, %2, %5)
//
// Joined are a matmul that only the add reads, itself or through a view of the same last dim (which then stands behind
// the joined node), in one stage and phase, and a bias[n] of the product's type, if the product is no partial sum on
// any axis (a bias is added once). The node stands where the add did, so what the product reads is held until then:
// between the two stand only the view and nodes that the bias is made of.
//
// After BucketSums, when it is known that nothing moves between the two, before FuseElementwise. Pure. Threads: any.
// Read next: compiler/ops/matmul.cc.
#ifndef ONEFLOW_COMPILER_PASSES_FUSE_BIAS_H_
#define ONEFLOW_COMPILER_PASSES_FUSE_BIAS_H_

#include "absl/status/status.h"
#include "compiler/graph/graph.h"
#include "compiler/parallel/decide.h"

namespace oneflow {

// For targets of GPUs. Grows decisions->nodes for new nodes.
absl::Status FuseBias(Graph* graph, Decisions* decisions);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PASSES_FUSE_BIAS_H_
