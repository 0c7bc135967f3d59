// CudaAttention: a call of attention or of its gradient as plain data that crosses to the library for CUDA.
//
// Values. Threads: any. Read next: kernels/cuda/attention_kernels.cc, kernels/cuda/attention_plan.cu.
#ifndef ONEFLOW_KERNELS_CUDA_ATTENTION_PROBLEM_H_
#define ONEFLOW_KERNELS_CUDA_ATTENTION_PROBLEM_H_

#include <cstdint>

namespace oneflow::kernels {

// Operands [batch, tokens, heads, width]; inputs by number, -1 where there is none. Tokens of q, k, v and of their
// gradients are a pitch apart: more than their heads where all three lie in one tensor. A weight's index in
// the logical tensor, which dropout draws by, is index + a stride for batch, head and query + key.
struct CudaAttention {
  int64_t batch, queries, keys, heads, key_heads;
  int64_t width, value_width;
  int64_t q_pitch, k_pitch, v_pitch;
  int64_t first_query;  // of this shard among all
  int64_t mask_stride[4];
  uint64_t index, index_stride[3];
  uint64_t philox_key;
  uint32_t threshold;
  float keep;  // the factor of what is kept
  double scale;
  int64_t workspace_bytes;
  int32_t step_input, mask_input, dlse_input, mask_dtype;
  int32_t dtype;  // of q, k, v and out
  bool causal, drops, backward;
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_ATTENTION_PROBLEM_H_
