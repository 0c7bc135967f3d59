// Firings: the loop nest of a plan written out for a number of steps, with stamps and every edge.
// Verify, analyse, the memory planner and both executors use this one expansion.
//
// Pure. Threads: any. A firing is (task, step, micro, chunk); a task's firings have dense ordinals from the
// start of the run. Size: linear in the firings of one step. Read next: plan/verify.h.
#ifndef ONEFLOW_PLAN_FIRINGS_H_
#define ONEFLOW_PLAN_FIRINGS_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "plan/plan.pb.h"

namespace oneflow {

// One execution of a task.
struct FiringId {
  uint32_t task = 0;
  uint32_t step = 0;
  uint32_t micro = 0;  // 0 for STEP tasks (and CHUNK tasks outside the micro loop)
  uint32_t chunk = 0;  // 0 unless CHUNK
  bool operator==(const FiringId&) const = default;
  auto operator<=>(const FiringId&) const = default;
};

using Stamp = std::array<int64_t, 5>;  // (step, slot, position, chunk, sub)

// True if a CHUNK task's outer loop is the micro loop, or a MICRO task. A CHUNK task runs inside the micro
// loop iff its stamp has slot_per_micro > 0.
bool InMicroLoop(const plan::Task& task);

// Firings of one task per step: 1, K, chunks, or K * chunks.
int64_t FiringsPerStep(const plan::Plan& plan, uint32_t task);

// Iterations of `level` that one step of the task contains, and the iteration (counted from the start of
// the run) in which a firing lies.
int64_t IterationsPerStep(const plan::Plan& plan, uint32_t task, plan::Level level);
int64_t IterationOf(const plan::Plan& plan, const FiringId& firing, plan::Level level);

Stamp StampOf(const plan::Plan& plan, const FiringId& firing);

// The firings of one stream for one step (step = 0), in order.
std::vector<FiringId> ExpandStream(const plan::Plan& plan, const plan::Stream& stream);

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_FIRINGS_H_
