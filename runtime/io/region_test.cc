#include "runtime/io/region.h"

#include <gtest/gtest.h>

#include <numeric>

namespace oneflow {
namespace {

std::vector<int32_t> Extract(const Shape& logical, const Shape& begin, const Shape& extent) {
  std::vector<int32_t> all(NumElements(logical));
  std::iota(all.begin(), all.end(), 0);
  std::vector<int32_t> local(NumElements(extent), -1);
  RegionCopy(logical, begin, extent, 4)
      .ToLocal(reinterpret_cast<const std::byte*>(all.data()),
               reinterpret_cast<std::byte*>(local.data()));
  return local;
}

TEST(RegionTest, TakesRowsColumnsAndBlocks) {
  EXPECT_EQ(Extract({4, 3}, {1, 0}, {2, 3}), (std::vector<int32_t>{3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(Extract({4, 3}, {0, 1}, {4, 1}), (std::vector<int32_t>{1, 4, 7, 10}));
  EXPECT_EQ(Extract({2, 3, 4}, {0, 1, 2}, {2, 2, 2}),
            (std::vector<int32_t>{6, 7, 10, 11, 18, 19, 22, 23}));
}

TEST(RegionTest, ScalarsAndEmptyRegions) {
  EXPECT_EQ(Extract({}, {}, {}), std::vector<int32_t>{0});
  EXPECT_EQ(Extract({4, 3}, {4, 0}, {0, 3}), std::vector<int32_t>{});
}

TEST(RegionTest, ShardsPutBackGiveTheWhole) {
  std::vector<int32_t> whole(2 * 3 * 4, -1);
  const Shape logical = {2, 3, 4};
  for (int64_t row = 0; row < 3; ++row) {
    for (int64_t half = 0; half < 2; ++half) {
      const Shape begin = {0, row, 2 * half};
      const Shape extent = {2, 1, 2};
      const std::vector<int32_t> local = Extract(logical, begin, extent);
      RegionCopy(logical, begin, extent, 4)
          .FromLocal(reinterpret_cast<std::byte*>(whole.data()),
                     reinterpret_cast<const std::byte*>(local.data()));
    }
  }
  for (int32_t i = 0; i < 24; ++i) EXPECT_EQ(whole[i], i);
}

}  // namespace
}  // namespace oneflow
