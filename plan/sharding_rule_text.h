// The text of a sharding rule, parsed but not bound: which names stand where.
//
// A value; internal to sharding_rule.cc. Threads: any. Total on arbitrary text. The grammar stands
// in plan/sharding_rule.h. Read next: plan/sharding_rule.cc.
#ifndef ONEFLOW_PLAN_SHARDING_RULE_TEXT_H_
#define ONEFLOW_PLAN_SHARDING_RULE_TEXT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace oneflow {

// One factor of a dim as written: a name, or a literal extent (name empty).
struct FactorText {
  std::string name;
  std::optional<int64_t> extent;  // "a:7" or a literal
};

// One dim as written: "...", or its factors, major first; "1" is a literal factor.
struct DimText {
  bool ellipsis = false;
  std::vector<FactorText> factors;
};

// "sum k": a clause and what it names.
struct Clause {
  std::string name;
  std::vector<std::string> arguments;
};

// A whole rule; a tensor is its dims.
struct RuleText {
  std::vector<std::vector<DimText>> inputs;
  std::vector<std::vector<DimText>> outputs;
  std::vector<Clause> clauses;
};

absl::StatusOr<RuleText> ParseRuleText(const std::string& text);

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_SHARDING_RULE_TEXT_H_
