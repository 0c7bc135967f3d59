// PlanAttention: attention without a mask or dropout, or its gradient, as a graph of cuDNN, and the engine that does it.
//
// The operations are the kernels' formulas (kernels/cpu/attention.cc); what cuDNN calls the statistics of a softmax is
// our lse, so either side's forward pass goes with either side's gradient:
//
//   scores = scale q k', causal: -inf behind the diagonal      weights = exp(scores - lse)
//   lse = most + log(sum(exp(scores - most)))                  rows = sum(dout * out)
//   out = exp(scores - most) / sum v                           slopes = (dout v' - rows) * weights * scale
//                                                              dv = weights' dout, dk = slopes' q, dq = slopes k
//
// dq is the product itself: cuDNN keeps the slopes for it. The form that it has without (dq summed in f32 in memory, in
// any order) is faster and not the same in every run, which no note of its engines says. What lies where: q, k, v
// and their gradients [batch, tokens, heads, width] by their pitches, so heads of one tensor too. No CUDA is called
// here. Threads: any. Read next: kernels/cuda/cudnn_attention.h.
#ifndef ONEFLOW_KERNELS_CUDA_CUDNN_ATTENTION_GRAPH_H_
#define ONEFLOW_KERNELS_CUDA_CUDNN_ATTENTION_GRAPH_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/cuda/attention_problem.h"
#include "kernels/cuda/cudnn_engines.h"

namespace oneflow::kernels::cudnn {

// Ids of tensors: those in memory, and numbers of the host.
enum AttentionTensor : int64_t {
  kQueries = 1,
  kKeys,
  kValues,
  kOut,
  kLse,
  kDout,
  kDq,
  kDk,
  kDv,
  kRows,
  kScale,
  kOne,
  kMasked,
  kFirstPassing,
};
// Of a score that is not there. Every query sees a key, so that of a finite number it is 0 times in the sums.
inline constexpr float kMaskedScore = -1e30f;

// REQUIRES: IsForEngine. By the first that will do, or the one of that name; nullopt: there is no cuDNN, or none will.
std::optional<EnginePlan> PlanAttention(const CudaAttention& a, const GraphPlace& place,
                                        int64_t workspace_bytes, const std::string& name = "");
std::vector<std::string> OfferedForAttention(const CudaAttention& a, const GraphPlace& place,
                                             int64_t workspace_bytes, size_t most);

}  // namespace oneflow::kernels::cudnn

#endif  // ONEFLOW_KERNELS_CUDA_CUDNN_ATTENTION_GRAPH_H_
