// Unary elementwise ops whose gradient is one pass of its own, NAME_grad(saved, dy), or zero. The
// formulas of value and gradient stand together in kernels/scalar/.
#include <functional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "compiler/ops/cost.h"
#include "compiler/ops/families.h"
#include "compiler/ops/gradient.h"
#include "compiler/ops/shape_functions.h"

namespace oneflow {
namespace {

// g(saved), where dx = g(saved) * dy, differentiated once more: its derivative as a value, of the
// type of `saved`.
using SecondFn = std::function<ValueId(GradBuilder& g, ValueId saved)>;

// A row of the table: what NAME_grad needs of the forward op is its "x" or its "y".
struct Activation {
  std::string name;
  std::string saved;
  int64_t flops;
  std::string doc;
  DTypeSet dtypes = AnyFloat();
  SecondFn second = nullptr;  // null: NAME_grad has no gradient
};

ValueId Scaled(GradBuilder& g, ValueId x, double factor) {
  return g.Op("mul_scalar", {x}, {{"value", factor}});
}

// 0 almost everywhere: g is piecewise constant.
ValueId NoSecond(GradBuilder&, ValueId) { return -1; }

SecondFn Constant(double value) {
  return [value](GradBuilder& g, ValueId saved) {
    return ConstantLike(g, value, saved, g.type(saved).shape);
  };
}

SecondFn Linear(double factor, double offset) {
  return [=](GradBuilder& g, ValueId saved) {
    return g.Op("add_scalar", {Scaled(g, saved, factor)}, {{"value", offset}});
  };
}

// s (1 - s) of s = sigmoid(x).
ValueId SlopeOfSigmoid(GradBuilder& g, ValueId x) {
  const ValueId s = g.Op("sigmoid", {x});
  return g.Op("mul", {s, g.Op("add_scalar", {Scaled(g, s, -1)}, {{"value", 1.0}})});
}

// (2 - x^2) times the normal density: the derivative of gelu's slope.
ValueId SecondOfGelu(GradBuilder& g, ValueId x) {
  const ValueId square = g.Op("square", {x});
  const ValueId density =
      Scaled(g, g.Op("exp", {Scaled(g, square, -0.5)}), 0.3989422804014327);  // 1 / sqrt(2 pi)
  const ValueId factor = g.Op("add_scalar", {Scaled(g, square, -1)}, {{"value", 2.0}});
  return g.Op("mul", {density, factor});
}

// s' (2 + x (1 - 2 s)) of s = sigmoid(x): the derivative of silu's slope.
ValueId SecondOfSilu(GradBuilder& g, ValueId x) {
  const ValueId s = g.Op("sigmoid", {x});
  const ValueId bent = g.Op("mul", {x, g.Op("add_scalar", {Scaled(g, s, -2)}, {{"value", 1.0}})});
  return g.Op("mul", {SlopeOfSigmoid(g, x), g.Op("add_scalar", {bent}, {{"value", 2.0}})});
}

// The gradient of dx = g(saved) dy: that of dy is the same op on the new gradient.
GradFn GradOfGrad(const std::string& op, const SecondFn& second) {
  return [op, second](GradBuilder& g) {
    if (g.NeedsGrad(1)) g.SetGrad(1, g.Op(op, {g.in(0), g.dout(0)}, g.attrs()));
    if (g.NeedsGrad(0)) {
      const ValueId slope = second(g, g.in(0));
      if (slope >= 0) g.SetGrad(0, g.Op("mul", {g.Op("mul", {g.in(1), slope}), g.dout(0)}));
    }
    return absl::OkStatus();
  };
}

// NAME_grad(saved, dy) where `saved` is the forward input or output.
OpDef UnaryGrad(const std::string& name, const std::string& saved, const std::string& formula,
                const SecondFn& second) {
  OpDef def(name);
  def.Doc(formula)
      .Type("T", AnyFloat())
      .In(saved, "T", absl::StrCat("the forward op's ", saved))
      .In("dy", "T", "gradient of y, shape of x")
      .Out("dx", "T", "gradient of x, shape of dy")
      .Shape([name, saved](const OpContext& op) -> absl::StatusOr<Shapes> {
        const Shape& shape = op.inputs[0].shape;
        OF_RETURN_IF_ERROR(CheckShape(name, "dy", op.inputs[1], shape, "that of " + saved));
        return Shapes{shape};
      })
      .Sharding("..., ... -> ... ; linear 1")
      .Cost(FlopsPerElement(kActivationGradFlops));
  return second != nullptr
             ? def.Grad(GradOfGrad(name, second))
             : def.NotDifferentiable("it is a gradient itself: it has no second derivative");
}

// The gradient of an op that saves its x or its y, with the op's own attributes.
GradFn GradOfSaved(const std::string& name, const std::string& saved) {
  return Grads({[op = absl::StrCat(name, "_grad"), is_output = saved == "y"](GradBuilder& g) {
    return g.Op(op, {is_output ? g.out(0) : g.in(0), g.dout(0)}, g.attrs());
  }});
}

void Add(std::vector<OpDef>* ops, const Activation& row) {
  ops->push_back(
      Unary(row.name, row.dtypes, row.flops).Doc(row.doc).Grad(GradOfSaved(row.name, row.saved)));
  ops->push_back(UnaryGrad(absl::StrCat(row.name, "_grad"), row.saved,
                           absl::StrCat("dx of ", row.name, " from its ", row.saved, " and dy."),
                           row.second));
}

void AddWithValue(std::vector<OpDef>* ops, const Activation& row, const std::string& value) {
  Add(ops, row);
  for (size_t i = ops->size() - 2; i < ops->size(); ++i) {
    (*ops)[i].Attr("value", "float", std::nullopt, value);
  }
}

// Rounding: the gradient is zero wherever there is one.
OpDef Step(const std::string& name, DTypeSet dtypes, const std::string& doc) {
  return Unary(name, std::move(dtypes), 1).Doc(doc).Grad(Grads({[](GradBuilder& g) {
    return ConstantLike(g, 0.0, g.dout(0), g.type(g.in(0)).shape);
  }}));
}

OpDef Exp() {
  return Unary("exp", AnyFloat(), 8).Doc("y = e^x.").Grad(Grads({[](GradBuilder& g) {
    return g.Op("mul", {g.dout(0), g.out(0)});
  }}));
}

OpDef Log() {
  return Unary("log", AnyFloat(), 8)
      .Doc("y = ln x, -inf at 0, nan below.")
      .Grad(Grads({[](GradBuilder& g) {
        return g.Op("div", {g.dout(0), g.in(0)});
      }}));
}

OpDef Sqrt() {
  return Unary("sqrt", AnyFloat(), 4)
      .Doc("y = sqrt(x), nan below 0. Its gradient at 0 is inf.")
      .Grad(Grads({[](GradBuilder& g) {
        const ValueId half = g.Op("mul_scalar", {g.dout(0)}, {{"value", 0.5}});
        return g.Op("div", {half, g.out(0)});
      }}));
}

OpDef Rsqrt() {
  return Unary("rsqrt", AnyFloat(), 4).Doc("y = 1 / sqrt(x).").Grad(Grads({[](GradBuilder& g) {
    // dy * -0.5 * y^3
    const ValueId cube = g.Op("mul", {g.Op("square", {g.out(0)}), g.out(0)});
    return g.Op("mul", {g.Op("mul_scalar", {g.dout(0)}, {{"value", -0.5}}), cube});
  }}));
}

}  // namespace

std::vector<OpDef> ActivationOps() {
  const std::vector<Activation> rows = {
      {"abs", "x", 1, "y = |x|. Its gradient at 0 is 0.", AnyNumber(), NoSecond},
      {"relu", "y", 1, "y = max(x, 0); nan stays nan. Its gradient at 0 is 0.", AnyNumber(),
       NoSecond},
      {"exp2", "y", 8, "y = 2^x.", AnyFloat(), Constant(0.6931471805599453)},
      {"expm1", "y", 8, "y = e^x - 1, exact near 0.", AnyFloat(), Constant(1)},
      {"log2", "x", 8, "y = log2 x, -inf at 0, nan below."},
      {"log10", "x", 8, "y = log10 x, -inf at 0, nan below."},
      {"log1p", "x", 8, "y = ln(1 + x), exact near 0."},
      {"reciprocal", "y", 4, "y = 1 / x.", AnyFloat(), Linear(-2, 0)},
      {"sin", "x", 16, "y = sin x.", AnyFloat(),
       [](GradBuilder& g, ValueId x) { return Scaled(g, g.Op("sin", {x}), -1); }},
      {"cos", "x", 16, "y = cos x.", AnyFloat(),
       [](GradBuilder& g, ValueId x) { return Scaled(g, g.Op("cos", {x}), -1); }},
      {"tan", "y", 16, "y = tan x.", AnyFloat(), Linear(2, 0)},
      {"asin", "x", 16, "y = arcsin x, nan outside [-1, 1]."},
      {"acos", "x", 16, "y = arccos x, nan outside [-1, 1]."},
      {"atan", "x", 16, "y = arctan x."},
      {"sinh", "x", 16, "y = sinh x."},
      {"cosh", "x", 16, "y = cosh x."},
      {"asinh", "x", 16, "y = arsinh x."},
      {"acosh", "x", 16, "y = arcosh x, nan below 1."},
      {"atanh", "x", 16, "y = artanh x, nan outside [-1, 1]."},
      {"tanh", "y", 10, "y = tanh x.", AnyFloat(), Linear(-2, 0)},
      {"sigmoid", "y", 10, "y = 1 / (1 + e^-x).", AnyFloat(), Linear(-2, 1)},
      {"erf", "x", 16, "y = the error function of x."},
      {"erfc", "x", 16, "y = 1 - erf(x), exact where erf is near 1."},
      {"erfinv", "y", 64, "y with erf(y) = x: infinite at -1 and 1, nan beyond."},
      {"lgamma", "x", 32, "y = ln |gamma(x)|, inf at 0 and at the negative integers."},
      {"digamma", "x", 32, "y = the derivative of ln gamma at x."},
      {"gelu", "x", 20, "y = x * (1 + erf(x / sqrt 2)) / 2.", AnyFloat(), SecondOfGelu},
      {"gelu_tanh", "x", kGeluTanhFlops,
       "y = x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2."},
      {"silu", "x", 10, "y = x * sigmoid(x).", AnyFloat(), SecondOfSilu},
      {"softplus", "x", 16, "y = ln(1 + e^x), without overflow for large x.", AnyFloat(),
       SlopeOfSigmoid},
      {"logsigmoid", "x", 16, "y = ln sigmoid(x).", AnyFloat(),
       [](GradBuilder& g, ValueId x) { return Scaled(g, SlopeOfSigmoid(g, x), -1); }},
      {"mish", "x", 20, "y = x * tanh(softplus(x))."},
      {"relu6", "y", 2, "y = clamp(x, 0, 6).", AnyFloat(), NoSecond},
      {"hardsigmoid", "x", 4, "y = clamp(x / 6 + 1/2, 0, 1)."},
      {"hardswish", "x", 4, "y = x * hardsigmoid(x)."},
  };
  std::vector<OpDef> ops = {Exp(), Log(), Sqrt(), Rsqrt()};
  for (const Activation& row : rows) Add(&ops, row);
  AddWithValue(&ops, {"elu", "x", 10, "y = x where x > 0, else value * (e^x - 1)."},
               "the limit for x to -inf is -value");
  AddWithValue(&ops,
               {"leaky_relu", "x", 2, "y = x where x > 0, else value * x.", AnyFloat(), NoSecond},
               "the slope below 0");
  ops.push_back(Step("sign", AnyNumber(), "y = -1, 0 or 1; nan stays nan. Its gradient is 0."));
  ops.push_back(Step("floor", AnyFloat(), "y = x rounded down. Its gradient is 0."));
  ops.push_back(Step("ceil", AnyFloat(), "y = x rounded up. Its gradient is 0."));
  ops.push_back(Step("round", AnyFloat(), "y = x rounded, halves to even. Its gradient is 0."));
  ops.push_back(Step("trunc", AnyFloat(), "y = x rounded towards zero. Its gradient is 0."));
  return ops;
}

}  // namespace oneflow
