// PadClasses: scores of a vocabulary whose rows are no multiple of 16 bytes get columns that nobody reads, so that
// the products around them take them as they lie.
//
//   %8 = matmul(%5, %7) : bf16[n,50257]           %20 = slice_grad(%7) : bf16[50264,k], rows of zeros behind
//   %9, %10 = cross_entropy(%8, %1)         ->    %21 = matmul(%5, %20) : bf16[n,50264]
//   %12 = cross_entropy_grad(%8, ..)              %22, %23 = cross_entropy(%21, %1) {classes=50257}
//   %13 = matmul(%12, %7)                         %24 = cross_entropy_grad(%21, ..) {classes=50257} : zeros behind
//   %14 = matmul(%12, %5) {transpose_a}           %25 = matmul(%24, %20)
//                                                 %27 = slice(%26 = matmul(%24, %5)) : bf16[50257,k]
//
// For a product of two-byte elements with a transposed matrix of weights, if every reader of its scores and of their
// gradient is one that can pass over the columns: cross_entropy, its gradient, views of rows, a bias, its sum, and
// products with the same weights and with what the weights met. Else the step stays as it is (also where devices
// have parts of the classes, for then the scores are moved before they are read): a slice of scores would cost what is
// to be spared.
//
// Only weights, their gradient and biases are copied, never scores. After BucketSums, for targets whose products need
// it (cuBLASLt); what the user sees of decisions is taken before. Losses keep their bits: zeros are added to sums.
// Pure. Threads: any. Read next: compiler/ops/softmax.cc, docs/decisions/0021-classes-and-their-loss.md.
#ifndef ONEFLOW_COMPILER_PASSES_PAD_CLASSES_H_
#define ONEFLOW_COMPILER_PASSES_PAD_CLASSES_H_

#include "absl/status/status.h"
#include "compiler/graph/graph.h"
#include "compiler/parallel/decide.h"

namespace oneflow {

// Grows decisions->nodes for what it adds.
absl::Status PadClasses(Graph* graph, Decisions* decisions);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PASSES_PAD_CLASSES_H_
