// What the driver and NVIDIA's libraries take of a GPU's memory where nobody can ask them, in bytes.
//
// Constants; a plan's own bytes are none of them. Threads: any. Invariant: each says where it comes from, and
// all are predicted: none was measured on a GPU by this project. Read next: plan/gpu_memory.h, docs/cuda.md.
#ifndef ONEFLOW_KERNELS_CUDA_MEMORY_FIGURES_H_
#define ONEFLOW_KERNELS_CUDA_MEMORY_FIGURES_H_

#include <cstdint>

namespace oneflow::kernels {

// cuBLASLt's and cuDNN's kernels are loaded when they are first used, and so are ours; graphs of steps lie on the
// GPU too. Predicted: half a GiB.
inline constexpr int64_t kLaterBytes = int64_t{512} << 20;
// Blocks of the driver's virtual memory are multiples of 2 MiB (cuMemGetAllocationGranularity); that cudaMalloc
// rounds so too is predicted.
inline constexpr int64_t kGranuleBytes = int64_t{2} << 20;
// NCCL's buffers of one connection, by protocol (src/init.cc of NCCL 2.28, computeBuffSizes): LL 8 * 512 * 8 * 16,
// LL128 120 * 640 * 8 * 8, SIMPLE 4 MiB. A ring has one in each channel; that it has 32 of these is predicted.
inline constexpr int64_t kConnectionBytes = 8 * 512 * 8 * 16 + 120 * 640 * 8 * 8 + (4 << 20);
inline constexpr int64_t kCommunicatorBytes = 32 * kConnectionBytes;

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_MEMORY_FIGURES_H_
