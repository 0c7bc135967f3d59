// PlanTool: what the program plan_tool does, as a function: print, verify, analyse and mutate plan
// files.
//
// Reads files, binary or text, and trusts none of their bytes. Threads: any. Read next:
// tools/plan_tool.cc, docs/plan_format.md.
#ifndef ONEFLOW_TOOLS_PLAN_TOOL_H_
#define ONEFLOW_TOOLS_PLAN_TOOL_H_

#include <ostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "plan/plan.pb.h"
#include "plan/verify.h"

namespace oneflow {

// Exit codes.
inline constexpr int kPlanToolOk = 0;
inline constexpr int kPlanToolRefused = 1;   // a proof failed, or a mutation went unseen
inline constexpr int kPlanToolUnusable = 2;  // wrong arguments, or a file that is no plan

// A plan in binary or text form.
absl::StatusOr<plan::Plan> ReadPlanFile(const std::string& path);
// The plans of a file or of all files of a folder, in rank order.
absl::StatusOr<std::vector<plan::Plan>> ReadJob(const std::string& path);

// `arguments` without the program's name. Results go to `out`, complaints to `err`; returns the
// exit code. `rules`: of the op table, for the proofs (plan/verify.h).
int PlanTool(const std::vector<std::string>& arguments, std::ostream& out, std::ostream& err,
             const OpRules& rules = nullptr);

}  // namespace oneflow

#endif  // ONEFLOW_TOOLS_PLAN_TOOL_H_
