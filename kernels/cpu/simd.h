// Simd: one loop compiled for several instruction sets, chosen once when a kernel is made.
//
// A loop is a struct with `OF_LOOP static R Run(args...)`, written as plain code that the compiler
// vectorises; Vectorised<Loop>() is the pointer to its best copy for this machine. Templates with a
// target attribute rather than target_clones: no ifunc (which crashes under TSan), and they work
// for templates. Threads: any. Invariant: the choice is the same during the life of the process.
// Read next: kernels/cpu/unary.cc.
#ifndef ONEFLOW_KERNELS_CPU_SIMD_H_
#define ONEFLOW_KERNELS_CPU_SIMD_H_

#include <bit>
#include <cmath>
#include <cstdint>

namespace oneflow::kernels {

#define OF_LOOP __attribute__((always_inline)) inline
#define OF_TARGET_AVX2 __attribute__((target("avx2,fma")))
#define OF_TARGET_AVX512 \
  __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")))

// Instruction sets that loops are compiled for.
enum class Isa { kPortable, kAvx2, kAvx512 };

// The best one of this machine.
inline Isa HostIsa() {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    return Isa::kAvx512;
  }
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? Isa::kAvx2
                                                                         : Isa::kPortable;
}

// The copies of one loop.
template <typename Loop, typename Signature>
struct Variants;
template <typename Loop, typename Result, typename... Args>
struct Variants<Loop, Result (*)(Args...)> {
  static Result Portable(Args... args) { return Loop::Run(args...); }
  OF_TARGET_AVX2 static Result Avx2(Args... args) { return Loop::Run(args...); }
  OF_TARGET_AVX512 static Result Avx512(Args... args) { return Loop::Run(args...); }
};

template <typename Loop>
auto Vectorised() -> decltype(&Loop::Run) {
  using Copies = Variants<Loop, decltype(&Loop::Run)>;
  switch (HostIsa()) {
    case Isa::kAvx512:
      return &Copies::Avx512;
    case Isa::kAvx2:
      return &Copies::Avx2;
    case Isa::kPortable:
      break;
  }
  return &Copies::Portable;
}

// exp(x) within 2 ulp, branch-free so that it vectorises: 2^n * p(r) with r in [-ln2/2, ln2/2] and
// the Taylor polynomial of degree 7. The scale is applied in two steps so that results reach the
// denormals.
OF_LOOP float ExpF(float x) {
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
OF_LOOP float TanhF(float x) {
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

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_SIMD_H_
