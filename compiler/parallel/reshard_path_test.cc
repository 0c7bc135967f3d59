#include "compiler/parallel/reshard_path.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compiler/parallel/step_builder_for_test.h"

namespace oneflow {
namespace {

using ::testing::ElementsAre;

// Paths on one mesh with all devices in one process.
class Paths {
 public:
  explicit Paths(std::vector<Axis> axes, int micro_batches = 1)
      : mesh_(MeshOf(std::move(axes))),
        cost_(CpuTarget(static_cast<int>(mesh_.devices.size()), 16), mesh_, micro_batches),
        paths_(&cost_) {}

  Sharding Make(std::vector<Sbp> sbps, const Shape& shape, int stage = 0,
                std::vector<int64_t> units = {}) const {
    Sharding sharding{stage, std::move(sbps), std::move(units)};
    sharding.units.resize(shape.size(), 0);
    return Canonical(std::move(sharding), cost_.axes(), shape);
  }
  const ReshardPath& Find(const Shape& shape, const Sharding& from, const Sharding& to) {
    return paths_.Find({DType::kF32, shape}, from, to);
  }
  std::vector<std::string> Changes(const Shape& shape, const Sharding& from, const Sharding& to) {
    const ReshardPath& path = Find(shape, from, to);
    if (!path.possible) return {"impossible"};
    std::vector<std::string> changes;
    Sharding at = from;
    for (const ReshardStep& step : path.steps) {
      changes.push_back(ChangeText(cost_.axes(), at, step));
      at = step.to;
    }
    EXPECT_EQ(at, to);
    return changes;
  }

 private:
  const Mesh mesh_;
  const CostModel cost_;
  ReshardPaths paths_;
};

const Sbp B = Sbp::B();
const Sbp P = Sbp::P();
const Sbp S0 = Sbp::S(0);
const Sbp S1 = Sbp::S(1);
const Shape kShape = {64, 64};

TEST(ReshardPathTest, EqualLayoutsNeedNothing) {
  Paths paths({{"dp", 2}});
  EXPECT_THAT(paths.Changes(kShape, paths.Make({B, S0}, kShape), paths.Make({B, S0}, kShape)),
              ElementsAre());
}

TEST(ReshardPathTest, OneAxisIsOneStep) {
  Paths paths({{"dp", 2}});
  const std::vector<std::pair<Sbp, Sbp>> changes = {{S0, B},  {P, B},  {P, S1},
                                                    {S0, S1}, {B, S0}, {B, P}};
  for (const auto& [from, to] : changes) {
    EXPECT_THAT(paths.Changes(kShape, paths.Make({B, from}, kShape), paths.Make({B, to}, kShape)),
                ElementsAre(from.ToString() + "->" + to.ToString() + " on dp"));
  }
}

TEST(ReshardPathTest, ScatterBeforeGather) {
  Paths paths({{"dp", 2}, {"tp", 2}});
  // Reducing first would move twice the bytes on dp.
  EXPECT_THAT(paths.Changes(kShape, paths.Make({B, P, S0}, kShape), paths.Make({B, S1, B}, kShape)),
              ElementsAre("P->S(1) on dp", "S(0)->B on tp"));
}

TEST(ReshardPathTest, InnerSplitsOfADimGoFirstAndComeLast) {
  Paths paths({{"dp", 2}, {"tp", 2}});
  const Sharding both = paths.Make({B, S0, S0}, kShape);
  const Sharding none = paths.Make({B, B, B}, kShape);
  EXPECT_THAT(paths.Changes(kShape, both, none), ElementsAre("S(0)->B on tp", "S(0)->B on dp"));
  EXPECT_THAT(paths.Changes(kShape, none, both), ElementsAre("B->S(0) on dp", "B->S(0) on tp"));
}

TEST(ReshardPathTest, MicroAccumulatesBeforeSpaceReduces) {
  Paths paths({{"dp", 2}}, 4);
  // Once per step instead of once per micro-batch.
  EXPECT_THAT(paths.Changes(kShape, paths.Make({P, P}, kShape), paths.Make({B, B}, kShape)),
              ElementsAre("P->B on micro", "P->B on dp"));
  EXPECT_THAT(paths.Changes(kShape, paths.Make({S0, S0}, kShape), paths.Make({B, B}, kShape)),
              ElementsAre("S(0)->B on dp", "S(0)->B on micro"));
}

TEST(ReshardPathTest, MicroCannotBeCutAnew) {
  Paths paths({{"dp", 2}}, 4);
  EXPECT_THAT(paths.Changes(kShape, paths.Make({S0, B}, kShape), paths.Make({S1, B}, kShape)),
              ElementsAre("impossible"));
  EXPECT_THAT(paths.Changes(kShape, paths.Make({P, B}, kShape), paths.Make({S0, B}, kShape)),
              ElementsAre("impossible"));
}

TEST(ReshardPathTest, AnotherStageIsAnExchange) {
  Paths paths({{"pp", 2}, {"dp", 2}});
  EXPECT_THAT(paths.Changes(kShape, paths.Make({B, S0}, kShape, 0), paths.Make({B, S0}, kShape, 1)),
              ElementsAre("(S(0))->(S(0))@1"));
}

TEST(ReshardPathTest, PartialStaysPartialOrIsMadeByMasking) {
  Paths paths({{"pp", 2}, {"dp", 2}});
  const std::vector<std::string> changes =
      paths.Changes(kShape, paths.Make({B, B}, kShape, 0), paths.Make({B, P}, kShape, 1));
  EXPECT_THAT(changes, ::testing::Contains("B->P on dp"));
}

TEST(ReshardPathTest, OtherUnitsAreNotTheSameLayout) {
  Paths paths({{"dp", 3}});
  const Shape shape = {28, 6};
  const Sharding samples = paths.Make({B, S0}, shape, 0, {7, 0});
  const Sharding rows = paths.Make({B, S0}, shape);
  ASSERT_NE(samples, rows);
  EXPECT_EQ(paths.Find(shape, samples, rows).steps.size(), 2u);  // gather, slice
  EXPECT_GT(paths.Find(shape, samples, rows).cost_ns, 0);
}

TEST(ReshardPathTest, CostsFollowTheBytes) {
  Paths paths({{"dp", 4}});
  const Shape large = {1024, 1024};
  const auto cost = [&](Sbp from, Sbp to) {
    return paths.Find(large, paths.Make({B, from}, large), paths.Make({B, to}, large)).cost_ns;
  };
  EXPECT_GT(cost(P, B), cost(S0, B));
  EXPECT_GT(cost(S0, B), cost(S0, S1));
  EXPECT_GT(cost(S0, S1), cost(B, S0));
  // A ring all-reduce of T bytes moves 2T(n-1)/n: at 4 bytes/ns, and what memory adds.
  const int64_t bytes = 4 * 1024 * 1024;
  EXPECT_GE(cost(P, B), 2 * bytes * 3 / 4 / 4);
  EXPECT_LE(cost(P, B), 3 * (2 * bytes * 3 / 4 / 4));
}

// Every pair of layouts on a mesh of three axes is reached, and what a path claims is what its steps do.
TEST(ReshardPathTest, EveryPairIsReached) {
  Paths paths({{"a", 2}, {"b", 3}, {"c", 2}});
  const Shape shape = {13, 12};
  std::vector<Sharding> layouts;
  const std::vector<Sbp> kinds = {B, S0, S1, P};
  for (const Sbp& a : kinds) {
    for (const Sbp& b : kinds) {
      for (const Sbp& c : kinds) layouts.push_back(paths.Make({B, a, b, c}, shape));
    }
  }
  for (const Sharding& from : layouts) {
    for (const Sharding& to : layouts) {
      const ReshardPath& path = paths.Find(shape, from, to);
      ASSERT_TRUE(path.possible) << from.ToString() << " -> " << to.ToString();
      Sharding at = from;
      for (const ReshardStep& step : path.steps) {
        int changed = 0;
        for (size_t axis = 0; axis < at.sbps.size(); ++axis)
          changed += at.sbps[axis] != step.to.sbps[axis];
        if (step.axis >= 0) {
          EXPECT_EQ(changed, 1) << from.ToString() << " -> " << to.ToString();
          EXPECT_NE(at.sbps[step.axis], step.to.sbps[step.axis]);
        }
        at = step.to;
      }
      EXPECT_EQ(at, to);
    }
  }
}

}  // namespace
}  // namespace oneflow
