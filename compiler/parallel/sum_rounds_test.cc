#include "compiler/parallel/sum_rounds.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "compiler/parallel/reshard_path.h"
#include "compiler/parallel/step_builder_for_test.h"

namespace oneflow {
namespace {

// Hosts of eight H100s: examples/targets/h100.json.
plan::Target Hosts(int devices, int per_host = 8) {
  plan::Target target = CpuTarget(devices, 1);
  for (plan::TargetDevice& device : *target.mutable_devices()) device.set_bytes_per_us(3'000'000);
  target.clear_links();
  AddLink("memory", 1, 0, 1'500'000, &target);
  AddLink("nvlink", per_host, 3'000, 370'000, &target);
  AddLink("network", 0, 8'000, 45'000, &target);
  return target;
}

std::vector<std::string> Texts(int devices, Collective collective, int64_t group, int64_t bytes) {
  const CostModel cost(Hosts(devices), MeshOf({{"dp", devices}}), 1);
  std::vector<std::string> texts;
  for (const Round& round : RoundsByLevel(cost, 1, collective, group, bytes)) {
    texts.push_back(RoundText(round));
    EXPECT_EQ(ParseRound(texts.back()), round);
  }
  return texts;
}

using Rounds = std::vector<std::string>;

TEST(SumRoundsTest, LargeSumsAreScatteredInTheGroups) {
  EXPECT_EQ(Texts(256, Collective::kSum, 8, 64 << 20),
            (Rounds{"scatter 8/1", "sum 32/8", "gather 8/1"}));
  EXPECT_EQ(Texts(256, Collective::kScatter, 8, 64 << 20), (Rounds{"scatter 8/1", "scatter 32/8"}));
  EXPECT_EQ(Texts(256, Collective::kGather, 8, 64 << 20), (Rounds{"gather 32/8", "gather 8/1"}));
}

// Latency x rate is 1.11 MB: seven copies of a direct sum among eight are to be less.
TEST(SumRoundsTest, SmallSumsAreDirectRoundByRound) {
  EXPECT_EQ(Texts(256, Collective::kSum, 8, 16'384),
            (Rounds{"direct 8/1", "direct 8/8", "direct 4/64"}));
  EXPECT_EQ(Texts(16, Collective::kSum, 8, 4), (Rounds{"direct 8/1", "direct 2/8"}));
  // Three copies, but not seven: more rounds of fewer.
  EXPECT_EQ(Texts(256, Collective::kSum, 8, 300'000),
            (Rounds{"direct 4/1", "direct 2/4", "direct 4/8", "direct 4/32", "direct 2/128"}));
  // The share that goes over the network is small, the sum is not.
  EXPECT_EQ(Texts(64, Collective::kSum, 8, 1'200'000),
            (Rounds{"scatter 8/1", "direct 8/8", "gather 8/1"}));
  // 11 hosts are no product of eight and less.
  EXPECT_EQ(Texts(88, Collective::kSum, 8, 16'384),
            (Rounds{"scatter 8/1", "sum 11/8", "gather 8/1"}));
  EXPECT_EQ(Texts(88, Collective::kSum, 8, 4), (Rounds{"sum 88/1"}));
}

TEST(SumRoundsTest, TimeIsThatOfAllRounds) {
  const plan::Target target = Hosts(64);
  const CostModel cost(target, MeshOf({{"dp", 64}}), 1);
  const int64_t bytes = 64 << 20;
  const auto rounds = RoundsByLevel(cost, 1, Collective::kSum, 8, bytes);
  ASSERT_EQ(rounds.size(), 3u);
  // Twice 7/8 over NVLink, and twice 7/8 of an eighth over the network.
  const int64_t nvlink = 2 * (7 * 3'000 + bytes / 8 * 7 * 1000 / 370'000);
  const int64_t network = 14 * 8'000 + 2 * (bytes / 8) / 8 * 7 * 1000 / 45'000;
  const int64_t memory =
      cost.MemoryNs(3 * bytes) + cost.MemoryNs(4 * (bytes / 8)) + cost.MemoryNs(2 * bytes);
  EXPECT_NEAR(static_cast<double>(RoundsNs(cost, 1, rounds, bytes)),
              static_cast<double>(nvlink + network + memory), 5);
  // A gathering is the way back of a scattering.
  const auto gather = RoundsByLevel(cost, 1, Collective::kGather, 8, bytes);
  EXPECT_NEAR(static_cast<double>(RoundsNs(cost, 1, gather, bytes)),
              static_cast<double>(7 * 8'000 + bytes / 8 / 8 * 7 * 1000 / 45'000 + 7 * 3'000 +
                                  bytes / 8 * 7 * 1000 / 370'000 + cost.MemoryNs(2 * (bytes / 8)) +
                                  cost.MemoryNs(2 * bytes)),
              5);
}

// The step of an all-reduce, as the search and InsertReshard get it.
ReshardStep StepOf(const plan::Target& target, std::vector<Axis> axes, int64_t elements, Sbp from,
                   Sbp to) {
  const CostModel cost(target, MeshOf(std::move(axes)), 1);
  Sharding source = Sharding::Broadcast(0, cost.axes().size(), 1), goal = source;
  source.sbps[1] = from;
  goal.sbps[1] = to;
  const TensorType type{DType::kF32, {elements}};
  ReshardPaths paths(&cost);
  const ReshardPath& path = paths.Find(type, Canonical(source, cost.axes(), type.shape),
                                       Canonical(goal, cost.axes(), type.shape));
  EXPECT_EQ(path.steps.size(), 1u);
  return path.steps.empty() ? ReshardStep{} : path.steps[0];
}

TEST(SumRoundsTest, TheFasterWayIsTaken) {
  const Sbp p = Sbp::P(), b = Sbp::B();
  EXPECT_EQ(StepOf(Hosts(64), {{"dp", 64}}, 1 << 20, p, b).group, 8);
  EXPECT_EQ(StepOf(Hosts(8), {{"dp", 8}}, 1 << 20, p, b).group, 0);
  EXPECT_EQ(StepOf(Hosts(64), {{"dp", 8}, {"tp", 8}}, 1 << 20, p, b).group, 0);  // no two of a host
  EXPECT_EQ(StepOf(Hosts(64), {{"dp", 32}, {"tp", 2}}, 1 << 20, p, b).group, 4);
  EXPECT_EQ(StepOf(Hosts(64), {{"dp", 64}}, 1 << 20, p, Sbp::S(0)).group, 8);
  EXPECT_EQ(StepOf(Hosts(64), {{"dp", 64}}, 1 << 20, Sbp::S(0), b).group, 8);
  // Shares of 1,000 elements are uneven.
  EXPECT_EQ(StepOf(Hosts(64), {{"dp", 64}}, 1000, Sbp::S(0), b).group, 0);
  // Flat where a host's own links are the slower ones.
  plan::Target slow = Hosts(64);
  slow.mutable_links(1)->set_latency_ns(900'000);
  slow.mutable_links(1)->set_bytes_per_us(100);
  EXPECT_EQ(StepOf(slow, {{"dp", 64}}, 1 << 20, p, b).group, 0);
}

}  // namespace
}  // namespace oneflow
