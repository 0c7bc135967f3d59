// What ranks compare before a plan runs: who differs and in what, in the same words on all ranks; and what each
// is told, which is no more than concerns it.
#include "comm/agreement.h"

#include <gtest/gtest.h>

#include <array>
#include <mutex>
#include <thread>

#include "base/status.h"
#include "comm/blame.h"
#include "comm/gathering_for_test.h"

namespace oneflow::comm {
namespace {

const RankProgram kUsual{"f", {"a mlp.py:3", "b mlp.py:8"}};
const RankProgram kOdd{"f", {"a mlp.py:3", "c mlp.py:9"}};

ChannelSpec Spec(const std::string& name, bool sends) {
  return {name, 0, sends, 64, 2, "stamp", {}};
}

// One rank: what it runs, and the ends of channels that it says to have, by rank.
struct Rank {
  RankProgram program = kUsual;
  std::vector<std::vector<ChannelSpec>> ends = {};
  MappedBy maps = {};  // what it says to map of each
};

struct Agreed {
  std::vector<absl::Status> statuses;
  std::vector<int> bound;
  std::vector<MappedBy> mapped;  // what each hears
  std::vector<absl::Status> told;
  std::vector<std::vector<size_t>> bytes;  // by call: of what each rank has said to the next
};

Agreed AgreeAll(const std::vector<Rank>& ranks, const Gathering::Change& change = Unchanged) {
  const size_t world = ranks.size();
  Agreed agreed;
  agreed.statuses.resize(world);
  agreed.told.resize(world);
  agreed.bound.resize(world);
  agreed.mapped.resize(world);
  std::mutex mutex;
  Gathering gathering(static_cast<int>(world), [&](int rank, int call, std::string said) {
    agreed.bytes.resize(std::max(agreed.bytes.size(), static_cast<size_t>(call) + 1),
                        std::vector<size_t>(world));
    agreed.bytes[static_cast<size_t>(call)][static_cast<size_t>(rank)] += said.size();
    return change(rank, call, std::move(said));
  });
  std::vector<std::thread> threads;
  for (size_t r = 0; r < world; ++r) {
    threads.emplace_back([&, r] {
      std::vector<Announcement> own(world);
      for (size_t peer = 0; peer < world; ++peer) {
        own[peer].digest = DigestOf(ranks[r].program);
        if (peer >= ranks[r].ends.size()) continue;
        for (const ChannelSpec& spec : ranks[r].ends[peer]) own[peer].channels.push_back({7, spec});
      }
      const int rank = static_cast<int>(r);
      absl::StatusOr<MappedBy> mapped = Agree(
          rank, ranks[r].program, own, gathering.Of(rank),
          [&](const std::vector<Announcement>& all) {
            EXPECT_EQ(all.size(), world);
            ++agreed.bound[r];
            MappedBy maps = ranks[r].maps;
            maps.resize(world);
            return maps;
          },
          [&](const absl::Status& unseen) { agreed.told[r] = unseen; });
      agreed.statuses[r] = mapped.status();
      if (mapped.ok()) agreed.mapped[r] = *std::move(mapped);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return agreed;
}

TEST(AgreementTest, RanksThatRunTheSameSayNoRows) {
  Rank rank;
  rank.program.rows.resize(10000, "0123456789abcdef mlp.py:8");
  const Agreed agreed = AgreeAll(std::vector<Rank>(4, rank));
  for (const absl::Status& status : agreed.statuses) EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(agreed.bound, std::vector<int>(4, 1));
  ASSERT_EQ(agreed.bytes.size(), 2u);
  EXPECT_EQ(agreed.bytes[0], std::vector<size_t>(4, 3 * sizeof(Digest)));
  EXPECT_EQ(agreed.bytes[1], std::vector<size_t>(4, 0));
}

// Where somebody wrote an op is no part of what is compared: a rank may have lines of its own.
TEST(AgreementTest, TheDigestIsOfTheFingerprintAndOfTheHashesOfRows) {
  EXPECT_EQ(DigestOf(kUsual), DigestOf({"f", {"a mlp.py:3", "b other.py:1"}}));
  EXPECT_NE(DigestOf(kUsual), DigestOf(kOdd));
  EXPECT_NE(DigestOf(kUsual), DigestOf({"g", kUsual.rows}));
  EXPECT_NE(DigestOf(kUsual), DigestOf({"f", {"a mlp.py:3"}}));
  EXPECT_NE(DigestOf({"f", {"ab"}}), DigestOf({"f", {"a", "b"}}));
}

TEST(AgreementTest, TheRankThatRunsAnotherProgramIsNamedByAll) {
  for (const size_t odd : {0u, 1u, 2u}) {
    std::vector<Rank> ranks(3);
    ranks[odd].program = kOdd;
    const Agreed agreed = AgreeAll(ranks);
    for (const absl::Status& status : agreed.statuses) {
      EXPECT_EQ(status, agreed.statuses[0]);
      EXPECT_EQ(BlamedRank(status), static_cast<int>(odd));
      EXPECT_TRUE(Has(status, "`b mlp.py:8` on rank " + std::to_string(odd == 0 ? 1 : 0)))
          << status;
      EXPECT_TRUE(Has(status, "`c mlp.py:9` on rank " + std::to_string(odd))) << status;
      EXPECT_TRUE(Has(status, "2 of 3 ranks")) << status;
    }
    EXPECT_EQ(agreed.bound, std::vector<int>(3, 0));
    // The two that are compared show what they run, nobody else.
    ASSERT_EQ(agreed.bytes.size(), 2u);
    const size_t usual = odd == 0 ? 1 : 0;
    for (size_t r = 0; r < 3; ++r) {
      EXPECT_EQ(agreed.bytes[1][r] > 0, r == odd || r == usual) << r;
    }
  }
}

TEST(AgreementTest, OfTwoRanksThatDifferNobodyIsOdd) {
  const Agreed agreed = AgreeAll({{kUsual}, {kOdd}});
  EXPECT_EQ(BlamedRank(agreed.statuses[0]), std::nullopt);
  EXPECT_TRUE(Has(agreed.statuses[0], "ranks 0 and 1 run different programs: the first op"))
      << agreed.statuses[0];
}

TEST(AgreementTest, PlansOfTheSameOpsAreToldByTheirFingerprints) {
  const Agreed agreed = AgreeAll({{kUsual}, {{"g", kUsual.rows}}});
  EXPECT_TRUE(Has(agreed.statuses[0], "different plans of the same ops (fingerprints f and g)"))
      << agreed.statuses[0];
}

TEST(AgreementTest, ARankHearsOfItsOwnChannelsAlone) {
  std::vector<Rank> ranks(4);
  for (Rank& rank : ranks) rank.ends.resize(4);
  for (int i = 0; i < 1000; ++i) {
    ranks[1].ends[2].push_back(Spec("c" + std::to_string(i), true));
    ranks[2].ends[1].push_back(Spec("c" + std::to_string(i), false));
  }
  const Agreed agreed = AgreeAll(ranks);
  for (const absl::Status& status : agreed.statuses) EXPECT_TRUE(status.ok()) << status;
  const size_t alone = 3 * sizeof(Digest);
  EXPECT_EQ(agreed.bytes[0][0], alone);
  EXPECT_EQ(agreed.bytes[0][3], alone);
  EXPECT_EQ(agreed.bytes[0][1], agreed.bytes[0][2]);
  // 1,000 channels, told once: integers of eight bytes, a name and what is compared.
  EXPECT_GT(agreed.bytes[0][1], alone + 1000 * 64);
  EXPECT_LT(agreed.bytes[0][1], alone + 1000 * 128);
}

// Each of what two ends must have alike, in the same words on the ranks that know nothing of the channel.
TEST(AgreementTest, EndsOfAChannelThatDifferAreRefusedOnAllRanks) {
  struct Case {
    const char* what;
    std::vector<ChannelSpec> at_2;
    const char* words;
  };
  ChannelSpec bytes = Spec("c", false), slots = bytes, check = bytes;
  bytes.bytes = 32;
  slots.slots = 1;
  check.check = "other";
  const std::vector<Case> cases = {
      {"another length", {bytes}, "differs: 64 bytes, 2 slots, stamp at its source; 32 bytes"},
      {"other slots", {slots}, "64 bytes, 1 slots, stamp at its destination"},
      {"another stamp", {check}, "64 bytes, 2 slots, other at its destination"},
      {"no end", {}, "channel `c` from rank 1 to rank 2 is known to rank 1 alone"},
      {"the same end", {Spec("c", true)}, "channel `c` from rank 1 to rank 2 is known to rank 1"},
      {"another name", {Spec("d", false)}, "channel `c` from rank 1 to rank 2 is known to rank 1"},
      {"two", {Spec("c", false), Spec("c", false)}, "channel `c` is there twice on rank 2"},
  };
  for (const Case& one : cases) {
    std::vector<Rank> ranks(3);
    for (Rank& rank : ranks) rank.ends.resize(3);
    ranks[1].ends[2] = {Spec("c", true)};
    ranks[2].ends[1] = one.at_2;
    const Agreed agreed = AgreeAll(ranks);
    for (const absl::Status& status : agreed.statuses) {
      EXPECT_TRUE(Has(status, one.words)) << one.what << ": " << status;
      EXPECT_EQ(status, agreed.statuses[0]) << one.what;
    }
    EXPECT_EQ(agreed.bound[1] + agreed.bound[2], 0) << one.what;
  }
}

// Rank 1 shows another program than it has given the digest of: nobody believes what it shows.
TEST(AgreementTest, AProgramThatIsNotThatOfTheDigestIsNotBelieved) {
  const Agreed agreed =
      AgreeAll({{kUsual}, {kOdd}, {kUsual}}, [](int rank, int call, std::string said) {
        return rank == 1 && call == 1 ? Encode(RankProgram{"f", {"d"}}) : said;
      });
  for (const size_t r : {0u, 2u}) {
    EXPECT_EQ(BlamedRank(agreed.statuses[r]), 1);
    EXPECT_TRUE(Has(agreed.statuses[r], "rank 1 broke the protocol")) << agreed.statuses[r];
  }
}

TEST(AgreementTest, AVerdictHasAnEndAndItsRankIsTold) {
  ByteWriter longer;
  longer.Text(std::string((64 << 10) + 1, 'x'));
  longer.Integer(0);
  for (const std::string& words : {longer.bytes, std::string("x"), longer.bytes + "x"}) {
    const Agreed agreed = AgreeAll({{}, {}}, [&](int rank, int call, std::string said) {
      return rank == 1 && call == 1 ? words : said;
    });
    EXPECT_EQ(BlamedRank(agreed.statuses[0]), 1);
    EXPECT_EQ(agreed.told[0], agreed.statuses[0]);
  }
  const std::string objection(100 << 10, 'y');
  EXPECT_EQ(DecodeVerdict(Encode(Verdict{objection, {}}))->objection.size(), 64u << 10);
}

TEST(AgreementTest, EachHearsWhatIsMappedOfItsOwn) {
  const Agreed agreed = AgreeAll({{kUsual, {}, {{}, {4, 9}, {}}}, {}, {kUsual, {}, {{7}}}});
  EXPECT_EQ(agreed.mapped[0], (MappedBy{{}, {}, {7}}));
  EXPECT_EQ(agreed.mapped[1], (MappedBy{{4, 9}, {}, {}}));
  EXPECT_EQ(agreed.mapped[2], (MappedBy{{}, {}, {}}));
}

TEST(AgreementTest, WhatIsMalformedIsToldToThoseThatDoNotSeeIt) {
  const std::vector<Announcement> own(2, {DigestOf(kUsual)});
  absl::Status told;
  int calls = 0;
  const absl::StatusOr<MappedBy> agreed = Agree(
      0, kUsual, own,
      [&](const std::vector<std::string>& words) -> absl::StatusOr<std::vector<std::string>> {
        ++calls;
        return std::vector<std::string>{words[0], Encode(own[0]) + "x"};
      },
      [](const std::vector<Announcement>&) -> MappedBy {
        ADD_FAILURE() << "bound";
        return {};
      },
      [&](const absl::Status& unseen) { told = unseen; });
  const absl::Status& status = agreed.status();
  EXPECT_EQ(BlamedRank(status), 1);
  EXPECT_EQ(status, told);
  EXPECT_TRUE(Has(status, "cut or malformed")) << status;
  EXPECT_EQ(calls, 1);  // a rank that breaks the protocol is not waited for
}

TEST(WireTest, DecodeIsTotal) {
  std::byte there[2] = {};
  const Announcement announcement{
      DigestOf(kUsual),
      {{7, Spec("c", true)}},
      {{3, nullptr}},
      {{2, "b", 5, {{{&there[0], 64, 2, 4}, {&there[1]}}, 4096, 3, "c", 6}}},
      {{1, {nullptr, &there[1]}}},
      {},
      {{7, 5}}};
  const std::string bytes = Encode(announcement);
  EXPECT_EQ(Decode(bytes)->channels[0].spec.name, "c");
  EXPECT_EQ(Decode(bytes)->channels[0].number, 7u);
  EXPECT_EQ(Decode(bytes)->digest, announcement.digest);
  const Announcement::Ring ring = Decode(bytes)->rings[0];
  EXPECT_EQ(ring.number, 2u);
  EXPECT_EQ(ring.from + std::to_string(ring.from_peer), "b5");
  EXPECT_EQ(ring.stretch.to + std::to_string(ring.stretch.to_peer), "c6");
  EXPECT_EQ(ring.stretch.bytes, 4096);
  EXPECT_EQ(ring.stretch.members, 3);
  ASSERT_EQ(ring.stretch.buffers.size(), 2u);
  EXPECT_EQ(ring.stretch.buffers[0].per_slot, 4u);
  EXPECT_EQ(ring.stretch.buffers[1].base, &there[1]);
  EXPECT_EQ(Decode(bytes)->moved_rings, announcement.moved_rings);
  for (size_t cut = 0; cut < bytes.size(); ++cut) {
    EXPECT_EQ(Decode(bytes.substr(0, cut)).ok(), cut == sizeof(Digest));
  }
  Announcement beyond = announcement;
  beyond.channels[0].number = 1u << 31;  // what no rank has: a notice has no room for it
  EXPECT_FALSE(Decode(Encode(beyond)).ok());
  Announcement empty = announcement;
  empty.rings[0].stretch.buffers.clear();
  EXPECT_FALSE(Decode(Encode(empty)).ok());
  const std::string program = Encode(kUsual);
  EXPECT_EQ(DecodeProgram(program)->rows, kUsual.rows);
  for (size_t cut = 0; cut < program.size(); ++cut) {
    EXPECT_FALSE(DecodeProgram(program.substr(0, cut)).ok());
  }
  uint64_t seed = 1;
  for (int i = 0; i < 20000; ++i) {
    std::string mutated = bytes;
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    mutated[(seed >> 33) % mutated.size()] = static_cast<char>(seed >> 20);
    (void)Decode(mutated);
  }
}

}  // namespace
}  // namespace oneflow::comm
