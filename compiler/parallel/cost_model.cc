#include "compiler/parallel/cost_model.h"

#include <algorithm>

namespace oneflow {
namespace {

// Assumed where the target says nothing: one CPU core.
constexpr int64_t kAssumedFlopsPerUs = 20'000;
constexpr int64_t kAssumedBytesPerUs = 8'000;
int64_t PositiveOr(int64_t value, int64_t fallback) { return value > 0 ? value : fallback; }

}  // namespace

CostModel::CostModel(const plan::Target& target, const Mesh& mesh, int micro_batches)
    : axes_(mesh.LayoutAxes(micro_batches)), mesh_(mesh), levels_(target) {
  // Devices of one mesh are taken as equal: the first speaks for all.
  const int first = mesh.devices.empty() ? 0 : mesh.devices[0];
  const bool known = first < target.devices_size();
  flops_per_us_ = PositiveOr(known ? target.devices(first).flops_per_us() : 0, kAssumedFlopsPerUs);
  bytes_per_us_ = PositiveOr(known ? target.devices(first).bytes_per_us() : 0, kAssumedBytesPerUs);
  task_overhead_ns_ = std::max<int64_t>(target.task_overhead_ns(), 0);

  FindLevels();
}

void CostModel::FindLevels() {
  axis_levels_.assign(axes_.size(), 0);
  levels_within_.resize(axes_.size());
  groups_.resize(axes_.size());
  std::vector<size_t> strides(axes_.size(), 1);
  for (size_t axis = axes_.size() - 1; axis > 0; --axis)
    strides[axis - 1] = strides[axis] * static_cast<size_t>(axes_[axis].size);
  for (size_t axis = 1; axis < axes_.size(); ++axis) {
    const int64_t size = axes_[axis].size;
    std::map<int64_t, int>& within = levels_within_[axis];
    for (int64_t places = 1; places <= size; ++places) {
      if (size % places == 0) within[places] = LevelWithin(strides[axis], size, places);
    }
    axis_levels_[axis] = within.at(size);
    for (int level = axis_levels_[axis]; level-- > 1;) {
      if (levels_.of_processes(level)) continue;
      int64_t group = 1;
      for (const auto& [places, outermost] : within) {
        if (outermost <= level) group = places;
      }
      if (group > 1 && (groups_[axis].empty() || group < groups_[axis].back()))
        groups_[axis].push_back(group);
    }
  }
  stage_level_ = *std::max_element(axis_levels_.begin(), axis_levels_.end());
}

int CostModel::LevelWithin(size_t stride, int64_t size, int64_t places) const {
  int level = 0;
  for (int stage = 0; stage < mesh_.stages(); ++stage) {
    const std::vector<int> devices = mesh_.StageDevices(stage);
    for (size_t i = 0; i < devices.size(); ++i) {
      const size_t index = i / stride % static_cast<size_t>(size);
      const size_t first = i - index % static_cast<size_t>(places) * stride;
      level = std::max(level, levels_.Between(devices[first], devices[i]));
    }
  }
  return level;
}

int64_t CostModel::ComputeNs(const OpCost& cost) const {
  return task_overhead_ns_ +
         std::max(cost.flops * 1000 / flops_per_us_, cost.bytes * 1000 / bytes_per_us_);
}

int64_t CostModel::MemoryNs(int64_t bytes) const {
  return task_overhead_ns_ + bytes * 1000 / bytes_per_us_;
}

int64_t CostModel::LatencyBytes() const {
  int64_t bytes = 0;
  for (int level = 0; level < levels_.size(); ++level) {
    const LinkRate& link = levels_.rate(level);
    bytes = std::max(bytes, link.latency_ns * link.bytes_per_us / 1000);
  }
  return bytes;
}

const LinkRate& CostModel::CrossStageLink(int from, int to) const {
  const std::vector<int> sources = mesh_.StageDevices(from);
  const std::vector<int> destinations = mesh_.StageDevices(to);
  if (sources.empty() || destinations.empty()) return StageLink();
  int level = 0;
  for (size_t i = 0; i < std::min(sources.size(), destinations.size()); ++i)
    level = std::max(level, levels_.Between(sources[i], destinations[i]));
  return levels_.rate(level);
}

TensorType LargestShard(const TensorType& type, const Sharding& sharding,
                        const std::vector<Axis>& axes) {
  const std::vector<int64_t> origin(axes.size(), 0);
  return {type.dtype, SliceOf(sharding, axes, type.shape, origin).extent};
}

}  // namespace oneflow
