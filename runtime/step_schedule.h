// StepSchedule: the order in which a whole step of a plan is enqueued on devices that order work by
// themselves, and what each firing waits for: StepWork from a Program.
//
// Stamps give the order: every edge of a plan raises them. An edge between two lanes (data, a credit back,
// `after`) becomes a wait, unless an earlier wait implies it: each firing knows, lane by lane, up to where
// work stands before it. Edges to other steps need none, because a step begins when the one before it is
// over. Pure. Threads: any. Read next: runtime/devices/step_work.h, docs/cuda.md.
#ifndef ONEFLOW_RUNTIME_STEP_SCHEDULE_H_
#define ONEFLOW_RUNTIME_STEP_SCHEDULE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "runtime/devices/step_work.h"
#include "runtime/program.h"

namespace oneflow {

// REQUIRES: the program runs in whole steps and is bound. PlanError if its order is none.
absl::StatusOr<StepWork> StepWorkOf(const Program& program);

// The runner of a program that runs in whole steps; nullptr for others.
absl::StatusOr<std::unique_ptr<StepRunner>> MakeStepRunner(const Program& program);

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_STEP_SCHEDULE_H_
