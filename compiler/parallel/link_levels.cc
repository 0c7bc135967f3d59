#include "compiler/parallel/link_levels.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace oneflow {

// Assumed where the target says nothing: memory of one CPU core, loopback TCP.
constexpr LinkRate kAssumedMemory = {1'000, 8'000};
constexpr LinkRate kAssumedProcess = {5'000, 4'000};
constexpr LinkRate kAssumedNetwork = {30'000, 1'500};

int64_t LinkRate::Ns(int64_t messages, int64_t bytes) const {
  return messages * latency_ns + bytes * 1000 / bytes_per_us;
}

uint32_t DevicesPerProcess(const plan::Target& target) {
  auto group = static_cast<uint32_t>(target.devices_size());
  for (int i = 1; i < target.devices_size(); ++i) {
    if (target.devices(i).rank() != target.devices(i - 1).rank())
      group = std::gcd(group, static_cast<uint32_t>(i));
  }
  return std::max(group, 1u);
}

LinkLevels::LinkLevels(const plan::Target& target) {
  for (const plan::Link& link : target.links()) {
    Level level{link.name(),
                link.group(),
                {std::max<int64_t>(link.latency_ns(), 0), 1},
                link.of_processes()};
    level.rate.bytes_per_us = link.bytes_per_us() > 0 ? link.bytes_per_us()
                              : levels_.empty()       ? kAssumedMemory.bytes_per_us
                                                      : kAssumedNetwork.bytes_per_us;
    levels_.push_back(std::move(level));
  }
  if (levels_.empty()) {
    levels_.push_back({"memory", 1, kAssumedMemory, false});
    levels_.push_back({"process", DevicesPerProcess(target), kAssumedProcess, true});
  }
  if (target.links_size() < 2) levels_.push_back({"network", 0, kAssumedNetwork, false});
}

int LinkLevels::Between(int device_a, int device_b) const {
  if (device_a == device_b) return 0;
  for (int level = 1; level + 1 < size(); ++level) {
    const int64_t group = levels_[level].group;
    if (group == 0 || device_a / group == device_b / group) return level;
  }
  return size() - 1;
}

}  // namespace oneflow
