// SoftGrid: a kernel's grid of blocks without a GPU: the threads of a block one after the other, or as fibers
// that meet at barriers, all of a block or of a warp, in an order drawn from a seed.
//
// Test code only. Threads: any; an OS thread runs one block at a time. Read next:
// kernels/cuda/device_code.h.
#ifndef ONEFLOW_KERNELS_CUDA_SOFT_GRID_FOR_TEST_H_
#define ONEFLOW_KERNELS_CUDA_SOFT_GRID_FOR_TEST_H_

#include <cstdint>
#include <functional>

namespace oneflow::kernels {

// Runs all blocks to their end. `body` is one thread; `barriers`: it may call SoftBarrier.
void RunSoftGrid(int64_t blocks, int threads, bool barriers, const std::function<void()>& body,
                 uint64_t seed);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_SOFT_GRID_FOR_TEST_H_
