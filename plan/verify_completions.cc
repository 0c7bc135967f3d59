// Proof 6: no edge says *enqueued* where only *finished* will do. That is all that the other proofs
// need for both completions: an edge between works of one device orders them whichever it says,
// because the device begins the second behind an event of the first; every other edge is finished
// before its end begins. A stream gives host work its turn only when the device work before it is
// finished, so stream edges order as well (runtime/stream_order.h).
#include <string>

#include "absl/strings/str_cat.h"
#include "plan/needs.h"
#include "plan/proofs.h"

namespace oneflow {
namespace {

const char kCompletionsProof[] = "completions";

// Why an edge between these tasks needs the one to be finished, from the side of `to`.
std::string Why(const plan::Plan& plan, uint32_t from, uint32_t to) {
  const plan::Task& first = plan.tasks(static_cast<int>(from));
  const plan::Task& second = plan.tasks(static_cast<int>(to));
  if (!IsDeviceWork(second)) return absl::StrCat(second.name(), " is done by the host");
  if (!IsDeviceWork(first)) return absl::StrCat(first.name(), " is done by the host");
  if (first.may_fail() && WritesState(second)) {
    return absl::StrCat(second.name(), " writes a state, and ", first.name(),
                        " may find wrong data");
  }
  return absl::StrCat("they are on devices ", first.device(), " and ", second.device());
}

absl::Status Refuse(const plan::Plan& plan, uint32_t from, uint32_t to, const std::string& edge) {
  return ProofError(
      plan, kCompletionsProof, to,
      absl::StrCat(TaskText(plan, to), " waits until ", TaskText(plan, from), " is enqueued (",
                   edge, "), but needs it finished: ", Why(plan, from, to)));
}

}  // namespace

absl::Status ProveCompletions(const plan::Plan& plan) {
  for (uint32_t r = 0; r < static_cast<uint32_t>(plan.registers_size()); ++r) {
    const plan::Register& reg = plan.registers(static_cast<int>(r));
    for (const uint32_t consumer : reg.enqueued()) {
      if (LeastNeed(plan, reg.producer(), consumer) == plan::FINISHED) {
        return Refuse(plan, reg.producer(), consumer, absl::StrCat("register ", r));
      }
    }
  }
  for (uint32_t t = 0; t < static_cast<uint32_t>(plan.tasks_size()); ++t) {
    for (const plan::AfterEdge& edge : plan.tasks(static_cast<int>(t)).after()) {
      if (edge.need() == plan::ENQUEUED && LeastNeed(plan, edge.task(), t) == plan::FINISHED) {
        return Refuse(plan, edge.task(), t, "after edge");
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace oneflow
