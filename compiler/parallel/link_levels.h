// LinkLevels: what joins two devices: the levels of a target from the innermost outwards.
//
//   memory   1 device    a device's own memory
//   nvlink   8 devices   what a host's devices reach each other over: 0 to 7, 8 to 15, ..
//   network  all
//
// A value, made from a target that it does not keep. Threads: any. Invariants: level 0 is a device
// with itself, the last level joins all; rates that the target lacks are assumed. Read next:
// compiler/parallel/cost_model.h.
#ifndef ONEFLOW_COMPILER_PARALLEL_LINK_LEVELS_H_
#define ONEFLOW_COMPILER_PARALLEL_LINK_LEVELS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "plan/target.pb.h"

namespace oneflow {

// Latency and rate of a path between devices.
struct LinkRate {
  int64_t latency_ns = 0;
  int64_t bytes_per_us = 1;
  // Time of `messages` that carry `bytes` in total, one after the other.
  int64_t Ns(int64_t messages, int64_t bytes) const;
};

// The largest number such that so many consecutive devices are always of one process: what a level
// between the devices of a process joins.
uint32_t DevicesPerProcess(const plan::Target& target);

class LinkLevels {
 public:
  explicit LinkLevels(const plan::Target& target);

  // The innermost level that joins two devices (global ids).
  int Between(int device_a, int device_b) const;
  const LinkRate& rate(int level) const { return levels_[level].rate; }
  // True if the level follows the processes: no order of sums may look at its group.
  bool of_processes(int level) const { return levels_[level].of_processes; }
  const std::string& name(int level) const { return levels_[level].name; }
  int size() const { return static_cast<int>(levels_.size()); }

 private:
  struct Level {
    std::string name;
    int64_t group = 0;  // consecutive devices; 0: all
    LinkRate rate;
    bool of_processes = false;
  };
  std::vector<Level> levels_;
};

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PARALLEL_LINK_LEVELS_H_
