// BlockJoin: joins one value of every thread of a block, in a fixed order.
//
// Device code. Every thread of the block calls it. Read next: kernels/cuda/reductions.cu.
#ifndef ONEFLOW_KERNELS_CUDA_BLOCK_JOIN_H_
#define ONEFLOW_KERNELS_CUDA_BLOCK_JOIN_H_

#include <bit>
#include <type_traits>

#include "kernels/cuda/device_code.h"

namespace oneflow::kernels {

#ifdef __CUDACC__
// The value of the lane whose number differs in `mask`.
template <typename T>
__device__ __forceinline__ T OfOtherLane(T value, int mask) {
  if constexpr (sizeof(T) == 8) {
    const long long bits = __shfl_xor_sync(~0u, std::bit_cast<long long>(value), mask);
    return std::bit_cast<T>(bits);
  } else if constexpr (std::is_same_v<T, float>) {
    return __shfl_xor_sync(~0u, value, mask);
  } else {
    return static_cast<T>(__shfl_xor_sync(~0u, static_cast<int>(value), mask));
  }
}
#endif

struct Plus {
  template <typename T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Greater {
  template <typename T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return b > a ? b : a;
  }
};

// A power of two of threads for a row of `extent`, no more than it has elements, but a warp.
inline int ThreadsForRow(int64_t extent) {
  int threads = 32;
  while (threads < kThreads && threads < extent) threads *= 2;
  return threads;
}

// The join over the block, the same on every thread and in every run: a tree over the threads'
// numbers. `space` is shared memory of kThreads elements, free again on return.
// REQUIRES: blockDim.x is a power of two, from 32 on.
template <typename T, typename Join>
__device__ __forceinline__ T BlockJoin(T value, T* space, const Join& join) {
#ifdef __CUDACC__
  // Within a warp by exchange of registers, without a barrier.
  for (int mask = 16; mask > 0; mask /= 2) value = join(value, OfOtherLane(value, mask));
  if (blockDim.x == 32) return value;
  const unsigned warp = threadIdx.x / 32;
  const unsigned warps = blockDim.x / 32;
  if (threadIdx.x % 32 == 0) space[warp] = value;
  __syncthreads();
  T joined = space[0];
  for (unsigned other = 1; other < warps; ++other) joined = join(joined, space[other]);
#else
  space[threadIdx.x] = value;
  __syncthreads();
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half)
      space[threadIdx.x] = join(space[threadIdx.x], space[threadIdx.x + half]);
    __syncthreads();
  }
  const T joined = space[0];
#endif
  __syncthreads();
  return joined;
}

// The same over each warp of the block, without a barrier on a GPU. `space`: of blockDim.x elements.
template <typename T, typename Join>
__device__ __forceinline__ T WarpJoin(T value, [[maybe_unused]] T* space, const Join& join) {
#ifdef __CUDACC__
  for (int mask = 16; mask > 0; mask /= 2) value = join(value, OfOtherLane(value, mask));
  return value;
#else
  const unsigned lane = threadIdx.x % 32;
  space[threadIdx.x] = value;
  __syncthreads();
  for (unsigned half = 16; half > 0; half /= 2) {
    if (lane < half) space[threadIdx.x] = join(space[threadIdx.x], space[threadIdx.x + half]);
    __syncthreads();
  }
  const T joined = space[threadIdx.x - lane];
  __syncthreads();
  return joined;
#endif
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_BLOCK_JOIN_H_
