// VerifyPlan: the eight proofs of docs/plan_format.md. The session refuses to run a plan without them.
//
// Pure. Total on arbitrary bytes: a plan is untrusted input. Threads: any.
// 1 well formed, 2 live, 3 no overlap, 4 one order, 5 types, 6 dataflow, 7 completions. A failure names
// the cycle or the pair of tasks and registers with the user's lines, and what would cure it. Read
// next: plan/analyse.h.
#ifndef ONEFLOW_PLAN_VERIFY_H_
#define ONEFLOW_PLAN_VERIFY_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plan/plan.pb.h"

namespace oneflow {

// The sharding rule of a kernel task's op, by whoever has an op table (compiler/ops/rule_of_task.h): this
// folder knows no op. With it a plan's rules are compared with the table's; without it they are taken as
// written, and only the shardings are proved to be legal for them.
using OpRules = std::function<absl::StatusOr<std::string>(const plan::Task&)>;

// Proofs on one rank's plan: liveness by stamps (local, proves a global fact); what other ranks send is
// taken to be what is expected.
absl::Status VerifyPlan(const plan::Plan& plan, const OpRules& rule_of = nullptr);

// With the plans of all ranks: also both ends of every channel agree, dataflow across them, and liveness
// by firing two steps symbolically. A deadlock prints the cycle: task, register, credits, user line of
// each hop, and the least credit count that would open it.
absl::Status VerifyPlans(const std::vector<const plan::Plan*>& plans,
                         const OpRules& rule_of = nullptr);

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_VERIFY_H_
