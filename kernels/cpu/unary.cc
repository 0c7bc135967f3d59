// Unary elementwise ops: y = f(x), dense, one pass (read x, write y: 2 * sizeof(T) bytes per
// element). f32 loops are vectorised; integers take the ops that make sense for them. All may run
// in place.
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "kernels/cpu/definition.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scalar_types.h"
#include "kernels/cpu/simd.h"

namespace oneflow::kernels {
namespace {

template <typename Function, typename T>
struct UnaryLoop {
  OF_LOOP static void Run(const T* x, T* y, T value, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = Function::Apply(x[i], value);
  }
};

template <typename Function, typename T>
std::unique_ptr<Kernel> MakeUnary(const KernelSpec& spec, int64_t grain) {
  const auto loop = Vectorised<UnaryLoop<Function, T>>();
  const T value = ElementOf<T>(spec.attrs.Has("value") ? NumberAttr(spec.attrs, "value") : 0.0);
  const int64_t n = NumElements(spec.outputs[0].shape);
  return KernelOf([loop, value, n, grain, threads = spec.threads](const KernelArgs& args) {
    const T* x = In<T>(args, 0);
    T* y = Out<T>(args, 0);
    ParallelFor(threads, n, grain, [&](int64_t begin, int64_t end) {
      loop(x + begin, y + begin, value, end - begin);
    });
  });
}

absl::Status CheckUnary(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.NumberOr("value", 0);
  return check.Inputs(1).Outputs(1).Same(check.in(0), check.out(0)).status();
}

absl::Status CheckScalarOp(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Number("value");
  return check.ok() ? CheckUnary(spec) : check.status();
}

template <typename Function>
KernelDef FloatOp(const char* op, int64_t grain) {
  return {op, CheckUnary, Elementwise, [grain](const KernelSpec& spec) -> KernelOr {
            const DType dtype = spec.inputs.at(0).dtype;
            if (dtype != DType::kF32) return UnsupportedDType(spec, dtype);
            return MakeUnary<Function, float>(spec, grain);
          }};
}

template <typename Function>
KernelDef NumberOp(const char* op, absl::Status (*check)(const KernelSpec&) = CheckUnary) {
  return {op, check, Elementwise, [](const KernelSpec& spec) -> KernelOr {
            switch (const DType dtype = spec.inputs.at(0).dtype) {
              case DType::kF32:
                return MakeUnary<Function, float>(spec, kGrain);
              case DType::kI64:
                return MakeUnary<Function, int64_t>(spec, kGrain);
              case DType::kI32:
                return MakeUnary<Function, int32_t>(spec, kGrain);
              case DType::kI8:
                return MakeUnary<Function, int8_t>(spec, kGrain);
              case DType::kU8:
                return MakeUnary<Function, uint8_t>(spec, kGrain);
              default:
                return UnsupportedDType(spec, dtype);
            }
          }};
}

// x^value: the common exponents by their own loops, which vectorise.
KernelOr MakePow(const KernelSpec& spec) {
  const DType dtype = spec.inputs.at(0).dtype;
  if (dtype != DType::kF32) return UnsupportedDType(spec, dtype);
  const double value = NumberAttr(spec.attrs, "value");
  if (value == 2) return MakeUnary<Square, float>(spec, kGrain);
  if (value == 3) return MakeUnary<Cube, float>(spec, kGrain);
  if (value == -1) return MakeUnary<Reciprocal, float>(spec, kGrain);
  return MakeUnary<PowScalar, float>(spec, kGrain / 16);
}

}  // namespace

std::vector<KernelDef> UnaryKernels() {
  return {
      NumberOp<Neg>("neg"),
      NumberOp<Abs>("abs"),
      NumberOp<Relu>("relu"),
      NumberOp<Square>("square"),
      NumberOp<AddScalar>("add_scalar", CheckScalarOp),
      NumberOp<MulScalar>("mul_scalar", CheckScalarOp),
      FloatOp<Exp>("exp", kGrain / 2),
      FloatOp<Log>("log", kGrain / 16),
      FloatOp<Sqrt>("sqrt", kGrain / 2),
      FloatOp<Rsqrt>("rsqrt", kGrain / 2),
      FloatOp<Tanh>("tanh", kGrain / 2),
      FloatOp<Sigmoid>("sigmoid", kGrain / 2),
      {"pow_scalar", CheckScalarOp, Elementwise, MakePow},
  };
}

}  // namespace oneflow::kernels
