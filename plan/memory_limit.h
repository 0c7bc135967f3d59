// MemoryLimit: a plan beside the memory that its devices have: refused before anything is allocated where it does
// not fit, with what takes it and what to do.
//
//   GPU 0 (cuda:0 .. cuda:1) needs 10737418240 bytes (10.0 GiB) but has 8589934592 (8.00 GiB):
//     6.00 GiB  parameters and optimizer
//     3.50 GiB  activations, gradients and workspaces
//     512 MiB   not the plan's: CUDA context, kernels, libraries, other programs
//   ...
//
// Pure. Threads: any. The compiler asks with the target's figures, a session again with what the driver says is free
// when it loads a plan (runtime/devices/cuda/cuda_memory.h). Read next: plan/gpu_memory.h.
#ifndef ONEFLOW_PLAN_MEMORY_LIMIT_H_
#define ONEFLOW_PLAN_MEMORY_LIMIT_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "plan/gpu_memory.h"
#include "plan/plan.pb.h"
#include "plan/target.pb.h"

namespace oneflow {

// The memory of one GPU.
struct GpuLimit {
  int64_t memory_bytes = 0;        // 0: unknown
  int64_t reserved_bytes = 0;      // of it, that no plan has
  int64_t communicator_bytes = 0;  // of NCCL, for each
};
GpuLimit LimitOf(const plan::TargetDevice& device);

// What a GPU must have for that, all pools together.
int64_t NeededBytes(const GpuMemory& memory, const GpuLimit& limit);

// OutOfMemoryError if a device, or a GPU with all that share it, has less than the plan needs of it: names it, the
// bytes by pool, the largest tensors with the user's lines, and ways out. A device without a limit takes any plan.
absl::Status CheckMemory(const plan::Plan& plan, const plan::Target& target,
                         const RingIsOneCall& one_call);
// The same of one GPU. `now`: what was found there when the plan was loaded.
absl::Status CheckGpu(const plan::Plan& plan, const GpuMemory& memory, const GpuLimit& limit,
                      bool now);

// The pools of each GPU of the plan as a table; empty for other kinds of devices.
std::string GpuMemoryText(const plan::Plan& plan, const plan::Target& target,
                          const RingIsOneCall& one_call);

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_MEMORY_LIMIT_H_
