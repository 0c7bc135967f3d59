#include "kernels/cpu/combine.h"

#include <cstdint>
#include <type_traits>

#include "base/status.h"
#include "kernels/cpu/scalar_types.h"
#include "kernels/cpu/simd.h"

namespace oneflow::kernels {
namespace {

template <CombineMode kMode, typename T>
struct CombineLoop {
  using Function = CombineWith<kMode>;
  OF_LOOP static void Run(const T* source, int64_t s, T* destination, int64_t d, int64_t n) {
    if (s == 1 && d == 1) {
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) destination[i] = Function::Apply(destination[i], source[i]);
    } else {
      for (int64_t i = 0; i < n; ++i)
        destination[i * d] = Function::Apply(destination[i * d], source[i * s]);
    }
  }
};

template <CombineMode kMode>
void CombineAs(const StridedCopy& region, const void* source, void* destination, int threads) {
  DispatchDType(region.dtype(), [&]<typename T>() {
    const auto loop = Vectorised<CombineLoop<kMode, T>>();
    const T* from = static_cast<const T*>(source) + region.source_begin();
    T* to = static_cast<T*>(destination) + region.destination_begin();
    const LoopNest<2>& nest = region.nest();
    nest.ParallelRows(threads, kGrain, [&](const auto& at, int64_t n) {
      loop(from + at[0], nest.inner_stride(0), to + at[1], nest.inner_stride(1), n);
    });
  });
}

}  // namespace

absl::StatusOr<CombineMode> ParseCombineMode(const std::string& text) {
  if (text == "copy") return CombineMode::kCopy;
  if (text == "sum") return CombineMode::kSum;
  if (text == "max") return CombineMode::kMax;
  if (text == "min") return CombineMode::kMin;
  return MakeError(ErrorKind::kPlan, "unknown mode \"" + text + "\" of a movement task");
}

void Combine(CombineMode mode, const StridedCopy& region, const void* source, void* destination,
             int threads) {
  switch (mode) {
    case CombineMode::kCopy:
      return region.Run(source, destination, threads);
    case CombineMode::kSum:
      return CombineAs<CombineMode::kSum>(region, source, destination, threads);
    case CombineMode::kMax:
      return CombineAs<CombineMode::kMax>(region, source, destination, threads);
    case CombineMode::kMin:
      return CombineAs<CombineMode::kMin>(region, source, destination, threads);
  }
}

}  // namespace oneflow::kernels
