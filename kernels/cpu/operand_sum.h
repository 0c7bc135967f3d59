// OperandSumOf: of `matmul_sums`, the sum alone, as the problem of the op `sum`.
//
// A function of a spec that its row has checked. Threads: any. Read next: kernels/cpu/matmul.cc.
#ifndef ONEFLOW_KERNELS_CPU_OPERAND_SUM_H_
#define ONEFLOW_KERNELS_CPU_OPERAND_SUM_H_

#include <cstdint>
#include <vector>

#include "kernels/kernel.h"

namespace oneflow::kernels {

// The input that is summed.
inline int SummedOperand(const KernelSpec& spec) { return spec.attrs.String("of") == "a" ? 0 : 1; }

inline KernelSpec OperandSumOf(const KernelSpec& spec) {
  const bool of_a = SummedOperand(spec) == 0;
  const char* const name = of_a ? "transpose_a" : "transpose_b";
  const bool transposed = spec.attrs.Has(name) && spec.attrs.Bool(name);
  // a is [m, k] and b [k, n], if it is not transposed.
  const std::vector<int64_t> dims = {of_a == transposed ? 0 : 1};
  KernelSpec sum;
  sum.op = "sum";
  sum.attrs = {{"dims", dims}, {"keepdim", false}};
  sum.inputs = {spec.inputs.at(of_a ? 0 : 1)};
  sum.outputs = {spec.outputs.at(1)};
  sum.threads = spec.threads;
  return sum;
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_OPERAND_SUM_H_
