// Activations of networks: smooth steps and ramps of floating-point numbers.
//
// As kernels/scalar/functions.h. `Grad` gets x, or y where its parameter is called y: the row of the
// op's definition (compiler/ops/activations.cc) says which it saves. Threads: any. Read next:
// kernels/scalar/table.h.
#ifndef ONEFLOW_KERNELS_SCALAR_ACTIVATIONS_H_
#define ONEFLOW_KERNELS_SCALAR_ACTIVATIONS_H_

#include "kernels/scalar/elementary.h"

namespace oneflow::kernels {

// The hyperbolic tangent.
struct Tanh {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return TanhOf(x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T y, T dy, T) {
    return dy * (T{1} - y * y);
  }
};
// 1 / (1 + e^-x).
struct Sigmoid {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return SigmoidOf(x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T y, T dy, T) {
    return dy * (T{1} - y) * y;
  }
};
// x times the normal distribution function of x.
struct Gelu {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return GeluOf(x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    return dy * GeluSlopeOf(x);
  }
};
// Gelu with tanh in place of erf, as GPT-2 has it.
struct GeluTanh {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    const T inner =
        static_cast<T>(0.79788456080286536) * (x + static_cast<T>(0.044715) * x * x * x);
    return static_cast<T>(0.5) * x * (T{1} + TanhOf(inner));
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    const T square = static_cast<T>(0.044715) * x * x;
    const T t = TanhOf(static_cast<T>(0.79788456080286536) * (x + square * x));
    const T slope = static_cast<T>(0.79788456080286536) * (T{1} + T{3} * square);
    return dy * static_cast<T>(0.5) * (T{1} + t + x * (T{1} - t * t) * slope);
  }
};
// x * sigmoid(x).
struct Silu {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return x * SigmoidOf(x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    const T s = SigmoidOf(x);
    return dy * s * (T{1} + x * (T{1} - s));
  }
};
// ln(1 + e^x).
struct Softplus {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return SoftplusOf(x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    return dy * SigmoidOf(x);
  }
};
// ln(sigmoid(x)).
struct LogSigmoid {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return -SoftplusOf(-x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    return dy * SigmoidOf(-x);
  }
};
// x * tanh(softplus(x)).
struct Mish {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return x * TanhOf(SoftplusOf(x));
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    const T t = TanhOf(SoftplusOf(x));
    return dy * (t + x * (T{1} - t * t) * SigmoidOf(x));
  }
};
// clamp(x / 6 + 1/2, 0, 1).
struct Hardsigmoid {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    const T y = x / T{6} + static_cast<T>(0.5);
    return y < 0 ? T{0} : (y > 1 ? T{1} : y);
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    return x > -3 && x < 3 ? dy / T{6} : T{0};
  }
};
// clamp(x, 0, 6).
struct Relu6 {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return x < 0 ? T{0} : (x > 6 ? T{6} : x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T y, T dy, T) {
    return y <= 0 || y >= 6 ? T{0} : dy;
  }
};
// x * hardsigmoid(x).
struct Hardswish {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return x * Hardsigmoid::Apply(x, x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    return x <= -3 ? T{0} : (x < 3 ? dy * (x / T{3} + static_cast<T>(0.5)) : dy);
  }
};
// x, below 0 value * (e^x - 1).
struct Elu {
  template <typename T>
  OF_SCALAR static T Apply(T x, T value) {
    return x > 0 ? x : value * std::expm1(x);
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T value) {
    return x > 0 ? dy : dy * value * ExpOf(x);
  }
};
// x, below 0 value * x.
struct LeakyRelu {
  template <typename T>
  OF_SCALAR static T Apply(T x, T value) {
    return x > 0 ? x : x * value;
  }
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T value) {
    return x > 0 ? dy : dy * value;
  }
};

// Their rows of the table (kernels/scalar/table.h).
template <typename Visit>
void VisitActivations(const Visit& visit) {
  visit.template operator()<Tanh, Elements::kFloats>("tanh", 2);
  visit.template operator()<Sigmoid, Elements::kFloats>("sigmoid", 2);
  visit.template operator()<Gelu, Elements::kFloats>("gelu", 4);
  visit.template operator()<GeluTanh, Elements::kFloats>("gelu_tanh", 4);
  visit.template operator()<Silu, Elements::kFloats>("silu", 2);
  visit.template operator()<Softplus, Elements::kFloats>("softplus", 16);
  visit.template operator()<LogSigmoid, Elements::kFloats>("logsigmoid", 16);
  visit.template operator()<Mish, Elements::kFloats>("mish", 16);
  visit.template operator()<Relu6, Elements::kFloats>("relu6", 1);
  visit.template operator()<Hardsigmoid, Elements::kFloats>("hardsigmoid", 1);
  visit.template operator()<Hardswish, Elements::kFloats>("hardswish", 1);
  visit.template operator()<Elu, Elements::kFloats>("elu", 16);
  visit.template operator()<LeakyRelu, Elements::kFloats>("leaky_relu", 1);
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_SCALAR_ACTIVATIONS_H_
