// The text form of a plan: deterministic bytes, one item per line, prints and parses back.
//
// Pure functions. Threads: any. Invariant: Parse(Print(p)) equals p field by field, Print(Parse(t))
// == t. Grammar and an example: docs/plan_format.md. Read next: plan/verify.h.
#ifndef ONEFLOW_PLAN_TEXT_H_
#define ONEFLOW_PLAN_TEXT_H_

#include <string>

#include "absl/status/statusor.h"
#include "plan/plan.pb.h"
#include "plan/target.pb.h"

namespace oneflow {

std::string PrintPlan(const plan::Plan& plan);
// Total on arbitrary bytes: untrusted input. Errors name the line and column.
absl::StatusOr<plan::Plan> ParsePlan(const std::string& text);

// Stable 64-bit fingerprint: of everything but names of hosts, files, times and locations.
uint64_t Fingerprint(const plan::Plan& plan);

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_TEXT_H_
