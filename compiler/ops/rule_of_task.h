// RuleOfTask: the sharding rule that the op table gives to a kernel task, from the task alone. The
// verifier stands in plan/ and knows no op: whoever has the table hands it this function
// (plan/verify.h), so that a plan cannot bring rules of its own.
//
// Pure. Threads: any. Total: a plan is untrusted input. Read next: plan/verify_types.cc.
#ifndef ONEFLOW_COMPILER_OPS_RULE_OF_TASK_H_
#define ONEFLOW_COMPILER_OPS_RULE_OF_TASK_H_

#include <string>

#include "absl/status/statusor.h"
#include "plan/plan.pb.h"

namespace oneflow {

// Fails if the task's op, attributes or logical types are none of the table's.
absl::StatusOr<std::string> RuleOfTask(const plan::Task& task);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_OPS_RULE_OF_TASK_H_
