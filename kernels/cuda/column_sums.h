// ColumnSums: sums over the rows of matrices, one per column, in a fixed order.
//
// Device code. `Sums` says what is added to kSums numbers per column in f64, for kCount neighbouring
// columns at once:
//   T                                                  the element type of its operands
//   template <int kCount> struct Own                   what a thread keeps for its columns: made by
//     Own(sums, place)                                 .. this, once
//   template <int kCount> struct Row                   a row's elements of these columns
//   Load<kCount>(row, column) -> Row
//   Add(row, own, totals)                              double totals[kSums][kCount]
//   Write(place, totals)                               of one column
//   kRows                                              rows whose loads a thread has under way together
//
// A block has a share of a matrix's rows and up to kPacksOfBlock packs of neighbouring columns, 16 bytes each; its
// threads take several rows at once, which the block joins in order. A second kernel joins the shares. So every
// load is of 16 bytes, kRows of them are under way per thread and operand, and what is written in between is one
// number per column of a block. Columns that are no multiple of a pack, and operands that begin elsewhere, go by
// single elements. Workspace: splits * matrices * kSums * columns f64, nothing if there is one share.
// Read next: kernels/cuda/shares.h, kernels/cuda/norms.cu.
#ifndef ONEFLOW_KERNELS_CUDA_COLUMN_SUMS_H_
#define ONEFLOW_KERNELS_CUDA_COLUMN_SUMS_H_

#include <initializer_list>

#include "kernels/cuda/device_code.h"

namespace oneflow::kernels {

// `matrices` of `rows` rows each, one behind the other from row `begin` on.
struct ColumnRange {
  int64_t begin, rows, columns;
  int32_t splits;
  int64_t matrices = 1;
};

// Where a sum is: its matrix, the first row of that, its number of rows, and the (first) column.
struct ColumnPlace {
  int64_t matrix, begin, rows, column;
};

inline constexpr int64_t kPacksOfBlock = 32;

template <int kCount, typename Sums>
__global__ void ColumnSumsKernel(Sums sums, ColumnRange range, double* shares) {
  constexpr int kSums = Sums::kSums;
  // Lines of the space begin in different banks.
  __shared__ double space[kSums][kCount][kThreads + 4];
  const int64_t packs = range.columns / kCount;
  const int lanes = static_cast<int>(packs < kPacksOfBlock ? packs : kPacksOfBlock);
  const int64_t chunks = (packs + lanes - 1) / lanes;
  const int together = kThreads / lanes;  // rows at once
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  const int line = static_cast<int>(threadIdx.x) / lanes;
  for (int64_t item = blockIdx.x; item < chunks * range.splits * range.matrices;
       item += gridDim.x) {
    const int64_t chunk = item % chunks;
    const int64_t part = item / chunks;  // a share of a matrix
    const int64_t share = part % range.splits;
    const int64_t matrix = part / range.splits;
    const int64_t first = range.begin + matrix * range.rows;
    const int64_t end = first + range.rows * (share + 1) / range.splits;
    const int64_t pack = chunk * lanes + lane;
    double totals[kSums][kCount] = {};
    if (line < together && pack < packs) {
      const int64_t column = pack * kCount;
      const typename Sums::template Own<kCount> own(sums,
                                                    ColumnPlace{matrix, first, range.rows, column});
      int64_t row = first + range.rows * share / range.splits + line;
      for (; row < end; row += Sums::kRows * together) {
        // Behind the end the last row again, which is not added: so the loads of the last rows are under way together too.
        typename Sums::template Row<kCount> rows[Sums::kRows];
        OF_UNROLL
        for (int r = 0; r < Sums::kRows; ++r) {
          const int64_t at = row + int64_t{r} * together;
          rows[r] = sums.template Load<kCount>(at < end ? at : end - 1, column);
        }
        OF_UNROLL
        for (int r = 0; r < Sums::kRows; ++r) {
          if (row + int64_t{r} * together < end) sums.Add(rows[r], own, totals);
        }
      }
    }
    OF_UNROLL
    for (int s = 0; s < kSums; ++s) {
      OF_UNROLL
      for (int k = 0; k < kCount; ++k) space[s][k][threadIdx.x] = totals[s][k];
    }
    __syncthreads();
    for (int at = static_cast<int>(threadIdx.x); at < lanes * kCount; at += kThreads) {
      const int64_t column = chunk * lanes * kCount + at;
      if (column >= range.columns) break;
      double joined[kSums];
      OF_UNROLL
      for (int s = 0; s < kSums; ++s) {
        joined[s] = space[s][at % kCount][at / kCount];
        for (int other = 1; other < together; ++other) {
          joined[s] += space[s][at % kCount][at / kCount + other * lanes];
        }
        if (range.splits > 1) shares[(part * kSums + s) * range.columns + column] = joined[s];
      }
      if (range.splits == 1) sums.Write({matrix, first, range.rows, column}, joined);
    }
    __syncthreads();
  }
}

// Columns of a block; the rest of its threads have a range of the shares each.
inline constexpr int kJoinedColumns = 8;

template <typename Sums>
__global__ void JoinColumnSums(Sums sums, ColumnRange range, const double* shares) {
  constexpr int kSums = Sums::kSums;
  constexpr int kRanges = kThreads / kJoinedColumns;
  __shared__ double space[kSums][kRanges][kJoinedColumns];
  const int lane = static_cast<int>(threadIdx.x) % kJoinedColumns;
  const int part = static_cast<int>(threadIdx.x) / kJoinedColumns;
  const int64_t chunks = (range.columns + kJoinedColumns - 1) / kJoinedColumns;
  for (int64_t item = blockIdx.x; item < chunks * range.matrices; item += gridDim.x) {
    const int64_t matrix = item / chunks;
    const int64_t column = item % chunks * kJoinedColumns + lane;
    const double* from = shares + matrix * range.splits * kSums * range.columns;
    double totals[kSums] = {};
    if (column < range.columns) {
      const int end = static_cast<int>(int64_t{range.splits} * (part + 1) / kRanges);
      for (int share = static_cast<int>(int64_t{range.splits} * part / kRanges); share < end;
           ++share) {
        OF_UNROLL
        for (int s = 0; s < kSums; ++s) {
          totals[s] += from[(int64_t{share} * kSums + s) * range.columns + column];
        }
      }
    }
    for (int s = 0; s < kSums; ++s) space[s][part][lane] = totals[s];
    __syncthreads();
    if (part == 0 && column < range.columns) {
      for (int p = 1; p < kRanges; ++p) {
        for (int s = 0; s < kSums; ++s) totals[s] += space[s][p][lane];
      }
      sums.Write({matrix, range.begin + matrix * range.rows, range.rows, column}, totals);
    }
    __syncthreads();
  }
}

template <typename Sums>
CudaError JoinShares(const Sums& sums, const ColumnRange& range, const double* shares,
                     CudaStreamHandle stream) {
  const int64_t chunks = (range.columns + kJoinedColumns - 1) / kJoinedColumns;
  return LaunchBlocks(&JoinColumnSums<Sums>, BlocksFor(chunks * range.matrices, 1), kThreads,
                      stream, sums, range, shares);
}

// `operands`: what Load reads by packs; nullptr is none.
template <typename Sums>
CudaError SumColumns(const Sums& sums, const ColumnRange& range,
                     std::initializer_list<const void*> operands, void* workspace,
                     CudaStreamHandle stream) {
  constexpr int kCount = kPacked<typename Sums::T>;
  if (range.columns == 0) return 0;
  bool packed = range.columns % kCount == 0;
  for (const void* data : operands) {
    packed =
        packed && reinterpret_cast<uintptr_t>(data) % alignof(Pack<typename Sums::T, kCount>) == 0;
  }
  const int64_t packs = packed ? range.columns / kCount : range.columns;
  const int64_t blocks =
      (packs + kPacksOfBlock - 1) / kPacksOfBlock * range.splits * range.matrices;
  double* shares = static_cast<double*>(workspace);
  const CudaError error =
      LaunchBlocks(packed ? &ColumnSumsKernel<kCount, Sums> : &ColumnSumsKernel<1, Sums>,
                   BlocksFor(blocks, 1), kThreads, stream, sums, range, shares);
  if (error != 0 || range.splits == 1) return error;
  return JoinShares(sums, range, shares, stream);
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_COLUMN_SUMS_H_
