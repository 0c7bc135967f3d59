// Elementwise kernels from scalar functions: dense unary ones, and binary ones with NumPy
// broadcasting row by row ([n,c] + [c], [n,1] * [n,c], scalars).
//
// Functions only. Threads: as the kernel that calls. A loop is compiled for a function and a compute
// type alone and knows nothing else; what walks over operands is compiled once (elementwise.cc):
// 300 ops are 300 loops. bf16 and f16 are widened to f32, and narrowed from it, in tiles that stay in
// the nearest cache. Loops over f32 have a copy per instruction set, those over f64 and integers one.
// Bytes: each operand once. Read next: kernels/scalar/table.h, kernels/cpu/unary.cc.
#ifndef ONEFLOW_KERNELS_CPU_ELEMENTWISE_H_
#define ONEFLOW_KERNELS_CPU_ELEMENTWISE_H_

#include <cstdint>
#include <string_view>
#include <type_traits>

#include "kernels/cpu/definition.h"
#include "kernels/cpu/scalar_types.h"
#include "kernels/cpu/simd.h"
#include "kernels/scalar/table.h"

namespace oneflow::kernels {

// Conversions of a storage type that is not computed in: bf16 or f16; of the others none.
struct Narrow {
  void (*widen)(const void* x, float* y, int64_t n) = nullptr;
  void (*narrow)(const float* x, void* y, int64_t n) = nullptr;
  explicit operator bool() const { return widen != nullptr; }
};
Narrow NarrowOf(DType dtype);

// Rows of n elements. `value`: the op's attribute, 0 where it has none.
using UnaryRun = void (*)(const void* x, void* y, double value, int64_t n);
using BinaryRun = void (*)(const void* a, const void* b, void* out, double value, int64_t n);

// The loops of a binary op over one compute type: both operands dense, or the one element of a or
// of b repeated (null where the op does not broadcast).
struct BinaryRuns {
  BinaryRun dense = nullptr;
  BinaryRun repeat_a = nullptr;
  BinaryRun repeat_b = nullptr;
};

// y = loop(x). `loop` works on the compute type of the spec's dtype. `grain`: elements that are worth
// a thread. REQUIRES: checked as one input and one output of one type.
KernelOr MakeUnary(const KernelSpec& spec, UnaryRun loop, int64_t grain);
// out = loop(a, b); the result has the operands' dtype or is bool. REQUIRES: CheckBroadcast.
KernelOr MakeBinary(const KernelSpec& spec, const BinaryRuns& loops);

// The loops over f32 of ops by name, for chains (fused.cc); nothing where there is none.
UnaryRun FloatUnaryRun(std::string_view op);
BinaryRuns FloatBinaryRuns(std::string_view op);
BinaryRuns FloatGradientRuns(std::string_view op);

// Two operands of one dtype that broadcast to the result.
SpecCheck CheckBroadcast(const KernelSpec& spec);

// The copy of a loop over T that suits this machine.
template <typename Loop, typename T>
auto LoopFor() {
  if constexpr (std::is_same_v<T, float>) {
    return Vectorised<Loop>();
  } else {
    return &Variants<Loop, decltype(&Loop::Run)>::Portable;
  }
}

// find.operator()<C>() for the compute type of `dtype`, where `kElements` has it; bool is worked on as
// u8. Else what `find` has for nothing: Result{}.
template <Elements kElements, typename Result, typename Find>
Result FindCompute(DType dtype, const Find& find) {
  if constexpr (kElements != Elements::kBits) {
    if (dtype == DType::kF64) return find.template operator()<double>();
    if (IsFloating(dtype)) return find.template operator()<float>();
  }
  if constexpr (kElements != Elements::kFloats) {
    if (dtype == DType::kI64) return find.template operator()<int64_t>();
    if (dtype == DType::kI32) return find.template operator()<int32_t>();
    if (dtype == DType::kI16) return find.template operator()<int16_t>();
    if (dtype == DType::kI8) return find.template operator()<int8_t>();
    if (dtype == DType::kU8) return find.template operator()<uint8_t>();
  }
  if constexpr (kElements == Elements::kBits || kElements == Elements::kAll) {
    if (dtype == DType::kBool) return find.template operator()<uint8_t>();
  }
  return Result{};
}

// make.operator()<T>() for a floating-point element type.
template <typename Make>
KernelOr DispatchFloats(const KernelSpec& spec, const Make& make) {
  switch (const DType dtype = spec.inputs.at(0).dtype) {
    case DType::kF64:
      return make.template operator()<double>();
    case DType::kF32:
      return make.template operator()<float>();
    case DType::kBF16:
      return make.template operator()<BF16>();
    case DType::kF16:
      return make.template operator()<F16>();
    default:
      return UnsupportedDType(spec, dtype);
  }
}

template <typename Function, typename C>
struct UnaryLoop {
  OF_LOOP static void Run(const void* input, void* output, double number, int64_t n) {
    const C* x = static_cast<const C*>(input);
    C* y = static_cast<C*>(output);
    const C value = ElementOf<C>(number);
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = Function::Apply(x[i], value);
  }
};

template <typename Function, Elements kElements>
UnaryRun UnaryRunFor(DType dtype) {
  return FindCompute<kElements, UnaryRun>(
      dtype, []<typename C>() -> UnaryRun { return LoopFor<UnaryLoop<Function, C>, C>(); });
}

// Binary functions take (a, b) or, where the op has the attribute `value`, (a, b, value).
template <typename Function, typename C>
OF_LOOP auto CallBinary(C a, C b, C value) {
  if constexpr (requires { Function::Apply(a, b, value); }) {
    return Function::Apply(a, b, value);
  } else {
    return Function::Apply(a, b);
  }
}

template <typename Function, typename C, bool kRepeatA, bool kRepeatB>
struct BinaryLoop {
  using R = decltype(CallBinary<Function>(C{}, C{}, C{}));
  OF_LOOP static void Run(const void* left, const void* right, void* output, double number,
                          int64_t n) {
    const C* a = static_cast<const C*>(left);
    const C* b = static_cast<const C*>(right);
    R* out = static_cast<R*>(output);
    const C value = ElementOf<C>(number);
    const C first = a[0];
    const C second = b[0];
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      out[i] = CallBinary<Function>(kRepeatA ? first : a[i], kRepeatB ? second : b[i], value);
    }
  }
};

template <typename Function, Elements kElements, bool kBroadcasts>
BinaryRuns BinaryRunsFor(DType dtype) {
  return FindCompute<kElements, BinaryRuns>(dtype, []<typename C>() -> BinaryRuns {
    if constexpr (kBroadcasts) {
      return {LoopFor<BinaryLoop<Function, C, false, false>, C>(),
              LoopFor<BinaryLoop<Function, C, true, false>, C>(),
              LoopFor<BinaryLoop<Function, C, false, true>, C>()};
    } else {
      return {LoopFor<BinaryLoop<Function, C, false, false>, C>(), nullptr, nullptr};
    }
  });
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_ELEMENTWISE_H_
