#include "compiler/parallel/cost_model.h"

#include <algorithm>

namespace oneflow {
namespace {

// Assumed where the target says nothing: one CPU core, memory of the same process, loopback TCP.
constexpr int64_t kAssumedFlopsPerUs = 20'000;
constexpr int64_t kAssumedBytesPerUs = 8'000;
constexpr LinkRate kAssumedLinks[] = {{1'000, 8'000}, {5'000, 4'000}, {30'000, 1'500}};

// Slower first on latency, then on rate: what a group of devices waits for.
bool Slower(const LinkRate& a, const LinkRate& b) {
  if (a.latency_ns != b.latency_ns) return a.latency_ns > b.latency_ns;
  return a.bytes_per_us < b.bytes_per_us;
}

int64_t PositiveOr(int64_t value, int64_t fallback) { return value > 0 ? value : fallback; }

}  // namespace

int64_t LinkRate::Ns(int64_t messages, int64_t bytes) const {
  return messages * latency_ns + bytes * 1000 / bytes_per_us;
}

CostModel::CostModel(const plan::Target& target, const Mesh& mesh, int micro_batches)
    : axes_(mesh.LayoutAxes(micro_batches)),
      mesh_(mesh),
      by_scope_(std::begin(kAssumedLinks), std::end(kAssumedLinks)) {
  for (const plan::Link& link : target.links()) {
    if (link.scope() < 0 || link.scope() >= static_cast<int>(by_scope_.size())) continue;
    LinkRate& rate = by_scope_[link.scope()];
    rate.latency_ns = std::max<int64_t>(link.latency_ns(), 0);
    rate.bytes_per_us = PositiveOr(link.bytes_per_us(), rate.bytes_per_us);
  }
  for (const plan::TargetDevice& device : target.devices()) {
    device_rank_.push_back(static_cast<int>(device.rank()));
  }
  // Devices of one mesh are taken as equal: the first speaks for all.
  const int first = mesh.devices.empty() ? 0 : mesh.devices[0];
  const bool known = first < target.devices_size();
  flops_per_us_ = PositiveOr(known ? target.devices(first).flops_per_us() : 0, kAssumedFlopsPerUs);
  bytes_per_us_ = PositiveOr(known ? target.devices(first).bytes_per_us() : 0, kAssumedBytesPerUs);
  task_overhead_ns_ = std::max<int64_t>(target.task_overhead_ns(), 0);

  const std::vector<int> devices = mesh.StageDevices(0);
  stage_link_ = by_scope_[0];
  axis_links_.assign(axes_.size(), by_scope_[0]);
  int64_t stride = 1;
  for (size_t axis = axes_.size(); axis-- > 1;) {
    for (int64_t i = 1; i < axes_[axis].size; ++i) {
      if (i * stride >= static_cast<int64_t>(devices.size())) break;
      const LinkRate link = Between(devices[0], devices[i * stride]);
      if (Slower(link, axis_links_[axis])) axis_links_[axis] = link;
    }
    if (Slower(axis_links_[axis], stage_link_)) stage_link_ = axis_links_[axis];
    stride *= axes_[axis].size;
  }
}

int64_t CostModel::ComputeNs(const OpCost& cost) const {
  return task_overhead_ns_ +
         std::max(cost.flops * 1000 / flops_per_us_, cost.bytes * 1000 / bytes_per_us_);
}

int64_t CostModel::MemoryNs(int64_t bytes) const {
  return task_overhead_ns_ + bytes * 1000 / bytes_per_us_;
}

LinkRate CostModel::Between(int device_a, int device_b) const {
  if (device_a == device_b) return by_scope_[0];
  const int count = static_cast<int>(device_rank_.size());
  const int rank_a = device_a < count ? device_rank_[device_a] : 0;
  const int rank_b = device_b < count ? device_rank_[device_b] : 0;
  return by_scope_[rank_a == rank_b ? plan::Link::RANK : plan::Link::HOST];
}

int64_t CostModel::LatencyBytes() const {
  int64_t bytes = 0;
  for (const LinkRate& link : by_scope_) {
    bytes = std::max(bytes, link.latency_ns * link.bytes_per_us / 1000);
  }
  return bytes;
}

LinkRate CostModel::CrossStageLink(int from, int to) const {
  const std::vector<int> sources = mesh_.StageDevices(from);
  const std::vector<int> destinations = mesh_.StageDevices(to);
  if (sources.empty() || destinations.empty()) return stage_link_;
  return Between(sources[0], destinations[0]);
}

TensorType LargestShard(const TensorType& type, const Sharding& sharding,
                        const std::vector<Axis>& axes) {
  const std::vector<int64_t> origin(axes.size(), 0);
  return {type.dtype, SliceOf(sharding, axes, type.shape, origin).extent};
}

}  // namespace oneflow
