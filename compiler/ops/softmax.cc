// Softmax, its logarithm, and the cross-entropy that trains classifiers.
#include <string>
#include <utility>
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

constexpr const char* kClassesDoc =
    "of each row of logits the first so many are classes, what lies behind them is not read; 0: "
    "all";

// Of rows of which the first `classes` elements count; 0: all.
absl::Status CheckClasses(const std::string& name, const OpContext& op) {
  const int64_t classes = op.attrs.Int("classes");
  if (classes >= 0 && classes <= op.inputs[0].shape[1]) return absl::OkStatus();
  return MakeError(ErrorKind::kShape,
                   absl::StrCat(name, ": classes is ", classes, " and logits is ",
                                op.inputs[0].ToString(), "; use 0 to ", op.inputs[0].shape[1]));
}

OpDef CrossEntropy() {
  return OpDef("cross_entropy")
      .Doc(
          "Negative log-likelihood of each sample's class: loss[i] = lse[i] - "
          "logits[i][labels[i]]. "
          "Sums in float32, in float64 for f64. A label outside of 0 .. classes - 1 is a "
          "DataError.")
      .MayFail()
      .Type("T", AnyFloat())
      .Type("S", "T", StatsType)
      .In("logits", "T", "[n, classes]")
      .In("labels", DType::kI64, "[n], class indices")
      .Out("loss", "S", "[n]")
      .Out("lse", "S", "[n], log(sum(exp(logits[i]))): kept for the gradient")
      .Attr("classes", "int", int64_t{0}, kClassesDoc)
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        const Shape& logits = op.inputs[0].shape;
        OF_RETURN_IF_ERROR(CheckLabels("cross_entropy", "logits", op.inputs[0], op.inputs[1]));
        OF_RETURN_IF_ERROR(CheckClasses("cross_entropy", op));
        return Shapes{{logits[0]}, {logits[0]}};
      })
      .Sharding("n c, n -> n, n ; whole c")
      .Grad([](GradBuilder& g) {
        if (!g.NeedsGrad(0)) return absl::OkStatus();
        const ValueId dloss =
            g.dout(0) >= 0 ? g.dout(0) : ConstantLike(g, 0, g.out(0), g.type(g.out(0)).shape);
        std::vector<ValueId> inputs = {g.in(0), g.in(1), g.out(1), dloss};
        if (g.dout(1) >= 0) inputs.push_back(g.dout(1));
        g.SetGrad(0, g.Op("cross_entropy_grad", std::move(inputs), g.attrs()));
        return absl::OkStatus();
      })
      .Cost([](const OpContext& op) {
        return OpCost{10 * NumElements(op.inputs[0].shape), BytesOf(op)};
      });
}

OpDef CrossEntropyGrad() {
  return OpDef("cross_entropy_grad")
      .Doc(
          "Gradient of cross_entropy: dlogits[i] = softmax(logits[i]) * (dloss[i] + dlse[i]) - "
          "onehot(labels[i]) * dloss[i]; 0 behind the classes.")
      .Type("T", AnyFloat())
      .Type("S", "T", StatsType)
      .In("logits", "T", "[n, classes]")
      .In("labels", DType::kI64, "[n], class indices")
      .In("lse", "S", "[n], second result of cross_entropy")
      .In("dloss", "S", "[n], gradient of the loss of each sample")
      .OptionalIn("dlse", "S", "[n], gradient of lse; absent: 0")
      .Out("dlogits", "T", "as logits")
      .Attr("classes", "int", int64_t{0}, kClassesDoc)
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        const std::string name = "cross_entropy_grad";
        OF_RETURN_IF_ERROR(CheckLabels(name, "logits", op.inputs[0], op.inputs[1]));
        OF_RETURN_IF_ERROR(CheckClasses(name, op));
        constexpr const char* kNames[] = {"lse", "dloss", "dlse"};
        for (size_t i = 2; i < op.inputs.size(); ++i) {
          OF_RETURN_IF_ERROR(CheckShape(name, kNames[i - 2], op.inputs[i], op.inputs[1].shape,
                                        "one for each sample"));
        }
        return Shapes{op.inputs[0].shape};
      })
      .Sharding([](const OpContext& op) {
        return op.inputs.size() > 4 ? "n c, n, n, n, n -> n c ; whole c ; linear 3 4"
                                    : "n c, n, n, n -> n c ; whole c ; linear 3";
      })
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
