// Softmax, its logarithm, and the cross-entropy that trains classifiers.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "compiler/ops/cost.h"
#include "compiler/ops/families.h"
#include "compiler/ops/gradient.h"
#include "compiler/ops/shape_functions.h"

namespace oneflow {
namespace {

// "a b c<inputs> -> a b c ; whole b": all tensors alike, `dim` not split.
std::string WholeDimRule(const OpContext& op) {
  const std::string dims = FactorNames(op.inputs[0].shape.size());
  std::string rule = dims;
  for (size_t i = 1; i < op.inputs.size(); ++i) absl::StrAppend(&rule, ", ", dims);
  return absl::StrCat(rule, " -> ", dims, " ; whole ",
                      FactorName(static_cast<size_t>(op.attrs.Int("dim"))));
}

OpDef Normalised(const std::string& name) {
  return OpDef(name)
      .Type("T", AnyFloat())
      .In("x", "T", "logits, rank >= 1")
      .Out("y", "T", "as x")
      .Attr("dim", "int", std::nullopt, "the dim whose elements belong together")
      .Shape([name](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_RETURN_IF_ERROR(CheckDim(name, "x", op.inputs[0], op.attrs.Int("dim")));
        return Shapes{op.inputs[0].shape};
      })
      .Sharding(WholeDimRule)
      .Grad(Grads({[name](GradBuilder& g) {
        return g.Op(name + "_grad", {g.out(0), g.dout(0)}, g.attrs());
      }}))
      .Cost(FlopsPerElement(10));
}

OpDef NormalisedGrad(const std::string& name) {
  return OpDef(name)
      .Type("T", AnyFloat())
      .In("y", "T", "the forward op's result")
      .In("dy", "T", "gradient of y")
      .Out("dx", "T", "as y")
      .Attr("dim", "int", std::nullopt, "the dim whose elements belong together")
      .Shape([name](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_RETURN_IF_ERROR(CheckDim(name, "y", op.inputs[0], op.attrs.Int("dim")));
        OF_RETURN_IF_ERROR(CheckShape(name, "dy", op.inputs[1], op.inputs[0].shape, "that of y"));
        return Shapes{op.inputs[0].shape};
      })
      .Sharding([](const OpContext& op) { return WholeDimRule(op) + " ; linear 1"; })
      .NotDifferentiable("it is a gradient itself: second derivatives are not supported")
      .Cost(FlopsPerElement(4));
}

// Rank and agreement of [n, c] scores and [n] integer labels.
absl::Status CheckLabels(const std::string& name, const std::string& scores_name,
                         const TensorType& scores, const TensorType& labels) {
  OF_RETURN_IF_ERROR(CheckRank(name, scores_name, scores, 2, "[n, classes]"));
  OF_RETURN_IF_ERROR(CheckRank(name, "labels", labels, 1, "one class index for each sample"));
  if (labels.shape[0] == scores.shape[0]) return absl::OkStatus();
  return MakeError(
      ErrorKind::kShape,
      absl::StrCat(name, ": ", scores_name, " is ", scores.ToString(), " and labels is ",
                   labels.ToString(), ": ", scores.shape[0], " samples but ", labels.shape[0],
                   " labels; each row of logits needs one class index"));
}

OpDef CrossEntropy() {
  return OpDef("cross_entropy")
      .Doc(
          "Negative log-likelihood of each sample's class: loss[i] = -log_softmax(logits[i])"
          "[labels[i]]. A label outside of 0 .. classes - 1 is a DataError.")
      .MayFail()
      .Type("T", FullFloat())
      .In("logits", "T", "[n, classes]")
      .In("labels", DType::kI64, "[n], class indices")
      .Out("loss", "T", "[n]")
      .Out("log_probs", "T", "[n, classes], log_softmax of logits: kept for the gradient")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        const TensorType& logits = op.inputs[0];
        OF_RETURN_IF_ERROR(CheckLabels("cross_entropy", "logits", logits, op.inputs[1]));
        return Shapes{{logits.shape[0]}, logits.shape};
      })
      .Sharding("n c, n -> n, n c ; whole c")
      .Grad([](GradBuilder& g) {
        if (!g.NeedsGrad(0)) return absl::OkStatus();
        ValueId gradient = -1;
        if (g.dout(0) >= 0) {
          gradient = g.Op("cross_entropy_grad", {g.out(1), g.in(1), g.dout(0)});
        }
        if (g.dout(1) >= 0) {
          const ValueId other =
              g.Op("log_softmax_grad", {g.out(1), g.dout(1)}, {{"dim", int64_t{1}}});
          gradient = gradient < 0 ? other : g.Op("add", {gradient, other});
        }
        g.SetGrad(0, gradient);
        return absl::OkStatus();
      })
      .Cost([](const OpContext& op) {
        return OpCost{10 * NumElements(op.inputs[0].shape), BytesOf(op)};
      });
}

OpDef CrossEntropyGrad() {
  return OpDef("cross_entropy_grad")
      .Doc(
          "Gradient of cross_entropy: dlogits[i] = dloss[i] * (softmax(logits[i]) - "
          "onehot(labels[i])).")
      .Type("T", FullFloat())
      .In("log_probs", "T", "[n, classes], second result of cross_entropy")
      .In("labels", DType::kI64, "[n], class indices")
      .In("dloss", "T", "[n], gradient of the loss of each sample")
      .Out("dlogits", "T", "as log_probs")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        const std::string name = "cross_entropy_grad";
        OF_RETURN_IF_ERROR(CheckLabels(name, "log_probs", op.inputs[0], op.inputs[1]));
        OF_RETURN_IF_ERROR(
            CheckShape(name, "dloss", op.inputs[2], op.inputs[1].shape, "one for each sample"));
        return Shapes{op.inputs[0].shape};
      })
      .Sharding("n c, n, n -> n c ; whole c ; linear 2")
      .NotDifferentiable("it is a gradient itself: second derivatives are not supported")
      .Cost(FlopsPerElement(10));
}

}  // namespace

std::vector<OpDef> SoftmaxOps() {
  return {Normalised("softmax").Doc("y = exp(x - max) / sum(exp(x - max)) along dim."),
          NormalisedGrad("softmax_grad").Doc("dx = y * (dy - sum(dy * y)) along dim."),
          Normalised("log_softmax").Doc("y = x - max - log(sum(exp(x - max))) along dim."),
          NormalisedGrad("log_softmax_grad").Doc("dx = dy - exp(y) * sum(dy) along dim."),
          CrossEntropy(),
          CrossEntropyGrad()};
}

}  // namespace oneflow
