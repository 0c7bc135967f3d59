// Combine: destination = destination (+ | max | min) source over a region: the arithmetic of
// reshards.
//
// A value inside a kernel. Threads: as StridedCopy. Invariants: the order of combination is that of
// the calls; allocates nothing. Read next: kernels/cpu/movement.cc.
#ifndef ONEFLOW_KERNELS_CPU_COMBINE_H_
#define ONEFLOW_KERNELS_CPU_COMBINE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/cpu/strided_copy.h"
#include "kernels/scalar/functions.h"

namespace oneflow::kernels {

// "copy", "sum", "max", "min".
absl::StatusOr<CombineMode> ParseCombineMode(const std::string& text);

// Runs `region` with `mode`: kCopy is region.Run.
void Combine(CombineMode mode, const StridedCopy& region, const void* source, void* destination,
             int threads);

// What Combine makes when it goes from one buffer to the next, of the elements [begin, begin + elements) of all of them:
// the first with the second, that with the third, to the last; here in one pass, block by block, which gives the same
// bits. All buffers have the result. REQUIRES: two buffers or more; not kCopy.
void CombineAll(CombineMode mode, DType dtype, void* const* buffers, uint32_t count, int64_t begin,
                int64_t elements, int threads);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_COMBINE_H_
