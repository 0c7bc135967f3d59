// Elementary functions of floating-point numbers: roots, exponentials, trigonometry, rounding.
//
// As kernels/scalar/functions.h. `Grad` gets x, or y where its parameter is called y: the row of the
// op's definition (compiler/ops/activations.cc) says which it saves. Threads: any. Read next:
// kernels/scalar/activations.h.
#ifndef ONEFLOW_KERNELS_SCALAR_ELEMENTARY_H_
#define ONEFLOW_KERNELS_SCALAR_ELEMENTARY_H_

#include "kernels/scalar/functions.h"

namespace oneflow::kernels {

// e^x.
struct Exp {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return ExpOf(x);
  }
};
// 2^x.
struct Exp2 {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return std::exp2(x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T y, T dy, T) {
    return dy * y * static_cast<T>(0.69314718055994531);
  }
};
// e^x - 1, exact near 0.
struct Expm1 {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return std::expm1(x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T y, T dy, T) {
    return dy * (y + T{1});
  }
};
// The natural logarithm.
struct Log {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return LogOf(x);
  }
};
// The logarithm to base 2.
struct Log2 {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return std::log2(x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    return dy / (x * static_cast<T>(0.69314718055994531));
  }
};
// The logarithm to base 10.
struct Log10 {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return std::log10(x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    return dy / (x * static_cast<T>(2.3025850929940457));
  }
};
// ln(1 + x), exact near 0.
struct Log1p {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return std::log1p(x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    return dy / (x + T{1});
  }
};
// The square root.
struct Sqrt {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return std::sqrt(x);
  }
};
// 1 / sqrt(x).
struct Rsqrt {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return T{1} / std::sqrt(x);
  }
};
// 1 / x.
struct Reciprocal {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return T{1} / x;
  }
  template <typename T>
  OF_SCALAR static T Grad(T y, T dy, T) {
    return -dy * y * y;
  }
};
// The sine.
struct Sin {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return std::sin(x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    return dy * std::cos(x);
  }
};
// The cosine.
struct Cos {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return std::cos(x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    return -dy * std::sin(x);
  }
};
// The tangent.
struct Tan {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return std::tan(x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T y, T dy, T) {
    return dy * (T{1} + y * y);
  }
};
// The inverse sine.
struct Asin {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return std::asin(x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    return dy / std::sqrt(T{1} - x * x);
  }
};
// The inverse cosine.
struct Acos {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return std::acos(x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    return -dy / std::sqrt(T{1} - x * x);
  }
};
// The inverse tangent.
struct Atan {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return std::atan(x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    return dy / (T{1} + x * x);
  }
};
// The hyperbolic sine.
struct Sinh {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return std::sinh(x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    return dy * std::cosh(x);
  }
};
// The hyperbolic cosine.
struct Cosh {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return std::cosh(x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    return dy * std::sinh(x);
  }
};
// The inverse hyperbolic sine.
struct Asinh {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return std::asinh(x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    return dy / std::sqrt(x * x + T{1});
  }
};
// The inverse hyperbolic cosine.
struct Acosh {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return std::acosh(x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    return dy / std::sqrt(x * x - T{1});
  }
};
// The inverse hyperbolic tangent.
struct Atanh {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return std::atanh(x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    return dy / (T{1} - x * x);
  }
};
// The error function.
struct Erf {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return ErfOf(x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    return dy * static_cast<T>(1.1283791670955126) * ExpOf(-x * x);
  }
};
// Rounded down.
struct Floor {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return std::floor(x);
  }
};
// Rounded up.
struct Ceil {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return std::ceil(x);
  }
};
// Rounded to the nearest integer, halves to even.
struct Round {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return std::nearbyint(x);
  }
};
// Rounded towards zero.
struct Trunc {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return std::trunc(x);
  }
};
// -1, 0 or 1; nan stays nan.
struct Sign {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return x > 0 ? T{1} : (x < 0 ? static_cast<T>(-1) : T{0});
  }
};

// Their rows of the table (kernels/scalar/table.h).
template <typename Visit>
void VisitElementary(const Visit& visit) {
  visit.template operator()<Exp, Elements::kFloats>("exp", 2);
  visit.template operator()<Exp2, Elements::kFloats>("exp2", 16);
  visit.template operator()<Expm1, Elements::kFloats>("expm1", 16);
  visit.template operator()<Log, Elements::kFloats>("log", 2);
  visit.template operator()<Log2, Elements::kFloats>("log2", 16);
  visit.template operator()<Log10, Elements::kFloats>("log10", 16);
  visit.template operator()<Log1p, Elements::kFloats>("log1p", 16);
  visit.template operator()<Sqrt, Elements::kFloats>("sqrt", 2);
  visit.template operator()<Rsqrt, Elements::kFloats>("rsqrt", 2);
  visit.template operator()<Reciprocal, Elements::kFloats>("reciprocal", 1);
  visit.template operator()<Sin, Elements::kFloats>("sin", 16);
  visit.template operator()<Cos, Elements::kFloats>("cos", 16);
  visit.template operator()<Tan, Elements::kFloats>("tan", 16);
  visit.template operator()<Asin, Elements::kFloats>("asin", 16);
  visit.template operator()<Acos, Elements::kFloats>("acos", 16);
  visit.template operator()<Atan, Elements::kFloats>("atan", 16);
  visit.template operator()<Sinh, Elements::kFloats>("sinh", 16);
  visit.template operator()<Cosh, Elements::kFloats>("cosh", 16);
  visit.template operator()<Asinh, Elements::kFloats>("asinh", 16);
  visit.template operator()<Acosh, Elements::kFloats>("acosh", 16);
  visit.template operator()<Atanh, Elements::kFloats>("atanh", 16);
  visit.template operator()<Erf, Elements::kFloats>("erf", 4);
  visit.template operator()<Floor, Elements::kFloats>("floor", 1);
  visit.template operator()<Ceil, Elements::kFloats>("ceil", 1);
  visit.template operator()<Round, Elements::kFloats>("round", 1);
  visit.template operator()<Trunc, Elements::kFloats>("trunc", 1);
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_SCALAR_ELEMENTARY_H_
