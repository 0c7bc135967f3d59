// The elementwise ops as functions of scalars: the one definition that the CPU's vectorised loops and
// the CUDA kernels are made of, so that an elementwise op has no code of its own on a device.
//
// Structs with a static Apply, over compute types (kernels/scalar/types.h), and a static Grad where
// the gradient has an op of its own: from what the forward op saved and dy. No intrinsics, no
// branches where a loop shall vectorise. Threads: any. Both sides compile without contraction of
// a * b + c, so results of ops that call no library function are equal to the bit.
// Read next: kernels/scalar/elementary.h, kernels/scalar/table.h.
#ifndef ONEFLOW_KERNELS_SCALAR_FUNCTIONS_H_
#define ONEFLOW_KERNELS_SCALAR_FUNCTIONS_H_

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "kernels/scalar/math.h"

namespace oneflow::kernels {

// Which element types an op takes: f64 f32 bf16 f16; these and i64 i32 i16 i8 u8; the integers and
// bool; all.
enum class Elements { kFloats, kNumbers, kBits, kAll };

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
  template <typename T>
  OF_SCALAR static T Grad(T x, T dy, T) {
    return x > 0 ? dy : (x < 0 ? -dy : T{0});
  }
};
// NaN stays NaN, as in PyTorch.
struct Relu {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return x < 0 ? T{0} : x;
  }
  template <typename T>
  OF_SCALAR static T Grad(T y, T dy, T) {
    return y > 0 ? dy : T{0};
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
  template <typename T>
  OF_SCALAR static T Apply(T x, T value) {
    return std::pow(x, value);
  }
};
// x * x * x.
struct Cube {
  template <typename T>
  OF_SCALAR static T Apply(T x, T) {
    return x * x * x;
  }
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

// a ^ b, as C's pow has it: nan where a < 0 and b is no integer.
struct Pow {
  template <typename T>
  OF_SCALAR static T Apply(T a, T b) {
    return std::pow(a, b);
  }
};
// The angle of the point (b, a), in (-pi, pi].
struct Atan2 {
  template <typename T>
  OF_SCALAR static T Apply(T a, T b) {
    return std::atan2(a, b);
  }
};
// The rest of a / b cut towards zero: it has a's sign. An integer by zero gives 0.
struct Fmod {
  template <typename T>
  OF_SCALAR static T Apply(T a, T b) {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(b == 0 || b == static_cast<T>(-1) ? 0 : a % b);
    } else {
      return std::fmod(a, b);
    }
  }
};
// a / b rounded down. An integer by zero gives 0.
struct FloorDivide {
  template <typename T>
  OF_SCALAR static T Apply(T a, T b) {
    if constexpr (std::is_integral_v<T>) {
      const T quotient = Div::Apply(a, b);
      const bool cut = b != 0 && static_cast<T>(quotient * b) != a && (a < 0) != (b < 0);
      return static_cast<T>(quotient - (cut ? 1 : 0));
    } else {
      // Rounding a / b first would make 1 / 0.1 a 10, though ten times 0.1 is more than 1.
      if (b == 0) return a / b;
      const T rest = std::fmod(a, b);
      T quotient = (a - rest) / b;
      if (rest != 0 && (rest < 0) != (b < 0)) quotient -= 1;
      if (quotient == 0) return std::copysign(T{0}, a / b);
      const T whole = std::floor(quotient);
      return quotient - whole > static_cast<T>(0.5) ? whole + 1 : whole;
    }
  }
};
// The rest of a / b rounded down: it has b's sign.
struct Remainder {
  template <typename T>
  OF_SCALAR static T Apply(T a, T b) {
    const T rest = Fmod::Apply(a, b);
    return rest != 0 && (rest < 0) != (b < 0) ? static_cast<T>(rest + b) : rest;
  }
};
// Bits that are set in both.
struct BitwiseAnd {
  template <typename T>
  OF_SCALAR static T Apply(T a, T b) {
    return static_cast<T>(a & b);
  }
};
// Bits that are set in one of them.
struct BitwiseOr {
  template <typename T>
  OF_SCALAR static T Apply(T a, T b) {
    return static_cast<T>(a | b);
  }
};
// Bits that differ.
struct BitwiseXor {
  template <typename T>
  OF_SCALAR static T Apply(T a, T b) {
    return static_cast<T>(a ^ b);
  }
};

// ---- Comparisons: the result is bool ----

// a == b.
struct Eq {
  template <typename T>
  OF_SCALAR static Bool Apply(T a, T b) {
    return Bool(a == b);
  }
};
// a != b.
struct Ne {
  template <typename T>
  OF_SCALAR static Bool Apply(T a, T b) {
    return Bool(a != b);
  }
};
// a < b.
struct Lt {
  template <typename T>
  OF_SCALAR static Bool Apply(T a, T b) {
    return Bool(a < b);
  }
};
// a <= b.
struct Le {
  template <typename T>
  OF_SCALAR static Bool Apply(T a, T b) {
    return Bool(a <= b);
  }
};
// a > b.
struct Gt {
  template <typename T>
  OF_SCALAR static Bool Apply(T a, T b) {
    return Bool(a > b);
  }
};
// a >= b.
struct Ge {
  template <typename T>
  OF_SCALAR static Bool Apply(T a, T b) {
    return Bool(a >= b);
  }
};
// Both are not zero.
struct LogicalAnd {
  template <typename T>
  OF_SCALAR static Bool Apply(T a, T b) {
    return Bool(a != 0 && b != 0);
  }
};

// One of them is not zero.
struct LogicalOr {
  template <typename T>
  OF_SCALAR static Bool Apply(T a, T b) {
    return Bool(a != 0 || b != 0);
  }
};
// One of them alone is not zero.
struct LogicalXor {
  template <typename T>
  OF_SCALAR static Bool Apply(T a, T b) {
    return Bool((a != 0) != (b != 0));
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
      return T(x + y);
    }
  }
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_SCALAR_FUNCTIONS_H_
