// TileProduct: a tile of a product, computed by a block from operands that are read through functions.
//
// Device code. A block has kTileThreads threads; each keeps kRowsEach x kColumnsEach sums of the kTile x
// kTile tile in registers, and operands pass through shared memory in slices of kDepth. Sums are f32 in
// a fixed order. Every thread of the block calls AddProduct; `space` is free again on return. Bytes: a
// tile of depth k reads 2 * kTile * k elements for 2 * kTile^2 * k operations: on a GPU 32 operations
// for each f32 that is read. Predicted 40 % of a GPU's f32 rate for dense operands; no tensor cores.
// Read next: kernels/cuda/convolution.cu, kernels/cuda/attention.cu.
#ifndef ONEFLOW_KERNELS_CUDA_TILE_PRODUCT_H_
#define ONEFLOW_KERNELS_CUDA_TILE_PRODUCT_H_

#include "kernels/cuda/device_code.h"

namespace oneflow::kernels {

#ifdef __CUDACC__
inline constexpr int kTile = 64;
inline constexpr int kRowsEach = 4;
inline constexpr int kColumnsEach = 4;
#else
inline constexpr int kTile = 16;
inline constexpr int kRowsEach = 4;
inline constexpr int kColumnsEach = 2;
#endif
inline constexpr int kDepth = 16;
inline constexpr int kTileThreads = (kTile / kRowsEach) * (kTile / kColumnsEach);

// a * b + c; the elementwise kernels are compiled without contraction, products need it.
__device__ __forceinline__ float MultiplyAdd(float a, float b, float c) {
#ifdef __CUDACC__
  return __fmaf_rn(a, b, c);
#else
  return a * b + c;
#endif
}

// The slices of both operands; a row of padding keeps banks apart.
struct TileSpace {
  float a[kDepth][kTile + 1];
  float b[kDepth][kTile + 1];
};

// The sums of one thread, and where they lie in the tile.
struct TileSums {
  float sum[kRowsEach][kColumnsEach] = {};

  __device__ __forceinline__ static int Row() {
    return static_cast<int>(threadIdx.x) / (kTile / kColumnsEach) * kRowsEach;
  }
  __device__ __forceinline__ static int Column() {
    return static_cast<int>(threadIdx.x) % (kTile / kColumnsEach) * kColumnsEach;
  }
  // body(row, column, &sum) for each of them.
  template <typename Body>
  __device__ __forceinline__ void ForEach(const Body& body) {
    OF_UNROLL
    for (int r = 0; r < kRowsEach; ++r) {
      OF_UNROLL
      for (int c = 0; c < kColumnsEach; ++c) body(Row() + r, Column() + c, &sum[r][c]);
    }
  }
};

// sums += a(row, k) * b(k, column) over begin <= k < end. Which index of each operand neighbouring
// threads read: kDeepA, kDeepB say that it is k.
template <bool kDeepA, bool kDeepB, typename A, typename B>
__device__ __forceinline__ void AddProduct(TileSums* sums, TileSpace* space, int64_t begin,
                                           int64_t end, const A& a, const B& b) {
  for (int64_t first = begin; first < end; first += kDepth) {
    for (int e = static_cast<int>(threadIdx.x); e < kTile * kDepth; e += kTileThreads) {
      const int a_row = kDeepA ? e / kDepth : e % kTile;
      const int a_k = kDeepA ? e % kDepth : e / kTile;
      space->a[a_k][a_row] = first + a_k < end ? a(a_row, first + a_k) : 0.0f;
      const int b_column = kDeepB ? e / kDepth : e % kTile;
      const int b_k = kDeepB ? e % kDepth : e / kTile;
      space->b[b_k][b_column] = first + b_k < end ? b(first + b_k, b_column) : 0.0f;
    }
    __syncthreads();
    OF_UNROLL
    for (int k = 0; k < kDepth; ++k) {
      float left[kRowsEach], right[kColumnsEach];
      OF_UNROLL
      for (int r = 0; r < kRowsEach; ++r) left[r] = space->a[k][TileSums::Row() + r];
      OF_UNROLL
      for (int c = 0; c < kColumnsEach; ++c) right[c] = space->b[k][TileSums::Column() + c];
      OF_UNROLL
      for (int r = 0; r < kRowsEach; ++r) {
        OF_UNROLL
        for (int c = 0; c < kColumnsEach; ++c) {
          sums->sum[r][c] = MultiplyAdd(left[r], right[c], sums->sum[r][c]);
        }
      }
    }
    __syncthreads();
  }
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_TILE_PRODUCT_H_
