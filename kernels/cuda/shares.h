// Shares: into how many parts a sum is cut so that it fills a large GPU. Decided from shapes alone,
// because the compiler plans workspaces on machines that have no GPU.
//
// Functions. Threads: any. Read next: kernels/cuda/column_sums.h, kernels/cuda/math_kernels.cc.
#ifndef ONEFLOW_KERNELS_CUDA_SHARES_H_
#define ONEFLOW_KERNELS_CUDA_SHARES_H_

#include <algorithm>
#include <cstdint>

namespace oneflow::kernels {

// Threads and blocks that fill a large GPU, and what is worth a share of its own.
inline constexpr int64_t kFillingThreads = 128 << 10;
inline constexpr int64_t kFillingBlocks = 512;
inline constexpr int64_t kShareByThread = 64;
inline constexpr int64_t kShareByBlock = 4096;

inline int32_t SharesOf(int64_t filling, int64_t results, int64_t joined, int64_t worth) {
  const int64_t wanted = filling / std::max<int64_t>(1, results);
  return static_cast<int32_t>(std::max<int64_t>(1, std::min(wanted, joined / worth)));
}
// A thread for each share of each of `results` sums over `joined` elements.
inline int32_t SharesByThread(int64_t results, int64_t joined) {
  return SharesOf(kFillingThreads, results, joined, kShareByThread);
}
// A block for each.
inline int32_t SharesByBlock(int64_t results, int64_t joined) {
  return SharesOf(kFillingBlocks, results, joined, kShareByBlock);
}

// A block for each share of the rows of a matrix whose columns are summed, and each 512 bytes of its columns
// (kernels/cuda/column_sums.h), of `matrices` of them: enough bytes that what it writes for the join is little, and
// enough shares that they are worth the join's launch.
inline constexpr int64_t kShareBytes = 32 << 10;
inline constexpr int64_t kFewestShares = 4;
inline int32_t SharesOfRows(int64_t matrices, int64_t rows, int64_t row_bytes) {
  const int64_t chunks = std::max<int64_t>(1, (row_bytes + 511) / 512);
  const int64_t wanted = kFillingBlocks / std::max<int64_t>(1, matrices) / chunks;
  const int64_t worth = rows * std::min<int64_t>(row_bytes, 512) / kShareBytes;
  const int64_t shares = std::min(wanted, worth);
  return static_cast<int32_t>(shares < kFewestShares ? 1 : shares);
}

// ---- layer_norm_grads (kernels/cuda/norms.cu): a warp for each row, whose lanes hold the sums of their columns ----

inline constexpr int64_t kRowBytes = 1024;    // less keeps too few bytes under way
inline constexpr int64_t kRowColumns = 1024;  // 32 a lane
// Whether one kernel makes all three gradients. Else two do, each of which reads x and dy.
inline bool GradsInOnePass(int64_t n, int64_t element_bytes) {
  return element_bytes <= 4 && n * element_bytes % 16 == 0 && n * element_bytes >= kRowBytes &&
         n <= kRowColumns;
}
// A block each: one on each multiprocessor of a large GPU, or as many rounds of these as leave each warp no more than
// kWarpRows rows, which it adds in f32.
inline constexpr int64_t kMultiprocessors = 132;
inline constexpr int64_t kBlockWarps = 12;
inline constexpr int64_t kWarpRows = 128;
inline int32_t SharesOfGrads(int64_t rows) {
  constexpr int64_t kRound = kMultiprocessors * kBlockWarps;
  constexpr int64_t kMostRounds = 1024;  // of a plan that nobody trusts
  const int64_t rounds =
      std::min(kMostRounds, (rows + kRound * kWarpRows - 1) / (kRound * kWarpRows));
  const int64_t blocks = (rows + kBlockWarps - 1) / kBlockWarps;
  return static_cast<int32_t>(std::max<int64_t>(1, std::min(blocks, rounds * kMultiprocessors)));
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_SHARES_H_
