#include "base/hash.h"

#include <bit>
#include <set>
#include <string>

#include "gtest/gtest.h"

namespace oneflow {
namespace {

TEST(HashTest, IsTheSameNumberForEver) {
  // Ranks of different builds compare these: a change is a change of the format. Computed apart,
  // from the definition in the header.
  EXPECT_EQ(HashBytes(""), 0xefd01f60ba992926u);
  EXPECT_EQ(HashBytes("a"), 0x82a2a958a9bece5bu);
  EXPECT_EQ(Hasher().Integer(1).Text("ab").value(), 0xa21e5781667dbbc8u);
}

TEST(HashTest, TextsAreFramed) {
  EXPECT_NE(Hasher().Text("ab").Text("c").value(), Hasher().Text("a").Text("bc").value());
  EXPECT_NE(Hasher().Text("").value(), Hasher().value());
  EXPECT_EQ(Hasher().Bytes("ab").Bytes("c").value(), HashBytes("abc"));
}

TEST(HashTest, NearInputsDifferInManyBits) {
  std::set<uint64_t> seen;
  int flipped = 0;
  for (uint64_t i = 0; i < 4096; ++i) {
    const uint64_t hash = Hasher().Integer(i).value();
    EXPECT_TRUE(seen.insert(hash).second);
    flipped += std::popcount(hash ^ Hasher().Integer(i ^ 1).value());
  }
  EXPECT_NEAR(flipped / 4096.0, 32, 2);
}

}  // namespace
}  // namespace oneflow
