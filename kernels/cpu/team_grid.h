// TeamGrid: cuts the result of a product into rectangles, one for each thread of a team, which packs
// what its own needs and meets nobody until it is done.
//
// Functions of sizes alone. Threads: any. Invariant: the rectangles cover the result and do not
// overlap; some are empty where a team is larger than the result. Read next:
// kernels/cpu/panel_gemm.h, kernels/cpu/bf16_gemm.h.
#ifndef ONEFLOW_KERNELS_CPU_TEAM_GRID_H_
#define ONEFLOW_KERNELS_CPU_TEAM_GRID_H_

#include <cstdint>

namespace oneflow::kernels {

struct TeamRectangle {
  int64_t row = 0, rows = 0;
  int64_t column = 0, columns = 0;
};

struct TeamGrid {
  int rows = 1;     // parts of the rows
  int columns = 1;  // parts of the columns

  // REQUIRES: part < rows * columns. Cut between multiples of `row_step` and `column_step`.
  TeamRectangle Rectangle(int part, int64_t m, int64_t n, int64_t row_step,
                          int64_t column_step) const;
};

// What an element of the result costs for each term of its sum, and an element of an operand to pack.
struct ProductCosts {
  int64_t multiply = 1;
  int64_t pack_a = 0;
  int64_t pack_b = 0;
  int64_t rows_together = 1;  // b is packed once for so many rows
};

// The grid of `parts` rectangles whose largest costs least.
TeamGrid GridOf(int parts, int64_t m, int64_t n, int64_t row_step, int64_t column_step,
                const ProductCosts& costs);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_TEAM_GRID_H_
