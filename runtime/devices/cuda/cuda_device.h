// CudaDevice: a logical device on a GPU, on the CUDA table (kernels/cuda/cuda_api.h): several may share
// one, so that layouts over a mesh run on a single GPU.
//
// Owned by a session; the context is shared by its CUDA devices. Threads: as Device. Invariants: all CUDA
// devices of a session are on GPU 0; a plan's steps run there as a whole (runtime/devices/step_work.h), so
// no actor fires a task of theirs. States are read and written on the context's stream, which waits for
// the GPU. An error of a kernel that already runs shows at a later call (CUDA error 700 and the like): the
// session fails, and a task that is named is the first that could not be enqueued. Read next:
// runtime/devices/cuda/cuda_step.h, kernels/cuda/cuda_kernels.h.
#ifndef ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_DEVICE_H_
#define ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_DEVICE_H_

#include <memory>

#include "runtime/devices/cuda/cuda_context.h"
#include "runtime/devices/device.h"

namespace oneflow {

std::unique_ptr<Device> MakeCudaDevice(std::shared_ptr<CudaContext> context);

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_DEVICE_H_
