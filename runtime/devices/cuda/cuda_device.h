// CudaDevice: a logical device on a GPU, on the CUDA table (kernels/cuda/cuda_api.h): several may share
// one, so that layouts over a mesh run on a single GPU, and several GPUs may carry those of one session.
//
// Owned by a session; the context is shared by its CUDA devices. Threads: as Device. Invariants: a
// device stays on its GPU; a plan's steps run on all of them as a whole (runtime/devices/step_work.h), so
// no actor fires a task of theirs. States are read and written on the GPU's own stream, behind the steps. An error of a kernel that already runs shows at a later call (CUDA error 700 and the like): the
// session fails, and a task that is named is the first that could not be enqueued. Read next:
// runtime/devices/cuda/cuda_step.h, kernels/cuda/cuda_kernels.h.
#ifndef ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_DEVICE_H_
#define ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_DEVICE_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "runtime/devices/cuda/cuda_context.h"
#include "runtime/devices/device.h"

namespace oneflow {

// `id` is the global one.
absl::StatusOr<std::unique_ptr<Device>> MakeCudaDevice(std::shared_ptr<CudaContext> context,
                                                       uint32_t id);

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_DEVICE_H_
