// PackedHeads: what the attribute `packed` of `attention` and `attention_grad` says: queries, keys and values are one
// tensor [batch, tokens, all heads, width], as a linear layer for the three gives it, and are read where they lie.
//
//   packed = [q, k, v, heads, key_heads]: where the heads of each begin, and how many q and k (v the same) have
//
// Inputs q, k and v are that tensor, and the gradient is one tensor like it, whose heads the three gradients fill. The
// compiler makes such calls (compiler/passes/pack_attention.h), kernels run them; both read the attribute here.
//
// A value. Threads: any. Total: a plan is untrusted. Read next: compiler/ops/attention.cc,
// kernels/cpu/attention_problem.h.
#ifndef ONEFLOW_PLAN_PACKED_HEADS_H_
#define ONEFLOW_PLAN_PACKED_HEADS_H_

#include <array>
#include <cstdint>
#include <optional>

#include "plan/attrs.h"

namespace oneflow {

struct PackedHeads {
  std::array<int64_t, 3> first = {};  // of q, k and v
  int64_t heads = 0, key_heads = 0;

  int64_t all() const { return heads + 2 * key_heads; }
};

// Whether a call has the attribute, and not as an empty list.
bool IsPacked(const Attrs& attrs);
// What it says; nothing unless the parts lie side by side and fill heads [0, all()).
std::optional<PackedHeads> PackedHeadsOf(const Attrs& attrs);

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_PACKED_HEADS_H_
