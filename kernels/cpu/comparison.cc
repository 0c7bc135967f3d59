// Comparisons and logical ops (any dtype, result bool) and where (any dtype), with
// broadcasting.
#include <cstdint>

#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/loop_nest.h"

namespace oneflow::kernels {
namespace {

absl::Status CheckComparison(const KernelSpec& spec) {
  SpecCheck check = CheckBroadcast(spec);
  return check.Require(check.out(0).dtype == DType::kBool, "the result is bool").status();
}

absl::Status CheckWhere(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(3).Outputs(1);
  check.Require(check.in(0).dtype == DType::kBool, "the condition is bool");
  check.Require(check.in(1).dtype == check.out(0).dtype && check.in(2).dtype == check.out(0).dtype,
                "both choices have the dtype of the result");
  for (size_t i = 0; i < 3; ++i) check.Broadcasts(check.in(i).shape, check.out(0).shape);
  return check.status();
}

// out = condition ? a : b; only moves bytes, so one copy per element size.
KernelOr MakeWhere(const KernelSpec& spec) {
  const Shape& shape = spec.outputs.at(0).shape;
  const LoopNest<4> nest(shape,
                         {BroadcastStrides(spec.inputs.at(0).shape, shape),
                          BroadcastStrides(spec.inputs.at(1).shape, shape),
                          BroadcastStrides(spec.inputs.at(2).shape, shape), StridesOf(shape)});
  const int threads = spec.threads;
  return DispatchSize(spec.outputs[0].dtype, [&]<typename T>() -> std::unique_ptr<Kernel> {
    return KernelOf([nest, threads](const KernelArgs& args) {
      const uint8_t* condition = In<uint8_t>(args, 0);
      const T* a = In<T>(args, 1);
      const T* b = In<T>(args, 2);
      T* out = Out<T>(args, 0);
      const int64_t sc = nest.inner_stride(0);
      const int64_t sa = nest.inner_stride(1);
      const int64_t sb = nest.inner_stride(2);
      nest.ParallelRows(threads, kGrain, [&](const std::array<int64_t, 4>& at, int64_t n) {
        const uint8_t* c_row = condition + at[0];
        const T* a_row = a + at[1];
        const T* b_row = b + at[2];
        T* out_row = out + at[3];
        if (sc == 1 && sa == 1 && sb == 1) {
          for (int64_t i = 0; i < n; ++i) out_row[i] = c_row[i] ? a_row[i] : b_row[i];
        } else {
          for (int64_t i = 0; i < n; ++i) {
            out_row[i] = c_row[i * sc] ? a_row[i * sa] : b_row[i * sb];
          }
        }
      });
    });
  });
}

}  // namespace

std::vector<KernelDef> ComparisonKernels() {
  std::vector<KernelDef> rows = {{"where", CheckWhere, NeedsNothing, MakeWhere}};
  VisitComparison([&]<typename Function>(const char* op) {
    rows.push_back({op, CheckComparison, NeedsNothing, [](const KernelSpec& spec) {
                      const DType dtype = spec.inputs.at(0).dtype;
                      return MakeBinary(spec, BinaryRunsFor<Function, Elements::kAll, true>(dtype));
                    }});
  });
  return rows;
}

}  // namespace oneflow::kernels
