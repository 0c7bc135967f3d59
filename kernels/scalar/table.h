// The elementwise ops by name: the one list from which every device makes its kernels.
//
// Functions. Threads: any. A visitor is a template over the function and the element types it takes;
// it gets the op's name and what an element costs beside a copy, which decides when a team pays.
// Read next: kernels/cpu/elementwise.h, kernels/cuda/elementwise.cu.
#ifndef ONEFLOW_KERNELS_SCALAR_TABLE_H_
#define ONEFLOW_KERNELS_SCALAR_TABLE_H_

#include "kernels/scalar/activations.h"
#include "kernels/scalar/special.h"

namespace oneflow::kernels {

// y = f(x), with the attribute `value` where the op has one.
template <typename Visit>
void VisitUnary(const Visit& visit) {
  visit.template operator()<Neg, Elements::kNumbers>("neg", 1);
  visit.template operator()<Abs, Elements::kNumbers>("abs", 1);
  visit.template operator()<Relu, Elements::kNumbers>("relu", 1);
  visit.template operator()<Sign, Elements::kNumbers>("sign", 1);
  visit.template operator()<Square, Elements::kNumbers>("square", 1);
  visit.template operator()<AddScalar, Elements::kNumbers>("add_scalar", 1);
  visit.template operator()<MulScalar, Elements::kNumbers>("mul_scalar", 1);
  VisitElementary(visit);
  VisitActivations(visit);
  VisitSpecial(visit);
}

// True if the gradient of Function is an op of its own, NAME_grad(saved, dy).
template <typename Function>
concept HasGrad = requires(float x) { Function::Grad(x, x, x); };
// NAME_grad as a binary function.
template <typename Function>
struct GradOf {
  template <typename T>
  OF_SCALAR static T Apply(T saved, T dy, T value) {
    return Function::Grad(saved, dy, value);
  }
};

// y = f(a, b) of a's and b's element type.
template <typename Visit>
void VisitBinary(const Visit& visit) {
  visit.template operator()<Add, Elements::kNumbers>("add");
  visit.template operator()<Sub, Elements::kNumbers>("sub");
  visit.template operator()<Mul, Elements::kNumbers>("mul");
  visit.template operator()<Div, Elements::kNumbers>("div");
  visit.template operator()<Maximum, Elements::kNumbers>("maximum");
  visit.template operator()<Minimum, Elements::kNumbers>("minimum");
  visit.template operator()<Fmod, Elements::kNumbers>("fmod");
  visit.template operator()<Remainder, Elements::kNumbers>("remainder");
  visit.template operator()<FloorDivide, Elements::kNumbers>("floor_divide");
  visit.template operator()<Pow, Elements::kFloats>("pow");
  visit.template operator()<Atan2, Elements::kFloats>("atan2");
  visit.template operator()<BitwiseAnd, Elements::kBits>("bitwise_and");
  visit.template operator()<BitwiseOr, Elements::kBits>("bitwise_or");
  visit.template operator()<BitwiseXor, Elements::kBits>("bitwise_xor");
}

// The result is bool.
template <typename Visit>
void VisitComparison(const Visit& visit) {
  visit.template operator()<Eq>("eq");
  visit.template operator()<Ne>("ne");
  visit.template operator()<Lt>("lt");
  visit.template operator()<Le>("le");
  visit.template operator()<Gt>("gt");
  visit.template operator()<Ge>("ge");
  visit.template operator()<LogicalAnd>("logical_and");
  visit.template operator()<LogicalOr>("logical_or");
  visit.template operator()<LogicalXor>("logical_xor");
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_SCALAR_TABLE_H_
