// The elementwise ops as functions of scalars: the one definition that the CPU's vectorised loops and
// the CUDA kernels are made of, so that an elementwise op has no code of its own on a device.
//
// Structs with a static Apply, over compute types (kernels/scalar/types.h). No intrinsics, no
// branches where a loop shall vectorise. Threads: any. Both sides compile without contraction of
// a * b + c, so results of ops that call no library function are equal to the bit.
// Read next: kernels/cpu/unary.cc, kernels/cuda/elementwise.cu.
#ifndef ONEFLOW_KERNELS_SCALAR_FUNCTIONS_H_
#define ONEFLOW_KERNELS_SCALAR_FUNCTIONS_H_

#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "kernels/scalar/types.h"

namespace oneflow::kernels {

// exp(x) within 2 ulp, branch-free so that it vectorises: 2^n * p(r) with r in [-ln2/2, ln2/2] and
// the Taylor polynomial of degree 7. The scale is applied in two steps so that results reach the
// denormals.
OF_SCALAR float ExpF(float x) {
  const float low = x < -104.0f ? -104.0f : x;
  const float clamped = low > 89.0f ? 89.0f : low;
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float n = (clamped * 1.44269504f + magic) - magic;
  const float r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.9841270e-4f;
  p = p * r + 1.3888889e-3f;
  p = p * r + 8.3333333e-3f;
  p = p * r + 4.1666667e-2f;
  p = p * r + 1.6666667e-1f;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  const int32_t whole = static_cast<int32_t>(n);
  const int32_t half = whole >> 1;
  const float scale1 = std::bit_cast<float>((half + 127) << 23);
  const float scale2 = std::bit_cast<float>((whole - half + 127) << 23);
  return x != x ? x : p * scale1 * scale2;
}

// tanh(x) within 3 ulp (Cephes: an odd polynomial near 0, else by exp).
OF_SCALAR float TanhF(float x) {
  const float z = x * x;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const float near = p * z * x + x;
  const float a = std::fabs(x);
  const float far = 1.0f - 2.0f / (ExpF(2.0f * a) + 1.0f);
  const float chosen = x < 0 ? -far : far;
  return a < 0.625f ? near : (x != x ? x : chosen);
}

// ---- Unary ops ----

// Each function sees the element and the attribute `value` (0 where the op has none).
struct Neg {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    if constexpr (std::is_integral_v<T>) return static_cast<T>(0 - static_cast<uint64_t>(x));
    return -x;
  }
};
// |x|.
struct Abs {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    if constexpr (std::is_floating_point_v<T>) return std::fabs(x);
    return x < 0 ? static_cast<T>(0 - static_cast<uint64_t>(x)) : x;
  }
};
// e^x.
struct Exp {
  OF_SCALAR static float Apply(float x, float) { return ExpF(x); }
};
// The natural logarithm.
struct Log {
  OF_SCALAR static float Apply(float x, float) { return std::log(x); }
};
// The square root.
struct Sqrt {
  OF_SCALAR static float Apply(float x, float) { return std::sqrt(x); }
};
// 1 / sqrt(x).
struct Rsqrt {
  OF_SCALAR static float Apply(float x, float) { return 1.0f / std::sqrt(x); }
};
// The hyperbolic tangent.
struct Tanh {
  OF_SCALAR static float Apply(float x, float) { return TanhF(x); }
};
// 1 / (1 + e^-x).
struct Sigmoid {
  OF_SCALAR static float Apply(float x, float) { return 1.0f / (1.0f + ExpF(-x)); }
};
// NaN stays NaN, as in PyTorch.
struct Relu {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return x < 0 ? T{0} : x;
  }
};
// x * x.
struct Square {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(static_cast<uint64_t>(x) * static_cast<uint64_t>(x));
    }
    return x * x;
  }
};
// x + value.
struct AddScalar {
  template <typename T>
  OF_SCALAR static T Apply(T x, T value) {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(static_cast<uint64_t>(x) + static_cast<uint64_t>(value));
    }
    return x + value;
  }
};
// x * value.
struct MulScalar {
  template <typename T>
  OF_SCALAR static T Apply(T x, T value) {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(static_cast<uint64_t>(x) * static_cast<uint64_t>(value));
    }
    return x * value;
  }
};
// x to the power of value.
struct PowScalar {
  OF_SCALAR static float Apply(float x, float value) { return std::pow(x, value); }
};

// 1 / x.
struct Reciprocal {
  OF_SCALAR static float Apply(float x, float) { return 1.0f / x; }
};
// x * x * x.
struct Cube {
  OF_SCALAR static float Apply(float x, float) { return x * x * x; }
};

// ---- Binary ops, and the gradients that are products of two tensors ----

// a + b; integers wrap, here and below.
struct Add {
  template <typename T>
  OF_SCALAR static T Apply(T a, T b) {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
    }
    return a + b;
  }
};
// a - b.
struct Sub {
  template <typename T>
  OF_SCALAR static T Apply(T a, T b) {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b));
    }
    return a - b;
  }
};
// a * b.
struct Mul {
  template <typename T>
  OF_SCALAR static T Apply(T a, T b) {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
    }
    return a * b;
  }
};
// a / b; an integer by zero gives 0.
struct Div {
  template <typename T>
  OF_SCALAR static T Apply(T a, T b) {
    if constexpr (std::is_integral_v<T>) {
      if (b == 0) return 0;
      if constexpr (std::is_signed_v<T>) {
        if (b == -1) return static_cast<T>(0 - static_cast<uint64_t>(a));
      }
    }
    return static_cast<T>(a / b);
  }
};
// NaN in either operand gives NaN, as in PyTorch.
struct Maximum {
  template <typename T>
  OF_SCALAR static T Apply(T a, T b) {
    return a > b || a != a ? a : b;
  }
};
// As Maximum.
struct Minimum {
  template <typename T>
  OF_SCALAR static T Apply(T a, T b) {
    return a < b || a != a ? a : b;
  }
};

// dx from the forward's y (abs: x) and dy.
struct ReluGrad {
  template <typename T>
  OF_SCALAR static T Apply(T y, T dy) {
    return y > 0 ? dy : T{0};
  }
};
// Through y = tanh(x).
struct TanhGrad {
  template <typename T>
  OF_SCALAR static T Apply(T y, T dy) {
    return dy * (T{1} - y * y);
  }
};
// Through y = sigmoid(x).
struct SigmoidGrad {
  template <typename T>
  OF_SCALAR static T Apply(T y, T dy) {
    return dy * (T{1} - y) * y;
  }
};
// Through |x|, 0 at 0.
struct AbsGrad {
  template <typename T>
  OF_SCALAR static T Apply(T x, T dy) {
    return x > 0 ? dy : (x < 0 ? -dy : T{0});
  }
};

// ---- Comparisons: the result is bool ----

// a == b.
struct Eq {
  template <typename T>
  OF_SCALAR static Bool Apply(T a, T b) {
    return Bool(static_cast<Compute<T>>(a) == static_cast<Compute<T>>(b));
  }
};
// a != b.
struct Ne {
  template <typename T>
  OF_SCALAR static Bool Apply(T a, T b) {
    return Bool(static_cast<Compute<T>>(a) != static_cast<Compute<T>>(b));
  }
};
// a < b.
struct Lt {
  template <typename T>
  OF_SCALAR static Bool Apply(T a, T b) {
    return Bool(static_cast<Compute<T>>(a) < static_cast<Compute<T>>(b));
  }
};
// a <= b.
struct Le {
  template <typename T>
  OF_SCALAR static Bool Apply(T a, T b) {
    return Bool(static_cast<Compute<T>>(a) <= static_cast<Compute<T>>(b));
  }
};
// a > b.
struct Gt {
  template <typename T>
  OF_SCALAR static Bool Apply(T a, T b) {
    return Bool(static_cast<Compute<T>>(a) > static_cast<Compute<T>>(b));
  }
};
// a >= b.
struct Ge {
  template <typename T>
  OF_SCALAR static Bool Apply(T a, T b) {
    return Bool(static_cast<Compute<T>>(a) >= static_cast<Compute<T>>(b));
  }
};
// Both are not zero.
struct LogicalAnd {
  template <typename T>
  OF_SCALAR static Bool Apply(T a, T b) {
    return Bool(static_cast<Compute<T>>(a) != 0 && static_cast<Compute<T>>(b) != 0);
  }
};

// ---- Combination: what reshards and micro-batches do to an element of the destination ----

// What happens to the old value of the destination.
enum class CombineMode { kCopy, kSum, kMax, kMin };

// The new value from the old one, a, and what comes, b.
template <CombineMode kMode>
struct CombineWith {
  template <typename T>
  OF_SCALAR static T Apply(T a, T b) {
    const Compute<T> x = a;
    const Compute<T> y = b;
    if constexpr (kMode == CombineMode::kCopy) return b;
    if constexpr (kMode == CombineMode::kMax) return x > y || x != x ? a : b;
    if constexpr (kMode == CombineMode::kMin) return x < y || x != x ? a : b;
    if constexpr (std::is_same_v<T, Bool>) return Bool(x != 0 || y != 0);
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(static_cast<uint64_t>(x) + static_cast<uint64_t>(y));
    } else {
      return T(static_cast<float>(x + y));
    }
  }
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_SCALAR_FUNCTIONS_H_
