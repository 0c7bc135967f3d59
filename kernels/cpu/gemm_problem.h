// GemmProblem: the sizes and strides of one product of matrices, and how its columns are cut.
//
// Values and a function. Threads: any. Read next: kernels/cpu/gemm.h.
#ifndef ONEFLOW_KERNELS_CPU_GEMM_PROBLEM_H_
#define ONEFLOW_KERNELS_CPU_GEMM_PROBLEM_H_

#include <cstdint>
#include <vector>

namespace oneflow::kernels {

// Terms of a sum per pass: a sum runs over k in order, in blocks of this size. Part of the bits.
inline constexpr int64_t kGemmDepth = 256;

// a(i, p) = a[i * a_row + p * a_column]; b(p, j) = b[p * b_row + j * b_column]; c(i, j) = c[i *
// c_row + j].
struct GemmProblem {
  int64_t m = 0, n = 0, k = 0;
  int64_t a_row = 0, a_column = 1;
  int64_t b_row = 0, b_column = 1;
  int64_t c_row = 0;
};

// Neighbouring columns that are computed together: 1..3 vectors.
struct ColumnStrip {
  int64_t begin = 0;
  int64_t columns = 0;
  int vectors = 1;
};
// Cuts columns [begin, end) into strips: 3 vectors each, the rest in twos, one only where there is
// one.
std::vector<ColumnStrip> CutIntoStrips(int64_t begin, int64_t end, int width);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_GEMM_PROBLEM_H_
