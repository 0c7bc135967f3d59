// ResolvedOp: one op for operands of known types: what is the same in every such call (the types of
// its results, its kernel, the kernel's needs), made once.
//
// Owned by whoever calls it (a graph's run, an OpRunner). Threads: Run by one at a time, any; the
// kernel runs on the calling thread's team. The whole logical tensor is one shard.
// Read next: interpreter/op_runner.h.
#ifndef ONEFLOW_INTERPRETER_RESOLVED_OP_H_
#define ONEFLOW_INTERPRETER_RESOLVED_OP_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "base/host_tensor.h"
#include "compiler/ops/op_def.h"
#include "kernels/kernel.h"

namespace oneflow {

class ResolvedOp {
 public:
  // REQUIRES: `attrs` and the types are checked, and `outputs` inferred (compiler/ops/infer.h).
  static absl::StatusOr<std::unique_ptr<ResolvedOp>> Make(
      const kernels::KernelTable& kernels, const OpDef& def, const std::vector<TensorType>& inputs,
      const Attrs& attrs, const std::vector<TensorType>& outputs, int threads);

  // REQUIRES: inputs of the types that it was made for. A view shares its input's bytes.
  absl::StatusOr<std::vector<HostTensor>> Run(const std::vector<HostTensor>& inputs) const;

  // Bytes of the results, 0 of a view: what a call at least does.
  int64_t result_bytes() const { return result_bytes_; }

 private:
  ResolvedOp(const OpDef& def, const std::vector<TensorType>& outputs)
      : def_(&def), outputs_(outputs) {}

  const OpDef* def_;
  std::vector<TensorType> outputs_;
  std::unique_ptr<kernels::Kernel> kernel_;  // none of a view
  int64_t workspace_bytes_ = 0;
  int64_t result_bytes_ = 0;
};

}  // namespace oneflow

#endif  // ONEFLOW_INTERPRETER_RESOLVED_OP_H_
