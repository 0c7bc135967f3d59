// CudnnAttention: attention or its gradient, of a slice of the samples, by an engine of cuDNN, chosen once
// (kernels/cuda/cudnn_attention_graph.h), on the calling thread's device.
//
// Owner: plans of kernels/cuda/attention_plan.cu. Threads: any; calls on one GPU follow one another. Invariants: Run only
// enqueues, and can be captured: its numbers are those of the problem. Read next: kernels/cuda/attention_space.h.
#ifndef ONEFLOW_KERNELS_CUDA_CUDNN_ATTENTION_H_
#define ONEFLOW_KERNELS_CUDA_CUDNN_ATTENTION_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/attention_problem.h"
#include "kernels/cuda/cuda_api.h"
#include "kernels/cuda/cudnn_handle.h"

namespace oneflow::kernels {

class CudnnAttention {
 public:
  // One for all equal problems that live: engines are compiled when they are chosen, for a second each. `name`: one of
  // those that are offered. nullptr where there is no cuDNN, or no such engine. REQUIRES: IsForEngine(slice).
  static std::shared_ptr<CudnnAttention> Shared(const CudaAttention& slice,
                                                const std::string& name);
  // Names of the first few engines that may do, each exact.
  static std::vector<std::string> Offered(const CudaAttention& slice, size_t most);
  CudnnAttention(const CudnnAttention&) = delete;
  CudnnAttention& operator=(const CudnnAttention&) = delete;
  ~CudnnAttention();

  // The operands of the slice; its workspace.
  CudaError Run(const CudaOperands& operands, CudaStreamHandle stream) const;

 private:
  explicit CudnnAttention(const CudaAttention& slice) : a_(slice) {}

  const CudaAttention a_;
  CudnnHandle* handle_ = nullptr;
  cudnn::Descriptor plan_ = nullptr, config_ = nullptr;
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_CUDNN_ATTENTION_H_
