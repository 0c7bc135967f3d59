// TensorAttention: attention and its gradient on tensor cores, for bf16 and f16.
//
// Host functions that enqueue; `stream` orders them. Threads: as of a stream. Invariants: TakesTensorCores
// says which problems they take; AttentionGradBytes, decided from shapes alone, is the workspace that
// the gradient needs with them or without. Read next: kernels/cuda/attention_tensor.cu,
// kernels/cuda/attention_tensor_grad.cu.
#ifndef ONEFLOW_KERNELS_CUDA_ATTENTION_TENSOR_H_
#define ONEFLOW_KERNELS_CUDA_ATTENTION_TENSOR_H_

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/attention_problem.h"
#include "kernels/cuda/cuda_api.h"
#include "kernels/cuda/shares.h"

namespace oneflow::kernels {

inline constexpr int64_t kAttentionMostWidth = 128;
// Keys whose gradients a block has at a time, and blocks that fill a GPU.
inline constexpr int64_t kGradKeys = 128;
inline constexpr int64_t kGradBlocks = 264;

// Of shared memory that a block takes at most.
inline constexpr int kAttentionSharedBytes = 184 << 10;

// Columns of a head in a block's tiles.
inline int64_t AttentionColumns(int64_t width) { return width <= 64 ? 64 : 128; }

inline bool HasTensorWidth(int64_t width, int64_t value_width) {
  return width == value_width && width > 0 && width % 16 == 0 && width <= kAttentionMostWidth;
}

// Blocks that share a head's keys in the gradient where there are few heads. Each has sums of its own for dq.
inline int64_t GradShares(int64_t blocks, int64_t batch, int64_t key_heads, int64_t keys) {
  return SharesOf(blocks, batch * key_heads, (keys + kGradKeys - 1) / kGradKeys, 1);
}
// Bytes of two numbers of each row (one where `narrow`, bf16 or f16, is false), and of dq where it is summed
// over several tiles of keys.
inline int64_t AttentionGradBytes(int64_t batch, int64_t heads, int64_t queries, int64_t key_heads,
                                  int64_t keys, int64_t width, int64_t value_width, bool narrow) {
  const int64_t numbers = (batch * heads * queries * int64_t{sizeof(float)} + 15) / 16 * 16;
  if (!narrow || !HasTensorWidth(width, value_width)) return numbers;
  if (keys <= kGradKeys) return 2 * numbers;
  const int64_t padded = batch * heads * ((queries + 127) / 128 * 128);
  return 2 * numbers + padded * AttentionColumns(width) *
                           GradShares(kGradBlocks, batch, key_heads, keys) * int64_t{sizeof(float)};
}

// Widths as HasTensorWidth, operands aligned to 16 bytes, some pairs, blocks that can be counted, and a device
// with the shared memory.
bool TakesTensorCores(const CudaAttention& a, const CudaOperands& o, bool forward);
// REQUIRES: TakesTensorCores.
template <typename T>
CudaError TensorForward(const CudaAttention& a, const CudaOperands& o, CudaStreamHandle stream);
template <typename T>
CudaError TensorBackward(const CudaAttention& a, const CudaOperands& o, CudaStreamHandle stream);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_ATTENTION_TENSOR_H_
