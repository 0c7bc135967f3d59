#include "plan/memory_limit.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/dtype.h"
#include "base/shape.h"
#include "base/status.h"
#include "base/text.h"
#include "plan/analyse.h"
#include "plan/firings.h"
#include "plan/shape_of.h"

namespace oneflow {
namespace {

constexpr size_t kShown = 5;

std::string Exactly(int64_t bytes) {
  return absl::StrCat(bytes, " bytes (", BytesText(bytes), ")");
}

// "GPU 0 (cuda:0, cuda:2)".
std::string NameOfGpu(const plan::Plan& plan, const GpuMemory& memory) {
  std::string devices;
  for (const uint32_t device : memory.devices) {
    absl::StrAppend(&devices, devices.empty() ? "" : ", ", DeviceName(plan, device));
  }
  return absl::StrCat("GPU ", memory.gpu, " (", devices, ")");
}

int64_t BytesOfShard(const plan::StateProto& state, const plan::StateShard& shard) {
  return NumElements(ShapeOf(shard.shape())) * SizeOf(static_cast<DType>(state.dtype()));
}

// What is largest where most is alive on a device, and the largest states there. `location`: of the first.
std::string Largest(const plan::Plan& plan, const DeviceMemory& memory, Location* location) {
  std::string text;
  if (!memory.live_at_peak.empty()) {
    absl::StrAppend(&text, "\nLargest of what is alive on ", DeviceName(plan, memory.device),
                    " at ", memory.peak_task, ":");
    for (size_t i = 0; i < std::min(kShown, memory.live_at_peak.size()); ++i) {
      const LiveRegister& live = memory.live_at_peak[i];
      const uint32_t producer = plan.registers(static_cast<int>(live.register_id)).producer();
      if (!location->known()) *location = LocationOfTask(plan, producer);
      absl::StrAppend(&text, "\n  ", live.bytes, " bytes  ", live.name,
                      live.workspace ? " (workspace)  " : "  ", live.location);
    }
  }
  std::vector<std::pair<int64_t, std::string>> states;
  for (const plan::StateProto& state : plan.states()) {
    for (const plan::StateShard& shard : state.shards()) {
      if (shard.device() != memory.device) continue;
      states.emplace_back(-BytesOfShard(state, shard), state.name());
    }
  }
  std::sort(states.begin(), states.end());
  if (!states.empty()) absl::StrAppend(&text, "\nLargest states there:");
  for (size_t i = 0; i < std::min(kShown, states.size()); ++i) {
    absl::StrAppend(&text, "\n  ", -states[i].first, " bytes  ", states[i].second);
  }
  return text;
}

// What can be done, of what the plan does not do yet.
std::string WaysOut(const plan::Plan& plan) {
  std::string text = "\nUse a larger mesh, more micro-batches (accumulate=), or a smaller batch";
  for (const plan::AxisProto& axis : plan.mesh().axes()) {
    if (axis.name() != "dp" || axis.size() < 2) continue;
    absl::StrAppend(&text,
                    "; parameters and optimizer need not be whole on every device of dp: "
                    "parallel={\"*\": {\"dp\": \"S(0)\"}} splits them");
  }
  return text;
}

// Pools with bytes, largest first, as rows of text. `now`: what the driver says is in use, by whomever.
std::string Pools(const GpuMemory& memory, const GpuLimit& limit, int64_t workspaces, bool now,
                  const std::string& indent) {
  const std::string of_them =
      workspaces > 0 ? absl::StrCat(", at the peak ", BytesText(workspaces), " of them workspaces")
                     : "";
  std::vector<std::pair<int64_t, std::string>> pools = {
      {memory.states, "parameters and optimizer"},
      {memory.arenas, absl::StrCat("activations, gradients and workspaces", of_them)},
      {memory.inputs, "inputs of a step"},
      {memory.outputs, "outputs of a step, reports of wrong data"},
      {memory.messages, "messages to and from other GPUs"},
      {memory.detours, "states on their way, which wrong data must not reach"},
      {memory.rounding, "rounding of blocks by the driver (predicted)"},
      {memory.communicators * limit.communicator_bytes,
       absl::StrCat("NCCL, ", memory.communicators,
                    memory.communicators == 1 ? " communicator" : " communicators",
                    " (predicted)")},
      {limit.reserved_bytes,
       now ? "in use already: other plans and programs, CUDA context, kernels, libraries"
           : "not the plan's: CUDA context, kernels, libraries, other programs"}};
  std::erase_if(pools, [](const auto& pool) { return pool.first == 0; });
  std::stable_sort(pools.begin(), pools.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  size_t width = 0;
  for (const auto& [bytes, what] : pools) width = std::max(width, BytesText(bytes).size());
  std::string text;
  for (const auto& [bytes, what] : pools) {
    std::string size = BytesText(bytes);
    size.resize(width, ' ');
    absl::StrAppend(&text, "\n", indent, size, "  ", what);
  }
  return text;
}

// Of all its devices.
int64_t WorkspacesOf(const GpuMemory& memory, const std::vector<DeviceMemory>& devices) {
  int64_t bytes = 0;
  for (const uint32_t device : memory.devices) bytes += devices[device].workspace_bytes;
  return bytes;
}

absl::Status CheckDevice(const plan::Plan& plan, int device, int64_t limit) {
  const int64_t arena = plan.devices(device).arena_bytes();
  int64_t states = 0;
  for (const plan::StateProto& state : plan.states()) {
    for (const plan::StateShard& shard : state.shards()) {
      if (static_cast<int>(shard.device()) == device) states += BytesOfShard(state, shard);
    }
  }
  if (limit == 0 || arena + states <= limit) return absl::OkStatus();
  Location location;
  const DeviceMemory memory = AnalyseMemory(plan)[static_cast<size_t>(device)];
  std::string text = absl::StrCat(
      DeviceName(plan, static_cast<uint32_t>(device)), " needs ", Exactly(arena + states),
      " but has ", limit, " (", BytesText(limit), "): ", BytesText(states),
      " of parameters and optimizer, ", BytesText(arena), " of activations and gradients");
  absl::StrAppend(&text, Largest(plan, memory, &location), WaysOut(plan));
  return MakeError(ErrorKind::kOutOfMemory, text, location);
}

bool OnGpus(const plan::Plan& plan) {
  return plan.devices_size() > 0 && plan.devices(0).kind() == "cuda";
}

// Of the first of its devices; they agree.
const plan::TargetDevice& TargetOf(const plan::Plan& plan, const GpuMemory& memory,
                                   const plan::Target& target) {
  const uint32_t first = memory.devices.front();
  return target.devices(static_cast<int>(plan.devices(static_cast<int>(first)).id()));
}

}  // namespace

GpuLimit LimitOf(const plan::TargetDevice& device) {
  return {device.memory_bytes(), device.reserved_bytes(), device.communicator_bytes()};
}

int64_t NeededBytes(const GpuMemory& memory, const GpuLimit& limit) {
  return memory.Bytes() + memory.rounding + memory.communicators * limit.communicator_bytes +
         limit.reserved_bytes;
}

absl::Status CheckMemory(const plan::Plan& plan, const plan::Target& target,
                         const RingIsOneCall& one_call) {
  if (OnGpus(plan)) {
    for (const GpuMemory& memory : GpuMemoryOf(plan, PlacementOf(plan, target, one_call))) {
      OF_RETURN_IF_ERROR(
          CheckGpu(plan, memory, LimitOf(TargetOf(plan, memory, target)), /*now=*/false));
    }
    return absl::OkStatus();
  }
  for (int d = 0; d < plan.devices_size(); ++d) {
    const auto id = static_cast<int>(plan.devices(d).id());
    OF_RETURN_IF_ERROR(CheckDevice(plan, d, target.devices(id).memory_bytes()));
  }
  return absl::OkStatus();
}

absl::Status CheckGpu(const plan::Plan& plan, const GpuMemory& memory, const GpuLimit& limit,
                      bool now) {
  const int64_t needed = NeededBytes(memory, limit);
  if (limit.memory_bytes == 0 || needed <= limit.memory_bytes) return absl::OkStatus();
  const std::vector<DeviceMemory> devices = AnalyseMemory(plan);
  uint32_t most = memory.devices.front();
  for (const uint32_t device : memory.devices) {
    if (devices[device].lower_bound > devices[most].lower_bound) most = device;
  }
  Location location;
  std::string text = absl::StrCat(NameOfGpu(plan, memory), " needs ", Exactly(needed),
                                  now ? " to load plan " : " for plan ", plan.name(), " but has ",
                                  limit.memory_bytes, " (", BytesText(limit.memory_bytes), "):");
  absl::StrAppend(&text, Pools(memory, limit, WorkspacesOf(memory, devices), now, "  "),
                  Largest(plan, devices[most], &location), WaysOut(plan));
  if (!now && memory.Bytes() <= limit.memory_bytes) {
    absl::StrAppend(
        &text,
        "; if what is not the plan's is reckoned too large, gpu_memory_gib= of the mesh "
        "says what its blocks may take");
  }
  return MakeError(ErrorKind::kOutOfMemory, text, location);
}

std::string GpuMemoryText(const plan::Plan& plan, const plan::Target& target,
                          const RingIsOneCall& one_call) {
  if (!OnGpus(plan)) return "";
  const std::vector<DeviceMemory> devices = AnalyseMemory(plan);
  std::string text = "memory by GPU";
  for (const GpuMemory& memory : GpuMemoryOf(plan, PlacementOf(plan, target, one_call))) {
    const GpuLimit limit = LimitOf(TargetOf(plan, memory, target));
    absl::StrAppend(&text, "\n  ", NameOfGpu(plan, memory), ": ",
                    Exactly(NeededBytes(memory, limit)));
    if (limit.memory_bytes > 0) {
      absl::StrAppend(&text, " of ", limit.memory_bytes, " (", BytesText(limit.memory_bytes), ")");
    } else {
      absl::StrAppend(&text, ", its memory is not known");
    }
    absl::StrAppend(&text, Pools(memory, limit, WorkspacesOf(memory, devices), false, "    "));
  }
  return text + "\n";
}

}  // namespace oneflow
