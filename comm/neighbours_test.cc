// Ranks that find out how they reach each other: what one of them says is taken for no more than that.
#include "comm/neighbours.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "base/status.h"
#include "comm/blame.h"
#include "comm/gathering_for_test.h"

namespace oneflow::comm {
namespace {

struct Met {
  std::vector<std::unique_ptr<Neighbours>> ranks;
  std::vector<absl::Status> statuses;
};

constexpr HostId kHere{1}, kElsewhere{2};

// `hosts`: all on one if there are none.
Met Meet(const std::vector<PathChoice>& choices, const Gathering::Change& change,
         std::vector<HostId> hosts = {}) {
  const int size = static_cast<int>(choices.size());
  Gathering gathering(size, change);
  Met met;
  met.statuses.resize(choices.size());
  hosts.resize(choices.size(), kHere);
  std::vector<std::thread> threads;
  for (int r = 0; r < size; ++r) met.ranks.push_back(std::make_unique<Neighbours>(size));
  for (int r = 0; r < size; ++r) {
    threads.emplace_back([&, r] {
      met.statuses[r] = met.ranks[r]->Meet(r, choices[r], hosts, gathering.Of(r));
      gathering.Leave(r);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return met;
}

using PathChoice::kAuto;

TEST(NeighboursTest, EachPairFindsItsOwnWay) {
  const Met met = Meet({kAuto, PathChoice::kTcp, kAuto}, Unchanged);
  for (const absl::Status& status : met.statuses) EXPECT_TRUE(status.ok()) << status;
  EXPECT_NE(met.ranks[0]->link(2), nullptr);
  EXPECT_NE(met.ranks[2]->link(0), nullptr);
  for (int r : {0, 2}) {
    EXPECT_EQ(met.ranks[r]->link(1), nullptr);
    EXPECT_EQ(met.ranks[1]->link(r), nullptr);
    EXPECT_FALSE(met.ranks[r]->all());
  }
  EXPECT_FALSE(met.ranks[1]->any());
  EXPECT_EQ(met.ranks[0]->paths()[2], "shared memory");
  Notice notice;
  ASSERT_TRUE(met.ranks[0]->link(2)->Notify({NoticeKind::kCredit, 7}));
  ASSERT_TRUE(met.ranks[2]->HasNews());
  EXPECT_EQ(met.ranks[2]->link(0)->inbox().Take(&notice), NoticeReader::Found::kNotice);
  EXPECT_EQ(notice.channel, 7u);
}

// Another boot, or another container: descriptors of the one are not those of the other, so no inbox is made.
TEST(NeighboursTest, AnotherHostIsReachedByTcp) {
  std::atomic<size_t> longest = 0;
  const auto measure = [&](int, int call, std::string said) {
    if (call == 0) longest = std::max(longest.load(), said.size());
    return said;
  };
  const Met met = Meet({kAuto, kAuto}, measure, {kHere, kElsewhere});
  EXPECT_LT(longest.load(), 30u);  // three integers
  const Met unknown = Meet({kAuto, kAuto}, Unchanged, {HostId{}, HostId{}});
  for (const Met* one : {&met, &unknown}) {
    for (int r = 0; r < 2; ++r) {
      EXPECT_TRUE(one->statuses[r].ok()) << one->statuses[r];
      EXPECT_EQ(one->ranks[r]->link(1 - r), nullptr);
      EXPECT_NE(one->ranks[r]->paths()[1 - r].find("another host"), std::string::npos)
          << one->ranks[r]->paths()[1 - r];
    }
  }
}

TEST(NeighboursTest, RanksKnowWhichHostTheyShare) {
  EXPECT_NE(OwnHost(), HostId{});
  EXPECT_EQ(OwnHost(), OwnHost());
}

// What is named is there, but is not what was offered.
TEST(NeighboursTest, AnInboxWithAnotherNonceIsNotUsedByEitherSide) {
  const Met met = Meet({kAuto, kAuto}, [](int rank, int call, std::string said) {
    if (rank == 0 && call == 0) said.back() ^= 1;  // of the bell for rank 1
    return said;
  });
  for (int r = 0; r < 2; ++r) {
    EXPECT_TRUE(met.statuses[r].ok()) << met.statuses[r];
    EXPECT_EQ(met.ranks[r]->link(1 - r), nullptr);
    EXPECT_FALSE(met.ranks[r]->listens(1 - r));
    EXPECT_NE(met.ranks[r]->paths()[1 - r].find("rank 1 cannot use the memory of rank 0"),
              std::string::npos)
        << met.ranks[r]->paths()[1 - r];
  }
}

TEST(NeighboursTest, OfferedIsTheMemoryInWhichSlotsLieAlone) {
  const Met met = Meet({kAuto, kAuto}, Unchanged);
  Neighbours& rank = *met.ranks[0];
  std::byte* first = rank.Allocate(100);
  std::byte* second = rank.Allocate(5000);
  ASSERT_TRUE(first != nullptr && second != nullptr);
  EXPECT_TRUE(rank.OffersOf({}).empty());
  EXPECT_TRUE(rank.OffersOf({nullptr}).empty());
  const auto offers = rank.OffersOf({second + 4999, second, second + 7});
  ASSERT_EQ(offers.size(), 1u);
  EXPECT_EQ(offers[0].base, reinterpret_cast<uint64_t>(second));
  EXPECT_EQ(rank.OffersOf({first, second}).size(), 2u);
  rank.Free(second);
  EXPECT_TRUE(rank.OffersOf({second}).empty());
}

TEST(NeighboursTest, WhoInsistsHearsWhyNot) {
  const Met met = Meet({kAuto, PathChoice::kShared}, [](int rank, int call, std::string said) {
    if (rank == 0 && call == 0) said.back() ^= 1;
    return said;
  });
  for (const absl::Status& status : met.statuses) {
    EXPECT_EQ(KindOf(status), ErrorKind::kPeer);
    EXPECT_NE(MessageOf(status).find("ONEFLOW_TRANSPORT=shm on rank 1"), std::string::npos)
        << status;
  }
}

TEST(NeighboursTest, WhatIsCutOrChangedIsAnErrorOrAnotherPathNeverMore) {
  const int blamed = BlamedForTampering(200, 2, [](const Gathering::Change& change) {
    return Meet({kAuto, kAuto}, change).statuses[0];
  });
  EXPECT_GE(blamed, 50);  // at least all that were cut
}

}  // namespace
}  // namespace oneflow::comm
