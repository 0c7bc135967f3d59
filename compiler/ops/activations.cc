// Unary elementwise ops whose gradient is one pass of its own, NAME_grad(saved, dy), or zero. The
// formulas of value and gradient stand together in kernels/scalar/.
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

// A row of the table: what NAME_grad needs of the forward op is its "x" or its "y".
struct Activation {
  std::string name;
  std::string saved;
  int64_t flops;
  std::string doc;
  DTypeSet dtypes = AnyFloat();
};

// NAME_grad(saved, dy) where `saved` is the forward input or output.
OpDef UnaryGrad(const std::string& name, const std::string& saved, const std::string& formula) {
  return OpDef(name)
      .Doc(formula)
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
      .NotDifferentiable("it is a gradient itself: second derivatives are not supported")
      .Cost(FlopsPerElement(2));
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
                           absl::StrCat("dx of ", row.name, " from its ", row.saved, " and dy.")));
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
      {"abs", "x", 1, "y = |x|. Its gradient at 0 is 0.", AnyNumber()},
      {"relu", "y", 1, "y = max(x, 0); nan stays nan. Its gradient at 0 is 0.", AnyNumber()},
      {"exp2", "y", 8, "y = 2^x."},
      {"expm1", "y", 8, "y = e^x - 1, exact near 0."},
      {"log2", "x", 8, "y = log2 x, -inf at 0, nan below."},
      {"log10", "x", 8, "y = log10 x, -inf at 0, nan below."},
      {"log1p", "x", 8, "y = ln(1 + x), exact near 0."},
      {"reciprocal", "y", 4, "y = 1 / x."},
      {"sin", "x", 16, "y = sin x."},
      {"cos", "x", 16, "y = cos x."},
      {"tan", "y", 16, "y = tan x."},
      {"asin", "x", 16, "y = arcsin x, nan outside [-1, 1]."},
      {"acos", "x", 16, "y = arccos x, nan outside [-1, 1]."},
      {"atan", "x", 16, "y = arctan x."},
      {"sinh", "x", 16, "y = sinh x."},
      {"cosh", "x", 16, "y = cosh x."},
      {"asinh", "x", 16, "y = arsinh x."},
      {"acosh", "x", 16, "y = arcosh x, nan below 1."},
      {"atanh", "x", 16, "y = artanh x, nan outside [-1, 1]."},
      {"tanh", "y", 10, "y = tanh x."},
      {"sigmoid", "y", 10, "y = 1 / (1 + e^-x)."},
      {"erf", "x", 16, "y = the error function of x."},
      {"gelu", "x", 20, "y = x * (1 + erf(x / sqrt 2)) / 2."},
      {"gelu_tanh", "x", 20, "y = x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2."},
      {"silu", "x", 10, "y = x * sigmoid(x)."},
      {"softplus", "x", 16, "y = ln(1 + e^x), without overflow for large x."},
      {"logsigmoid", "x", 16, "y = ln sigmoid(x)."},
      {"mish", "x", 20, "y = x * tanh(softplus(x))."},
      {"hardsigmoid", "x", 4, "y = clamp(x / 6 + 1/2, 0, 1)."},
      {"hardswish", "x", 4, "y = x * hardsigmoid(x)."},
  };
  std::vector<OpDef> ops = {Exp(), Log(), Sqrt(), Rsqrt()};
  for (const Activation& row : rows) Add(&ops, row);
  AddWithValue(&ops, {"elu", "x", 10, "y = x where x > 0, else value * (e^x - 1)."},
               "the limit for x to -inf is -value");
  AddWithValue(&ops, {"leaky_relu", "x", 2, "y = x where x > 0, else value * x."},
               "the slope below 0");
  ops.push_back(Step("sign", AnyNumber(), "y = -1, 0 or 1; nan stays nan. Its gradient is 0."));
  ops.push_back(Step("floor", AnyFloat(), "y = x rounded down. Its gradient is 0."));
  ops.push_back(Step("ceil", AnyFloat(), "y = x rounded up. Its gradient is 0."));
  ops.push_back(Step("round", AnyFloat(), "y = x rounded, halves to even. Its gradient is 0."));
  ops.push_back(Step("trunc", AnyFloat(), "y = x rounded towards zero. Its gradient is 0."));
  return ops;
}

}  // namespace oneflow
