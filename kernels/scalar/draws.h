// What a random number is, made from words of Philox: once for all devices.
//
// Functions only. Threads: any. No intrinsics: nvcc takes it too. Read next: base/philox.h,
// kernels/cpu/random.cc.
#ifndef ONEFLOW_KERNELS_SCALAR_DRAWS_H_
#define ONEFLOW_KERNELS_SCALAR_DRAWS_H_

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "kernels/scalar/math.h"
#include "kernels/scalar/types.h"

namespace oneflow::kernels {

// As many leading bits of a word as T has digits: a number below 1 is not rounded up to 1.
template <typename T>
inline constexpr int kUniformBits = std::is_same_v<T, BF16>  ? 8
                                    : std::is_same_v<T, F16> ? 11
                                                             : 24;

// In [0, 1).
template <typename T>
OF_SCALAR float UniformOf(uint32_t word) {
  constexpr float kUnit = 1.0f / (1 << kUniformBits<T>);
  return static_cast<float>(word >> (32 - kUniformBits<T>)) * kUnit;
}

// Mean 0, variance 1, by Box-Muller: two neighbours share two words of a block, as base/random.h.
OF_SCALAR float NormalOf(uint32_t radius_word, uint32_t turn_word, bool first) {
  constexpr float kUnit = 1.0f / (1 << 24);
  const float u = static_cast<float>((radius_word >> 8) + 1) * kUnit;  // in (0, 1]
  const float angle = static_cast<float>(turn_word >> 8) * kUnit * 6.2831853071795865f;
  const float radius = std::sqrt(-2.0f * LogOf(u));
  return radius * (first ? std::cos(angle) : std::sin(angle));
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_SCALAR_DRAWS_H_
