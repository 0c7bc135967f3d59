// MatmulCopies: where the copies of a product's operands lie, and the problem that is left with them.
//
// A value. Threads: any. Invariant: what the compiler plans as workspace is what the launcher uses, for both
// ask here. Read next: kernels/cuda/matmul_problem.h, kernels/cuda/matmul.cu.
#ifndef ONEFLOW_KERNELS_CUDA_MATMUL_COPIES_H_
#define ONEFLOW_KERNELS_CUDA_MATMUL_COPIES_H_

#include <cstdint>

#include "kernels/cuda/library_space.h"
#include "kernels/cuda/matmul_problem.h"

namespace oneflow::kernels {

struct MatmulCopies {
  // A row-major matrix, and its copy's extents.
  struct Matrix {
    int64_t rows, columns;
    int64_t copied_rows, copied_columns;
    int64_t at;  // bytes from the first copy's begin

    bool copied() const { return copied_rows != rows || copied_columns != columns; }
  };
  Matrix a, b, d;
  CudaMatmul problem;  // of the copies

  explicit MatmulCopies(const CudaMatmul& g) : problem(g) {
    if (g.padded_m != 0) problem.m = g.padded_m;
    if (g.padded_n != 0) problem.n = g.padded_n;
    if (g.padded_k != 0) problem.k = g.padded_k;
    const CudaMatmul& p = problem;
    a = Of(g.transpose_a, g.m, g.k, p.m, p.k);
    b = Of(g.transpose_b, g.k, g.n, p.k, p.n);
    d = Of(false, g.m, g.n, p.m, p.n);
    a.at = 0;
    b.at = a.at + BytesOf(a);
    d.at = b.at + BytesOf(b);
  }
  int64_t bytes() const { return d.at + BytesOf(d); }

 private:
  static Matrix Of(bool transposed, int64_t rows, int64_t columns, int64_t copied_rows,
                   int64_t copied_columns) {
    if (transposed) return {columns, rows, copied_columns, copied_rows, 0};
    return {rows, columns, copied_rows, copied_columns, 0};
  }
  static int64_t BytesOf(const Matrix& matrix) {
    if (!matrix.copied()) return 0;
    return AlignedBytes(matrix.copied_rows * matrix.copied_columns * int64_t{sizeof(uint16_t)});
  }
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_MATMUL_COPIES_H_
