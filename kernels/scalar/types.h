// Element types as every device computes with them: the C++ type of each DType, the type in which
// one computes with it, and the conversion from one to another.
//
// Values and functions, no intrinsics: the CPU's loops and the CUDA kernels include this one
// definition. Threads: any. bf16 and f16 are storage types: they are read as float and written with
// round to nearest even. bool is one byte, 0 or 1. Read next: kernels/scalar/functions.h.
#ifndef ONEFLOW_KERNELS_SCALAR_TYPES_H_
#define ONEFLOW_KERNELS_SCALAR_TYPES_H_

#include <bit>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace oneflow::kernels {

#ifdef __CUDACC__
#define OF_SCALAR __host__ __device__ __forceinline__
#else
#define OF_SCALAR __attribute__((always_inline)) inline
#endif

// The narrow types convert by integers on a CPU, branch-free, so that loops over them vectorise, and by an instruction
// on a GPU, whose integer units are a quarter of its float ones: a chain of three bf16 ops was bound by rounding. The
// bits are the same but for a NaN's: a CPU keeps its sign and payload and makes it quiet, a GPU may drop both.

// Upper half of an f32 (store with Store).
struct BF16 {
  uint16_t bits;
  BF16() = default;
  OF_SCALAR explicit BF16(float value) {
#ifdef __CUDA_ARCH__
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
#else
    const uint32_t u = std::bit_cast<uint32_t>(value);
    const uint32_t quiet = u | 0x400000u;
    const uint32_t rounded = u + 0x7fffu + ((u >> 16) & 1);
    bits = static_cast<uint16_t>(((u & 0x7fffffffu) > 0x7f800000u ? quiet : rounded) >> 16);
#endif
  }
  OF_SCALAR operator float() const {
    return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  }
};

// IEEE half.
struct F16 {
  uint16_t bits;
  F16() = default;
  OF_SCALAR explicit F16(float v) {
#ifdef __CUDA_ARCH__
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(v));
#else
    const uint32_t u = std::bit_cast<uint32_t>(v);
    const uint32_t size = u & 0x7fffffffu;
    // Normal: the exponent's bias changes from 127 to 15, 13 bits are rounded off to nearest even.
    const uint32_t normal = (size - 0x38000000u + 0xfffu + ((size >> 13) & 1)) >> 13;
    // Below 2^-14 one unit of 0.5f is one of the half's last place: the addition rounds.
    const uint32_t small = std::bit_cast<uint32_t>(std::bit_cast<float>(size) + 0.5f) - 0x3f000000u;
    const uint32_t infinite = size > 0x7f800000u ? 0x7e00u | ((u >> 13) & 0x1ff) : 0x7c00u;
    const uint32_t finite = size < 0x38800000u ? small : normal;
    bits = static_cast<uint16_t>((size >= 0x477ff000u ? infinite : finite) | ((u >> 16) & 0x8000u));
#endif
  }
  OF_SCALAR operator float() const {
#ifdef __CUDA_ARCH__
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
#else
    const uint32_t size = bits & 0x7fffu;
    // The exponent's bias changes from 15 to 127; an infinite one is set by hand.
    const uint32_t normal = (size << 13) + 0x38000000u;
    // A denormal counts units of 2^-24. As a float it is normal, and no float on the way is denormal:
    // threads that compute flush those.
    const float small = static_cast<float>(static_cast<int32_t>(size)) * 0x1p-24f;
    const uint32_t infinite = (size << 13) | 0x7f800000u | (size > 0x7c00u ? 0x400000u : 0u);
    const uint32_t finite = size < 0x400u ? std::bit_cast<uint32_t>(small) : normal;
    const uint32_t u = size >= 0x7c00u ? infinite : finite;
    return std::bit_cast<float>(u | (static_cast<uint32_t>(bits & 0x8000u) << 16));
#endif
  }
};

// One byte, 0 or 1.
struct Bool {
  uint8_t value;
  Bool() = default;
  OF_SCALAR explicit Bool(bool v) : value(v ? 1 : 0) {}
  OF_SCALAR operator int() const { return value != 0; }
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

// *to = value, rounded to T. GCC vectorises no loop that copies structs, so bits are stored.
template <typename T>
OF_SCALAR void Store(Compute<T> value, T* to) {
  if constexpr (std::is_same_v<T, BF16> || std::is_same_v<T, F16>) {
    to->bits = T(value).bits;
  } else {
    *to = T(value);
  }
}

// Converts as NumPy does: to bool by "is not zero"; a float outside the range of an integer type is
// clamped to it and NaN becomes 0 (NumPy leaves both undefined).
template <typename To, typename From>
OF_SCALAR To Convert(From from) {
  const Compute<From> x = from;
  if constexpr (std::is_same_v<To, Bool>) {
    return Bool(x != 0);
  } else if constexpr (std::is_integral_v<To> && std::is_floating_point_v<Compute<From>>) {
    using Float = Compute<From>;
    if (x != x) return 0;
    // 2^(bits-1) or 2^bits is exact as a float, max() is not.
    constexpr Float kAbove = Float{2} * static_cast<Float>(std::numeric_limits<To>::max() / 2 + 1);
    if (x >= kAbove) return std::numeric_limits<To>::max();
    if (x < static_cast<Float>(std::numeric_limits<To>::min())) {
      return std::numeric_limits<To>::min();
    }
    return static_cast<To>(x);
  } else if constexpr (std::is_arithmetic_v<To>) {
    return static_cast<To>(x);
  } else {
    return To(static_cast<float>(x));
  }
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_SCALAR_TYPES_H_
