#include "plan/analyse.h"

#include <functional>
#include <numeric>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plan/cycle_ratio.h"
#include "plan/plans_for_test.h"
#include "plan/verify.h"

namespace oneflow {
namespace {

using ::testing::HasSubstr;

// The best ratio over all simple cycles, by walking them.
std::pair<int64_t, int64_t> BestByWalking(const std::vector<TimedEdge>& edges, uint32_t nodes) {
  std::pair<int64_t, int64_t> best = {0, 1};
  std::vector<bool> on_path(nodes, false);
  std::function<void(uint32_t, uint32_t, int64_t, int64_t)> walk = [&](uint32_t start, uint32_t at,
                                                                       int64_t ns, int64_t tokens) {
    for (const TimedEdge& edge : edges) {
      if (edge.from != at || edge.to < start) continue;
      const int64_t n = ns + edge.ns, t = tokens + edge.tokens;
      if (edge.to == start) {
        if (t > 0 && n * best.second > best.first * t) best = {n, t};
      } else if (!on_path[edge.to]) {
        on_path[edge.to] = true;
        walk(start, edge.to, n, t);
        on_path[edge.to] = false;
      }
    }
  };
  for (uint32_t start = 0; start < nodes; ++start) walk(start, start, 0, 0);
  return best;
}

TEST(CycleRatio, EqualsTheBestOfAllCyclesOnRandomGraphs) {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    const uint32_t nodes = 2 + static_cast<uint32_t>(random() % 6);
    std::vector<uint32_t> order(nodes);
    std::iota(order.begin(), order.end(), 0u);
    std::vector<TimedEdge> edges;
    for (uint32_t i = 0; i < 2 * nodes; ++i) {
      const auto from = static_cast<uint32_t>(random() % nodes),
                 to = static_cast<uint32_t>(random() % nodes);
      const auto tokens = static_cast<uint32_t>(from < to ? random() % 2 : 1 + random() % 2);
      edges.push_back({from, to, static_cast<int64_t>(random() % 20), tokens});
    }
    const CycleRatio ratio = MaximumCycleRatio(edges, order);
    const auto [ns, tokens] = BestByWalking(edges, nodes);
    EXPECT_EQ(ratio.ns * tokens, ns * ratio.tokens) << "seed " << seed;
    int64_t sum = 0;
    for (size_t i = 0; i < ratio.edges.size(); ++i) {
      sum += edges[ratio.edges[i]].ns;
      EXPECT_EQ(edges[ratio.edges[i]].to, edges[ratio.edges[(i + 1) % ratio.edges.size()]].from);
    }
    EXPECT_EQ(sum, ratio.ns);
  }
}

TEST(Analyse, ASingleStreamTakesTheSumOfItsTasks) {
  const PlanAnalysis analysis = AnalysePlan(TrainingStep().Build());
  EXPECT_EQ(analysis.step_ns,
            6000);  // six tasks of 1 us on compute; feed and fetch run beside them
  EXPECT_EQ(analysis.critical_cycle.size(), 6u);
  EXPECT_EQ(analysis.cycle_steps, 1);
}

TEST(Analyse, OneSlotMakesProducerAndConsumerTakeTurns) {
  for (const uint32_t slots : {1u, 2u}) {
    PlanBuilder builder;
    const uint32_t feed = builder.Stream("feed");
    const uint32_t compute = builder.Stream("compute");
    const uint32_t load = builder.Task("load.0", feed, {.duration_ns = 700});
    const uint32_t use = builder.Task("use.1", compute, {.duration_ns = 1000});
    builder.Register(load, {use}, {.slots = slots});
    builder.Register(use, {});
    EXPECT_EQ(AnalysePlan(builder.Build()).step_ns, slots == 1 ? 1700 : 1000);
  }
}

TEST(Analyse, APipelineShowsItsBubble) {
  // Two stages, forward 1 us and backward 1 us each, free links: (K + p - 1) x 2 us and the update.
  for (const uint32_t k : {1u, 2u, 4u, 8u}) {
    Pipeline pipeline(k);
    for (plan::Task& task : *pipeline.builder.plan().mutable_tasks()) {
      if (task.op() != "forward" && task.op() != "backward") task.set_duration_ns(0);
    }
    EXPECT_EQ(AnalysePlan(pipeline.Build()).step_ns, 2000 * (k + 1)) << k;
  }
}

TEST(Analyse, WorkIsOfKernelsDeviceByDevice) {
  const PlanAnalysis step = AnalysePlan(TrainingStep().Build());
  ASSERT_EQ(step.work.size(), 1u);
  EXPECT_EQ(step.work[0].compute_ns, 6000);  // feed and fetch compute nothing

  // Every micro-batch counts: K forwards of 1 us on the first stage.
  Pipeline pipeline(4);
  int64_t flops = 0;
  for (plan::Task& task : *pipeline.builder.plan().mutable_tasks()) {
    task.set_duration_ns(task.op() == "forward" && task.device() == 0 ? 1000 : 0);
    task.set_flops(task.device() == 1 && task.op() == "forward" ? 7 : 0);
  }
  const PlanAnalysis stages = AnalysePlan(pipeline.Build());
  ASSERT_EQ(stages.work.size(), 2u);
  EXPECT_EQ(stages.work[0].compute_ns, 4000);
  EXPECT_EQ(stages.work[1].compute_ns, 0);
  EXPECT_EQ(stages.work[0].flops, 0);
  EXPECT_EQ(stages.work[1].flops, 28);
  for (const DeviceWork& work : stages.work) flops += work.flops;
  EXPECT_EQ(flops, stages.flops_per_step);
}

TEST(Analyse, MemoryIsSweptInStampOrder) {
  TrainingStep step;
  const plan::Plan plan = step.Build();
  const PlanAnalysis analysis = AnalysePlan(plan);
  ASSERT_EQ(analysis.memory.size(), 1u);
  const DeviceMemory& memory = analysis.memory[0];
  EXPECT_EQ(memory.arena_bytes, plan.devices(0).arena_bytes());
  EXPECT_EQ(memory.state_bytes, 64);
  // While loss_grad runs: x, h (with y in place), l (fetched later) and dy. While weight_grad runs:
  // x, dy, dw, l.
  EXPECT_EQ(memory.lower_bound, 4 * 64);
  EXPECT_EQ(memory.peak_task, "loss_grad.4");
  ASSERT_EQ(memory.live_at_peak.size(), 4u);
  EXPECT_EQ(memory.live_at_peak[0].name, "feed.0");
  EXPECT_EQ(memory.live_at_peak[0].location, "model.py:10");
  EXPECT_LE(memory.lower_bound, memory.arena_bytes);
}

TEST(Analyse, TheStashOfAPipelineCountsEverySlotInUse) {
  const PlanAnalysis analysis = AnalysePlan(Pipeline(4).Build());
  int64_t stash = 0;
  for (const LiveRegister& live : analysis.memory[0].live_at_peak)
    stash += live.register_id == 1 ? 1 : 0;
  EXPECT_EQ(stash, 2);
}

TEST(Analyse, ARingMovesWhatTheFormulaSays) {
  // 2 T (n - 1) / n per device, T = 64 bytes, n = 2: 64 bytes for each of two devices.
  const PlanAnalysis analysis = AnalysePlan(Ring().Build());
  EXPECT_EQ(analysis.moved_bytes_per_step, 128);
  ASSERT_EQ(analysis.moved.size(), 1u);
  EXPECT_EQ(analysis.moved[0].change, "P->B on dp");
  EXPECT_EQ(analysis.moved[0].tasks, 6);
  EXPECT_EQ(analysis.moved[0].bytes, 128);
}

TEST(Analyse, ThePeriodIsWhereAllSlotsMeetAgain) {
  plan::Plan plan = Pipeline(4).Build();
  for (plan::Register& reg : *plan.mutable_registers()) reg.set_slots(1);
  EXPECT_EQ(PeriodOf(plan), 1);
  const auto slots_of = [&](plan::Level level) -> plan::Register* {
    for (plan::Register& reg : *plan.mutable_registers()) {
      if (reg.level() == level) return &reg;
    }
    return nullptr;
  };
  plan::Register* micro = slots_of(plan::MICRO);
  ASSERT_NE(micro, nullptr);
  micro->set_slots(4);  // four fillings a step: every step alike
  EXPECT_EQ(PeriodOf(plan), 1);
  micro->set_slots(8);
  EXPECT_EQ(PeriodOf(plan), 2);
  micro->set_slots(3);
  EXPECT_EQ(PeriodOf(plan), 3);
  plan::Register* other = plan.mutable_registers(plan.registers_size() - 1);
  ASSERT_NE(other, micro);
  other->set_slots(1 << 19);
  EXPECT_EQ(PeriodOf(plan), 0) << "3 x 2^19";
  other->set_slots(2097143);  // a prime beyond the limit
  EXPECT_EQ(PeriodOf(plan), 0);
}

TEST(Analyse, AReceiveOverlapsWithTheNextPost) {
  const auto [sender, receiver] = Transfer(2, 4);
  plan::Plan slow = receiver;
  slow.mutable_tasks(0)->set_duration_ns(3000);
  EXPECT_EQ(AnalysePlan(slow).step_ns,
            4 * 3000);  // the link is the bottleneck, compute hides behind it
  slow.mutable_channels(0)->set_slots(1);
  slow.mutable_registers(0)->set_slots(1);
  EXPECT_EQ(AnalysePlan(slow).step_ns, 4 * 4000);  // one slot: they take turns
}

TEST(Summary, TellsDevicesMemoryMovementAndBottleneck) {
  Ring ring;
  const plan::Plan plan = ring.Build();
  const std::string text = Summary(plan, AnalysePlan(plan));
  EXPECT_THAT(text,
              HasSubstr("plan test  mesh dp:2  rank 0 of 1  target cpu-test\n"
                        "10 tasks, 4 streams, 8 registers, 1 state, 0 channels, 1 micro-batch\n"));
  EXPECT_THAT(text, HasSubstr("device          compute  comm  arena  lower bound  states\n"
                              "cpu:0 .. cpu:1  2        3     "));
  EXPECT_THAT(text, HasSubstr("reshard     tasks  bytes per step\n"
                              "P->B on dp  6      128 B\n"));
  EXPECT_THAT(text, HasSubstr("per step: at least "));
  EXPECT_THAT(text, HasSubstr("bottleneck"));
  EXPECT_EQ(text, Summary(plan, AnalysePlan(plan)));
}

plan::Link* AddLink(plan::Target* target, const char* name, uint32_t group, int64_t latency_ns,
                    int64_t bytes_per_us) {
  plan::Link* link = target->add_links();
  link->set_name(name);
  link->set_group(group);
  link->set_latency_ns(latency_ns);
  link->set_bytes_per_us(bytes_per_us);
  return link;
}

TEST(LinksText, HasARowForEachLevelWithWhatItJoins) {
  plan::Target target;
  // Two hosts of eight devices, a rank for every two.
  for (uint32_t device = 0; device < 16; ++device) target.add_devices()->set_rank(device / 2);
  AddLink(&target, "memory", 1, 0, 3'000'000);
  AddLink(&target, "nvlink", 8, 4'000, 450'000);
  AddLink(&target, "network", 0, 20'000, 50);
  EXPECT_EQ(LinksText(target),
            "link     devices  ranks  latency  rate\n"
            "memory   1        1      0 ns     3.00 TB/s\n"
            "nvlink   8        4      4.00 us  450 GB/s\n"
            "network  16       8      20.0 us  50 MB/s\n");
}

TEST(LinksText, AGroupMayLieAcrossRanksAndALevelMayHaveNeitherNameNorRate) {
  plan::Target target;
  for (const uint32_t rank : {0u, 0u, 0u, 1u, 1u, 1u}) target.add_devices()->set_rank(rank);
  AddLink(&target, "", 2, 0, 0);   // devices 2 and 3 are of two ranks
  AddLink(&target, "", 99, 1, 1);  // wider than the target
  EXPECT_EQ(LinksText(target),
            "link     devices  ranks  latency  rate\n"
            "level 0  2        2      0 ns     not given\n"
            "level 1  6        2      1 ns     1 MB/s\n");
}

}  // namespace
}  // namespace oneflow
