// StepSchedule: the order in which a whole step of a plan is enqueued on devices that order work by
// themselves, and what each firing waits for: StepWork from a Program.
//
// Stamps give the order: every edge of a plan raises them. An edge between two lanes (data, a credit back,
// `after`) becomes a wait, unless an earlier wait implies it: each firing knows, lane by lane, up to where
// work stands before it. Edges to other steps need none, because a step begins when the one before it is
// over. A ring that the devices do by one call (Device::RunsWholeRing) is one firing per member and
// iteration, in the place of all its chunks: it waits for what any of them waits for, and who waits for
// one of them waits for it. Where that leaves no order the ring goes round task by task. Pure. Threads: any. Read next: runtime/devices/step_work.h, docs/cuda.md.
#ifndef ONEFLOW_RUNTIME_STEP_SCHEDULE_H_
#define ONEFLOW_RUNTIME_STEP_SCHEDULE_H_

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "plan/rings.h"
#include "runtime/devices/step_work.h"
#include "runtime/program.h"

namespace oneflow {

// REQUIRES: the program runs in whole steps and is bound. PlanError if its order is none. `whole`: which
// rings are one call; by default those of which the devices say so.
absl::StatusOr<StepWork> StepWorkOf(const Program& program,
                                    std::function<bool(const WholeRing&)> whole = nullptr);

// The runner of a program that runs in whole steps; nullptr for others.
absl::StatusOr<std::unique_ptr<StepRunner>> MakeStepRunner(const Program& program);

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_STEP_SCHEDULE_H_
