// CostModel: predicted time of local work and of moving bytes, from the target alone. Integers, so
// that all ranks decide alike.
//
// A value, made once per compile from the target; refers to nothing. Threads: any. Rates that the
// target lacks are assumed (kAssumed* in cost_model.cc): decisions then rest on ratios of bytes and
// flops. Read next: compiler/parallel/reshard_path.h.
#ifndef ONEFLOW_COMPILER_PARALLEL_COST_MODEL_H_
#define ONEFLOW_COMPILER_PARALLEL_COST_MODEL_H_

#include <cstdint>
#include <map>
#include <vector>

#include "compiler/ops/op_def.h"
#include "compiler/parallel/link_levels.h"
#include "plan/sharding.h"
#include "plan/target.pb.h"

namespace oneflow {

class CostModel {
 public:
  // The most devices that sum directly: those of a host.
  static constexpr int64_t kMostDirect = 8;

  CostModel(const plan::Target& target, const Mesh& mesh, int micro_batches);

  const std::vector<Axis>& axes() const { return axes_; }
  int64_t micro_batches() const { return axes_[0].size; }

  // One firing of a kernel: the longer of arithmetic and memory traffic, plus the fixed cost of a
  // task.
  int64_t ComputeNs(const OpCost& cost) const;
  // One firing that reads and writes `bytes` of memory in total and does no arithmetic.
  int64_t MemoryNs(int64_t bytes) const;
  // The outermost level between devices that differ only on this layout axis (not micro), on any
  // stage: what a collective on the axis waits for.
  int AxisLevel(int axis) const { return axis_levels_[axis]; }
  const LinkRate& AxisLink(int axis) const { return levels_.rate(axis_levels_[axis]); }
  // The outermost link between devices of so many consecutive places on the axis. REQUIRES: they divide it.
  const LinkRate& LinkWithin(int axis, int64_t places) const {
    return levels_.rate(levels_within_[axis].at(places));
  }
  // Numbers of consecutive places on the axis that a level of the machine inside the axis's own joins, from the
  // largest: what a sum may do first (sum_rounds.h). None on the axis micro.
  const std::vector<int64_t>& Groups(int axis) const { return groups_[axis]; }
  // The outermost link within a stage.
  const LinkRate& StageLink() const { return levels_.rate(stage_level_); }
  const LinkLevels& levels() const { return levels_; }
  // Bytes that the target's slowest link carries while a message starts, whatever rank holds which
  // device: what is chosen by it is the same in one process and in many.
  int64_t LatencyBytes() const;
  // A sum of so many bytes over a mesh axis goes directly from each device to all others, not round a
  // ring: half the messages, which do not wait for each other, where their start costs more than their
  // bytes. Few devices only, since each message is a channel. As placement-free as LatencyBytes. The
  // layout search counts a ring all the same: what shares a bucket is known behind it.
  bool SumsDirectly(int axis, int64_t bytes) const {
    const int64_t others = axes_[axis].size - 1;
    return others < kMostDirect && others * bytes <= LatencyBytes();
  }
  // The outermost link between corresponding devices of two stages.
  const LinkRate& CrossStageLink(int from, int to) const;

 private:
  std::vector<Axis> axes_;
  Mesh mesh_;
  LinkLevels levels_;
  void FindLevels();
  int LevelWithin(size_t stride, int64_t size, int64_t places) const;

  std::vector<int> axis_levels_;
  std::vector<std::map<int64_t, int>> levels_within_;  // by axis, then places
  std::vector<std::vector<int64_t>> groups_;           // by axis
  int stage_level_ = 0;
  int64_t flops_per_us_ = 1;
  int64_t bytes_per_us_ = 1;
  int64_t task_overhead_ns_ = 0;
};

// The largest local piece of a logical tensor: that of the first device, in the first micro-batch.
TensorType LargestShard(const TensorType& type, const Sharding& sharding,
                        const std::vector<Axis>& axes);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PARALLEL_COST_MODEL_H_
