// VerifyPlan: the five proofs of docs/plan_format.md. The session refuses to run a plan without them.
//
// Pure. Total on arbitrary bytes: a plan is untrusted input. Threads: any.
// 1 well formed, 2 live, 3 no overlap, 4 one order, 5 types. A failure names the cycle or the pair of
// tasks and registers with the user's lines, and what would cure it. Read next: plan/analyse.h.
#ifndef ONEFLOW_PLAN_VERIFY_H_
#define ONEFLOW_PLAN_VERIFY_H_

#include <vector>

#include "absl/status/status.h"
#include "plan/plan.pb.h"

namespace oneflow {

// Proofs on one rank's plan: liveness by stamps (local, proves a global fact).
absl::Status VerifyPlan(const plan::Plan& plan);

// With the plans of all ranks: also both ends of every channel agree, and liveness by firing two steps
// symbolically. A deadlock prints the cycle: task, register, credits, user line of each hop, and the least
// credit count that would open it.
absl::Status VerifyPlans(const std::vector<const plan::Plan*>& plans);

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_VERIFY_H_
