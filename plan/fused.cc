#include "plan/fused.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace oneflow {
namespace {

// What runs through a kernel's registers at the speed of memory. An op whose function costs more than it moves gains
// nothing here. Sorted.
constexpr std::pair<std::string_view, FusedRole> kRoles[] = {
    {"abs", FusedRole::kUnary},
    {"abs_grad", FusedRole::kBinary},
    {"add", FusedRole::kBinary},
    {"add_scalar", FusedRole::kUnary},
    {"bn_apply", FusedRole::kBatchNorm},
    {"cast", FusedRole::kCast},
    {"div", FusedRole::kBinary},
    {"dropout", FusedRole::kDropout},
    {"dropout_grad", FusedRole::kDropout},
    {"exp", FusedRole::kUnary},
    {"gelu", FusedRole::kUnary},
    {"gelu_grad", FusedRole::kBinary},
    {"gelu_tanh", FusedRole::kUnary},
    {"gelu_tanh_grad", FusedRole::kBinary},
    {"hardsigmoid", FusedRole::kUnary},
    {"hardsigmoid_grad", FusedRole::kBinary},
    {"hardswish", FusedRole::kUnary},
    {"hardswish_grad", FusedRole::kBinary},
    {"leaky_relu", FusedRole::kUnary},
    {"leaky_relu_grad", FusedRole::kBinary},
    {"maximum", FusedRole::kBinary},
    {"minimum", FusedRole::kBinary},
    {"mul", FusedRole::kBinary},
    {"mul_scalar", FusedRole::kUnary},
    {"neg", FusedRole::kUnary},
    {"reciprocal", FusedRole::kUnary},
    {"relu", FusedRole::kUnary},
    {"relu6", FusedRole::kUnary},
    {"relu6_grad", FusedRole::kBinary},
    {"relu_grad", FusedRole::kBinary},
    {"rsqrt", FusedRole::kUnary},
    {"sigmoid", FusedRole::kUnary},
    {"sigmoid_grad", FusedRole::kBinary},
    {"silu", FusedRole::kUnary},
    {"silu_grad", FusedRole::kBinary},
    {"sqrt", FusedRole::kUnary},
    {"square", FusedRole::kUnary},
    {"sub", FusedRole::kBinary},
    {"tanh", FusedRole::kUnary},
    {"tanh_grad", FusedRole::kBinary},
};

absl::Status WrongChain(const std::string& what) {
  return MakeError(ErrorKind::kPlan, absl::StrCat("fused: ", what));
}

}  // namespace

std::optional<FusedRole> FusedRoleOf(std::string_view op) {
  const auto* found = std::lower_bound(std::begin(kRoles), std::end(kRoles), op,
                                       [](const std::pair<std::string_view, FusedRole>& row,
                                          std::string_view name) { return row.first < name; });
  if (found == std::end(kRoles) || found->first != op) return std::nullopt;
  return found->second;
}

int InputsRead(FusedRole role) {
  switch (role) {
    case FusedRole::kUnary:
    case FusedRole::kCast:
      return 0;
    case FusedRole::kBinary:
    case FusedRole::kDropout:
      return 1;
    case FusedRole::kBatchNorm:
      return 4;
  }
  return 0;
}

bool RunsFused(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16;
}

absl::StatusOr<std::vector<FusedStep>> FusedSteps(const Attrs& attrs) {
  const auto* ops = attrs.Find<std::vector<std::string>>("ops");
  const auto* reads = attrs.Find<std::vector<int64_t>>("reads");
  const auto* reversed = attrs.Find<std::vector<int64_t>>("reversed");
  const auto* values = attrs.Find<std::vector<double>>("values");
  const auto* types = attrs.Find<std::vector<std::string>>("types");
  if (ops == nullptr || reads == nullptr || reversed == nullptr || values == nullptr ||
      types == nullptr) {
    return WrongChain("ops, reads, reversed, values and types must be lists");
  }
  const size_t count = ops->size();
  if (count < 2 || count > kMaxFusedSteps) {
    return WrongChain(absl::StrCat("there are ", count, " ops but must be 2 to ", kMaxFusedSteps));
  }
  if (reads->size() != count || reversed->size() != count || values->size() != count ||
      types->size() != count) {
    return WrongChain("reads, reversed, values and types must be as long as ops");
  }
  std::vector<FusedStep> steps(count);
  int next = 1;  // input
  int draws = 0, channels = 0;
  for (size_t k = 0; k < count; ++k) {
    const std::optional<FusedRole> role = FusedRoleOf((*ops)[k]);
    if (!role.has_value())
      return WrongChain(absl::StrCat("`", (*ops)[k], "` cannot stand in a chain"));
    const std::optional<DType> dtype = ParseDType((*types)[k]);
    if (!dtype.has_value() || !RunsFused(*dtype)) {
      return WrongChain(absl::StrCat("type ", (*types)[k], " but must be f32, bf16 or f16"));
    }
    const int inputs = InputsRead(*role);
    if ((*reads)[k] != (inputs == 0 ? 0 : next)) {
      return WrongChain(absl::StrCat("step ", k, " reads from input ", (*reads)[k],
                                     ", the next is ", inputs == 0 ? 0 : next));
    }
    const bool turned = (*reversed)[k] != 0;
    if (turned && *role != FusedRole::kBinary) {
      return WrongChain(absl::StrCat("step ", k, " is reversed and has one operand"));
    }
    next += inputs;
    draws += *role == FusedRole::kDropout ? 1 : 0;
    channels += *role == FusedRole::kBatchNorm ? 1 : 0;
    steps[k] = {(*ops)[k], *role, inputs == 0 ? 0 : next - inputs, turned, (*values)[k], *dtype};
  }
  if (draws > 1 || channels > 1) return WrongChain("more than one dropout or bn_apply");
  if (next > kMaxFusedInputs) {
    return WrongChain(absl::StrCat("there are ", next, " inputs but at most ", kMaxFusedInputs));
  }
  return steps;
}

void SetFusedSteps(const std::vector<FusedStep>& steps, Attrs* attrs) {
  std::vector<std::string> ops, types;
  std::vector<int64_t> reads, reversed;
  std::vector<double> values;
  for (const FusedStep& step : steps) {
    ops.push_back(step.op);
    reads.push_back(step.read);
    reversed.push_back(step.reversed ? 1 : 0);
    values.push_back(step.value);
    types.emplace_back(NameOf(step.dtype));
  }
  attrs->Set("ops", std::move(ops));
  attrs->Set("reads", std::move(reads));
  attrs->Set("reversed", std::move(reversed));
  attrs->Set("values", std::move(values));
  attrs->Set("types", std::move(types));
}

int FusedInputs(const std::vector<FusedStep>& steps) {
  int inputs = 1;
  for (const FusedStep& step : steps) inputs += InputsRead(step.role);
  return inputs;
}

}  // namespace oneflow
