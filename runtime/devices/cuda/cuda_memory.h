// CheckCudaMemory: a plan beside what the GPUs of a session have free at that moment.
//
// The compiler has refused what can never fit (plan/memory_limit.h); this is what came in between: other plans of the
// session, other programs, communicators. Nothing is allocated by it, and nothing predicted is counted: what it refuses
// could not have been allocated. Threads: the session's caller. REQUIRES: the GPUs
// of the plan's devices are open. Read next: plan/gpu_memory.h, runtime/devices/cuda/cuda_context.h.
#ifndef ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_MEMORY_H_
#define ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_MEMORY_H_

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "plan/gpu_memory.h"
#include "plan/plan.pb.h"
#include "runtime/devices/cuda/cuda_context.h"

namespace oneflow {

// OutOfMemoryError if some GPU has less free than loading the plan allocates there. `arenas`: those that its devices
// have, by position; `states`: those that are there.
absl::Status CheckCudaMemory(const CudaContext& context, const plan::Plan& plan,
                             std::vector<HeldArena> arenas, std::set<std::string> states);

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_DEVICES_CUDA_CUDA_MEMORY_H_
