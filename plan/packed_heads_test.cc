#include "plan/packed_heads.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace oneflow {
namespace {

using Longs = std::vector<int64_t>;

Attrs Packed(Longs list) { return {{"packed", AttrValue(std::move(list))}}; }

TEST(PackedHeads, PartsThatFillTheHeads) {
  EXPECT_FALSE(IsPacked({}));
  EXPECT_FALSE(IsPacked(Packed({})));
  for (const Longs& list : {Longs{0, 4, 8, 4, 4}, Longs{8, 4, 0, 4, 4}, Longs{4, 2, 0, 6, 2}}) {
    EXPECT_TRUE(IsPacked(Packed(list)));
    const std::optional<PackedHeads> packed = PackedHeadsOf(Packed(list));
    ASSERT_TRUE(packed.has_value());
    EXPECT_EQ(packed->first[1], list[1]);
    EXPECT_EQ(packed->all(), list[3] + 2 * list[4]);
  }
}

TEST(PackedHeads, AllElseIsNothing) {
  constexpr int64_t kHuge = INT64_MAX;
  for (const Longs& list :
       {Longs{0, 4, 8, 4}, Longs{0, 4, 8, 4, 4, 0}, Longs{0, 4, 9, 4, 4}, Longs{0, 3, 7, 4, 4},
        Longs{0, 0, 4, 4, 4}, Longs{1, 5, 9, 4, 4}, Longs{-4, 0, 4, 4, 4}, Longs{0, 4, 4, 4, 0},
        Longs{0, 0, 0, 0, 0}, Longs{0, kHuge, 0, kHuge, kHuge}}) {
    EXPECT_TRUE(IsPacked(Packed(list)));
    EXPECT_FALSE(PackedHeadsOf(Packed(list)).has_value());
  }
  const Attrs text = {{"packed", AttrValue(std::string("q"))}};
  EXPECT_TRUE(IsPacked(text));
  EXPECT_FALSE(PackedHeadsOf(text).has_value());
}

}  // namespace
}  // namespace oneflow
