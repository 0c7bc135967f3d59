// Binary elementwise ops with broadcasting, comparisons, where.
#include <string>
#include <utility>

#include "base/status.h"
#include "compiler/ops/cost.h"
#include "compiler/ops/families.h"
#include "compiler/ops/gradient.h"
#include "compiler/ops/shape_functions.h"

namespace oneflow {
namespace {

OpDef Binary(const std::string& name, DTypeSet dtypes, ArgType result = "T") {
  return OpDef(name)
      .Type("T", std::move(dtypes))
      .In("a", "T", "any shape")
      .In("b", "T", "its shape broadcasts with a's, dims aligned from the right")
      .Out("y", std::move(result), "the broadcast shape")
      .Shape([name](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_ASSIGN_OR_RETURN(Shape shape,
                            BroadcastShapes(name, "a", op.inputs[0], "b", op.inputs[1]));
        return Shapes{std::move(shape)};
      })
      .Sharding("..., ... -> ...")
      .Cost(FlopsPerElement(1));
}

OpDef Comparison(const std::string& name, DTypeSet dtypes, const std::string& formula) {
  return Binary(name, std::move(dtypes), DType::kBool)
      .Doc(formula)
      .NotDifferentiable("its result is true or false");
}

OpDef Add() {
  return Binary("add", AnyNumber())
      .Doc("y = a + b.")
      .Sharding("..., ... -> ... ; linear")
      .Grad(Grads({PassGradient, PassGradient}));
}

OpDef Sub() {
  return Binary("sub", AnyNumber())
      .Doc("y = a - b.")
      .Sharding("..., ... -> ... ; linear")
      .Grad(Grads({PassGradient, [](GradBuilder& g) { return g.Op("neg", {g.dout(0)}); }}));
}

OpDef Mul() {
  return Binary("mul", AnyNumber())
      .Doc("y = a * b.")
      .Sharding("..., ... -> ... ; multilinear")
      .Grad(Grads({[](GradBuilder& g) {
                     return g.Op("mul", {g.dout(0), g.in(1)});
                   },
                   [](GradBuilder& g) {
                     return g.Op("mul", {g.dout(0), g.in(0)});
                   }}));
}

OpDef Div() {
  return Binary("div", AnyFloat())
      .Doc("y = a / b.")
      .Sharding("..., ... -> ... ; linear 0")
      .Grad(Grads({[](GradBuilder& g) {
                     return g.Op("div", {g.dout(0), g.in(1)});
                   },
                   [](GradBuilder& g) {
                     // -dy * y / b
                     const ValueId product = g.Op("mul", {g.dout(0), g.out(0)});
                     return g.Op("neg", {g.Op("div", {product, g.in(1)})});
                   }}));
}

// Where a and b are equal each gets half, as in PyTorch. `wins` is "gt" for maximum, "lt" for
// minimum.
InputGradFn ExtremumGrad(const std::string& wins, int mine, int other) {
  return [wins, mine, other](GradBuilder& g) {
    const ValueId zero = ConstantLike(g, 0.0, g.dout(0));
    const ValueId half = g.Op("mul_scalar", {g.dout(0)}, {{"value", 0.5}});
    const ValueId won = g.Op(wins, {g.in(mine), g.in(other)});
    const ValueId tie = g.Op("eq", {g.in(mine), g.in(other)});
    return g.Op("where", {tie, half, g.Op("where", {won, g.dout(0), zero})});
  };
}

OpDef Maximum() {
  return Binary("maximum", AnyNumber())
      .Doc("y = the larger of a and b; nan if one is nan.")
      .Grad(Grads({ExtremumGrad("gt", 0, 1), ExtremumGrad("gt", 1, 0)}));
}

OpDef Minimum() {
  return Binary("minimum", AnyNumber())
      .Doc("y = the smaller of a and b; nan if one is nan.")
      .Grad(Grads({ExtremumGrad("lt", 0, 1), ExtremumGrad("lt", 1, 0)}));
}

// a mod b; of a alone it has slope 1, of b minus the whole quotient.
OpDef Modulo(const std::string& name, const std::string& rounding, const std::string& doc) {
  return Binary(name, AnyNumber())
      .Doc(doc)
      .Grad(Grads({PassGradient, [rounding](GradBuilder& g) {
                     const ValueId quotient = g.Op(rounding, {g.Op("div", {g.in(0), g.in(1)})});
                     return g.Op("neg", {g.Op("mul", {g.dout(0), quotient})});
                   }}));
}

OpDef Pow() {
  return Binary("pow", AnyFloat())
      .Doc("y = a ^ b, as C's pow has it: nan where a < 0 and b is no integer.")
      .Grad(Grads({[](GradBuilder& g) {
                     // dy * b * a^(b - 1), 0 where b is 0.
                     const ValueId zero = ConstantLike(g, 0.0, g.dout(0));
                     const ValueId less = g.Op("add_scalar", {g.in(1)}, {{"value", -1.0}});
                     const ValueId slope = g.Op("mul", {g.in(1), g.Op("pow", {g.in(0), less})});
                     const ValueId flat = g.Op("eq", {g.in(1), zero});
                     return g.Op("where", {flat, zero, g.Op("mul", {g.dout(0), slope})});
                   },
                   [](GradBuilder& g) {
                     // dy * y * ln a, 0 where a is 0 and b is not negative.
                     const ValueId zero = ConstantLike(g, 0.0, g.dout(0));
                     const ValueId slope = g.Op("mul", {g.out(0), g.Op("log", {g.in(0)})});
                     const ValueId flat = g.Op(
                         "logical_and", {g.Op("eq", {g.in(0), zero}), g.Op("ge", {g.in(1), zero})});
                     return g.Op("where", {flat, zero, g.Op("mul", {g.dout(0), slope})});
                   }}));
}

OpDef Atan2() {
  // dy * b / (a^2 + b^2), and minus dy * a / (a^2 + b^2).
  const auto over_square = [](GradBuilder& g, int other) {
    const ValueId square = g.Op("add", {g.Op("square", {g.in(0)}), g.Op("square", {g.in(1)})});
    return g.Op("mul", {g.dout(0), g.Op("div", {g.in(other), square})});
  };
  return Binary("atan2", AnyFloat())
      .Doc("y = the angle of the point (b, a), in (-pi, pi].")
      .Grad(Grads({[over_square](GradBuilder& g) { return over_square(g, 1); },
                   [over_square](GradBuilder& g) { return g.Op("neg", {over_square(g, 0)}); }}));
}

// Bits of integers; of bools and, or, exclusive or.
OpDef Bitwise(const std::string& name, const std::string& doc) {
  DTypeSet bits = AnyInt();
  bits.push_back(DType::kBool);
  return Binary(name, std::move(bits)).Doc(doc).NotDifferentiable("its operands are integers");
}

OpDef Where() {
  return OpDef("where")
      .Doc("y = a where c is true, else b.")
      .Type("T", AnyDType())
      .In("c", DType::kBool, "the condition; its shape broadcasts with a's and b's")
      .In("a", "T", "any shape")
      .In("b", "T", "its shape broadcasts with a's")
      .Out("y", "T", "the broadcast shape")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        TensorType type = op.inputs[1];
        OF_ASSIGN_OR_RETURN(type.shape,
                            BroadcastShapes("where", "a", op.inputs[1], "b", op.inputs[2]));
        OF_ASSIGN_OR_RETURN(type.shape,
                            BroadcastShapes("where", "c", op.inputs[0], "a and b", type));
        return Shapes{std::move(type.shape)};
      })
      .Sharding("..., ..., ... -> ... ; linear 1 2")
      .Grad(Grads({nullptr,
                   [](GradBuilder& g) {
                     return g.Op("where", {g.in(0), g.dout(0), ConstantLike(g, 0.0, g.dout(0))});
                   },
                   [](GradBuilder& g) {
                     return g.Op("where", {g.in(0), ConstantLike(g, 0.0, g.dout(0)), g.dout(0)});
                   }}))
      .Cost(FlopsPerElement(1));
}

}  // namespace

std::vector<OpDef> BinaryOps() {
  return {Add(),
          Sub(),
          Mul(),
          Div(),
          Maximum(),
          Minimum(),
          Comparison("eq", AnyDType(), "y = a == b."),
          Comparison("ne", AnyDType(), "y = a != b."),
          Comparison("lt", AnyDType(), "y = a < b."),
          Comparison("le", AnyDType(), "y = a <= b."),
          Comparison("gt", AnyDType(), "y = a > b."),
          Comparison("ge", AnyDType(), "y = a >= b."),
          Comparison("logical_and", AnyDType(), "y = a != 0 and b != 0."),
          Comparison("logical_or", AnyDType(), "y = a != 0 or b != 0."),
          Comparison("logical_xor", AnyDType(), "y = one of a != 0 and b != 0 alone."),
          Pow(),
          Atan2(),
          Modulo("fmod", "trunc", "y = the rest of a / b cut towards zero, with the sign of a."),
          Modulo("remainder", "floor", "y = the rest of a / b rounded down, with the sign of b."),
          Binary("floor_divide", AnyNumber())
              .Doc("y = a / b rounded down; an integer by zero gives 0.")
              .NotDifferentiable("its result is a whole number"),
          Bitwise("bitwise_and", "y = the bits that are set in a and in b."),
          Bitwise("bitwise_or", "y = the bits that are set in a or in b."),
          Bitwise("bitwise_xor", "y = the bits in which a and b differ."),
          Where()};
}

}  // namespace oneflow
