// BatchGroups: which rows of a local batch belong to which group of batch norm.
//
// The G groups are consecutive equal shares of the *logical* batch: a sample's group follows from where
// the shard begins, so a local batch may hold several groups, or a part of one. A value, const. Threads:
// any. Invariant: rows lie inside x whatever the spec says. Read next: kernels/cpu/batch_norm.cc.
#ifndef ONEFLOW_KERNELS_CPU_BATCH_GROUPS_H_
#define ONEFLOW_KERNELS_CPU_BATCH_GROUPS_H_

#include <algorithm>
#include <cstdint>

#include "kernels/kernel.h"

namespace oneflow::kernels {

// Rows of x (one per sample and place in the image) that belong to each local group.
class BatchGroups {
 public:
  BatchGroups(const Operand& x, const Operand& stats)
      : local_(stats.shape.at(0)),
        logical_(std::max<int64_t>(1, stats.logical_shape.at(0))),
        first_group_(stats.begin.at(0)),
        group_stride_(stats.micro_dim == 0 ? stats.micro_stride : 0),
        samples_(x.shape.at(0)),
        logical_samples_(x.logical_shape.at(0)),
        first_sample_(x.begin.at(0)),
        sample_stride_(x.micro_dim == 0 ? x.micro_stride : 0) {
    for (size_t d = 1; d + 1 < x.shape.size(); ++d) rows_per_sample_ *= x.shape[d];
  }

  int64_t count() const { return local_; }
  int64_t rows() const { return samples_ * rows_per_sample_; }
  struct Rows {
    int64_t begin = 0;
    int64_t end = 0;
  };
  Rows RowsOf(int64_t group, uint32_t micro) const {
    const int64_t logical = first_group_ + group_stride_ * micro + group;
    const int64_t first = first_sample_ + sample_stride_ * micro;
    const auto local = [&](int64_t sample) {
      return std::clamp<int64_t>(sample - first, 0, samples_) * rows_per_sample_;
    };
    return {local(GroupBegin(logical)), local(GroupBegin(logical + 1))};
  }

 private:
  int64_t GroupBegin(int64_t group) const {
    return logical_samples_ / logical_ * group + std::min(group, logical_samples_ % logical_);
  }

  int64_t local_;
  int64_t logical_;
  int64_t first_group_;
  int64_t group_stride_;
  int64_t samples_;
  int64_t logical_samples_;
  int64_t first_sample_;
  int64_t sample_stride_;
  int64_t rows_per_sample_ = 1;
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_BATCH_GROUPS_H_
