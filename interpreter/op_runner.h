// OpRunner: runs single ops at once, as RunOp does, and remembers what it resolved: a call like an
// earlier one (op, types, attributes, team) looks nothing up but that.
//
// Owned by the Python module. Threads: any; a kernel that is at work in another thread is made anew.
// Invariants: a call's result does not depend on what is remembered; at most `capacity` kinds of
// calls are, then all are forgotten. Read next: interpreter/resolved_op.h.
#ifndef ONEFLOW_INTERPRETER_OP_RUNNER_H_
#define ONEFLOW_INTERPRETER_OP_RUNNER_H_

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "interpreter/resolved_op.h"

namespace oneflow {

class OpRunner {
 public:
  explicit OpRunner(const kernels::KernelTable& kernels, size_t capacity = 1024)
      : kernels_(kernels), capacity_(capacity) {}

  // A call before its kernel runs: the schema is checked and memory for the results would fit.
  class Call {
   public:
    Call(Call&&) = default;
    ~Call();
    // Bytes of the results, 0 of a view.
    int64_t result_bytes() const { return resolved_->result_bytes(); }
    absl::StatusOr<std::vector<HostTensor>> Run(const std::vector<HostTensor>& inputs) const {
      return resolved_->Run(inputs);
    }

   private:
    friend class OpRunner;
    Call(OpRunner* runner, std::string key, std::unique_ptr<ResolvedOp> resolved)
        : runner_(runner), key_(std::move(key)), resolved_(std::move(resolved)) {}
    OpRunner* runner_;
    std::string key_;
    std::unique_ptr<ResolvedOp> resolved_;
  };
  // Errors are those of the schema, without a location. The call must end before the runner does.
  absl::StatusOr<Call> Prepare(const OpDef& op, const std::vector<TensorType>& inputs, Attrs attrs,
                               int threads);

  size_t remembered() const;

 private:
  void Keep(std::string key, std::unique_ptr<ResolvedOp> resolved);

  const kernels::KernelTable& kernels_;
  const size_t capacity_;
  mutable std::mutex mutex_;
  // By the bytes of the call; empty while at work. Never iterated.
  std::unordered_map<std::string, std::unique_ptr<ResolvedOp>> resolved_;
};

}  // namespace oneflow

#endif  // ONEFLOW_INTERPRETER_OP_RUNNER_H_
