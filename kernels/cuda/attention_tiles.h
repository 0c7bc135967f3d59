// AttentionTiles: what both passes of attention on tensor cores share: rows of a head into tiles of shared
// memory, four neighbouring draws of dropout, results out of fragments.
//
// Device code. Threads: all of a block make the same copies. Invariant: elements beyond a tensor's tokens or
// columns are zeros in a tile and are never read or written in memory. Read next:
// kernels/cuda/attention_tensor.cu.
#ifndef ONEFLOW_KERNELS_CUDA_ATTENTION_TILES_H_
#define ONEFLOW_KERNELS_CUDA_ATTENTION_TILES_H_

#include <cstdint>
#include <limits>

#include "kernels/cuda/attention_pairs.h"
#include "kernels/cuda/attention_problem.h"
#include "kernels/cuda/tensor_core.h"

namespace oneflow::kernels {

inline constexpr float kLog2E = 1.44269504f;  // scores are exponents of 2
inline constexpr float kLn2 = 0.693147181f;
inline constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
inline constexpr int kPiece = 8;  // 16-bit elements that are copied at once

struct alignas(16) AttentionPiece {
  uint32_t pair[kPiece / 2];
};

// Which row of 16 lies where, so that four neighbouring keys, which share a draw of Philox, are a lane's
// columns (forward) or rows of a pair of lanes (backward). kHalf: from a row to the one 8 below it.
struct InOrder {
  static constexpr int kHalf = 8;
  __device__ __forceinline__ static int Of(int row) { return row; }
};
struct KeysAsColumns {
  static constexpr int kHalf = 2;
  __device__ __forceinline__ static int Of(int row) {
    return row / 16 * 16 + row % 8 / 2 * 4 + row / 8 % 2 * 2 + row % 2;
  }
};
struct KeysAsRows {
  static constexpr int kHalf = 1;
  __device__ __forceinline__ static int Of(int row) {
    return row / 16 * 16 + row % 8 * 2 + row / 8 % 2;
  }
};

// Copies of rows of `width` elements, `stride` apart, into tiles of kRows by kColumns: this thread's part.
template <typename Order, int kRows, int kColumns, int kThreadsOfBlock>
class RowCopies {
 public:
  __device__ __forceinline__ RowCopies(int64_t stride, int64_t width)
      : stride_(stride), offset_(Order::Of(At()) * stride + Column()), inside_(Column() < width) {}

  // Begins to copy `count` rows, or as many as the tile has.
  template <typename T>
  __device__ __forceinline__ void Begin(T* tile, const T* rows, int count) const {
    const int first = Order::Of(At());
    const int limit = inside_ ? count : 0;
    T* const to = tile + At() * TileRow(kColumns) + Column();
    const T* const from = rows + offset_;
    OF_UNROLL
    for (int r = 0; r < kRows; r += kStep) {
      const int past = r / 16 * 16 + r % 16 / 8 * Order::kHalf;
      const bool real = first + past < limit;
      CopyAsync16(to + r * TileRow(kColumns), real ? from + past * stride_ : rows, real);
    }
  }

 private:
  static constexpr int kPieces = kColumns / kPiece;
  static constexpr int kStep = kThreadsOfBlock / kPieces;  // rows at a time
  static_assert(kStep % 8 == 0 && kRows % kStep == 0);

  __device__ __forceinline__ static int At() { return static_cast<int>(threadIdx.x) / kPieces; }
  __device__ __forceinline__ static int Column() {
    return static_cast<int>(threadIdx.x) % kPieces * kPiece;
  }

  const int64_t stride_, offset_;
  const bool inside_;
};

// Draws of dropout, four neighbours at a time.
class Draws {
 public:
  __device__ __forceinline__ Draws(const CudaAttention& a, const int64_t* step)
      : key_(a.philox_key),
        step_(a.drops ? static_cast<uint64_t>(*step) : 0),
        threshold_(a.threshold),
        fours_((a.index | a.index_stride[0] | a.index_stride[1] | a.index_stride[2]) % 4 == 0) {}

  // Whether every row of weights begins at a multiple of 4; else four neighbours are of two blocks.
  __device__ __forceinline__ bool fours() const { return fours_; }
  // Bit e: the weight of index + e, a multiple of 4, is kept.
  __device__ __forceinline__ uint32_t KeepFour(uint64_t index) const {
    const auto words = PhiloxBlock(key_, step_, index / 4);
    uint32_t bits = 0;
    OF_UNROLL
    for (int w = 0; w < 4; ++w) bits |= words[w] >= threshold_ ? 1u << w : 0u;
    return bits;
  }
  // The same of any index.
  __device__ __forceinline__ uint32_t KeepAnyFour(uint64_t index) const {
    const uint32_t both = KeepFour(index / 4 * 4) | KeepFour(index / 4 * 4 + 4) << 4;
    return both >> (index % 4) & 15;
  }

 private:
  const uint64_t key_, step_;
  const uint32_t threshold_;
  const bool fours_;
};

// Whether a mask, if there is one, is the same for all queries.
__device__ __forceinline__ bool MaskIsOfKeys(const CudaAttention& a) {
  return a.mask_stride[2] == 0;
}
// What is added to the exponents of a key: its mask, -inf where there is no such key.
__device__ __forceinline__ float BiasOfKey(const AttentionPairs<float>& head, int64_t key) {
  if (key >= head.a.keys) return kMinusInfinity;
  if (head.in.mask == nullptr || !MaskIsOfKeys(head.a)) return 0.0f;
  return head.MaskOf(0, key) * kLog2E;
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_ATTENTION_TILES_H_
