#include "runtime/io/copy_team.h"

#include <gtest/gtest.h>

#include <vector>

namespace oneflow {
namespace {

std::vector<std::byte> Pattern(int64_t bytes, int salt) {
  std::vector<std::byte> data(static_cast<size_t>(bytes));
  for (size_t i = 0; i < data.size(); ++i) {
    data[i] = static_cast<std::byte>((i * 2654435761u >> 13) + static_cast<size_t>(salt));
  }
  return data;
}

TEST(CopyTeamTest, AllBytesAreThereAndNoOthers) {
  constexpr int64_t kShare = CopyTeam::kLeastShare;
  for (const int threads : {1, 2, 5}) {
    CopyTeam team(threads);
    int salt = 0;
    for (const int64_t bytes : {int64_t{0}, int64_t{1}, kShare - 1, 2 * kShare, 3 * kShare + 7,
                                int64_t{100}, 11 * kShare + 1, 2 * kShare + 1}) {
      const std::vector<std::byte> from = Pattern(bytes, ++salt);
      std::vector<std::byte> to(from.size() + 1, std::byte{0xCD});
      team.Copy(to.data(), from.data(), bytes);
      EXPECT_EQ(to.back(), std::byte{0xCD});
      to.pop_back();
      EXPECT_TRUE(to == from) << bytes << " bytes, " << threads << " threads";
    }
  }
}

TEST(CopyTeamTest, ManyCopiesFollowEachOther) {
  CopyTeam team(3);
  const std::vector<std::byte> a = Pattern(4 * CopyTeam::kLeastShare, 1);
  const std::vector<std::byte> b = Pattern(4 * CopyTeam::kLeastShare, 2);
  std::vector<std::byte> to(a.size());
  for (int i = 0; i < 50; ++i) {
    const std::vector<std::byte>& from = i % 2 == 0 ? a : b;
    team.Copy(to.data(), from.data(), static_cast<int64_t>(from.size()));
    ASSERT_TRUE(to == from);
  }
}

TEST(CopyTeamTest, OneThatNeverCopiedEnds) { const CopyTeam team(4); }

}  // namespace
}  // namespace oneflow
