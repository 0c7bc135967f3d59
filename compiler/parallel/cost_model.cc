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

  axis_levels_.assign(axes_.size(), 0);
  for (int stage = 0; stage < mesh.stages(); ++stage) {
    const std::vector<int> devices = mesh.StageDevices(stage);
    size_t stride = 1;
    for (size_t axis = axes_.size(); axis-- > 1;) {
      const auto size = static_cast<size_t>(axes_[axis].size);
      for (size_t i = 0; i < devices.size(); ++i) {
        const size_t first = i - i / stride % size * stride;  // of the line through i
        axis_levels_[axis] =
            std::max(axis_levels_[axis], levels_.Between(devices[first], devices[i]));
      }
      stride *= size;
    }
  }
  stage_level_ = *std::max_element(axis_levels_.begin(), axis_levels_.end());
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
