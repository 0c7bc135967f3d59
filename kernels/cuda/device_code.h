// DeviceCode: what the .cu files of this folder are written in, so that one source compiles with nvcc
// for a GPU and with the host's compiler for tests without one.
//
// Launch (kernels whose threads are independent) and LaunchBlocks (kernels with __syncthreads) stand
// for <<<>>>. On the host the threads of a block run one after the other, those of LaunchBlocks as
// fibers, in an order drawn from the launch's number: a missing barrier shows as a wrong result.
// Threads: kernels of one stream from one thread at a time. Read next: kernels/cuda/elementwise.cu,
// kernels/cuda/soft_cuda_for_test.cc.
#ifndef ONEFLOW_KERNELS_CUDA_DEVICE_CODE_H_
#define ONEFLOW_KERNELS_CUDA_DEVICE_CODE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/cuda/cuda_api.h"

#ifdef __CUDACC__
#include <cuda_runtime.h>
#else
#include <functional>
#include <type_traits>
#endif

namespace oneflow::kernels {

#ifdef __CUDACC__

#define OF_UNROLL _Pragma("unroll")

// Threads of a block, and blocks that fill a large GPU several times over; loops stride by the grid.
inline constexpr int kThreads = 256;
inline constexpr int64_t kMaxBlocks = 132 * 16;

template <typename... Parameters, typename... Args>
CudaError Launch(void (*kernel)(Parameters...), int64_t blocks, int threads,
                 CudaStreamHandle stream, Args... args) {
  if (blocks > 0) {
    kernel<<<dim3(static_cast<unsigned>(blocks)), threads, 0, static_cast<cudaStream_t>(stream)>>>(
        args...);
  }
  return static_cast<CudaError>(cudaGetLastError());
}
template <typename... Parameters, typename... Args>
CudaError LaunchBlocks(void (*kernel)(Parameters...), int64_t blocks, int threads,
                       CudaStreamHandle stream, Args... args) {
  return Launch(kernel, blocks, threads, stream, args...);
}

#else

#define OF_UNROLL
inline constexpr int kThreads = 32;  // fibers are dear
inline constexpr int64_t kMaxBlocks = 16;

// The names that CUDA gives to a kernel's place; one block at a time per OS thread.
struct SoftIndex {
  unsigned x = 0;
};
inline thread_local SoftIndex threadIdx, blockIdx, blockDim, gridDim;
void SoftBarrier();
inline void __syncthreads() { SoftBarrier(); }
#define __global__
#define __grid_constant__
#define __device__
#define __forceinline__ inline  // forced, it costs a third of the compile time
#define __shared__ static thread_local
#define __launch_bounds__(...)

// What a kernel is given: every word of it that is a place in memory must be of memory that the stream's GPU
// reaches.
void SoftTouch(CudaStreamHandle stream, const void* argument, size_t bytes);
template <typename T>
void TouchArgument(CudaStreamHandle stream, T argument) {
  // What lies between the members of a struct is left over from others, half a pointer at times. Of a copy: GCC 12
  // clears members of arrays of structs as well.
#if __has_builtin(__builtin_clear_padding)
  __builtin_clear_padding(&argument);
#else
  if (!std::is_pointer_v<T>) return;
#endif
  SoftTouch(stream, &argument, sizeof(T));
}
// Enqueues the grid on a stream; `body` is one thread.
CudaError SoftLaunch(int64_t blocks, int threads, CudaStreamHandle stream, bool barriers,
                     std::function<void()> body);

template <typename... Parameters, typename... Args>
CudaError Launch(void (*kernel)(Parameters...), int64_t blocks, int threads,
                 CudaStreamHandle stream, Args... args) {
  (TouchArgument(stream, args), ...);
  return SoftLaunch(blocks, threads, stream, false, [=] { kernel(args...); });
}
template <typename... Parameters, typename... Args>
CudaError LaunchBlocks(void (*kernel)(Parameters...), int64_t blocks, int threads,
                       CudaStreamHandle stream, Args... args) {
  (TouchArgument(stream, args), ...);
  return SoftLaunch(blocks, threads, stream, true, [=] { kernel(args...); });
}

#endif

// Blocks for n independent threads.
inline int64_t BlocksFor(int64_t n, int threads = kThreads) {
  return std::min<int64_t>(kMaxBlocks, (n + threads - 1) / threads);
}

// This thread's first item and the distance to its next.
__device__ __forceinline__ int64_t FirstItem() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ __forceinline__ int64_t ItemStride() {
  return static_cast<int64_t>(gridDim.x) * blockDim.x;
}

// Where element `index` lies in each operand. 32-bit divisions where they are enough: they cost a
// quarter.
template <int N>
__device__ __forceinline__ void OffsetsOf(const CudaNest<N>& nest, int64_t index, int64_t* at) {
  for (int o = 0; o < N; ++o) at[o] = 0;
  if (nest.elements <= INT32_MAX) {
    uint32_t rest = static_cast<uint32_t>(index);
    for (int d = nest.rank - 1; d > 0; --d) {
      const uint32_t extent = static_cast<uint32_t>(nest.extent[d]);
      const uint32_t next = rest / extent;
      const int64_t here = rest - next * extent;
      for (int o = 0; o < N; ++o) at[o] += here * nest.stride[o][d];
      rest = next;
    }
    for (int o = 0; o < N; ++o) at[o] += static_cast<int64_t>(rest) * nest.stride[o][0];
    return;
  }
  for (int d = nest.rank - 1; d > 0; --d) {
    const int64_t next = index / nest.extent[d];
    const int64_t here = index - next * nest.extent[d];
    for (int o = 0; o < N; ++o) at[o] += here * nest.stride[o][d];
    index = next;
  }
  for (int o = 0; o < N; ++o) at[o] += index * nest.stride[o][0];
}

// Neighbours that are read and written at once, by 16 bytes where there are as many.
template <typename T, int kCount>
struct alignas(sizeof(T) * kCount < 16 ? sizeof(T) * kCount : 16) Pack {
  T item[kCount];
};
template <typename T>
using Four = Pack<T, 4>;
// As many that a warp keeps memory busy.
template <typename T>
inline constexpr int kPacked = sizeof(T) < 4 ? 8 : 4;

// True if the nest can be walked in packs of `count`, whose bytes `data` is aligned to by operand: then its
// innermost dim counts them.
template <int N>
bool WalkInPacks(CudaNest<N>* nest, int64_t count, const int64_t* alignment,
                 const void* const* data) {
  const int last = nest->rank - 1;
  if (nest->extent[last] % count != 0) return false;
  for (int o = 0; o < N; ++o) {
    const int64_t inner = nest->stride[o][last];
    if (inner == 0) continue;
    if (inner != 1 || reinterpret_cast<uintptr_t>(data[o]) % alignment[o] != 0) return false;
    for (int d = 0; d < last; ++d) {
      if (nest->stride[o][d] % count != 0) return false;
    }
  }
  nest->extent[last] /= count;
  nest->elements /= count;
  for (int o = 0; o < N; ++o) nest->stride[o][last] *= count;
  return true;
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_DEVICE_CODE_H_
