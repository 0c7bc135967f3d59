// Special functions: the error function's complement and inverse, the logarithm of the gamma function
// and its derivatives.
//
// As kernels/scalar/elementary.h. They are rare in a step and cancel near their zeros, so all but erfc
// are computed in double whatever the compute type. Threads: any; what C's lgamma writes beside its
// result is not global here. Read next: kernels/scalar/table.h.
#ifndef ONEFLOW_KERNELS_SCALAR_SPECIAL_H_
#define ONEFLOW_KERNELS_SCALAR_SPECIAL_H_

#include <cmath>

#include "kernels/scalar/functions.h"

namespace oneflow::kernels {

// ln |gamma(x)|, inf at 0 and at the negative integers.
OF_SCALAR double LogGammaOf(double x) {
#ifdef __CUDA_ARCH__
  return ::lgamma(x);
#else
  int sign = 0;
  return ::lgamma_r(x, &sign);
#endif
}

constexpr double kPi = 3.14159265358979323846;

// The part of x behind its nearest integer, in [-1/2, 1/2]: functions of period 1 of it lose nothing.
OF_SCALAR double PastInteger(double x) { return x - std::nearbyint(x); }

// The derivative of ln gamma: the reflection formula below 0, the recurrence up to 10, then the
// asymptotic series (Abramowitz and Stegun, 6.3.7, 6.3.5, 6.3.18).
OF_SCALAR double DigammaOf(double x) {
  if (x == 0) return std::copysign(HUGE_VAL, -x);
  double result = 0;
  if (x < 0) {
    const double rest = PastInteger(x);  // nan at -inf
    if (rest == 0) return static_cast<double>(NAN);
    result = -kPi / std::tan(kPi * rest);
    x = 1 - x;
  }
  for (; x < 10; x += 1) result -= 1 / x;
  const double y = 1 / (x * x);
  double series = -1.0 / 12;
  series = series * y + 691.0 / 32760;
  series = series * y - 1.0 / 132;
  series = series * y + 1.0 / 240;
  series = series * y - 1.0 / 252;
  series = series * y + 1.0 / 120;
  series = series * y - 1.0 / 12;
  return result + std::log(x) - 0.5 / x + series * y;
}

// The second derivative of ln gamma, likewise (6.4.7, 6.4.6, 6.4.12).
OF_SCALAR double TrigammaOf(double x) {
  double result = 0;
  double sign = 1;
  if (x <= 0) {
    const double sine = std::sin(kPi * PastInteger(x));
    result = kPi * kPi / (sine * sine);
    sign = -1;
    x = 1 - x;
  }
  double sum = 0;
  for (; x < 10; x += 1) sum += 1 / (x * x);
  const double y = 1 / (x * x);
  double series = -691.0 / 2730;
  series = series * y + 5.0 / 66;
  series = series * y - 1.0 / 30;
  series = series * y + 1.0 / 42;
  series = series * y - 1.0 / 30;
  series = series * y + 1.0 / 6;
  sum += (1 + 0.5 / x + series * y) / x;
  return result + sign * sum;
}

// The y with erf(y) = x, from a guess within 1 % by Halley's iteration, which triples the digits.
OF_SCALAR double InverseErfOf(double x) {
  const double a = std::fabs(x);
  if (!(a < 1)) return a == 1 ? std::copysign(HUGE_VAL, x) : static_cast<double>(NAN);
  double y;
  if (a < 0.5) {  // the first terms of its series
    const double z = kPi * a * a;
    y = 0.88622692545275801 * a * (1 + z * (1.0 / 12 + z * (7.0 / 480)));
  } else {  // Winitzki 2008, "A handy approximation for the error function and its inverse"
    const double logarithm = std::log1p(-a * a);
    const double b = 2 / (kPi * 0.147) + 0.5 * logarithm;
    y = std::sqrt(std::sqrt(b * b - logarithm / 0.147) - b);
  }
  for (int i = 0; i < 3; ++i) {
    // Beyond 1/2 the distances from 1, which are exact, are compared.
    const double error = a < 0.5 ? std::erf(y) - a : (1 - a) - std::erfc(y);
    const double newton = error * 0.88622692545275801 * std::exp(y * y);
    y -= newton / (1 + y * newton);
  }
  return std::copysign(y, x);
}

// 1 - erf(x), exact where erf is near 1.
struct Erfc {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return std::erfc(x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    return dy * static_cast<T>(-1.1283791670955126) * ExpOf(-x * x);
  }
};
// The inverse of erf; infinite at -1 and 1, nan beyond.
struct Erfinv {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return static_cast<T>(InverseErfOf(static_cast<double>(x)));
  }
  template <typename T>
  OF_SCALAR static T Grad(T y, T dy, T) {
    return dy * static_cast<T>(0.88622692545275801) * ExpOf(y * y);
  }
};
// ln |gamma(x)|.
struct Lgamma {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return static_cast<T>(LogGammaOf(static_cast<double>(x)));
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    return dy * static_cast<T>(DigammaOf(static_cast<double>(x)));
  }
};
// The derivative of Lgamma.
struct Digamma {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return static_cast<T>(DigammaOf(static_cast<double>(x)));
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    return dy * static_cast<T>(TrigammaOf(static_cast<double>(x)));
  }
};

// Their rows of the table (kernels/scalar/table.h).
template <typename Visit>
void VisitSpecial(const Visit& visit) {
  visit.template operator()<Erfc, Elements::kFloats>("erfc", 16);
  visit.template operator()<Erfinv, Elements::kFloats>("erfinv", 64);
  visit.template operator()<Lgamma, Elements::kFloats>("lgamma", 32);
  visit.template operator()<Digamma, Elements::kFloats>("digamma", 32);
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_SCALAR_SPECIAL_H_
