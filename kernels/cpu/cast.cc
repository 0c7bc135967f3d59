// cast: any dtype to any dtype, elementwise; the target is the dtype of the output. Between floats
// vectorised, at the speed of memory.
#include "kernels/cpu/definition.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scalar_types.h"
#include "kernels/cpu/simd.h"

namespace oneflow::kernels {
namespace {

template <typename T>
constexpr bool kIsNarrow = std::is_same_v<T, BF16> || std::is_same_v<T, F16>;

template <typename From, typename To>
struct CastLoop {
  OF_LOOP static void Run(const From* x, To* y, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      if constexpr (kIsNarrow<To>) {
        Store(Convert<float>(x[i]), y + i);
      } else {
        y[i] = Convert<To>(x[i]);
      }
    }
  }
};

template <typename T>
constexpr bool kIsFloat = std::is_floating_point_v<Compute<T>>;

template <typename From, typename To>
std::unique_ptr<Kernel> MakeCastOf(const KernelSpec& spec) {
  const int64_t n = NumElements(spec.outputs.at(0).shape);
  using Loop = CastLoop<From, To>;
  auto loop = &Variants<Loop, decltype(&Loop::Run)>::Portable;
  if constexpr (kIsFloat<From> && kIsFloat<To>) loop = Vectorised<Loop>();
  return KernelOf([n, loop, threads = spec.threads](const KernelArgs& args) {
    const From* x = In<From>(args, 0);
    To* y = Out<To>(args, 0);
    ParallelFor(threads, n, kGrain,
                [&](int64_t begin, int64_t end) { loop(x + begin, y + begin, end - begin); });
  });
}

absl::Status CheckCast(const KernelSpec& spec) {
  SpecCheck check(spec);
  return check.Inputs(1).Outputs(1).HasShape(check.in(0), check.out(0).shape).status();
}

KernelOr MakeCast(const KernelSpec& spec) {
  return DispatchDType(spec.inputs.at(0).dtype, [&]<typename From>() {
    return DispatchDType(spec.outputs.at(0).dtype,
                         [&]<typename To>() { return MakeCastOf<From, To>(spec); });
  });
}

}  // namespace

std::vector<KernelDef> CastKernels() { return {{"cast", CheckCast, Elementwise, MakeCast}}; }

}  // namespace oneflow::kernels
