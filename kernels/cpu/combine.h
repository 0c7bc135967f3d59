// Combine: destination = destination (+ | max | min) source over a region: the arithmetic of
// reshards.
//
// A value inside a kernel. Threads: as StridedCopy. Invariants: the order of combination is that of
// the calls; allocates nothing. Read next: kernels/cpu/movement.cc.
#ifndef ONEFLOW_KERNELS_CPU_COMBINE_H_
#define ONEFLOW_KERNELS_CPU_COMBINE_H_

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

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_COMBINE_H_
