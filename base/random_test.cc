#include "base/random.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/philox.h"
#include "gtest/gtest.h"

namespace oneflow {
namespace {

// The known answers published with Random123 (kat_vectors, philox4x32 10).
TEST(Philox, KnownAnswers) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(Philox({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t f = 0xffffffff;
  EXPECT_EQ(Philox({f, f, f, f}, {f, f}), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, KeysOfNeighboursDiffer) {
  EXPECT_NE(PhiloxKey(0, 0), PhiloxKey(0, 1));
  EXPECT_NE(PhiloxKey(0, 1), PhiloxKey(1, 0));
  EXPECT_NE(PhiloxKey(1, 2), PhiloxKey(2, 1));
}

TEST(Random, SlicesOfALogicalTensorAgree) {
  const Shape shape = {5, 7, 3};
  const RandomStream stream = {42, 7};
  std::vector<float> whole(5 * 7 * 3), whole_normal(5 * 7 * 3);
  FillUniform(stream, {shape, {0, 0, 0}, shape}, -1, 1, whole.data());
  FillNormal(stream, {shape, {0, 0, 0}, shape}, 0, 1, whole_normal.data());
  const Shape begin = {2, 3, 1};
  const Shape extent = {3, 2, 2};
  std::vector<float> part(3 * 2 * 2), part_normal(3 * 2 * 2);
  FillUniform(stream, {shape, begin, extent}, -1, 1, part.data());
  FillNormal(stream, {shape, begin, extent}, 0, 1, part_normal.data());
  int64_t i = 0;
  for (int64_t a = 0; a < 3; ++a) {
    for (int64_t b = 0; b < 2; ++b) {
      for (int64_t c = 0; c < 2; ++c, ++i) {
        const int64_t at = ((a + 2) * 7 + b + 3) * 3 + c + 1;
        EXPECT_EQ(part[i], whole[at]);
        EXPECT_EQ(part_normal[i], whole_normal[at]);
      }
    }
  }
}

// Large enough for a team, whose shares begin within rows and blocks of words.
TEST(Random, ElementsDoNotDependOnTheTeam) {
  const int64_t rows = 5, columns = 300001, n = rows * columns;
  std::vector<float> whole(n), normal(n), one(columns), part((rows - 1) * (columns - 3));
  FillUniform({3, 4}, {{rows, columns}, {0, 0}, {rows, columns}}, 0, 1, whole.data());
  FillNormal({3, 4}, {{rows, columns}, {0, 0}, {rows, columns}}, 0, 1, normal.data());
  FillUniform({3, 4}, {{rows, columns}, {1, 2}, {rows - 1, columns - 3}}, 0, 1, part.data());
  for (int64_t row = 0; row < rows; ++row) {
    const auto line = [&](const std::vector<float>& all) {
      return std::vector<float>(all.begin() + row * columns, all.begin() + (row + 1) * columns);
    };
    for (int64_t begin = 0; begin < columns; begin += 99999) {  // less than a team takes
      const int64_t count = std::min<int64_t>(99999, columns - begin);
      FillUniform({3, 4}, {{rows, columns}, {row, begin}, {1, count}}, 0, 1, one.data() + begin);
    }
    EXPECT_TRUE(one == line(whole)) << row;
    for (int64_t begin = 0; begin < columns; begin += 99999) {
      const int64_t count = std::min<int64_t>(99999, columns - begin);
      FillNormal({3, 4}, {{rows, columns}, {row, begin}, {1, count}}, 0, 1, one.data() + begin);
    }
    EXPECT_TRUE(one == line(normal)) << row;
    if (row == 0) continue;
    EXPECT_TRUE(std::equal(part.begin() + (row - 1) * (columns - 3),
                           part.begin() + row * (columns - 3), whole.begin() + row * columns + 2))
        << row;
  }
}

TEST(Random, UniformHasItsMomentsAndRange) {
  const int64_t n = 100000;
  std::vector<float> x(n);
  FillUniform({1, 2}, {{n}, {0}, {n}}, 2, 4, x.data());
  double sum = 0, squares = 0;
  for (const float v : x) {
    EXPECT_GE(v, 2);
    EXPECT_LT(v, 4);
    sum += v;
    squares += v * v;
  }
  EXPECT_NEAR(sum / n, 3, 0.01);
  EXPECT_NEAR(squares / n - 9, 4.0 / 12, 0.02);
}

TEST(Random, NormalHasItsMoments) {
  const int64_t n = 100000;
  std::vector<float> x(n);
  FillNormal({1, 2}, {{n}, {0}, {n}}, -1, 2, x.data());
  double sum = 0, squares = 0, fourth = 0, neighbours = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double unit = (x[i] + 1) / 2;
    sum += unit;
    squares += unit * unit;
    fourth += unit * unit * unit * unit;
    if (i > 0) neighbours += unit * (x[i - 1] + 1) / 2;
  }
  EXPECT_NEAR(sum / n, 0, 0.02);
  EXPECT_NEAR(squares / n, 1, 0.03);
  EXPECT_NEAR(fourth / n, 3, 0.2);
  EXPECT_NEAR(neighbours / n, 0, 0.02);
}

TEST(Random, StreamsDiffer) {
  std::vector<float> a(8), b(8), c(8);
  FillUniform({1, 2}, {{8}, {0}, {8}}, 0, 1, a.data());
  FillUniform({1, 3}, {{8}, {0}, {8}}, 0, 1, b.data());
  FillUniform({2, 2}, {{8}, {0}, {8}}, 0, 1, c.data());
  EXPECT_NE(a, b);
  EXPECT_NE(a, c);
}

TEST(Random, ScalarAndEmpty) {
  float value = -1;
  FillUniform({1, 2}, {{}, {}, {}}, 0, 1, &value);
  EXPECT_GE(value, 0);
  FillUniform({1, 2}, {{4}, {4}, {0}}, 0, 1, nullptr);
}

}  // namespace
}  // namespace oneflow
