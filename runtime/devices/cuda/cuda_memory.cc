#include "runtime/devices/cuda/cuda_memory.h"

#include <utility>

#include "base/status.h"
#include "plan/gpu_memory.h"
#include "plan/memory_limit.h"
#include "runtime/devices/cuda/cuda_comms.h"

namespace oneflow {

absl::Status CheckCudaMemory(const CudaContext& context, const plan::Plan& plan,
                             std::vector<HeldArena> arenas, std::set<std::string> states) {
  const kernels::CudaApi& api = context.api();
  GpuPlacement placement;
  for (const plan::DeviceProto& device : plan.devices()) {
    placement.gpus.push_back(static_cast<uint32_t>(context.GpuOf(device.id())));
  }
  bool has_nccl = false;
  api.nccl_library("", &has_nccl);
  if (has_nccl) placement.one_call = &CudaComms::Does;
  placement.arenas = std::move(arenas);
  placement.states = std::move(states);
  placement.communicators = context.Communicators();
  std::vector<kernels::CudaMemory> found;  // by GPU
  for (const uint32_t gpu : placement.gpus) {
    if (gpu >= found.size()) found.resize(gpu + size_t{1});
    if (found[gpu].total > 0) continue;
    OF_RETURN_IF_ERROR(kernels::CudaStatus(
        api, api.device_memory(static_cast<int>(gpu), &found[gpu]), "device_memory"));
  }
  for (const GpuMemory& memory : GpuMemoryOf(plan, placement)) {
    const kernels::CudaMemory& gpu = found[memory.gpu];
    OF_RETURN_IF_ERROR(CheckGpu(plan, memory, {gpu.total, gpu.total - gpu.free, 0}, /*now=*/true));
  }
  return absl::OkStatus();
}

}  // namespace oneflow
