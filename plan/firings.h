// Firings: the loop nest of a plan written out for a number of steps, with stamps and every edge.
// Verify, analyse, the memory planner and both executors use this one expansion.
//
// Pure. Threads: any. A firing is (task, step, micro, chunk); a task's firings have dense ordinals
// from the start of the run. Size: linear in the firings of one step. Unless a comment says
// otherwise, functions REQUIRE a plan that passed proof 1 (plan/verify.h). Read next:
// plan/happens_before.h.
#ifndef ONEFLOW_PLAN_FIRINGS_H_
#define ONEFLOW_PLAN_FIRINGS_H_

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/location.h"
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

// True if a CHUNK task's outer loop is the micro loop, or a MICRO task. A CHUNK task runs inside
// the micro loop iff its stamp has slot_per_micro > 0.
bool InMicroLoop(const plan::Task& task);

// Firings of one task per step: 1, K, chunks, or K * chunks.
int64_t FiringsPerStep(const plan::Plan& plan, uint32_t task);

// Iterations of `level` that one step of the task contains, and the iteration (counted from the
// start of the run) in which a firing lies. A CHUNK task outside the micro loop has one MICRO
// iteration per step. REQUIRES: the task's level >= level.
int64_t IterationsPerStep(const plan::Plan& plan, uint32_t task, plan::Level level);
int64_t IterationOf(const plan::Plan& plan, const FiringId& firing, plan::Level level);

// A task's firings in order of their ordinals, counted from the start of the run, and back.
int64_t OrdinalOf(const plan::Plan& plan, const FiringId& firing);
FiringId FiringAt(const plan::Plan& plan, uint32_t task, int64_t ordinal);

// The first and the last firing of a task within iteration `iteration` of `level` (from the start
// of the run). A register's slot is held by its producer from the first, and by a consumer up to
// the last.
FiringId FirstFiring(const plan::Plan& plan, uint32_t task, plan::Level level, int64_t iteration);
FiringId LastFiring(const plan::Plan& plan, uint32_t task, plan::Level level, int64_t iteration);

Stamp StampOf(const plan::Plan& plan, const FiringId& firing);
// The stamp at which a firing begins to hold what it fills: a RECV's post stands just before the SEND
// that answers it, whose stamp the channel carries; all others begin at their own.
Stamp BeginStampOf(const plan::Plan& plan, const FiringId& firing);

// The firings of one stream for one step (step = 0), in order.
std::vector<FiringId> ExpandStream(const plan::Plan& plan, const plan::Stream& stream);

// As ExpandStream, for a plan that is not yet known to be well formed: fails if a task, micro-batch
// or chunk is out of range, loops nest otherwise than MICRO > CHUNK, or there are more than `limit`
// firings.
absl::StatusOr<std::vector<FiringId>> ExpandStreamChecked(const plan::Plan& plan,
                                                          const plan::Stream& stream,
                                                          int64_t limit);

// For messages. "matmul.3", with "[micro 2, chunk 1]" where the task has such loops, and "+1 step"
// for firings of later steps.
std::string FiringName(const plan::Plan& plan, const FiringId& firing);
// "(0, 3, 17, 0, 1)".
std::string ToString(const Stamp& stamp);
// The user's line of a task; unknown if the plan has none. Total.
Location LocationOfTask(const plan::Plan& plan, uint32_t task);

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_FIRINGS_H_
