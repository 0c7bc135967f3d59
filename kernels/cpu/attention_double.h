// Attention in f64, for references: row by row, plain loops.
//
// Threads: as a kernel. Invariant: what kernels/cpu/attention.cc says of f32, but for blocks. Read
// next: kernels/cpu/attention.cc.
#ifndef ONEFLOW_KERNELS_CPU_ATTENTION_DOUBLE_H_
#define ONEFLOW_KERNELS_CPU_ATTENTION_DOUBLE_H_

#include "kernels/cpu/attention_problem.h"
#include "kernels/cpu/definition.h"

namespace oneflow::kernels {

int64_t DoubleAttentionBytes(const AttentionProblem& problem, int threads);
KernelOr MakeDoubleAttention(const AttentionProblem& problem, AttentionPass pass, int threads);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_ATTENTION_DOUBLE_H_
