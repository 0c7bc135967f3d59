// LogicalIndices: the index that each element of a shard has in the logical tensor, which is what random numbers are
// drawn from.
//
// A value inside a kernel. Threads: const access from any. Invariant: Runs covers what it is asked for, once and in
// order. Read next: kernels/cpu/random.cc, kernels/cpu/fused.cc.
#ifndef ONEFLOW_KERNELS_CPU_LOGICAL_INDICES_H_
#define ONEFLOW_KERNELS_CPU_LOGICAL_INDICES_H_

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/loop_nest.h"
#include "kernels/kernel.h"

namespace oneflow::kernels {

class LogicalIndices {
 public:
  // REQUIRES: SpecCheck::Placed(x).
  explicit LogicalIndices(const Operand& x) {
    const Shape logical = StridesOf(x.logical_shape);
    nest_ = LoopNest<2>(x.shape, {StridesOf(x.shape), logical});
    for (size_t d = 0; d < x.shape.size(); ++d) begin_ += x.begin[d] * logical[d];
    micro_stride_ = x.shape.empty() ? 0 : x.micro_stride * logical.at(x.micro_dim);
  }

  // Operand 0 is the buffer, operand 1 the logical tensor, from the shard's first element on.
  const LoopNest<2>& nest() const { return nest_; }
  int64_t First(uint32_t micro) const { return begin_ + micro_stride_ * micro; }

  // body(at, n, first): n neighbours in both, from element `at` of the buffer, whose logical index is `first`.
  template <typename Body>
  void Runs(int64_t begin, int64_t end, uint32_t micro, const Body& body) const {
    const int64_t inner = nest_.inner_stride(1) == 1 ? nest_.inner() : 1;
    for (int64_t at = begin; at < end;) {
      const int64_t count = std::min(inner - at % inner, end - at);
      body(at, count, static_cast<uint64_t>(First(micro) + nest_.OffsetOf(at, 1)));
      at += count;
    }
  }

 private:
  LoopNest<2> nest_;
  int64_t begin_ = 0;
  int64_t micro_stride_ = 0;
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_LOGICAL_INDICES_H_
