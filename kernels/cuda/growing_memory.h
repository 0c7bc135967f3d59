// AddGrowingMemory: memory that grows where it lies, by the driver's virtual memory calls.
//
// An arena reserves addresses once, and pages are put behind them when a larger plan comes: no second copy, and
// what has the address, a captured graph too, keeps it. The driver's functions are asked of the run time by name, so
// libcuda is not linked. Threads: any; calls for one range one after the other. Read next: kernels/cuda/cuda_api.h,
// docs/decisions/0025-arenas-grow-in-place.md.
#ifndef ONEFLOW_KERNELS_CUDA_GROWING_MEMORY_H_
#define ONEFLOW_KERNELS_CUDA_GROWING_MEMORY_H_

#include "kernels/cuda/cuda_api.h"

namespace oneflow::kernels {

void AddGrowingMemory(CudaApi* api);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_GROWING_MEMORY_H_
