#include "kernels/cpu/team_grid.h"

#include <algorithm>
#include <limits>

#include "kernels/cpu/parallel.h"

namespace oneflow::kernels {
namespace {

int64_t Blocks(int64_t n, int64_t block) { return (n + block - 1) / block; }

}  // namespace

TeamRectangle TeamGrid::Rectangle(int part, int64_t m, int64_t n, int64_t row_step,
                                  int64_t column_step) const {
  const auto at = [](int64_t size, int64_t step, int parts, int i) {
    return std::min(size, PartBegin(Blocks(size, step), parts, i) * step);
  };
  const int i = part / columns;
  const int j = part % columns;
  const int64_t row = at(m, row_step, rows, i);
  const int64_t column = at(n, column_step, columns, j);
  return {row, at(m, row_step, rows, i + 1) - row, column,
          at(n, column_step, columns, j + 1) - column};
}

TeamGrid GridOf(int parts, int64_t m, int64_t n, int64_t row_step, int64_t column_step,
                const ProductCosts& costs) {
  TeamGrid best;
  double least = std::numeric_limits<double>::max();
  for (int rows = 1; rows <= parts; ++rows) {
    if (parts % rows != 0) continue;
    const TeamGrid grid = {rows, parts / rows};
    const TeamRectangle largest = grid.Rectangle(0, m, n, row_step, column_step);
    // Sizes of untrusted plans: their product may leave 64 bits.
    const auto height = static_cast<double>(largest.rows);
    const auto breadth = static_cast<double>(largest.columns);
    const double cost =
        height * breadth * static_cast<double>(costs.multiply) +
        height * static_cast<double>(costs.pack_a) +
        breadth * static_cast<double>(costs.pack_b * Blocks(largest.rows, costs.rows_together));
    if (cost < least) {
      least = cost;
      best = grid;
    }
  }
  return best;
}

}  // namespace oneflow::kernels
