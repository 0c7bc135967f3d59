#include "kernels/cpu/team_grid.h"

#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace oneflow::kernels {
namespace {

TEST(TeamGrid, IsCutWhereItPacksLeast) {
  const auto grid = [](int64_t m, int64_t n, int parts) {
    const TeamGrid found = GridOf(parts, m, n, 4, 16, {1, 32, 16, 1036});
    return std::pair(found.rows, found.columns);
  };
  EXPECT_EQ(grid(1024, 768, 1), std::pair(1, 1));
  EXPECT_EQ(grid(1024, 768, 2), std::pair(2, 1));
  EXPECT_EQ(grid(1024, 30522, 2), std::pair(1, 2));
  EXPECT_EQ(grid(30522, 768, 8), std::pair(8, 1));
  EXPECT_EQ(grid(4096, 8192, 16), std::pair(4, 4));
}

TEST(TeamGrid, RectanglesCoverTheResultOnce) {
  for (const int rows : {1, 2, 3, 7}) {
    for (const int columns : {1, 2, 5}) {
      for (const int64_t m : {1, 4, 29, 100}) {
        for (const int64_t n : {1, 16, 17, 100}) {
          const TeamGrid grid = {rows, columns};
          std::vector<int> met(m * n, 0);
          for (int part = 0; part < rows * columns; ++part) {
            const TeamRectangle cut = grid.Rectangle(part, m, n, 4, 16);
            EXPECT_EQ(cut.row % 4 == 0 || cut.rows == 0, true);
            for (int64_t i = cut.row; i < cut.row + cut.rows; ++i) {
              for (int64_t j = cut.column; j < cut.column + cut.columns; ++j) ++met[i * n + j];
            }
          }
          EXPECT_EQ(met, std::vector<int>(m * n, 1)) << rows << columns << " " << m << " " << n;
        }
      }
    }
  }
}

}  // namespace
}  // namespace oneflow::kernels
