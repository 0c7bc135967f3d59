// Optimizer updates: elementwise over a parameter and its slots, which are states written in place.
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "compiler/ops/cost.h"
#include "compiler/ops/families.h"
#include "compiler/ops/shape_functions.h"

namespace oneflow {
namespace {

constexpr char kReason[] = "an optimizer update is not part of the loss";
constexpr char kGradient[] =
    "its gradient, of the shape of p; a narrow one is widened as it is read";

// Parameters and slots are f32; gradients may be what the products of a mixed precision give.
DTypeSet GradientTypes() { return {DType::kF32, DType::kBF16, DType::kF16}; }

// Input 0 is the parameter; `like_p` must have its shape, `scalars` be 0-d.
absl::Status CheckUpdate(const std::string& name, const OpContext& op,
                         const std::vector<std::pair<size_t, std::string>>& like_p,
                         const std::vector<std::pair<size_t, std::string>>& scalars) {
  const TensorType& p = op.inputs[0];
  for (const auto& [index, argument] : like_p) {
    OF_RETURN_IF_ERROR(
        CheckShape(name, argument, op.inputs[index], p.shape, "that of the parameter"));
  }
  for (const auto& [index, argument] : scalars) {
    OF_RETURN_IF_ERROR(CheckRank(name, argument, op.inputs[index], 0, "a single number"));
  }
  return absl::OkStatus();
}

OpDef SgdUpdate() {
  return OpDef("sgd_update")
      .Doc(
          "One step of stochastic gradient descent, as torch.optim.SGD has it: g += weight_decay "
          "p; "
          "m = g at step 0, else momentum m + (1 - dampening) g; p -= lr (g + momentum m if "
          "nesterov, "
          "else m). Without momentum m is g and has no slot.")
      .Type("T", SingleFloat())
      .Type("G", GradientTypes())
      .In("p", "T", "the parameter, any shape")
      .In("g", "G", kGradient)
      .In("lr", DType::kF32, "0-d, learning rate")
      .In("step", DType::kI64, "0-d, steps done before this one")
      .OptionalIn("m", "T", "momentum slot, as p; present if and only if momentum != 0")
      .Out("p", "T", "the new parameter")
      .Out("m", "T", "the new slot, if there is one")
      .Attr("momentum", "float", 0.0, ">= 0")
      .Attr("weight_decay", "float", 0.0, "L2 penalty, added to the gradient")
      .Attr("dampening", "float", 0.0, "share of the gradient that does not enter the momentum")
      .Attr("nesterov", "bool", false, "look one step ahead")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        const bool slot = op.inputs.size() == 5;
        if (slot != (op.attrs.Float("momentum") != 0.0)) {
          return MakeError(ErrorKind::kError,
                           absl::StrCat("sgd_update: momentum is ", op.attrs.Float("momentum"),
                                        slot ? " but a slot m is given: leave it out"
                                             : " but its slot m is missing: give a state of the "
                                               "parameter's shape"));
        }
        if (op.attrs.Bool("nesterov") && (!slot || op.attrs.Float("dampening") != 0.0)) {
          return MakeError(ErrorKind::kError,
                           "sgd_update: nesterov needs a momentum > 0 and dampening = 0");
        }
        std::vector<std::pair<size_t, std::string>> like_p = {{1, "g"}};
        if (slot) like_p.push_back({4, "m"});
        OF_RETURN_IF_ERROR(CheckUpdate("sgd_update", op, like_p, {{2, "lr"}, {3, "step"}}));
        return Shapes(slot ? 2 : 1, op.inputs[0].shape);
      })
      .Sharding([](const OpContext& op) -> std::string {
        return op.inputs.size() == 5 ? "..., ..., ., ., ... -> ..., ..." : "..., ..., ., . -> ...";
      })
      .NotDifferentiable(kReason)
      .Cost(FlopsPerElement(6));
}

OpDef AdamwAttrs(OpDef def) {
  return def.Attr("beta1", "float", 0.9, "decay of m, 0 <= beta1 < 1")
      .Attr("beta2", "float", 0.999, "decay of v, 0 <= beta2 < 1")
      .Attr("eps", "float", 1e-8, "keeps the quotient finite")
      .Attr("weight_decay", "float", 0.01, "decoupled: scales p, not g");
}

OpDef AdamwUpdate() {
  return AdamwAttrs(OpDef("adamw_update"))
      .Doc(
          "One step of AdamW, as torch.optim.AdamW has it: p *= 1 - lr weight_decay; m and v are "
          "the "
          "running means of g and g^2, corrected for step t = step + 1; "
          "p -= lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps).")
      .Type("T", SingleFloat())
      .Type("G", GradientTypes())
      .In("p", "T", "the parameter, any shape")
      .In("g", "G", kGradient)
      .In("m", "T", "first-moment slot, as p")
      .In("v", "T", "second-moment slot, as p")
      .In("lr", DType::kF32, "0-d, learning rate")
      .In("step", DType::kI64, "0-d, steps done before this one")
      .Out("p", "T", "the new parameter")
      .Out("m", "T", "the new first moment")
      .Out("v", "T", "the new second moment")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_RETURN_IF_ERROR(CheckUpdate("adamw_update", op, {{1, "g"}, {2, "m"}, {3, "v"}},
                                       {{4, "lr"}, {5, "step"}}));
        return Shapes(3, op.inputs[0].shape);
      })
      .Sharding("..., ..., ..., ..., ., . -> ..., ..., ...")
      .NotDifferentiable(kReason)
      .Cost(FlopsPerElement(12));
}

// Each parameter's tensors have dims of their own: several are whole, for a split would have to be one of all results.
std::string JoinedRule(const OpContext& op) {
  std::vector<std::string> inputs = {".", "."}, outputs;
  size_t factors = 0;
  for (size_t i = 2; i < op.inputs.size(); i += 4) {
    const size_t rank = op.inputs[i].shape.size();
    const std::string dims = FactorNames(rank, factors);
    inputs.insert(inputs.end(), 4, dims);
    outputs.insert(outputs.end(), 3, dims);
    factors += rank;
  }
  return absl::StrCat(absl::StrJoin(inputs, ", "), " -> ", absl::StrJoin(outputs, ", "));
}

OpDef AdamwUpdates() {
  return AdamwAttrs(OpDef("adamw_updates"))
      .Doc("adamw_update of several small parameters with one learning rate; made by the compiler.")
      .In("lr", DType::kF32, "0-d, learning rate")
      .In("step", DType::kI64, "0-d, steps done before this one")
      .VariadicIn("tensors", GradientTypes(), "p, g, m and v of each parameter, as adamw_update's")
      .VariadicOut("updated", DType::kF32, "p, m and v of each")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_RETURN_IF_ERROR(CheckRank("adamw_updates", "lr", op.inputs[0], 0, "a single number"));
        OF_RETURN_IF_ERROR(CheckRank("adamw_updates", "step", op.inputs[1], 0, "a single number"));
        Shapes shapes;
        for (size_t i = 2; i < op.inputs.size(); i += 4) {
          for (size_t k = i; k < i + 4; ++k) {
            if (k < op.inputs.size() && op.inputs[k].shape == op.inputs[i].shape &&
                (k == i + 1 || op.inputs[k].dtype == DType::kF32)) {
              continue;
            }
            return MakeError(ErrorKind::kShape,
                             "adamw_updates: tensors must be p, g, m and v of each parameter, of "
                             "one shape, all but g f32");
          }
          shapes.insert(shapes.end(), 3, op.inputs[i].shape);
        }
        return shapes;
      })
      .Sharding(JoinedRule)
      .NotDifferentiable(kReason)
      .Cost([](const OpContext& op) {
        OpCost cost = {0, BytesOf(op)};
        for (const TensorType& out : op.outputs) cost.flops += 4 * NumElements(out.shape);
        return cost;
      })
      .Internal();
}

}  // namespace

std::vector<OpDef> OptimizerOps() { return {SgdUpdate(), AdamwUpdate(), AdamwUpdates()}; }

}  // namespace oneflow
