#include "comm/stop_agreement.h"

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <random>
#include <thread>

#include "comm/world_for_test.h"

namespace oneflow::comm {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kNow{0};

struct Word {
  int from, to;
  StopWord word;
  uint64_t number;
};

// Ranks whose words wait until the test delivers them, in any order between different ranks.
struct Ranks {
  explicit Ranks(int size) {
    for (int r = 0; r < size; ++r) {
      ranks.push_back(
          std::make_unique<StopAgreement>(r, size, [this, r](int to, StopWord word, uint64_t n) {
            words.push_back({r, to, word, n});
          }));
    }
  }
  std::string Deliver(size_t i) {
    const Word word = words[i];
    words.erase(words.begin() + static_cast<std::ptrdiff_t>(i));
    return ranks[static_cast<size_t>(word.to)]->Hear(word.from, static_cast<uint32_t>(word.word),
                                                     word.number);
  }
  std::vector<std::unique_ptr<StopAgreement>> ranks;
  std::deque<Word> words;
};

TEST(StopAgreement, AllStopAtTheFirstBoundaryThatNobodyHasPassed) {
  // Whoever asks, whenever, and in whichever order words arrive and ranks go on.
  for (uint32_t seed = 0; seed < 2'000; ++seed) {
    std::mt19937 random(seed);
    const int size = 2 + static_cast<int>(random() % 4);
    Ranks job(size);
    std::vector<uint64_t> passed(size), stopped(size);
    uint64_t most_when_asked = 0;
    bool asked = false;
    for (int turn = 0; turn < 2'000; ++turn) {
      const uint32_t draw = random() % 16;
      if (turn > 20 && (draw == 0 || !asked)) {
        if (!asked) most_when_asked = *std::max_element(passed.begin(), passed.end());
        asked = true;
        job.ranks[random() % size]->Ask();
      } else if (draw < 8 && !job.words.empty()) {
        // The first of a pair of ranks: a connection keeps its order.
        size_t i = random() % job.words.size();
        for (size_t j = 0; j < i; ++j) {
          if (job.words[j].from == job.words[i].from && job.words[j].to == job.words[i].to) i = j;
        }
        ASSERT_EQ(job.Deliver(i), "") << seed;
      } else {
        const size_t r = random() % size;
        // Data ties ranks together: none is more than three steps ahead of another.
        if (stopped[r] > 0 || passed[r] >= *std::min_element(passed.begin(), passed.end()) + 3) {
          continue;
        }
        const Boundary boundary = job.ranks[r]->PassBoundary(kNow);
        if (boundary == Boundary::kNotDecided) continue;
        ++passed[r];
        if (boundary == Boundary::kStop) stopped[r] = passed[r];
      }
    }
    ASSERT_TRUE(asked);
    EXPECT_GT(stopped[0], most_when_asked) << seed;
    for (int r = 0; r < size; ++r) EXPECT_EQ(stopped[r], stopped[0]) << "seed " << seed;
  }
}

TEST(StopAgreement, WordsOutOfTurnBreakTheProtocol) {
  const auto hear = [](StopAgreement* rank, int from, StopWord word, uint64_t number = 0) {
    return rank->Hear(from, static_cast<uint32_t>(word), number);
  };
  Ranks job(3);
  StopAgreement& leader = *job.ranks[0];
  StopAgreement& follower = *job.ranks[1];
  EXPECT_NE(hear(&leader, 1, StopWord::kPassed, 4), "");  // nobody holds
  EXPECT_NE(hear(&leader, 1, StopWord::kHold), "");
  EXPECT_NE(hear(&leader, 1, StopWord::kStop, 4), "");
  EXPECT_NE(hear(&follower, 2, StopWord::kAsk), "");  // not the leader
  EXPECT_NE(hear(&follower, 2, StopWord::kHold), "");
  EXPECT_NE(hear(&follower, 0, StopWord::kStop, 4), "");  // before it holds
  EXPECT_NE(leader.Hear(1, 9, 0), "");
  EXPECT_TRUE(job.words.empty());

  ASSERT_EQ(follower.PassBoundary(kNow), Boundary::kGoOn);
  ASSERT_EQ(hear(&follower, 0, StopWord::kHold), "");
  EXPECT_NE(hear(&follower, 0, StopWord::kHold), "");
  EXPECT_EQ(hear(&follower, 0, StopWord::kStop, 1),
            "it stops at step boundary 1, and this rank has passed 1");
  EXPECT_EQ(follower.PassBoundary(kNow), Boundary::kNotDecided);
  ASSERT_EQ(hear(&follower, 0, StopWord::kStop, 2), "");
  EXPECT_NE(hear(&follower, 0, StopWord::kStop, 3), "");
  EXPECT_EQ(follower.PassBoundary(kNow), Boundary::kStop);

  ASSERT_EQ(hear(&leader, 1, StopWord::kAsk), "");
  ASSERT_EQ(hear(&leader, 1, StopWord::kPassed, 1), "");
  EXPECT_NE(hear(&leader, 1, StopWord::kPassed, 1), "");
}

TEST(StopAgreement, WhoHasLeftIsNotWaitedForAndWithoutALeaderNobodyHolds) {
  Ranks job(3);
  job.ranks[0]->Left(2);
  job.ranks[0]->Ask();
  ASSERT_EQ(job.words.size(), 1u);
  ASSERT_EQ(job.Deliver(0), "");
  ASSERT_EQ(job.Deliver(0), "");
  EXPECT_EQ(job.ranks[0]->PassBoundary(kNow), Boundary::kStop);

  Ranks other(2);
  ASSERT_EQ(other.ranks[1]->Hear(0, static_cast<uint32_t>(StopWord::kHold), 0), "");
  EXPECT_EQ(other.ranks[1]->PassBoundary(kNow), Boundary::kNotDecided);
  other.ranks[1]->Left(0);
  EXPECT_EQ(other.ranks[1]->PassBoundary(kNow), Boundary::kGoOn);
}

TEST(StopAgreement, RanksOfAWorldStopTogetherWhileOneWaitsForAnothersMessage) {
  auto world = World(3, PathChoice::kTcp);
  std::atomic<uint64_t> slowest{0};
  std::vector<uint64_t> stopped(world.size());
  std::vector<std::thread> programs;
  for (size_t r = 0; r < world.size(); ++r) {
    programs.emplace_back([&, r] {
      for (uint64_t step = 1;; ++step) {
        // Rank 2 is what the others wait for, a step behind them.
        while (r != 2 && step > slowest.load() + 2) std::this_thread::yield();
        if (r == 2 && step == 5) world[2]->AskToStop();
        Boundary boundary;
        do {
          boundary = world[r]->PassBoundary(milliseconds(20));
        } while (boundary == Boundary::kNotDecided);
        if (r == 2) slowest.store(step);
        if (boundary != Boundary::kStop) continue;
        stopped[r] = step;
        return;
      }
    });
  }
  for (std::thread& program : programs) program.join();
  EXPECT_GE(stopped[0], 5u);
  EXPECT_EQ(stopped[1], stopped[0]);
  EXPECT_EQ(stopped[2], stopped[0]);
}

TEST(StopAgreement, ALostRankEndsTheWait) {
  auto world = World(2, PathChoice::kTcp);
  world[0]->Abort(absl::InternalError("x"));
  world[1]->AskToStop();
  Boundary boundary;
  do {
    boundary = world[1]->PassBoundary(milliseconds(20));
  } while (boundary == Boundary::kNotDecided);
  EXPECT_EQ(boundary, Boundary::kGoOn);
}

}  // namespace
}  // namespace oneflow::comm
