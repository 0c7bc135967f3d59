// StateStore: what outlives a step: named logical tensors, one shard per local device, with a
// version.
//
// Owned by a session (or a virtual runtime), outside every plan's arena. Threads: the owner's
// caller, and only while nothing runs; loaded plans hold the shards' addresses, which never
// change. Invariant: a state has one Sharding; the first plan that names it decides. Read next:
// runtime/session.h.
#ifndef ONEFLOW_RUNTIME_STATES_H_
#define ONEFLOW_RUNTIME_STATES_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/host_tensor.h"
#include "plan/plan.pb.h"
#include "runtime/devices/device_set.h"
#include "runtime/io/region.h"

namespace oneflow {

class StateStore {
 public:
  // `devices` outlives the store.
  explicit StateStore(DeviceSet* devices) : devices_(devices) {}

  // Allocates the states of a plan that are new, as zeros; PlanError if one of them exists with
  // another type or Sharding. `other_ranks`: plans of several ranks share this store, each adding
  // its devices' shards. REQUIRES: devices->Find was called for all devices of the plan.
  absl::Status Declare(const plan::Plan& plan, bool other_ranks);

  bool Has(const std::string& name) const { return states_.contains(name); }
  std::vector<std::string> Names() const;
  uint64_t Version(const std::string& name) const;
  void BumpVersion(const std::string& name) { ++states_.at(name).version; }

  // Address of the shard on a device; nullptr on a device that holds no bytes.
  std::byte* Shard(const std::string& name, uint32_t device) const;

  // ShapeError, DTypeError on a mismatch; every shard gets its region.
  absl::Status Write(const std::string& name, const HostTensor& value);
  // Error naming flow.gather if the shards here do not cover the tensor. `check_replicas`: an error
  // too if two shards that hold the same element differ.
  absl::StatusOr<HostTensor> Read(const std::string& name, bool check_replicas) const;

  // REQUIRES: devices in the host's memory (a virtual runtime's).
  void FillWithZeros();
  // Forgets a state and frees its shards. REQUIRES: no loaded plan is bound to it.
  void Drop(const std::string& name) { states_.erase(name); }
  size_t size() const { return states_.size(); }
  // Allocated for states on a device.
  uint64_t BytesOn(uint32_t device) const;

 private:
  struct ShardBlock {
    uint32_t device = 0;  // global id
    Shape begin;
    Shape shape;
    Block block;
    RegionCopy region;
  };
  struct State {
    DType dtype = DType::kInvalid;
    Shape logical_shape;
    std::string sharding;  // serialised ShardingProto
    uint64_t version = 0;
    std::vector<ShardBlock> shards;
  };
  absl::Status Add(const plan::Plan& plan, const plan::StateProto& proto, bool other_ranks);

  DeviceSet* devices_;
  std::map<std::string, State> states_;
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_STATES_H_
