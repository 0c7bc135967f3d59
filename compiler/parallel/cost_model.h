// CostModel: predicted time of local work and of moving bytes, from the target alone. Integers, so
// that all ranks decide alike.
//
// A value, made once per compile from the target; refers to nothing. Threads: any. Rates that the
// target lacks are assumed (kAssumed* in cost_model.cc): decisions then rest on ratios of bytes and
// flops. Read next: compiler/parallel/reshard_path.h.
#ifndef ONEFLOW_COMPILER_PARALLEL_COST_MODEL_H_
#define ONEFLOW_COMPILER_PARALLEL_COST_MODEL_H_

#include <cstdint>
#include <vector>

#include "compiler/ops/op_def.h"
#include "plan/sharding.h"
#include "plan/target.pb.h"

namespace oneflow {

// Latency and rate of a path between devices.
struct LinkRate {
  int64_t latency_ns = 0;
  int64_t bytes_per_us = 1;
  // Time of `messages` that carry `bytes` in total, one after the other.
  int64_t Ns(int64_t messages, int64_t bytes) const;
};

class CostModel {
 public:
  CostModel(const plan::Target& target, const Mesh& mesh, int micro_batches);

  const std::vector<Axis>& axes() const { return axes_; }
  int64_t micro_batches() const { return axes_[0].size; }

  // One firing of a kernel: the longer of arithmetic and memory traffic, plus the fixed cost of a
  // task.
  int64_t ComputeNs(const OpCost& cost) const;
  // One firing that reads and writes `bytes` of memory in total and does no arithmetic.
  int64_t MemoryNs(int64_t bytes) const;
  // The slowest link between devices that differ only on this layout axis (not micro).
  const LinkRate& AxisLink(int axis) const { return axis_links_[axis]; }
  // The slowest link within a stage.
  const LinkRate& StageLink() const { return stage_link_; }
  // Bytes that the target's slowest link carries while a message starts, whatever rank holds which
  // device: what is chosen by it is the same in one process and in many.
  int64_t LatencyBytes() const;
  // The link between corresponding devices of two stages.
  LinkRate CrossStageLink(int from, int to) const;

 private:
  LinkRate Between(int device_a, int device_b) const;

  std::vector<Axis> axes_;
  Mesh mesh_;
  std::vector<int> device_rank_;    // by global id
  std::vector<LinkRate> by_scope_;  // DEVICE, RANK, HOST
  std::vector<LinkRate> axis_links_;
  LinkRate stage_link_;
  int64_t flops_per_us_ = 1;
  int64_t bytes_per_us_ = 1;
  int64_t task_overhead_ns_ = 0;
};

// The largest local piece of a logical tensor: that of the first device, in the first micro-batch.
TensorType LargestShard(const TensorType& type, const Sharding& sharding,
                        const std::vector<Axis>& axes);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PARALLEL_COST_MODEL_H_
