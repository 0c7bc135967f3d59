// AttentionProblem: the extents, attributes and optional operands of one attention or attention_grad.
//
// A value, const once made from a spec. Threads: any. Invariant: what it says lies inside the operands
// of a spec that CheckAttention passed. Read next: kernels/cpu/attention.cc.
#ifndef ONEFLOW_KERNELS_CPU_ATTENTION_PROBLEM_H_
#define ONEFLOW_KERNELS_CPU_ATTENTION_PROBLEM_H_

#include <array>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "kernels/cpu/dropout_mask.h"
#include "kernels/kernel.h"
#include "plan/packed_heads.h"

namespace oneflow::kernels {

// Scores are computed in blocks of so many queries and keys, which stay in the nearest caches. A
// multiple of every vector, of 32, and of the 3 vectors of a strip.
inline constexpr int64_t kQueryBlock = 64;
inline constexpr int64_t kKeyBlock = 96;

enum class AttentionPass { kForward, kBackward };

struct AttentionProblem {
  int64_t batch = 0, queries = 0, keys = 0, heads = 0, key_heads = 0;
  int64_t width = 0;        // of a row of q and k
  int64_t value_width = 0;  // of a row of v and out
  bool causal = false;
  double scale = 1;
  bool drops = false;
  DropoutMask dropout;
  // Inputs; -1 where the optional one is absent.
  int step_input = -1, mask_input = -1, dlse_input = -1;
  DType mask_dtype = DType::kInvalid;
  std::array<int64_t, 4> mask_stride = {};  // 0 where it is broadcast
  // q, k and v are heads of one tensor (plan/packed_heads.h).
  std::optional<PackedHeads> packed;
  int64_t element_bytes = 0;

  // REQUIRES: CheckAttention.
  static AttentionProblem Of(const KernelSpec& spec, AttentionPass pass);

  int64_t group() const { return heads / key_heads; }  // heads of q for one of k
  int64_t query_blocks() const { return (queries + kQueryBlock - 1) / kQueryBlock; }
  int64_t key_blocks() const { return (keys + kKeyBlock - 1) / kKeyBlock; }
  // Elements between neighbouring tokens, of q, k, v and their gradients alike.
  int64_t q_row() const { return packed ? packed->all() * width : heads * width; }
  int64_t k_row() const { return packed ? q_row() : key_heads * width; }
  int64_t v_row() const { return packed ? q_row() : key_heads * value_width; }
  int64_t out_row() const { return heads * value_width; }
  // First element of a head, behind where its operand begins (AttentionArgs).
  int64_t q_at(int64_t b, int64_t h) const { return b * queries * q_row() + h * width; }
  int64_t k_at(int64_t b, int64_t g) const { return b * keys * k_row() + g * width; }
  int64_t v_at(int64_t b, int64_t g) const { return b * keys * v_row() + g * value_width; }
  int64_t out_at(int64_t b, int64_t h) const { return b * queries * out_row() + h * value_width; }

  // Where the queries of this shard and micro-batch begin among all, at most `keys` (a later one sees
  // no more).
  int64_t FirstQuery(uint32_t micro) const;
  // The index of a weight in the logical tensor [batch, heads, queries, keys].
  uint64_t WeightIndex(uint32_t micro, int64_t b, int64_t h, int64_t query, int64_t key) const;

 private:
  uint64_t Begin(int dim, uint32_t micro) const {
    return begin_[dim] + (micro_dim_ == dim ? micro_stride_ * micro : 0);
  }
  // Of q, [batch, queries, heads, width].
  std::array<uint64_t, 4> logical_ = {}, begin_ = {};
  int micro_dim_ = 0;
  uint64_t micro_stride_ = 0;
};

absl::Status CheckAttention(const KernelSpec& spec, AttentionPass pass);

// The arguments of a call with q, k and v, and backward their gradients, each where its heads begin. On the stack of
// Run, which `args` outlives.
class AttentionArgs {
 public:
  AttentionArgs(const AttentionProblem& problem, AttentionPass pass, const KernelArgs& args);
  AttentionArgs(const AttentionArgs&) = delete;
  AttentionArgs& operator=(const AttentionArgs&) = delete;
  const KernelArgs& get() const { return args_; }

 private:
  KernelArgs args_;
  std::array<const void*, 9> inputs_ = {};
  std::array<void*, 3> outputs_ = {};
};

// Parts of a thread's workspace, one behind the other; without a base they are only counted.
class AttentionSpace {
 public:
  explicit AttentionSpace(void* base) : base_(static_cast<char*>(base)) {}
  template <typename T>
  T* Take(int64_t count) {
    char* const at = base_ == nullptr ? nullptr : base_ + used_;
    used_ += (count * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    return reinterpret_cast<T*>(at);
  }
  int64_t used() const { return used_; }

 private:
  char* base_;
  int64_t used_ = 0;
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_ATTENTION_PROBLEM_H_
