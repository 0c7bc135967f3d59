// ColumnSums: sums over the rows of a matrix, one per column, in a fixed order.
//
// Device code. `Sums` says what is added: kSums numbers per column in f64, Add(row, column, totals)
// and Write(column, totals). A thread per column and share of the rows, so that neighbours read
// neighbours; a second kernel joins the shares, ranges of them by threads and the ranges in order.
// Workspace: splits * kSums * columns f64, nothing if there is one share. Read next: kernels/cuda/shares.h, kernels/cuda/norms.cu.
#ifndef ONEFLOW_KERNELS_CUDA_COLUMN_SUMS_H_
#define ONEFLOW_KERNELS_CUDA_COLUMN_SUMS_H_

#include "kernels/cuda/device_code.h"

namespace oneflow::kernels {

struct ColumnRange {
  int64_t begin, end;  // rows
  int64_t columns;
  int32_t splits;
};

// Rows whose loads a thread has under way together; they are added in order.
inline constexpr int kRowsInFlight = 8;

template <typename Sums>
__global__ void ColumnSumsKernel(Sums sums, ColumnRange range, double* shares) {
  const int64_t rows = range.end - range.begin;
  for (int64_t i = FirstItem(); i < range.columns * range.splits; i += ItemStride()) {
    const int64_t column = i % range.columns;
    const int64_t share = i / range.columns;
    const int64_t end = range.begin + rows * (share + 1) / range.splits;
    double totals[Sums::kSums] = {};
    int64_t row = range.begin + rows * share / range.splits;
    for (; row + kRowsInFlight <= end; row += kRowsInFlight) {
      OF_UNROLL
      for (int r = 0; r < kRowsInFlight; ++r) sums.Add(row + r, column, totals);
    }
    for (; row < end; ++row) sums.Add(row, column, totals);
    if (range.splits == 1) {
      sums.Write(column, totals);
      continue;
    }
    for (int s = 0; s < Sums::kSums; ++s) {
      shares[(share * Sums::kSums + s) * range.columns + column] = totals[s];
    }
  }
}

// Columns of a block; the rest of its threads have a range of the shares each: a thread alone would go through
// thousands of them, one load behind the other.
inline constexpr int kJoinedColumns = 8;

template <typename Sums>
__global__ void JoinColumnSums(Sums sums, ColumnRange range, const double* shares) {
  constexpr int kRanges = kThreads / kJoinedColumns;
  __shared__ double space[Sums::kSums][kRanges][kJoinedColumns];
  const int lane = static_cast<int>(threadIdx.x) % kJoinedColumns;
  const int part = static_cast<int>(threadIdx.x) / kJoinedColumns;
  for (int64_t first = int64_t{blockIdx.x} * kJoinedColumns; first < range.columns;
       first += int64_t{gridDim.x} * kJoinedColumns) {
    const int64_t column = first + lane;
    double totals[Sums::kSums] = {};
    if (column < range.columns) {
      const int64_t end = int64_t{range.splits} * (part + 1) / kRanges;
      for (int64_t share = int64_t{range.splits} * part / kRanges; share < end; ++share) {
        for (int s = 0; s < Sums::kSums; ++s) {
          totals[s] += shares[(share * Sums::kSums + s) * range.columns + column];
        }
      }
    }
    for (int s = 0; s < Sums::kSums; ++s) space[s][part][lane] = totals[s];
    __syncthreads();
    if (part == 0 && column < range.columns) {
      for (int p = 1; p < kRanges; ++p) {
        for (int s = 0; s < Sums::kSums; ++s) totals[s] += space[s][p][lane];
      }
      sums.Write(column, totals);
    }
    __syncthreads();
  }
}

template <typename Sums>
CudaError SumColumns(const Sums& sums, const ColumnRange& range, void* workspace,
                     CudaStreamHandle stream) {
  double* shares = static_cast<double*>(workspace);
  const CudaError error = Launch(&ColumnSumsKernel<Sums>, BlocksFor(range.columns * range.splits),
                                 kThreads, stream, sums, range, shares);
  if (error != 0 || range.splits == 1) return error;
  return LaunchBlocks(&JoinColumnSums<Sums>, BlocksFor(range.columns, kJoinedColumns), kThreads,
                      stream, sums, range, static_cast<const double*>(shares));
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_COLUMN_SUMS_H_
