// Tensor cores as a warp uses them: fragments of 16-bit matrices, their product with f32 sums, the loads that
// fill them from shared memory, and copies into shared memory that run beside the computation.
//
// Device code; every lane of a warp makes each call, but for copies, which are a thread's own. A lane
// l of a warp holds of a 16 x 16 left operand the pairs (row l/4 + 8 (i%2), columns 2 (l%4) + 8 (i/2))
// in word i; of a 16 x 8 right operand the pairs (rows 2 (l%4) + 8 i, column l/4); of the 16 x 8 sums
// (row l/4 + 8 (i/2), column 2 (l%4) + i%2). On the host the lanes meet in the last of them, which does
// the work of all, and a copy arrives when it is waited for: a missing wait shows as a wrong result.
// Read next: kernels/cuda/attention_tensor.cu, kernels/cuda/tensor_core_test.cc.
#ifndef ONEFLOW_KERNELS_CUDA_TENSOR_CORE_H_
#define ONEFLOW_KERNELS_CUDA_TENSOR_CORE_H_

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "kernels/cuda/device_code.h"
#include "kernels/scalar/types.h"

#ifndef __CUDACC__
#include <cstring>
#include <vector>
#endif

namespace oneflow::kernels {

inline constexpr int kWarp = 32;
// 16-bit elements between the rows of a tile in shared memory: an odd number of 16 bytes, so that eight rows
// of a column lie in different banks.
constexpr int TileRow(int columns) { return columns + 8; }

#ifdef __CUDACC__

#define OF_ROLLED _Pragma("unroll 1")

// sums += a b.
template <typename T>
__device__ __forceinline__ void MultiplyFragments(float (&sums)[4], const uint32_t (&a)[4],
                                                  uint32_t b0, uint32_t b1) {
  if constexpr (std::is_same_v<T, BF16>) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

__device__ __forceinline__ uint32_t SharedAddress(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

// Four 8 x 8 matrices: lane l names row l % 8 of matrix l / 8, 16 bytes aligned to 16. Word m: the pair at
// (row l/4, columns 2 (l%4)) of matrix m; of its transpose.
__device__ __forceinline__ void LoadFragments(uint32_t (&to)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(SharedAddress(row))
               : "memory");
}
__device__ __forceinline__ void LoadTransposed(uint32_t (&to)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(SharedAddress(row))
               : "memory");
}

// Copies 16 or 8 bytes, aligned, into shared memory; zeros if not `real`.
__device__ __forceinline__ void CopyAsync16(void* shared, const void* global, bool real) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(SharedAddress(shared)),
               "l"(global), "r"(real ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void CopyAsync8(void* shared, const void* global, bool real) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(SharedAddress(shared)),
               "l"(global), "r"(real ? 8 : 0)
               : "memory");
}
// Ends a group of this thread's copies.
__device__ __forceinline__ void CommitCopies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// Until all groups but the last kLeft have arrived.
template <int kLeft>
__device__ __forceinline__ void WaitForCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

__device__ __forceinline__ float ShuffleXor(float value, int lanes) {
  return __shfl_xor_sync(0xffffffffu, value, lanes);
}
__device__ __forceinline__ uint32_t ShuffleXor(uint32_t value, int lanes) {
  return __shfl_xor_sync(0xffffffffu, value, lanes);
}
__device__ __forceinline__ void WarpBarrier() { __syncwarp(); }

// Two neighbours of T, rounded to nearest.
template <typename T>
__device__ __forceinline__ uint32_t PackPair(float low, float high) {
  uint32_t pair;
  if constexpr (std::is_same_v<T, BF16>) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  }
  return pair;
}

// 2^x within 2 ulp; 0 for -inf.
__device__ __forceinline__ float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float FusedMultiplyAdd(float a, float b, float c) {
  return __fmaf_rn(a, b, c);
}

// What the launch gave the block, aligned to 16.
template <int kBytes>
__device__ __forceinline__ char* SharedSpace() {
  extern __shared__ int4 shared_space[];
  return reinterpret_cast<char*>(shared_space);
}

// Whether the calling thread's device has so many bytes for a block.
inline bool HasSharedSpace(int bytes) {
  int device = 0, most = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) ==
             cudaSuccess &&
         bytes <= most;
}

// As LaunchBlocks, with so many bytes of SharedSpace. REQUIRES: HasSharedSpace.
template <int kBytes, typename... Parameters, typename... Args>
CudaError LaunchShared(void (*kernel)(Parameters...), int64_t blocks, int threads,
                       CudaStreamHandle stream, Args... args) {
  if (blocks <= 0) return 0;
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (error != cudaSuccess) return static_cast<CudaError>(error);
  kernel<<<dim3(static_cast<unsigned>(blocks)), threads, kBytes,
           static_cast<cudaStream_t>(stream)>>>(args...);
  return static_cast<CudaError>(cudaGetLastError());
}

#else

#define OF_ROLLED

// The lanes of a warp that have not ended meet here; the last to come calls `meet` with what each brought.
void SoftWarpMeet(void* lane, void (*meet)(void* const* lanes));
// This block's shared memory, not a number where nobody has written.
char* SoftSharedSpace(size_t bytes);

template <typename T>
inline float FragmentElement(uint32_t pair, int which) {
  T value;
  value.bits = static_cast<uint16_t>(pair >> (16 * which));
  return static_cast<float>(value);
}

template <typename T>
void MultiplyFragments(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  struct Lane {
    float* sums;
    const uint32_t* a;
    uint32_t b[2];
  };
  Lane mine = {sums, a, {b0, b1}};
  SoftWarpMeet(&mine, [](void* const* lanes) {
    float left[16][16], right[16][8];
    for (int l = 0; l < kWarp; ++l) {
      const Lane& lane = *static_cast<const Lane*>(lanes[l]);
      for (int i = 0; i < 4; ++i) {
        for (int e = 0; e < 2; ++e) {
          left[l / 4 + i % 2 * 8][l % 4 * 2 + i / 2 * 8 + e] = FragmentElement<T>(lane.a[i], e);
          if (i < 2) right[l % 4 * 2 + i * 8 + e][l / 4] = FragmentElement<T>(lane.b[i], e);
        }
      }
    }
    for (int l = 0; l < kWarp; ++l) {
      float* to = static_cast<const Lane*>(lanes[l])->sums;
      for (int i = 0; i < 4; ++i) {
        float sum = 0;
        for (int k = 0; k < 16; ++k) {
          sum += left[l / 4 + i / 2 * 8][k] * right[k][l % 4 * 2 + i % 2];
        }
        to[i] += sum;
      }
    }
  });
}

template <bool kTransposed>
void SoftLoadFragments(uint32_t* to, const void* row) {
  struct Lane {
    uint32_t* to;
    const void* row;
  };
  Lane mine = {to, row};
  SoftWarpMeet(&mine, [](void* const* lanes) {
    for (int l = 0; l < kWarp; ++l) {
      for (int m = 0; m < 4; ++m) {
        uint32_t pair = 0;
        for (int e = 0; e < 2; ++e) {
          const int r = kTransposed ? l % 4 * 2 + e : l / 4,
                    c = kTransposed ? l / 4 : l % 4 * 2 + e;
          const Lane& from = *static_cast<const Lane*>(lanes[8 * m + r]);
          pair |= uint32_t{static_cast<const uint16_t*>(from.row)[c]} << (16 * e);
        }
        static_cast<const Lane*>(lanes[l])->to[m] = pair;
      }
    }
  });
}
inline void LoadFragments(uint32_t (&to)[4], const void* row) { SoftLoadFragments<false>(to, row); }
inline void LoadTransposed(uint32_t (&to)[4], const void* row) { SoftLoadFragments<true>(to, row); }

// The copies that each thread of a block has on their way.
struct SoftCopy {
  void* to;
  const void* from;
  size_t bytes;
  bool real;
};
struct SoftCopies {
  std::vector<std::vector<SoftCopy>> groups;  // the last is open
};
SoftCopies* SoftCopiesOfThread();
inline void SoftCopyAsync(void* to, const void* from, size_t bytes, bool real) {
  SoftCopies* copies = SoftCopiesOfThread();
  if (copies->groups.empty()) copies->groups.emplace_back();
  copies->groups.back().push_back({to, from, bytes, real});
}
inline void CopyAsync16(void* to, const void* from, bool real) {
  SoftCopyAsync(to, from, 16, real);
}
inline void CopyAsync8(void* to, const void* from, bool real) { SoftCopyAsync(to, from, 8, real); }
inline void CommitCopies() {
  SoftCopies* copies = SoftCopiesOfThread();
  if (copies->groups.empty()) copies->groups.emplace_back();
  copies->groups.emplace_back();
}
template <int kLeft>
void WaitForCopies() {
  std::vector<std::vector<SoftCopy>>& groups = SoftCopiesOfThread()->groups;
  while (groups.size() > kLeft + 1) {
    for (const SoftCopy& copy : groups.front()) {
      if (copy.real) {
        std::memcpy(copy.to, copy.from, copy.bytes);
      } else {
        std::memset(copy.to, 0, copy.bytes);
      }
    }
    groups.erase(groups.begin());
  }
}

template <typename V>
V ShuffleXor(V value, int by) {
  struct Lane {
    V value;
    int by;
    V got;
  };
  Lane mine = {value, by, value};
  SoftWarpMeet(&mine, [](void* const* lanes) {
    for (int l = 0; l < kWarp; ++l) {
      Lane* lane = static_cast<Lane*>(lanes[l]);
      lane->got = static_cast<const Lane*>(lanes[l ^ lane->by])->value;
    }
  });
  return mine.got;
}
inline void WarpBarrier() { SoftWarpMeet(nullptr, nullptr); }

template <typename T>
uint32_t PackPair(float low, float high) {
  return T(low).bits | uint32_t{T(high).bits} << 16;
}
inline float Exp2(float x) { return std::exp2(x); }
inline float FusedMultiplyAdd(float a, float b, float c) { return a * b + c; }

template <int kBytes>
char* SharedSpace() {
  return SoftSharedSpace(kBytes);
}
inline bool HasSharedSpace(int) { return true; }
template <int kBytes, typename... Parameters, typename... Args>
CudaError LaunchShared(void (*kernel)(Parameters...), int64_t blocks, int threads,
                       CudaStreamHandle stream, Args... args) {
  return LaunchBlocks(kernel, blocks, threads, stream, args...);
}

#endif

// ---- Where a lane's row lies, for LoadFragments and LoadTransposed ----

__device__ __forceinline__ int Lane() { return static_cast<int>(threadIdx.x) % kWarp; }

// A left operand of 16 x 16 whose rows lie in rows `row` apart.
template <typename T>
__device__ __forceinline__ const T* LeftRow(const T* tile, int row) {
  return tile + Lane() % 16 * row + Lane() / 16 * 8;
}
// The same, for LoadTransposed: its columns lie in rows.
template <typename T>
__device__ __forceinline__ const T* LeftColumn(const T* tile, int row) {
  return tile + (Lane() % 8 + Lane() / 16 * 8) * row + Lane() / 8 % 2 * 8;
}
// Two right operands of 16 x 8 side by side, words 0, 1 and 2, 3, whose columns lie in rows.
template <typename T>
__device__ __forceinline__ const T* RightColumn(const T* tile, int row) {
  return tile + (Lane() % 8 + Lane() / 16 * 8) * row + Lane() / 8 % 2 * 8;
}
// The same, for LoadTransposed: their rows lie in rows.
template <typename T>
__device__ __forceinline__ const T* RightRow(const T* tile, int row) {
  return tile + Lane() % 16 * row + Lane() / 16 * 8;
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_TENSOR_CORE_H_
