// Bf16Packing: copies operands of products in bf16 into the order in which the instructions take them.
//
// A value, const. Machines that multiply bf16 have AVX-512, which it uses. Threads: any. Invariants: allocates nothing; what a tile holds behind the last row,
// column or term is 0. Read next: kernels/cpu/bf16_tiles.h, kernels/cpu/bf16_gemm.h.
#ifndef ONEFLOW_KERNELS_CPU_BF16_PACKING_H_
#define ONEFLOW_KERNELS_CPU_BF16_PACKING_H_

#include <cstdint>

#include "kernels/cpu/micro_kernels.h"

namespace oneflow::kernels {

// Element (i, j) is data[i * row + j * column].
struct Bf16Matrix {
  const uint16_t* data = nullptr;
  int64_t row = 0;
  int64_t column = 1;
};

class Bf16Packing {
 public:
  // `vectors` moves pairs of bf16 as if they were floats.
  explicit Bf16Packing(const MicroKernels& vectors);

  // A tile of up to 16 rows of a, whose columns are the terms: [block of terms][16][32].
  void PackRows(Bf16Matrix a, int64_t rows, int64_t terms, uint16_t* packed) const;
  // A strip of up to 32 columns of b, whose rows are the terms: [block of terms][16 pairs][32][2].
  void PackStrip(Bf16Matrix b, int64_t columns, int64_t terms, uint16_t* packed) const;

 private:
  TransposeKernel transpose_;
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_BF16_PACKING_H_
