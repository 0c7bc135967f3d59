#include "kernels/cpu/combine.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "base/status.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scalar_types.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/streaming_copy.h"

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

// A block of each buffer, and two of what is between, stay in the caches next to a core.
constexpr int64_t kBlockBytes = 16 << 10;
// What is larger leaves the caches before somebody reads it.
constexpr int64_t kStreamedBytes = 256 << 10;

template <CombineMode kMode>
void CombineAllAs(DType dtype, void* const* buffers, uint32_t count, int64_t begin,
                  int64_t elements, int threads) {
  DispatchDType(dtype, [&]<typename T>() {
    const auto loop = Vectorised<CombineLoop<kMode, T>>();
    constexpr int64_t kBlock = kBlockBytes / static_cast<int64_t>(sizeof(T));
    const bool streams = elements * static_cast<int64_t>(sizeof(T)) >= kStreamedBytes;
    ParallelFor(threads, elements, kGrain, [&](int64_t from, int64_t to) {
      alignas(64) std::byte space[2][kBlockBytes];
      for (int64_t at = from; at < to; at += kBlock) {
        const int64_t n = std::min(kBlock, to - at);
        const size_t bytes = static_cast<size_t>(n) * sizeof(T);
        const auto block = [&](uint32_t i) { return static_cast<T*>(buffers[i]) + begin + at; };
        const T* sum = block(0);
        for (uint32_t i = 1; i + 1 < count; ++i) {
          T* next = reinterpret_cast<T*>(space[i % 2]);
          std::memcpy(next, block(i), bytes);
          loop(sum, 1, next, 1, n);
          sum = next;
        }
        T* own = block(count - 1);
        loop(sum, 1, own, 1, n);
        for (uint32_t i = 0; i + 1 < count; ++i) {
          if (streams) {
            StreamingCopy(reinterpret_cast<std::byte*>(block(i)),
                          reinterpret_cast<const std::byte*>(own), bytes);
          } else {
            std::memcpy(block(i), own, bytes);
          }
        }
      }
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

void CombineAll(CombineMode mode, DType dtype, void* const* buffers, uint32_t count, int64_t begin,
                int64_t elements, int threads) {
  switch (mode) {
    case CombineMode::kCopy:
      return;
    case CombineMode::kSum:
      return CombineAllAs<CombineMode::kSum>(dtype, buffers, count, begin, elements, threads);
    case CombineMode::kMax:
      return CombineAllAs<CombineMode::kMax>(dtype, buffers, count, begin, elements, threads);
    case CombineMode::kMin:
      return CombineAllAs<CombineMode::kMin>(dtype, buffers, count, begin, elements, threads);
  }
}

}  // namespace oneflow::kernels
