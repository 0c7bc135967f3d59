// fused: a chain of elementwise ops as one kernel (plan/fused.h says what its attributes mean). The pass
// FuseElementwise makes it from ops that have layouts already; no trace has one.
#include "plan/fused.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "compiler/ops/cost.h"
#include "compiler/ops/families.h"
#include "compiler/ops/op_table.h"
#include "compiler/ops/shape_functions.h"

namespace oneflow {
namespace {

constexpr int kBatchNormGroups = 1;  // of the inputs that bn_apply reads: mean is [groups, c]

// The inputs that step reads have the types that its op asks for beside a value of type `value`.
absl::Status CheckStep(const OpContext& op, const FusedStep& step, const TensorType& value) {
  const auto input = [&](int i) -> const TensorType& {
    return op.inputs[static_cast<size_t>(step.read + i)];
  };
  const auto typed = [&](int i, DType dtype, const std::string& why) -> absl::Status {
    if (input(i).dtype == dtype) return absl::OkStatus();
    return MakeError(ErrorKind::kDType,
                     absl::StrCat("fused: input ", step.read + i, " is ", input(i).ToString(),
                                  " but must be ", std::string(NameOf(dtype)), ": ", why));
  };
  if (step.role != FusedRole::kCast && step.dtype != value.dtype) {
    return MakeError(ErrorKind::kDType,
                     absl::StrCat("fused: ", step.op, " makes ", std::string(NameOf(step.dtype)),
                                  " of ", value.ToString()));
  }
  switch (step.role) {
    case FusedRole::kUnary:
    case FusedRole::kCast:
      return absl::OkStatus();
    case FusedRole::kBinary: {
      OF_RETURN_IF_ERROR(typed(0, value.dtype, "that of the value"));
      if (NumElements(input(0).shape) == 1 && input(0).shape.size() <= value.shape.size()) {
        return absl::OkStatus();
      }
      return CheckShape("fused", absl::StrCat("input ", step.read), input(0), value.shape,
                        "that of the value");
    }
    case FusedRole::kDropout: {
      const double p = op.attrs.Float("p");
      if (!(p >= 0.0 && p <= 1.0)) {
        return MakeError(ErrorKind::kError, absl::StrCat("fused: p is ", p, ", no probability"));
      }
      OF_RETURN_IF_ERROR(typed(0, DType::kI64, "a number of a step"));
      return CheckRank("fused", absl::StrCat("input ", step.read), input(0), 0, "a single number");
    }
    case FusedRole::kBatchNorm: {
      if (value.shape.size() < 2) {
        return CheckRank("fused", "input 0", value, 2, "[n, ..., c]");
      }
      const Shape& mean = input(0).shape;
      const int64_t groups = mean.size() == 2 ? mean[0] : 0;
      if (groups < 1 || value.shape[0] % groups != 0) {
        return MakeError(ErrorKind::kShape, absl::StrCat("fused: statistics ", input(0).ToString(),
                                                         " of x ", value.ToString()));
      }
      const int64_t channels = value.shape.back();
      for (int i = 0; i < InputsRead(step.role); ++i) {
        OF_RETURN_IF_ERROR(typed(i, DType::kF32, "statistics are f32"));
        const Shape expected = i < 2 ? Shape{groups, channels} : Shape{channels};
        OF_RETURN_IF_ERROR(CheckShape("fused", absl::StrCat("input ", step.read + i), input(i),
                                      expected, "of statistics per channel"));
      }
      return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Shapes> ShapeOf(const OpContext& op) {
  OF_ASSIGN_OR_RETURN(const std::vector<FusedStep> steps, FusedSteps(op.attrs));
  if (static_cast<int>(op.inputs.size()) != FusedInputs(steps)) {
    return MakeError(ErrorKind::kPlan,
                     absl::StrCat("fused: there are ", op.inputs.size(),
                                  " inputs but its steps read ", FusedInputs(steps)));
  }
  TensorType value = op.inputs[0];
  if (!RunsFused(value.dtype)) {
    return MakeError(ErrorKind::kDType, absl::StrCat("fused: input 0 is ", value.ToString(),
                                                     " but must be f32, bf16 or f16"));
  }
  for (const FusedStep& step : steps) {
    OF_RETURN_IF_ERROR(CheckStep(op, step, value));
    value.dtype = step.dtype;
  }
  if (op.attrs.String("dtype") != NameOf(value.dtype)) {
    return MakeError(ErrorKind::kPlan,
                     absl::StrCat("fused: dtype is ", op.attrs.String("dtype"),
                                  " but the last step makes ", std::string(NameOf(value.dtype))));
  }
  return Shapes{value.shape};
}

// Every dim may be split, and channels and groups with them. REQUIRES: ShapeOf passed.
std::string RuleOf(const OpContext& op) {
  const std::vector<FusedStep> steps = FusedSteps(op.attrs).value();
  const Shape& shape = op.inputs[0].shape;
  std::string dense = FactorNames(shape.size());
  std::vector<std::string> inputs(op.inputs.size());
  for (const FusedStep& step : steps) {
    if (step.role != FusedRole::kBatchNorm) continue;
    const bool one_group = op.inputs[static_cast<size_t>(step.read)].shape[0] == 1;
    dense = one_group ? "m" : "(g m)";
    for (size_t d = 2; d < shape.size(); ++d) absl::StrAppend(&dense, " d", d - 2);
    dense += " c";
    for (int i = 0; i < InputsRead(step.role); ++i) {
      inputs[static_cast<size_t>(step.read + i)] =
          i <= kBatchNormGroups ? (one_group ? "1 c" : "g c") : "c";
    }
  }
  std::string rule;
  for (size_t i = 0; i < inputs.size(); ++i) {
    std::string& dims = inputs[i];
    if (dims.empty() && op.inputs[i].shape == shape) dims = dense;
    if (dims.empty()) {
      dims = JoinDims(std::vector<std::string>(op.inputs[i].shape.size(), "1"));
    }
    absl::StrAppend(&rule, i > 0 ? ", " : "", dims);
  }
  return absl::StrCat(rule, " -> ", dense);
}

// The ops' work, and what the chain moves.
OpCost CostOf(const OpContext& op) {
  const std::vector<FusedStep> steps = FusedSteps(op.attrs).value();
  OpCost cost{0, BytesOf(op)};
  TensorType value = op.inputs[0];
  for (const FusedStep& step : steps) {
    const Attrs none;
    std::vector<TensorType> inputs = {value};
    for (int i = 0; i < InputsRead(step.role); ++i) {
      inputs.push_back(op.inputs[static_cast<size_t>(step.read + i)]);
    }
    value.dtype = step.dtype;
    cost.flops += FindOp(step.op)->cost({none, inputs, {value}}).flops;
  }
  return cost;
}

}  // namespace

std::vector<OpDef> FusedOps() {
  return {OpDef("fused")
              .Doc("A chain of elementwise ops through which one value runs; made by the compiler.")
              .VariadicIn("x", DTypeSet{DType::kF32, DType::kBF16, DType::kF16, DType::kI64},
                          "the value, then what the steps read beside it")
              .Out("y", "dtype", "the shape of the first input")
              .Attr("ops", "strings", std::nullopt, "the op of each step")
              .Attr("reads", "ints", std::nullopt, "the first input that each step reads, 0: none")
              .Attr("reversed", "ints", std::nullopt, "1: the value is the right operand")
              .Attr("values", "floats", std::nullopt, "the attribute `value` of each step's op")
              .Attr("types", "strings", std::nullopt, "the element type of each step's result")
              .Attr("dtype", "dtype", std::nullopt, "the last of them")
              .Attr("p", "float", 0.0, "of the step that is a dropout")
              .Attr("seed", "int", int64_t{0}, "of that step")
              .Attr("key", "int", int64_t{0}, "of that step")
              .Shape(ShapeOf)
              .Sharding(RuleOf)
              .NotDifferentiable("it is made behind the gradients")
              .Cost(CostOf)
              .NeedsSlice()
              .Internal()};
}

}  // namespace oneflow
