// ScalarTypes: the C++ type of each DType, and the switch from one to the other.
//
// Values and functions. Threads: any. bf16 and f16 are storage types: they are read as float and
// written with round to nearest even. bool is one byte, 0 or 1. Read next: base/dtype.h.
#ifndef ONEFLOW_KERNELS_CPU_SCALAR_TYPES_H_
#define ONEFLOW_KERNELS_CPU_SCALAR_TYPES_H_

#include <bit>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "base/check.h"
#include "base/dtype.h"

namespace oneflow::kernels {

// Upper half of an f32.
struct BF16 {
  uint16_t bits;
  BF16() = default;
  explicit BF16(float value) {
    const uint32_t u = std::bit_cast<uint32_t>(value);
    const bool nan = (u & 0x7fffffffu) > 0x7f800000u;
    bits = static_cast<uint16_t>(nan ? (u >> 16) | 0x40 : (u + 0x7fff + ((u >> 16) & 1)) >> 16);
  }
  operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
};

// IEEE half.
struct F16 {
  _Float16 value;
  F16() = default;
  explicit F16(float v) : value(static_cast<_Float16>(v)) {}
  operator float() const { return static_cast<float>(value); }
};

// One byte, 0 or 1.
struct Bool {
  uint8_t value;
  Bool() = default;
  explicit Bool(bool v) : value(v ? 1 : 0) {}
  operator int() const { return value != 0; }
};

// The type in which one computes with T.
template <typename T>
struct ComputeType {
  using type = T;
};
template <>
struct ComputeType<BF16> {
  using type = float;
};
template <>
struct ComputeType<F16> {
  using type = float;
};
template <>
struct ComputeType<Bool> {
  using type = int;
};
template <typename T>
using Compute = typename ComputeType<T>::type;

// Converts as NumPy does: to bool by "is not zero"; a float outside the range of an integer type is
// clamped to it and NaN becomes 0 (NumPy leaves both undefined).
template <typename To, typename From>
inline To Convert(From from) {
  const Compute<From> x = from;
  if constexpr (std::is_same_v<To, Bool>) {
    return Bool(x != 0);
  } else if constexpr (std::is_integral_v<To> && std::is_floating_point_v<Compute<From>>) {
    if (x != x) return 0;
    // 2^(bits-1) or 2^bits is exact as float, max() is not.
    constexpr float kAbove = 2.0f * static_cast<float>(std::numeric_limits<To>::max() / 2 + 1);
    if (x >= kAbove) return std::numeric_limits<To>::max();
    if (x < static_cast<float>(std::numeric_limits<To>::min())) {
      return std::numeric_limits<To>::min();
    }
    return static_cast<To>(x);
  } else if constexpr (std::is_integral_v<To>) {
    return static_cast<To>(x);
  } else {
    return To(static_cast<float>(x));
  }
}

// f.template operator()<T>() for the type of `dtype`. REQUIRES: a valid dtype.
template <typename F>
auto DispatchDType(DType dtype, const F& f) {
  switch (dtype) {
    case DType::kF32:
      return f.template operator()<float>();
    case DType::kBF16:
      return f.template operator()<BF16>();
    case DType::kF16:
      return f.template operator()<F16>();
    case DType::kI64:
      return f.template operator()<int64_t>();
    case DType::kI32:
      return f.template operator()<int32_t>();
    case DType::kI8:
      return f.template operator()<int8_t>();
    case DType::kU8:
      return f.template operator()<uint8_t>();
    case DType::kBool:
      return f.template operator()<Bool>();
    case DType::kInvalid:
      break;
  }
  OF_CHECK(false) << "invalid dtype";
  __builtin_unreachable();
}

// As DispatchDType with an unsigned integer of the same size, for kernels that only move bytes.
template <typename F>
auto DispatchSize(DType dtype, const F& f) {
  switch (SizeOf(dtype)) {
    case 8:
      return f.template operator()<uint64_t>();
    case 4:
      return f.template operator()<uint32_t>();
    case 2:
      return f.template operator()<uint16_t>();
    case 1:
      return f.template operator()<uint8_t>();
    default:
      break;
  }
  OF_CHECK(false) << "invalid dtype";
  __builtin_unreachable();
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_SCALAR_TYPES_H_
