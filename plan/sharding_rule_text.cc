#include "plan/sharding_rule_text.h"

#include <string_view>
#include <utility>

#include "base/status.h"
#include "base/text.h"
#include "plan/text_format.h"

namespace oneflow {
namespace {

using text_format::IsDigit;
using text_format::IsNameStart;

// Recursive descent over the grammar of the header.
class RuleParser {
 public:
  explicit RuleParser(const std::string& text) : text_(text) {}

  absl::StatusOr<RuleText> Parse() {
    RuleText rule;
    OF_RETURN_IF_ERROR(Side(&rule.inputs));
    if (!Take("->")) return Error("expected '->'");
    OF_RETURN_IF_ERROR(Side(&rule.outputs));
    while (Take(";")) {
      Clause clause;
      clause.name = Name();
      if (clause.name.empty()) return Error("expected a clause");
      while (!AtEnd() && Peek() != ';') {
        if (Take("...")) {
          clause.arguments.push_back("...");
          continue;
        }
        std::string argument = Name();
        if (argument.empty()) argument = Digits();
        if (argument.empty()) return Error("expected a factor");
        clause.arguments.push_back(std::move(argument));
      }
      rule.clauses.push_back(std::move(clause));
    }
    if (!AtEnd()) return Error("unexpected text");
    return rule;
  }

 private:
  absl::Status Error(const std::string& what) const {
    return MakeError(ErrorKind::kSharding, "sharding rule '" + text_ + "', column " +
                                               std::to_string(position_ + 1) + ": " + what);
  }

  void SkipSpace() {
    while (position_ < text_.size() && text_[position_] == ' ') ++position_;
  }
  bool AtEnd() {
    SkipSpace();
    return position_ == text_.size();
  }
  char Peek() {
    SkipSpace();
    return position_ < text_.size() ? text_[position_] : '\0';
  }
  bool Take(std::string_view token) {
    SkipSpace();
    if (std::string_view(text_).substr(position_, token.size()) != token) return false;
    position_ += token.size();
    return true;
  }
  std::string Name() {
    if (!IsNameStart(Peek())) return "";
    const size_t begin = position_;
    while (position_ < text_.size() &&
           (IsNameStart(text_[position_]) || IsDigit(text_[position_]))) {
      ++position_;
    }
    return text_.substr(begin, position_ - begin);
  }
  std::string Digits() {
    SkipSpace();
    const size_t begin = position_;
    while (position_ < text_.size() && IsDigit(text_[position_])) ++position_;
    return text_.substr(begin, position_ - begin);
  }

  absl::Status Side(std::vector<std::vector<DimText>>* tensors) {
    const auto ends = [&] {
      return AtEnd() || Peek() == ';' || (Peek() == '-' && text_.substr(position_, 2) == "->");
    };
    if (ends()) return absl::OkStatus();  // no tensors on this side
    do {
      std::vector<DimText> dims;
      const bool scalar = Peek() == '.' && text_.substr(position_, 3) != "..." && Take(".");
      while (!scalar && !ends() && Peek() != ',') {
        DimText dim;
        OF_RETURN_IF_ERROR(Dim(&dim));
        dims.push_back(std::move(dim));
      }
      if (dims.empty() && !scalar)
        return Error("expected a tensor; one without dims is written '.'");
      tensors->push_back(std::move(dims));
    } while (Take(","));
    return ends() ? absl::OkStatus() : Error("unexpected text after a tensor");
  }

  absl::Status Dim(DimText* dim) {
    if (Take("...")) {
      dim->ellipsis = true;
      return absl::OkStatus();
    }
    if (!Take("(")) return Factor(dim);
    while (!Take(")")) {
      if (AtEnd()) return Error("')' is missing");
      OF_RETURN_IF_ERROR(Factor(dim));
    }
    return dim->factors.empty() ? Error("empty parentheses") : absl::OkStatus();
  }

  absl::Status Factor(DimText* dim) {
    FactorText factor;
    factor.name = Name();
    if (factor.name.empty() || Take(":")) {
      factor.extent = ParseInt(Digits());
      if (!factor.extent.has_value()) return Error("expected a factor or an extent");
    }
    dim->factors.push_back(std::move(factor));
    return absl::OkStatus();
  }

  const std::string& text_;
  size_t position_ = 0;
};

}  // namespace

absl::StatusOr<RuleText> ParseRuleText(const std::string& text) { return RuleParser(text).Parse(); }

}  // namespace oneflow
