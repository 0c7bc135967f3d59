// cast: any dtype to any dtype, elementwise; the target is the dtype of the output.
#include "kernels/cpu/definition.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scalar_types.h"

namespace oneflow::kernels {
namespace {

template <typename From, typename To>
std::unique_ptr<Kernel> MakeCastOf(const KernelSpec& spec) {
  const int64_t n = NumElements(spec.outputs.at(0).shape);
  return KernelOf([n, threads = spec.threads](const KernelArgs& args) {
    const From* x = In<From>(args, 0);
    To* y = Out<To>(args, 0);
    ParallelFor(threads, n, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) y[i] = Convert<To>(x[i]);
    });
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
