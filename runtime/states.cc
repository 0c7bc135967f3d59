#include "runtime/states.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "plan/shape_of.h"

namespace oneflow {
namespace {

absl::Status Unknown(const std::string& name) {
  return MakeError(ErrorKind::kError, absl::StrCat("no state is named \"", name,
                                                   "\": no loaded plan reads or writes it"));
}

}  // namespace

absl::Status StateStore::Declare(const plan::Plan& plan, bool other_ranks) {
  for (const plan::StateProto& proto : plan.states()) {
    OF_RETURN_IF_ERROR(Add(plan, proto, other_ranks));
  }
  return absl::OkStatus();
}

absl::Status StateStore::Add(const plan::Plan& plan, const plan::StateProto& proto,
                             bool other_ranks) {
  const DType dtype = static_cast<DType>(proto.dtype());
  const Shape logical = ShapeOf(proto.logical_shape());
  const std::string sharding = proto.sharding().SerializeAsString();
  auto [entry, is_new] = states_.try_emplace(proto.name());
  State& state = entry->second;
  if (is_new) {
    state.dtype = dtype;
    state.logical_shape = logical;
    state.sharding = sharding;
  } else if (state.dtype != dtype || state.logical_shape != logical) {
    return MakeError(ErrorKind::kPlan,
                     absl::StrCat("state \"", proto.name(), "\" is ", NameOf(state.dtype).data(),
                                  ToString(state.logical_shape), ", but plan ", plan.name(),
                                  " takes it as ", NameOf(dtype).data(), ToString(logical)));
  }
  const size_t known = state.shards.size();
  bool agrees = state.sharding == sharding &&
                (is_new || other_ranks || known == static_cast<size_t>(proto.shards_size()));
  for (const plan::StateShard& shard : proto.shards()) {
    const uint32_t device = plan.devices(static_cast<int>(shard.device())).id();
    const Shape begin = ShapeOf(shard.begin());
    const Shape shape = ShapeOf(shard.shape());
    auto found = std::find_if(state.shards.begin(), state.shards.end(),
                              [&](const ShardBlock& b) { return b.device == device; });
    if (found != state.shards.end()) {
      agrees = agrees && found->begin == begin && found->shape == shape;
      continue;
    }
    if (!is_new && !other_ranks) {
      agrees = false;
      continue;
    }
    ShardBlock block{device, begin, shape, Block(),
                     RegionCopy(logical, begin, shape, SizeOf(dtype))};
    OF_ASSIGN_OR_RETURN(block.block, devices_->at(device).device->Allocate(block.region.bytes()));
    state.shards.push_back(std::move(block));
  }
  if (!agrees) {
    return MakeError(
        ErrorKind::kPlan,
        absl::StrCat("state \"", proto.name(), "\" already has another sharding than plan ",
                     plan.name(), " takes it in; compile the plan with the first one's shardings"));
  }
  return absl::OkStatus();
}

std::vector<std::string> StateStore::Names() const {
  std::vector<std::string> names;
  for (const auto& [name, state] : states_) names.push_back(name);
  return names;
}

uint64_t StateStore::Version(const std::string& name) const {
  auto found = states_.find(name);
  return found == states_.end() ? 0 : found->second.version;
}

std::byte* StateStore::Shard(const std::string& name, uint32_t device) const {
  for (const ShardBlock& shard : states_.at(name).shards) {
    if (shard.device == device) return shard.block.data();
  }
  OF_CHECK(false) << "state " << name << " has no shard on device " << device;
  return nullptr;
}

absl::Status StateStore::Write(const std::string& name, const HostTensor& value) {
  auto found = states_.find(name);
  if (found == states_.end()) return Unknown(name);
  State& state = found->second;
  if (value.dtype != state.dtype) {
    return MakeError(ErrorKind::kDType,
                     absl::StrCat("state \"", name, "\" is ", NameOf(state.dtype).data(), ", not ",
                                  NameOf(value.dtype).data()));
  }
  if (value.shape != state.logical_shape) {
    return MakeError(ErrorKind::kShape,
                     absl::StrCat("state \"", name, "\" has shape ", ToString(state.logical_shape),
                                  ", not ", ToString(value.shape)));
  }
  for (ShardBlock& shard : state.shards) {
    if (shard.block.data() != nullptr) {
      OF_RETURN_IF_ERROR(devices_->at(shard.device)
                             .device->ToLocal(shard.region, value.data.get(), shard.block.data()));
    }
  }
  ++state.version;
  return absl::OkStatus();
}

absl::StatusOr<HostTensor> StateStore::Read(const std::string& name, bool check_replicas) const {
  auto found = states_.find(name);
  if (found == states_.end()) return Unknown(name);
  const State& state = found->second;
  HostTensor value = HostTensor::Allocate(state.dtype, state.logical_shape);
  // Shards are equal or disjoint: a Split deals a dim out, B repeats it.
  int64_t covered = 0;
  for (size_t i = 0; i < state.shards.size(); ++i) {
    const ShardBlock& shard = state.shards[i];
    const ShardBlock* same = nullptr;
    for (size_t j = 0; j < i && same == nullptr; ++j) {
      if (state.shards[j].begin == shard.begin && state.shards[j].shape == shard.shape) {
        same = &state.shards[j];
      }
    }
    if (same == nullptr) {
      covered += shard.region.bytes();
      if (shard.block.data() != nullptr) {
        OF_RETURN_IF_ERROR(
            devices_->at(shard.device)
                .device->FromLocal(shard.region, value.data.get(), shard.block.data()));
      }
    } else if (check_replicas && shard.block.data() != nullptr &&
               devices_->at(shard.device).device->host_memory() &&
               std::memcmp(same->block.data(), shard.block.data(), shard.block.bytes()) != 0) {
      return MakeError(ErrorKind::kError,
                       absl::StrCat("replicas of state \"", name, "\" differ: on device ",
                                    same->device, " and on device ", shard.device));
    }
  }
  if (covered != value.bytes()) {
    return MakeError(
        ErrorKind::kError,
        absl::StrCat("state \"", name, "\" lies on several processes and this one holds ", covered,
                     " of its ", value.bytes(), " bytes; call flow.gather on all ranks first"));
  }
  return value;
}

void StateStore::FillWithZeros() {
  for (auto& [name, state] : states_) {
    for (ShardBlock& shard : state.shards) {
      if (shard.block.data() != nullptr) std::memset(shard.block.data(), 0, shard.block.bytes());
    }
    state.version = 0;
  }
}

uint64_t StateStore::BytesOn(uint32_t device) const {
  uint64_t bytes = 0;
  for (const auto& [name, state] : states_) {
    for (const ShardBlock& shard : state.shards) {
      if (shard.device == device) bytes += shard.block.bytes();
    }
  }
  return bytes;
}

}  // namespace oneflow
