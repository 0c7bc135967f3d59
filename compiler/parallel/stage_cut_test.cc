#include "compiler/parallel/stage_cut.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

namespace oneflow {
namespace {

using ::testing::ElementsAre;

TEST(StageCutTest, EqualWeightsAreHalved) {
  EXPECT_THAT(StageCut({1, 1, 1, 1}, {0, 5, 5, 5}, 2), ElementsAre(2));
  EXPECT_THAT(StageCut({1, 1, 1, 1, 1, 1}, {0, 5, 5, 5, 5, 5}, 3), ElementsAre(2, 4));
}

TEST(StageCutTest, FewBytesDecideBetweenNearlyEqualCuts) {
  // 50 + 50 and 49 + 51 are both good; the second crosses less.
  EXPECT_THAT(StageCut({49, 1, 50}, {0, 10, 1000}, 2), ElementsAre(1));
  EXPECT_THAT(StageCut({49, 1, 50}, {0, 1000, 10}, 2), ElementsAre(2));
}

// Many parts: a tenth more in seven of them would leave three tenths for the eighth.
TEST(StageCutTest, EvenCutsWhereAllCrossAlike) {
  const std::vector<size_t> cuts =
      StageCut(std::vector<int64_t>(160, 7), std::vector<int64_t>(160, 5), 8);
  EXPECT_THAT(cuts, ElementsAre(20, 40, 60, 80, 100, 120, 140));
}

TEST(StageCutTest, CheapCrossingsEmptyNoRange) {
  // The cheap cuts are the early ones.
  std::vector<int64_t> crossing(160, 100);
  for (size_t i = 0; i < 40; ++i) crossing[i] = 1;
  std::vector<size_t> bounds = StageCut(std::vector<int64_t>(160, 7), crossing, 8);
  bounds.insert(bounds.begin(), 0);
  bounds.push_back(160);
  for (size_t part = 0; part < 8; ++part) EXPECT_GE(bounds[part + 1] - bounds[part], 16u) << part;
}

TEST(StageCutTest, FewerItemsThanParts) {
  EXPECT_THAT(StageCut({7}, {0}, 3), ElementsAre(1, 1));
  EXPECT_THAT(StageCut({7, 7}, {0, 1}, 2), ElementsAre(1));
}

TEST(StageCutTest, ManyItemsAreCutWhereBalanceWantsIt) {
  // Thousands of equal items as a deep MLP has them; 600 in the middle are the cheapest to cross.
  const size_t items = 4000;
  const int parts = 8;
  std::vector<int64_t> weights(items, 3), crossing(items, 100);
  for (size_t i = 2000; i < 2600; ++i) crossing[i] = 1;
  std::vector<size_t> bounds = StageCut(weights, crossing, parts);
  ASSERT_EQ(bounds.size(), 7u);
  bounds.insert(bounds.begin(), 0);
  bounds.push_back(items);
  for (int part = 0; part < parts; ++part) {
    const size_t size = bounds[static_cast<size_t>(part) + 1] - bounds[static_cast<size_t>(part)];
    EXPECT_GT(size, items / parts * 6 / 10) << part;
    EXPECT_LT(size, items / parts * 12 / 10) << part;
  }
  // The cheap crossing that balance allows is taken: one of the bounds lies there.
  EXPECT_TRUE(std::any_of(bounds.begin(), bounds.end(),
                          [](size_t bound) { return bound >= 2000 && bound < 2600; }));
}

// Weights so large that their product with the number of candidates would overflow.
TEST(StageCutTest, LargeWeights) {
  const std::vector<int64_t> weights(1000, int64_t{1} << 50);
  const std::vector<size_t> cuts = StageCut(weights, std::vector<int64_t>(1000, 1), 2);
  ASSERT_EQ(cuts.size(), 1u);
  EXPECT_NEAR(static_cast<double>(cuts[0]), 500, 60);
}

// Against all cuts, on small random cases.
TEST(StageCutTest, WithinATenthOfTheBestAndCheapestThere) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    const int items = 4 + static_cast<int>(random() % 6);
    std::vector<int64_t> weights, crossing;
    for (int i = 0; i < items; ++i) {
      weights.push_back(1 + static_cast<int64_t>(random() % 20));
      crossing.push_back(static_cast<int64_t>(random() % 50));
    }
    const auto heaviest = [&](int a, int b) {
      const auto sum = [&](int i, int j) {
        return std::accumulate(weights.begin() + i, weights.begin() + j, int64_t{0});
      };
      return std::max({sum(0, a), sum(a, b), sum(b, items)});
    };
    const int64_t least = std::accumulate(weights.begin(), weights.end(), int64_t{0}) / 15 * 4;
    const auto lightest = [&](int a, int b) {
      const auto sum = [&](int i, int j) {
        return std::accumulate(weights.begin() + i, weights.begin() + j, int64_t{0});
      };
      return std::min({sum(0, a), sum(a, b), sum(b, items)});
    };
    int64_t best = 1 << 30;
    for (int a = 1; a < items; ++a) {
      for (int b = a + 1; b < items; ++b) best = std::min(best, heaviest(a, b));
    }
    int64_t fewest = 1 << 30, fewest_even = 1 << 30;
    for (int a = 1; a < items; ++a) {
      for (int b = a + 1; b < items; ++b) {
        if (heaviest(a, b) > best + best / 10) continue;
        fewest = std::min(fewest, crossing[a] + crossing[b]);
        if (lightest(a, b) >= least) fewest_even = std::min(fewest_even, crossing[a] + crossing[b]);
      }
    }
    if (fewest_even < 1 << 30) fewest = fewest_even;
    const std::vector<size_t> cuts = StageCut(weights, crossing, 3);
    ASSERT_EQ(cuts.size(), 2u);
    EXPECT_LE(heaviest(static_cast<int>(cuts[0]), static_cast<int>(cuts[1])), best + best / 10);
    EXPECT_EQ(crossing[cuts[0]] + crossing[cuts[1]], fewest);
  }
}

}  // namespace
}  // namespace oneflow
