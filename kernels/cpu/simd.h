// Simd: one loop compiled for several instruction sets, chosen once when a kernel is made.
//
// A loop is a struct with `OF_LOOP static R Run(args...)`, written as plain code that the compiler
// vectorises; Vectorised<Loop>() is the pointer to its best copy for this machine. Templates with a
// target attribute rather than target_clones: no ifunc (which crashes under TSan), and they work
// for templates. Under a sanitizer there is the portable copy alone: what it checks is in the source,
// and the others cost half of the build. Threads: any. Invariant: the choice is the same during the
// life of the process.
// Read next: kernels/cpu/unary.cc.
#ifndef ONEFLOW_KERNELS_CPU_SIMD_H_
#define ONEFLOW_KERNELS_CPU_SIMD_H_

#include <cstdint>

#include "kernels/scalar/functions.h"

namespace oneflow::kernels {

#define OF_LOOP __attribute__((always_inline)) inline
#define OF_TARGET_AVX2 __attribute__((target("avx2,fma,f16c")))
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
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  switch (HostIsa()) {
    case Isa::kAvx512:
      return &Copies::Avx512;
    case Isa::kAvx2:
      return &Copies::Avx2;
    case Isa::kPortable:
      break;
  }
#endif
  return &Copies::Portable;
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_SIMD_H_
