// layer_norm and rms_norm over the last dims, one pass over x, and their gradients.
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

// Leading dims of x: all but the `dims` last ones.
Shape LeadOf(const OpContext& op) {
  const Shape& x = op.inputs[0].shape;
  return Shape(x.begin(), x.end() - op.attrs.Int("dims"));
}
Shape TailOf(const OpContext& op) {
  const Shape& x = op.inputs[0].shape;
  return Shape(x.end() - op.attrs.Int("dims"), x.end());
}

absl::Status CheckNormalised(const std::string& name, const OpContext& op) {
  const int64_t dims = op.attrs.Int("dims");
  const TensorType& x = op.inputs[0];
  if (dims >= 1 && dims <= static_cast<int64_t>(x.shape.size())) return absl::OkStatus();
  return MakeError(ErrorKind::kShape, absl::StrCat(name, ": x is ", x.ToString(),
                                                   " and cannot be normalised over its ", dims,
                                                   " last dims; use 1 to ", x.shape.size()));
}

// Inputs from `first` on are of the normalised shape.
absl::Status CheckTails(const std::string& name, const OpContext& op, size_t first) {
  for (size_t i = first; i < op.inputs.size(); ++i) {
    const std::string argument = i == first ? "weight" : "bias";
    OF_RETURN_IF_ERROR(
        CheckShape(name, argument, op.inputs[i], TailOf(op), "that of the last dims of x"));
  }
  return absl::OkStatus();
}

// "a b" of "a b c" and "c", for `dims` = 1.
struct Names {
  std::string all, lead, tail;
};
Names NamesOf(const OpContext& op) {
  const size_t rank = op.inputs[0].shape.size();
  const size_t tail = static_cast<size_t>(op.attrs.Int("dims"));
  return {FactorNames(rank), FactorNames(rank - tail), FactorNames(tail, rank - tail)};
}

// What layer_norm and rms_norm share. `centered`: the mean is taken off.
OpDef Norm(const std::string& name, bool centered) {
  OpDef def(name);
  def.Type("T", AnyFloat())
      .Type("S", "T", StatsType)
      .In("x", "T", "any shape of rank >= `dims`")
      .OptionalIn("weight", "T", "the last `dims` dims of x; absent: 1");
  if (centered) def.OptionalIn("bias", "T", "as weight; absent: 0");
  def.Out("y", "T", "as x");
  if (centered) def.Out("mean", "S", "the leading dims of x: kept for the gradient");
  def.Out("rstd", "S", "the leading dims of x: 1 / sqrt(mean square + eps), kept for the gradient")
      .Attr("dims", "int", int64_t{1}, "how many last dims are normalised together")
      .Attr("eps", "float", 1e-5, "added to the variance")
      .Shape([name, centered](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_RETURN_IF_ERROR(CheckNormalised(name, op));
        OF_RETURN_IF_ERROR(CheckTails(name, op, 1));
        Shapes outputs(centered ? 3 : 2, LeadOf(op));
        outputs[0] = op.inputs[0].shape;
        return outputs;
      })
      .Sharding([centered](const OpContext& op) {
        const Names names = NamesOf(op);
        std::string rule = names.all;
        for (size_t i = 1; i < op.inputs.size(); ++i) absl::StrAppend(&rule, ", ", names.tail);
        absl::StrAppend(&rule, " -> ", names.all, ", ", names.lead);
        if (centered) absl::StrAppend(&rule, ", ", names.lead);
        return absl::StrCat(rule, " ; whole ", names.tail);
      })
      .Cost(FlopsPerElement(8));
  return def;
}

// The forward op's x and dy, its statistics, and the weight where there is one.
std::vector<ValueId> SavedFor(const GradBuilder& g, int statistics, bool with_weight) {
  std::vector<ValueId> inputs = {g.in(0), g.dout(0)};
  for (int i = 1; i <= statistics; ++i) inputs.push_back(g.out(i));
  if (with_weight) inputs.push_back(g.in(1));
  return inputs;
}

// What the gradients of mean and rstd add to dx: d mean / dx = 1 / n, d rstd / dx = -rstd^3 (x - mean)
// / n. -1 if nothing depends on them. Their dtype is that of x but for narrow ones.
ValueId GradOfStatistics(GradBuilder& g, bool centered) {
  const TensorType x = g.type(g.in(0));
  const int64_t dims = g.attrs().Int("dims");
  Shape kept = x.shape;
  double share = 1;
  for (size_t d = kept.size() - static_cast<size_t>(dims); d < kept.size(); ++d) {
    share /= static_cast<double>(kept[d]);
    kept[d] = 1;
  }
  const auto beside_x = [&](ValueId value) {
    const ValueId cast = g.Op("cast", {value}, {{"dtype", std::string(NameOf(x.dtype))}});
    return g.Op("reshape", {cast}, {{"shape", kept}});
  };
  const int rstd = centered ? 2 : 1;
  ValueId total = -1;
  if (centered && g.dout(1) >= 0) {
    const ValueId part = g.Op("mul_scalar", {beside_x(g.dout(1))}, {{"value", share}});
    total = g.Op("broadcast_to", {part}, {{"shape", x.shape}});
  }
  if (g.dout(rstd) >= 0) {
    const ValueId cube = g.Op("mul", {g.Op("square", {g.out(rstd)}), g.out(rstd)});
    const ValueId slope =
        g.Op("mul_scalar", {g.Op("mul", {g.dout(rstd), cube})}, {{"value", -share}});
    const ValueId x_centered = centered ? g.Op("sub", {g.in(0), beside_x(g.out(1))}) : g.in(0);
    const ValueId part = g.Op("mul", {beside_x(slope), x_centered});
    total = total < 0 ? part : g.Op("add", {total, part});
  }
  return total;
}

GradFn NormGrad(const std::string& name, bool centered) {
  return [name, centered](GradBuilder& g) -> absl::Status {
    const int statistics = centered ? 2 : 1;
    const int inputs = g.input_count();
    const Attrs dims{{"dims", g.attrs().Int("dims")}};
    if (g.NeedsGrad(0)) {
      ValueId dx = GradOfStatistics(g, centered);
      if (g.dout(0) >= 0) {
        const ValueId of_y =
            g.Op(absl::StrCat(name, "_grad"), SavedFor(g, statistics, inputs > 1), dims);
        dx = dx < 0 ? of_y : g.Op("add", {of_y, dx});
      }
      g.SetGrad(0, dx);
    }
    const bool affine = g.NeedsGrad(1) || g.NeedsGrad(2);
    if (g.dout(0) >= 0 && affine) {
      const std::vector<ValueId> both =
          g.OpN(absl::StrCat(name, "_weight_grad"), SavedFor(g, statistics, false), dims);
      if (g.NeedsGrad(1)) g.SetGrad(1, both[0]);
      if (g.NeedsGrad(2)) g.SetGrad(2, both[1]);
    }
    return absl::OkStatus();
  };
}

// Inputs that both gradients have: x, dy and the statistics.
OpDef GradInputs(const std::string& name, bool centered) {
  OpDef def(name);
  def.Type("T", AnyFloat())
      .Type("S", "T", StatsType)
      .In("x", "T", "the forward op's x")
      .In("dy", "T", "gradient of y, as x");
  if (centered) def.In("mean", "S", "the forward op's mean");
  def.In("rstd", "S", "the forward op's rstd")
      .Attr("dims", "int", int64_t{1}, "how many last dims are normalised together")
      .NotDifferentiable("it is a gradient itself: second derivatives are not supported");
  return def;
}

absl::Status CheckSaved(const std::string& name, const OpContext& op, size_t statistics) {
  OF_RETURN_IF_ERROR(CheckNormalised(name, op));
  OF_RETURN_IF_ERROR(CheckShape(name, "dy", op.inputs[1], op.inputs[0].shape, "that of x"));
  for (size_t i = 2; i < 2 + statistics; ++i) {
    OF_RETURN_IF_ERROR(
        CheckShape(name, "statistics", op.inputs[i], LeadOf(op), "that of the leading dims of x"));
  }
  return absl::OkStatus();
}

std::string SavedNames(const Names& names, size_t statistics) {
  std::string rule = absl::StrCat(names.all, ", ", names.all);
  for (size_t i = 0; i < statistics; ++i) absl::StrAppend(&rule, ", ", names.lead);
  return rule;
}

OpDef InputGrad(const std::string& name, bool centered) {
  const size_t statistics = centered ? 2 : 1;
  return GradInputs(name, centered)
      .Doc("dx of the normalisation from what its forward op kept.")
      .OptionalIn("weight", "T", "the forward op's weight")
      .Out("dx", "T", "as x")
      .Shape([name, statistics](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_RETURN_IF_ERROR(CheckSaved(name, op, statistics));
        OF_RETURN_IF_ERROR(CheckTails(name, op, 2 + statistics));
        return Shapes{op.inputs[0].shape};
      })
      .Sharding([statistics](const OpContext& op) {
        const Names names = NamesOf(op);
        std::string rule = SavedNames(names, statistics);
        if (op.inputs.size() > 2 + statistics) absl::StrAppend(&rule, ", ", names.tail);
        return absl::StrCat(rule, " -> ", names.all, " ; whole ", names.tail, " ; linear 1");
      })
      .Cost(FlopsPerElement(12));
}

OpDef WeightGrad(const std::string& name, bool centered) {
  const size_t statistics = centered ? 2 : 1;
  OpDef def = GradInputs(name, centered);
  def.Doc("Gradients of weight (and bias) from what the forward op kept: sums over all rows.")
      .Out("dweight", "T", "the last `dims` dims of x");
  if (centered) def.Out("dbias", "T", "as dweight");
  return def
      .Shape([name, statistics](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_RETURN_IF_ERROR(CheckSaved(name, op, statistics));
        return Shapes(statistics, TailOf(op));
      })
      .Sharding([statistics](const OpContext& op) {
        const Names names = NamesOf(op);
        std::string rule = absl::StrCat(SavedNames(names, statistics), " -> ", names.tail);
        if (statistics == 2) absl::StrAppend(&rule, ", ", names.tail);
        if (names.lead != ".") absl::StrAppend(&rule, " ; sum ", names.lead);
        return absl::StrCat(rule, " ; linear 1");
      })
      .Cost(FlopsPerElement(6));
}

// layer_norm_grad and layer_norm_weight_grad of the same x and dy, which are read once.
OpDef LayerNormGrads() {
  return GradInputs("layer_norm_grads", true)
      .Doc(
          "All gradients of layer_norm from what its forward op kept. Made by the compiler of "
          "layer_norm_grad and layer_norm_weight_grad.")
      .OptionalIn("weight", "T", "the forward op's weight")
      .Out("dx", "T", "as x")
      .Out("dweight", "T", "the last `dims` dims of x")
      .Out("dbias", "T", "as dweight")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_RETURN_IF_ERROR(CheckSaved("layer_norm_grads", op, 2));
        OF_RETURN_IF_ERROR(CheckTails("layer_norm_grads", op, 4));
        return Shapes{op.inputs[0].shape, TailOf(op), TailOf(op)};
      })
      .Sharding([](const OpContext& op) {
        const Names names = NamesOf(op);
        std::string rule = SavedNames(names, 2);
        if (op.inputs.size() > 4) absl::StrAppend(&rule, ", ", names.tail);
        absl::StrAppend(&rule, " -> ", names.all, ", ", names.tail, ", ", names.tail, " ; whole ",
                        names.tail);
        if (names.lead != ".") absl::StrAppend(&rule, " ; sum ", names.lead);
        return absl::StrCat(rule, " ; linear 1");
      })
      .Internal()
      .Cost(FlopsPerElement(16));
}

}  // namespace

std::vector<OpDef> LayerNormOps() {
  return {Norm("layer_norm", true)
              .Doc("y = (x - mean) / sqrt(variance + eps) * weight + bias over the last dims; "
                   "statistics in float32.")
              .Grad(NormGrad("layer_norm", true)),
          InputGrad("layer_norm_grad", true),
          WeightGrad("layer_norm_weight_grad", true),
          LayerNormGrads(),
          Norm("rms_norm", false)
              .Doc("y = x / sqrt(mean(x^2) + eps) * weight over the last dims; statistics in "
                   "float32.")
              .Grad(NormGrad("rms_norm", false)),
          InputGrad("rms_norm_grad", false),
          WeightGrad("rms_norm_weight_grad", false)};
}

}  // namespace oneflow
