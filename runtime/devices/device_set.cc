#include "runtime/devices/device_set.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "runtime/devices/async.h"
#include "runtime/devices/cpu.h"
#include "runtime/devices/cuda/cuda_device.h"
#include "runtime/devices/cuda/cuda_memory.h"
#include "runtime/devices/null.h"

namespace oneflow {

namespace {

// What the plan asks of the device is what this machine is.
absl::Status CheckFits(const plan::DeviceProto& proto, const Device& device) {
  const auto error = [&](const std::string& what) {
    return MakeError(ErrorKind::kPlan, absl::StrCat("device ", proto.id(), ": ", what));
  };
  if (!device.holds_bytes()) return absl::OkStatus();
  if (!proto.isa().empty() && !device.isa().empty() && proto.isa() != device.isa()) {
    return error(absl::StrCat("the plan was made for the instruction set ", proto.isa(),
                              ", this machine has ", device.isa(), "; compile it on this machine"));
  }
  if (proto.threads() < 1 || proto.threads() > DeviceSet::kMaxThreads) {
    return error(
        absl::StrCat("a team of ", proto.threads(), " threads, not 1 to ", DeviceSet::kMaxThreads));
  }
  if (proto.arena_bytes() > device.capacity_bytes()) {
    return MakeError(
        ErrorKind::kOutOfMemory,
        absl::StrCat("device ", proto.id(), ": the plan needs an arena of ", proto.arena_bytes(),
                     " bytes, the machine has ", device.capacity_bytes(),
                     "; use a smaller batch, more micro-batches or more devices"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Device*> DeviceSet::Find(const plan::DeviceProto& device) {
  const std::string kind =
      (device.kind() == "cpu" || device.kind() == "async") && cpu_kernels_ == nullptr
          ? "null"
          : device.kind();
  if (auto found = entries_.find(device.id()); found != entries_.end()) {
    if (found->second.device->kind() != kind) {
      return MakeError(ErrorKind::kPlan,
                       absl::StrCat("device ", device.id(), " is a ", found->second.device->kind(),
                                    " device, but the plan wants ", kind));
    }
    OF_RETURN_IF_ERROR(CheckFits(device, *found->second.device));
    return found->second.device.get();
  }
  std::unique_ptr<Device> made;
  if (kind == "cpu") made = MakeCpuDevice(cpu_kernels_);
  if (kind == "async") made = MakeAsyncDevice(cpu_kernels_, device.id());
  if (kind == "null") made = MakeNullDevice();
  if (kind == "cuda" && cuda_ != nullptr) {
    if (cuda_context_ == nullptr) {
      OF_ASSIGN_OR_RETURN(std::shared_ptr<CudaContext> context,
                          CudaContext::Make(cuda_, cuda_graphs_, cuda_placement_, peer_seconds_));
      std::lock_guard<std::mutex> lock(context_mutex_);
      cuda_context_ = std::move(context);
      if (abandoned_) cuda_context_->Abandon();
    }
    OF_ASSIGN_OR_RETURN(made, MakeCudaDevice(cuda_context_, device.id()));
  }
  if (made == nullptr) {
    return MakeError(ErrorKind::kPlan,
                     absl::StrCat("this process has no devices of kind \"", kind, "\""));
  }
  OF_RETURN_IF_ERROR(CheckFits(device, *made));
  Entry& entry = entries_[device.id()];
  entry.device = std::move(made);
  return entry.device.get();
}

void DeviceSet::Drain() {
  for (auto& [id, entry] : entries_) {
    entry.device->stream()->Drain();
    for (auto& [name, stream] : entry.streams) stream->Drain();
  }
}

void DeviceSet::Abandon() const {
  std::lock_guard<std::mutex> lock(context_mutex_);
  abandoned_ = true;
  if (cuda_context_ != nullptr) cuda_context_->Abandon();
}

absl::StatusOr<kernels::Stream*> DeviceSet::StreamOf(uint32_t id, const std::string& name) {
  Entry& entry = entries_.at(id);
  std::unique_ptr<kernels::Stream>& stream = entry.streams[name];
  if (stream == nullptr) {
    OF_ASSIGN_OR_RETURN(stream, entry.device->MakeStream());
  }
  return stream.get();
}

absl::StatusOr<Block> DeviceSet::AllocateArena(Device* device, int64_t bytes) const {
  if (transport_ != nullptr && device->host_memory()) {
    const size_t size = static_cast<size_t>(bytes);
    if (std::byte* shared = transport_->AllocateShared(size); shared != nullptr) {
      return Block(shared, size, [transport = transport_](std::byte* block, size_t) {
        transport->FreeShared(block);
      });
    }
  }
  return device->AllocateArena(bytes);
}

absl::Status DeviceSet::CheckMemory(const plan::Plan& plan, std::set<std::string> states) const {
  if (plan.devices_size() == 0 || plan.devices(0).kind() != "cuda") return absl::OkStatus();
  std::vector<HeldArena> arenas;
  for (const plan::DeviceProto& device : plan.devices()) {
    const Entry& entry = entries_.at(device.id());
    arenas.push_back({static_cast<int64_t>(entry.arena.bytes()), entry.device->Grows(entry.arena)});
  }
  return CheckCudaMemory(*cuda_context_, plan, std::move(arenas), std::move(states));
}

absl::StatusOr<bool> DeviceSet::GrowArena(uint32_t id, int64_t bytes) {
  Entry& entry = entries_.at(id);
  if (static_cast<int64_t>(entry.arena.bytes()) >= bytes || !entry.device->holds_bytes()) {
    return false;
  }
  if (entry.arena.data() != nullptr) {
    OF_ASSIGN_OR_RETURN(const bool grown, entry.device->GrowArena(&entry.arena, bytes));
    if (grown) return false;
  }
  // The old one stays until the new one is there: plans are bound to it if this fails.
  OF_ASSIGN_OR_RETURN(Block larger, AllocateArena(entry.device.get(), bytes));
  entry.arena = std::move(larger);
  return true;
}

}  // namespace oneflow
