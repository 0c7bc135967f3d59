// GpuMemory: what a plan takes of each GPU that its devices lie on, to the byte, by pool: all blocks that a
// session allocates for it (runtime/devices/cuda/cuda_step.h has those of a step), and what the driver and NCCL
// take besides.
//
//   GPU 0 (cuda:0 .. cuda:1)   states 96 MiB + arenas 410 MiB + inputs 1 MiB + outputs 4 KiB + ...
//
// Pure: no driver is asked, so a machine without a GPU reckons the same. Threads: any. REQUIRES: a plan whose
// offsets are set. Invariant: Bytes() is what the device allocates for a plan that is alone in its session (a test
// holds them side by side); where a ring that could be one call must go round after all, for its order is none
// (runtime/step_schedule.h), blocks for its messages come on top. Read next: plan/memory_limit.h, docs/cuda.md.
#ifndef ONEFLOW_PLAN_GPU_MEMORY_H_
#define ONEFLOW_PLAN_GPU_MEMORY_H_

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "plan/plan.pb.h"
#include "plan/rings.h"
#include "plan/target.pb.h"

namespace oneflow {

// True if the devices can do the ring by one call of NCCL, where that is and they lie on different GPUs.
using RingIsOneCall = std::function<bool(const WholeRing&)>;

// True if a step's inputs of so many bytes on a GPU come while the step before it runs, which takes room for two of
// them and two calls of the driver. A link of 25 to 50 GB/s brings less than this in the time of a few kernels.
constexpr bool InputsComeAhead(int64_t bytes) { return bytes > (int64_t{1} << 20); }

struct GpuMemory {
  uint32_t gpu = 0;
  std::vector<uint32_t> devices;  // positions in the plan

  // Blocks that are allocated.
  int64_t states = 0;    // parameters, optimizer, buffers
  int64_t arenas = 0;    // activations, gradients, workspaces
  int64_t inputs = 0;    // of a step, as they come from the host; of two, where they come ahead
  int64_t outputs = 0;   // of a step, with its reports of wrong data
  int64_t messages = 0;  // to and from devices on other GPUs
  int64_t detours = 0;   // of states, by kernels that keep no gate
  int64_t Bytes() const { return states + arenas + inputs + outputs + messages + detours; }

  int64_t rounding = 0;       // of those blocks, by the driver
  int64_t communicators = 0;  // of NCCL: how many the GPU takes part in
};

// An arena that is there. `grows`: where it lies; else a larger one is allocated beside it.
struct HeldArena {
  int64_t bytes = 0;
  bool grows = false;
};

// Where the devices of a plan lie, and what a session that loads it holds already.
struct GpuPlacement {
  std::vector<uint32_t> gpus;  // by position in the plan; the first one leads
  RingIsOneCall one_call;      // nullptr: all rings go round
  int64_t granule_bytes = 0;
  std::vector<HeldArena> arenas;                  // by position; empty: none
  std::set<std::string> states;                   // names
  std::set<std::vector<uint32_t>> communicators;  // of devices, by global ids
};

// By GPU, the one that leads first.
std::vector<GpuMemory> GpuMemoryOf(const plan::Plan& plan, const GpuPlacement& placement);

// As the target says, of nothing that is held. REQUIRES: the plan's devices are the target's.
GpuPlacement PlacementOf(const plan::Plan& plan, const plan::Target& target,
                         const RingIsOneCall& one_call);

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_GPU_MEMORY_H_
