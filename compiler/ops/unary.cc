// Unary elementwise ops and the gradients that have kernels of their own. The others are composed.
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compiler/ops/cost.h"
#include "compiler/ops/families.h"
#include "compiler/ops/gradient.h"
#include "compiler/ops/shape_functions.h"

namespace oneflow {
namespace {

// y has the type of x; every element depends on one element.
OpDef Unary(const std::string& name, DTypeSet dtypes, int64_t flops) {
  return OpDef(name)
      .In("x", std::move(dtypes), "any shape")
      .Out("y", "shape and dtype of x")
      .Shape(SameAsInput(0))
      .Sharding("... -> ...")
      .Cost(FlopsPerElement(flops));
}

OpDef Neg() {
  return Unary("neg", AnyNumber(), 1)
      .Doc("y = -x.")
      .Sharding("... -> ... ; linear")
      .Grad(Grads({[](GradBuilder& g) { return g.Op("neg", {g.dout(0)}); }}));
}

OpDef Abs() {
  return Unary("abs", AnyNumber(), 1)
      .Doc("y = |x|. Its gradient at 0 is 0.")
      .Grad(Grads({[](GradBuilder& g) {
        return g.Op("abs_grad", {g.in(0), g.dout(0)});
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

OpDef Tanh() {
  return Unary("tanh", AnyFloat(), 10).Doc("y = tanh(x).").Grad(Grads({[](GradBuilder& g) {
    return g.Op("tanh_grad", {g.out(0), g.dout(0)});
  }}));
}

OpDef Sigmoid() {
  return Unary("sigmoid", AnyFloat(), 10)
      .Doc("y = 1 / (1 + e^-x).")
      .Grad(Grads({[](GradBuilder& g) {
        return g.Op("sigmoid_grad", {g.out(0), g.dout(0)});
      }}));
}

OpDef Relu() {
  return Unary("relu", AnyNumber(), 1)
      .Doc("y = max(x, 0); nan stays nan. Its gradient at 0 is 0.")
      .Grad(Grads({[](GradBuilder& g) {
        return g.Op("relu_grad", {g.out(0), g.dout(0)});
      }}));
}

OpDef Square() {
  return Unary("square", AnyNumber(), 1).Doc("y = x * x.").Grad(Grads({[](GradBuilder& g) {
    return g.Op("mul", {g.Op("mul_scalar", {g.dout(0)}, {{"value", 2.0}}), g.in(0)});
  }}));
}

OpDef StopGradient() {
  return OpDef("stop_gradient")
      .Doc("y = x, and no gradient goes through it. Moves no bytes.")
      .In("x", AnyDType(), "any shape")
      .Out("y", "shape and dtype of x")
      .Shape(SameAsInput(0))
      .Sharding("... -> ... ; linear")
      .Grad(Grads({nullptr}))
      .StopsGradient()
      .Cost(NoCost())
      .View();
}

OpDef Cast() {
  return OpDef("cast")
      .Doc(
          "x converted to another dtype: floats to ints cut towards zero, anything to bool is != "
          "0.")
      .In("x", AnyDType(), "any shape")
      .Out("y", "shape of x, dtype as the attribute says")
      .Attr("dtype", "dtype", std::nullopt, "element type of y")
      .Shape([](const OpContext& op) -> absl::StatusOr<std::vector<TensorType>> {
        return std::vector<TensorType>{{*ParseDType(op.attrs.String("dtype")), op.inputs[0].shape}};
      })
      // A cast between floats is linear; any other cuts or compares.
      .Sharding([](const OpContext& op) -> std::string {
        const bool linear = IsFloating(op.inputs[0].dtype) && IsFloating(op.outputs[0].dtype);
        return linear ? "... -> ... ; linear" : "... -> ...";
      })
      .Grad(Grads({[](GradBuilder& g) {
        return g.Op("cast", {g.dout(0)}, {{"dtype", std::string(NameOf(g.type(g.in(0)).dtype))}});
      }}))
      .Cost(FlopsPerElement(1));
}

OpDef AddScalar() {
  return Unary("add_scalar", AnyNumber(), 1)
      .Doc("y = x + value.")
      .Attr("value", "float", std::nullopt, "the number, converted to the dtype of x")
      .Grad(Grads({PassGradient}));
}

OpDef MulScalar() {
  return Unary("mul_scalar", AnyNumber(), 1)
      .Doc("y = x * value. With sum it makes means: the count is the logical one, under any cut.")
      .Attr("value", "float", std::nullopt, "the number, converted to the dtype of x")
      .Sharding("... -> ... ; linear")
      .Grad(Grads({[](GradBuilder& g) {
        return g.Op("mul_scalar", {g.dout(0)}, {{"value", g.attrs().Float("value")}});
      }}));
}

OpDef PowScalar() {
  return Unary("pow_scalar", AnyFloat(), 20)
      .Doc("y = x ^ value, as C's pow has it: nan where x < 0 and value is no integer.")
      .Attr("value", "float", std::nullopt, "the exponent")
      .Grad(Grads({[](GradBuilder& g) {
        const double exponent = g.attrs().Float("value");
        if (exponent == 0.0) return g.Op("mul_scalar", {g.dout(0)}, {{"value", 0.0}});
        const ValueId power = g.Op("pow_scalar", {g.in(0)}, {{"value", exponent - 1.0}});
        return g.Op("mul", {g.Op("mul_scalar", {g.dout(0)}, {{"value", exponent}}), power});
      }}));
}

// f_grad(saved, dy) where `saved` is the forward input or output.
OpDef UnaryGrad(const std::string& name, const std::string& saved, const std::string& formula,
                DTypeSet dtypes) {
  return OpDef(name)
      .Doc(formula)
      .In(saved, dtypes, absl::StrCat("the forward op's ", saved))
      .In("dy", dtypes, "gradient of y, shape of x")
      .Out("dx", "gradient of x, shape and dtype of dy")
      .Shape([name, saved](const OpContext& op) -> absl::StatusOr<std::vector<TensorType>> {
        absl::Status same = CheckSameDType(name, saved, op.inputs[0], "dy", op.inputs[1]);
        if (same.ok()) {
          same = CheckShape(name, "dy", op.inputs[1], op.inputs[0].shape, "that of " + saved);
        }
        if (!same.ok()) return same;
        return std::vector<TensorType>{op.inputs[1]};
      })
      .Sharding("..., ... -> ... ; linear 1")
      .NotDifferentiable("it is a gradient itself: second derivatives are not supported")
      .Cost(FlopsPerElement(2));
}

}  // namespace

std::vector<OpDef> UnaryOps() {
  return {Neg(),
          Abs(),
          Exp(),
          Log(),
          Sqrt(),
          Rsqrt(),
          Tanh(),
          Sigmoid(),
          Relu(),
          Square(),
          StopGradient(),
          Cast(),
          AddScalar(),
          MulScalar(),
          PowScalar(),
          UnaryGrad("relu_grad", "y", "dx = dy where y > 0, else 0.", AnyFloat()),
          UnaryGrad("tanh_grad", "y", "dx = dy * (1 - y * y).", AnyFloat()),
          UnaryGrad("sigmoid_grad", "y", "dx = dy * y * (1 - y).", AnyFloat()),
          UnaryGrad("abs_grad", "x", "dx = dy * sign(x), 0 at x == 0.", AnyFloat())};
}

}  // namespace oneflow
