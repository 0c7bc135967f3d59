// LoopNest: the dims of N operands that are walked together, merged where they lie contiguously, so
// that the innermost loop is as long as it can be.
//
//   [256,1024] + [1024]    -> 256 rows of 1024, strides (1024,1) and (0,1)
//   permute [8,3,32,32] to NHWC -> extents 8,1024,3, strides (3072,1,1024) and (3072,3,1)
//
// A value inside a kernel. Threads: const access from any. Invariant: rank >= 1; walking it
// allocates nothing. Read next: kernels/cpu/strided_copy.h.
#ifndef ONEFLOW_KERNELS_CPU_LOOP_NEST_H_
#define ONEFLOW_KERNELS_CPU_LOOP_NEST_H_

#include <array>
#include <cstdint>

#include "base/check.h"
#include "base/shape.h"
#include "kernels/cpu/parallel.h"
#include "kernels/kernel.h"

namespace oneflow::kernels {

template <int N>
class LoopNest {
 public:
  using Offsets = std::array<int64_t, N>;

  LoopNest() = default;
  // `strides[o]`: elements between neighbours of each dim of `shape` in operand o, 0 where it is
  // broadcast.
  LoopNest(const Shape& shape, const std::array<Shape, N>& strides) {
    OF_CHECK(shape.size() <= kMaxRank) << "rank " << shape.size();
    for (size_t d = 0; d < shape.size(); ++d) {
      if (shape[d] == 1) continue;
      if (rank_ > 0 && Merges(strides, d, shape[d])) {
        extent_[rank_ - 1] *= shape[d];
      } else {
        extent_[rank_++] = shape[d];
      }
      for (int o = 0; o < N; ++o) stride_[o][rank_ - 1] = strides[o][d];
    }
    if (rank_ == 0) extent_[rank_++] = 1;  // a single element; its strides stay 0
  }

  int rank() const { return rank_; }
  int64_t extent(int dim) const { return extent_[dim]; }
  int64_t stride(int operand, int dim) const { return stride_[operand][dim]; }
  int64_t inner() const { return extent_[rank_ - 1]; }
  int64_t inner_stride(int operand) const { return stride_[operand][rank_ - 1]; }
  // Number of innermost runs.
  int64_t rows() const {
    int64_t rows = 1;
    for (int d = 0; d + 1 < rank_; ++d) rows *= extent_[d];
    return rows;
  }
  int64_t elements() const { return rows() * inner(); }

  // body(offsets, n): the runs [begin, end), n elements each, at `offsets` in each operand.
  template <typename Body>
  void ForEachRow(int64_t begin, int64_t end, const Body& body) const {
    WalkRows(begin, end, 0, inner(), body);
  }

  // As ForEachRow for part `part` of `parts`: cut by rows, or along the rows where there are few.
  template <typename Body>
  void ForEachRowOfPart(int part, int parts, const Body& body) const {
    const int64_t count = rows();
    if (count == 0 || inner() == 0) return;
    if (count >= parts) {
      WalkRows(PartBegin(count, parts, part), PartBegin(count, parts, part + 1), 0, inner(), body);
    } else {
      const int64_t begin = PartBegin(inner(), parts, part);
      const int64_t end = PartBegin(inner(), parts, part + 1);
      if (begin < end) WalkRows(0, count, begin, end, body);
    }
  }

  // All rows, by a team where there are enough elements.
  template <typename Body>
  void ParallelRows(int threads, int64_t grain, const Body& body) const {
    const int parts = PartsOf(threads, elements(), grain);
    ForEachPart(parts, parts,
                [&](int part, int64_t, int64_t) { ForEachRowOfPart(part, parts, body); });
  }

  // Where element `index` (row-major over the extents) lies in operand o.
  int64_t OffsetOf(int64_t index, int o) const {
    int64_t offset = 0;
    for (int d = rank_ - 1; d >= 0; --d) {
      offset += index % extent_[d] * stride_[o][d];
      index /= extent_[d];
    }
    return offset;
  }

 private:
  bool Merges(const std::array<Shape, N>& strides, size_t d, int64_t extent) const {
    for (int o = 0; o < N; ++o) {
      if (stride_[o][rank_ - 1] != strides[o][d] * extent) return false;
    }
    return true;
  }

  template <typename Body>
  void WalkRows(int64_t begin, int64_t end, int64_t inner_begin, int64_t inner_end,
                const Body& body) const {
    if (begin >= end) return;
    std::array<int64_t, kMaxRank> index{};
    Offsets offsets{};
    for (int o = 0; o < N; ++o) offsets[o] = inner_begin * stride_[o][rank_ - 1];
    int64_t rest = begin;
    for (int d = rank_ - 2; d >= 0; --d) {
      index[d] = rest % extent_[d];
      rest /= extent_[d];
      for (int o = 0; o < N; ++o) offsets[o] += index[d] * stride_[o][d];
    }
    for (int64_t row = begin;;) {
      body(offsets, inner_end - inner_begin);
      if (++row == end) return;
      for (int d = rank_ - 2;; --d) {
        for (int o = 0; o < N; ++o) offsets[o] += stride_[o][d];
        if (++index[d] < extent_[d]) break;
        for (int o = 0; o < N; ++o) offsets[o] -= extent_[d] * stride_[o][d];
        index[d] = 0;
      }
    }
  }

  int rank_ = 0;
  std::array<int64_t, kMaxRank> extent_{};
  std::array<std::array<int64_t, kMaxRank>, N> stride_{};
};

// Strides of an operand of shape `from` when it is broadcast to `to` (dims aligned at the end).
inline Shape BroadcastStrides(const Shape& from, const Shape& to) {
  Shape strides(to.size(), 0);
  const Shape dense = StridesOf(from);
  const size_t lead = to.size() - from.size();
  for (size_t d = 0; d < from.size(); ++d) {
    if (from[d] == to[lead + d]) strides[lead + d] = dense[d];
  }
  return strides;
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_LOOP_NEST_H_
