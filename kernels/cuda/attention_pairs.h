// AttentionPairs: a head of q with its head of k, and what each pair of a query and a key has: places,
// score, dropout.
//
// Device code, of all attention kernels; a value that each thread makes. C: the type of scores. Threads:
// any of a grid. Invariant: a weight's factor of dropout depends on its place in the logical tensor
// alone. Read next: kernels/cuda/attention.cu.
#ifndef ONEFLOW_KERNELS_CUDA_ATTENTION_PAIRS_H_
#define ONEFLOW_KERNELS_CUDA_ATTENTION_PAIRS_H_

#include <limits>

#include "base/dtype.h"
#include "base/philox.h"
#include "kernels/cuda/attention_problem.h"
#include "kernels/cuda/device_code.h"
#include "kernels/scalar/types.h"

namespace oneflow::kernels {

// The operands that may be absent.
struct AttentionOperands {
  const int64_t* step;
  const void* mask;
};
inline AttentionOperands AttentionOperandsOf(const CudaAttention& a, const CudaOperands& o) {
  const auto optional = [&](int input) { return input < 0 ? nullptr : o.in[input]; };
  return {static_cast<const int64_t*>(optional(a.step_input)), optional(a.mask_input)};
}

template <typename C>
struct AttentionPairs {
  const CudaAttention& a;
  const AttentionOperands& in;
  int64_t b, h, g;  // batch, head of q, head of k

  __device__ __forceinline__ AttentionPairs(const CudaAttention& problem,
                                            const AttentionOperands& operands, int64_t batch,
                                            int64_t head)
      : a(problem),
        in(operands),
        b(batch),
        h(head),
        g(head / (problem.heads / problem.key_heads)) {}

  // Where a token's columns begin in each operand, and where its row stands in lse.
  __device__ __forceinline__ int64_t QueryAt(int64_t i) const {
    return (b * a.queries + i) * a.q_pitch + h * a.width;
  }
  __device__ __forceinline__ int64_t KeyAt(int64_t j) const {
    return (b * a.keys + j) * a.k_pitch + g * a.width;
  }
  __device__ __forceinline__ int64_t ValueAt(int64_t j) const {
    return (b * a.keys + j) * a.v_pitch + g * a.value_width;
  }
  __device__ __forceinline__ int64_t OutAt(int64_t i) const {
    return ((b * a.queries + i) * a.heads + h) * a.value_width;
  }
  __device__ __forceinline__ int64_t RowAt(int64_t i) const {
    return (b * a.heads + h) * a.queries + i;
  }
  // The keys that a query sees.
  __device__ __forceinline__ int64_t Seen(int64_t i) const {
    if (!a.causal) return a.keys;
    const int64_t seen = a.first_query + i + 1;
    return seen < a.keys ? seen : a.keys;
  }
  // The score of a pair from its product; -inf where there is none.
  __device__ __forceinline__ C Score(int64_t i, int64_t j, C product) const {
    if (i >= a.queries || j >= Seen(i)) return -std::numeric_limits<C>::infinity();
    C score = product * static_cast<C>(a.scale);
    if (in.mask != nullptr) score += MaskOf(i, j);
    return score;
  }
  // What the mask adds to a score: 0 or -inf of a bool. REQUIRES: there is a mask, and such a pair.
  __device__ __forceinline__ C MaskOf(int64_t i, int64_t j) const {
    return Mask(b * a.mask_stride[0] + h * a.mask_stride[1] + i * a.mask_stride[2] +
                j * a.mask_stride[3]);
  }
  // A weight's index in the logical tensor.
  __device__ __forceinline__ uint64_t IndexOf(int64_t i, int64_t j) const {
    return a.index + static_cast<uint64_t>(b) * a.index_stride[0] +
           static_cast<uint64_t>(h) * a.index_stride[1] +
           static_cast<uint64_t>(i) * a.index_stride[2] + static_cast<uint64_t>(j);
  }
  // The factor of dropout.
  __device__ __forceinline__ float Keep(int64_t i, int64_t j) const {
    if (!a.drops) return 1.0f;
    const uint64_t index = IndexOf(i, j);
    const uint64_t step = static_cast<uint64_t>(*in.step);
    const uint32_t word = PhiloxBlock(a.philox_key, step, index / 4)[index % 4];
    return word >= a.threshold ? a.keep : 0.0f;
  }

 private:
  __device__ __forceinline__ C Mask(int64_t at) const {
    switch (static_cast<DType>(a.mask_dtype)) {
      case DType::kBool:
        return static_cast<const uint8_t*>(in.mask)[at] != 0 ? C{0}
                                                             : -std::numeric_limits<C>::infinity();
      case DType::kF64:
        return static_cast<C>(static_cast<const double*>(in.mask)[at]);
      case DType::kBF16:
        return static_cast<float>(static_cast<const BF16*>(in.mask)[at]);
      case DType::kF16:
        return static_cast<float>(static_cast<const F16*>(in.mask)[at]);
      default:
        return static_cast<const float*>(in.mask)[at];
    }
  }
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_ATTENTION_PAIRS_H_
