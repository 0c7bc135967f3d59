// FuseGelu: on GPUs a product does the gelu_tanh behind it while it writes, and the product for a gradient that goes
// through one does its gelu_tanh_grad.
//
//   %4 = linear(%1, %2, %3)              ->      %5, %4 = linear_gelu(%1, %2, %3) {saves=true}
//   %5 = gelu_tanh(%4)
//   ..
//   %8 = matmul(%6, %7)                  ->      %9 = matmul_gelu_grad(%6, %7, %4)
//   %9 = gelu_tanh_grad(%4, %8)
//
// Joined are 16-bit floats (the library's epilogues are f32's) and the tanh form, which is the library's; one product,
// not one for each of a batch; in one stage and phase and of one layout, itself or through a view, which then stands
// behind the joined node. x, what the activation is of, is a result if others read it. The joined node stands where
// the product did: forward only views stand between the two, so that y is held no longer than before; backward x is
// read earlier than before, and let go.
//
// An activation whose result one elementwise op alone reads stays: as one chain (FuseElementwise) the two move no more
// bytes than this would leave, and fewer where x is saved.
//
// After FuseBias, whose node it takes, and JoinBiasGrads, whose products are no others'; before FuseElementwise. Pure.
// Threads: any. Read next: compiler/ops/matmul.cc, docs/decisions/0029-epilogues.md.
#ifndef ONEFLOW_COMPILER_PASSES_FUSE_GELU_H_
#define ONEFLOW_COMPILER_PASSES_FUSE_GELU_H_

#include "absl/status/status.h"
#include "compiler/graph/graph.h"
#include "compiler/parallel/decide.h"

namespace oneflow {

// For targets of GPUs. Grows decisions->nodes for new nodes.
absl::Status FuseGelu(Graph* graph, Decisions* decisions);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PASSES_FUSE_GELU_H_
