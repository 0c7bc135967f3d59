// ColumnSums: sums over the rows of a matrix, one per column, in a fixed order.
//
// Device code. `Sums` says what is added: kSums numbers per column in f64, Add(row, column, totals)
// and Write(column, totals). A thread per column and share of the rows, so that neighbours read
// neighbours; a second kernel joins the shares in order. Workspace: splits * kSums * columns f64,
// nothing if there is one share. Read next: kernels/cuda/shares.h, kernels/cuda/norms.cu.
#ifndef ONEFLOW_KERNELS_CUDA_COLUMN_SUMS_H_
#define ONEFLOW_KERNELS_CUDA_COLUMN_SUMS_H_

#include "kernels/cuda/device_code.h"

namespace oneflow::kernels {

struct ColumnRange {
  int64_t begin, end;  // rows
  int64_t columns;
  int32_t splits;
};

template <typename Sums>
__global__ void ColumnSumsKernel(Sums sums, ColumnRange range, double* shares) {
  const int64_t rows = range.end - range.begin;
  for (int64_t i = FirstItem(); i < range.columns * range.splits; i += ItemStride()) {
    const int64_t column = i % range.columns;
    const int64_t share = i / range.columns;
    const int64_t end = range.begin + rows * (share + 1) / range.splits;
    double totals[Sums::kSums] = {};
    for (int64_t row = range.begin + rows * share / range.splits; row < end; ++row) {
      sums.Add(row, column, totals);
    }
    if (range.splits == 1) {
      sums.Write(column, totals);
      continue;
    }
    for (int s = 0; s < Sums::kSums; ++s) {
      shares[(share * Sums::kSums + s) * range.columns + column] = totals[s];
    }
  }
}

template <typename Sums>
__global__ void JoinColumnSums(Sums sums, ColumnRange range, const double* shares) {
  for (int64_t column = FirstItem(); column < range.columns; column += ItemStride()) {
    double totals[Sums::kSums] = {};
    for (int64_t share = 0; share < range.splits; ++share) {
      for (int s = 0; s < Sums::kSums; ++s) {
        totals[s] += shares[(share * Sums::kSums + s) * range.columns + column];
      }
    }
    sums.Write(column, totals);
  }
}

template <typename Sums>
CudaError SumColumns(const Sums& sums, const ColumnRange& range, void* workspace,
                     CudaStreamHandle stream) {
  double* shares = static_cast<double*>(workspace);
  const CudaError error = Launch(&ColumnSumsKernel<Sums>, BlocksFor(range.columns * range.splits),
                                 kThreads, stream, sums, range, shares);
  if (error != 0 || range.splits == 1) return error;
  return Launch(&JoinColumnSums<Sums>, BlocksFor(range.columns), kThreads, stream, sums, range,
                static_cast<const double*>(shares));
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_COLUMN_SUMS_H_
