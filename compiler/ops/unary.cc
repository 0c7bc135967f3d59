// Unary elementwise ops that are linear, convert, or take a number. The others: activations.cc.
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compiler/ops/cost.h"
#include "compiler/ops/families.h"
#include "compiler/ops/gradient.h"
#include "compiler/ops/shape_functions.h"

namespace oneflow {

OpDef Unary(const std::string& name, DTypeSet dtypes, int64_t flops) {
  return OpDef(name)
      .Type("T", std::move(dtypes))
      .In("x", "T", "any shape")
      .Out("y", "T", "shape of x")
      .Shape(SameAsInput(0))
      .Sharding("... -> ...")
      .Cost(FlopsPerElement(flops));
}

namespace {

OpDef Neg() {
  return Unary("neg", AnyNumber(), 1)
      .Doc("y = -x.")
      .Sharding("... -> ... ; linear")
      .Grad(Grads({[](GradBuilder& g) { return g.Op("neg", {g.dout(0)}); }}));
}

OpDef Square() {
  return Unary("square", AnyNumber(), 1).Doc("y = x * x.").Grad(Grads({[](GradBuilder& g) {
    return g.Op("mul", {g.Op("mul_scalar", {g.dout(0)}, {{"value", 2.0}}), g.in(0)});
  }}));
}

OpDef StopGradient() {
  return OpDef("stop_gradient")
      .Doc("y = x, and no gradient goes through it. Moves no bytes.")
      .Type("T", AnyDType())
      .In("x", "T", "any shape")
      .Out("y", "T", "shape of x")
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
      .Out("y", "dtype", "shape of x")
      .Attr("dtype", "dtype", std::nullopt, "element type of y")
      .Shape(SameAsInput(0))
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

}  // namespace

std::vector<OpDef> UnaryOps() {
  return {Neg(), Square(), StopGradient(), Cast(), AddScalar(), MulScalar(), PowScalar()};
}

}  // namespace oneflow
