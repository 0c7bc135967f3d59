// Proof 8: a step whose data is wrong writes no state. Every task of this rank that may find wrong data
// (Task.may_fail) is over before any that writes a state begins. Where a device answers later that is
// not enough: it would begin the writer before the host has looked. There the writer, or one before it
// in its stream, must have an `after` edge from the finder that says finished (proof 7 refuses the other
// kind); what stands behind that one in the stream is enqueued later still. Then the host has seen the
// error before it enqueues a write of that step or of those behind it (runtime/program.h).
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "plan/firings.h"
#include "plan/needs.h"
#include "plan/proofs.h"

namespace oneflow {
namespace {

// True if the task, once a step, waits until `other` is finished in that step.
bool WaitsUntilFinished(const plan::Task& task, uint32_t other) {
  return std::any_of(task.after().begin(), task.after().end(), [&](const plan::AfterEdge& edge) {
    return edge.task() == other && edge.level() == plan::STEP && edge.lag() == 0 &&
           edge.need() == plan::FINISHED;
  });
}

absl::Status Refuse(const plan::Plan& plan, uint32_t writer, uint32_t finder, const char* why) {
  return ProofError(plan, "gated", writer,
                    absl::StrCat(TaskText(plan, writer), " writes a state, but ",
                                 TaskText(plan, finder), ", which may find wrong data, ", why));
}

}  // namespace

absl::Status ProveGated(const plan::Plan& plan, const HappensBefore& order) {
  std::vector<uint32_t> finders, writers;
  for (uint32_t t = 0; t < static_cast<uint32_t>(plan.tasks_size()); ++t) {
    if (plan.tasks(static_cast<int>(t)).may_fail()) finders.push_back(t);
    if (WritesState(plan.tasks(static_cast<int>(t)))) writers.push_back(t);
  }
  for (const uint32_t finder : finders) {
    const plan::Task& finds = plan.tasks(static_cast<int>(finder));
    const FiringId last = FiringAt(plan, finder, FiringsPerStep(plan, finder) - 1);
    for (const uint32_t writer : writers) {
      const plan::Task& writes = plan.tasks(static_cast<int>(writer));
      const FiringId first = FiringAt(plan, writer, 0);
      if (!order.Before(last, first)) {
        return Refuse(plan, writer, finder, "need not be over before");
      }
      if (!AnswersLater(plan.devices(static_cast<int>(finds.device())))) continue;
      bool known = false;
      for (uint32_t t = 0; t < static_cast<uint32_t>(plan.tasks_size()) && !known; ++t) {
        const plan::Task& task = plan.tasks(static_cast<int>(t));
        known = task.stream() == writes.stream() && WaitsUntilFinished(task, finder) &&
                (t == writer || order.Before(FiringAt(plan, t, 0), first));
      }
      if (!known) return Refuse(plan, writer, finder, "is known to the host only later");
    }
  }
  return absl::OkStatus();
}

}  // namespace oneflow
