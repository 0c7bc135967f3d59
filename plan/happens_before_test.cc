#include "plan/happens_before.h"

#include <random>

#include "gtest/gtest.h"
#include "plan/plan_builder_for_test.h"

namespace oneflow {
namespace {

FiringId F(uint32_t task, uint32_t step = 0, uint32_t micro = 0, uint32_t chunk = 0) {
  return {task, step, micro, chunk};
}

// Two streams, a register of one slot between them:  load -> use, then rest on the stream of use.
struct TwoStreams {
  PlanBuilder builder;
  uint32_t load, use, rest;
  explicit TwoStreams(uint32_t slots) {
    const uint32_t feed = builder.Stream("feed");
    const uint32_t compute = builder.Stream("compute");
    load = builder.Task("load", feed);
    use = builder.Task("use", compute);
    rest = builder.Task("rest", compute);
    builder.Register(load, {use}, {.slots = slots});
  }
};

TEST(HappensBefore, OneSlotOrdersTheRefillAfterTheReader) {
  TwoStreams t(1);
  const plan::Plan plan = t.builder.Build();
  const HappensBefore order(plan);
  EXPECT_TRUE(order.Before(F(t.load), F(t.use)));
  EXPECT_TRUE(order.Before(F(t.use), F(t.rest)));
  EXPECT_TRUE(order.Before(F(t.load), F(t.rest)));
  EXPECT_FALSE(order.Before(F(t.use), F(t.load)));
  EXPECT_TRUE(order.Before(F(t.use), F(t.load, 1)));
  EXPECT_FALSE(order.Before(F(t.rest), F(t.load, 1)));  // may still run
  EXPECT_TRUE(order.Before(F(t.rest), F(t.load, 2)));   // the next use waits for it
  EXPECT_FALSE(order.Before(F(t.use), F(t.use)));
}

TEST(HappensBefore, TwoSlotsLetTheProducerRunAhead) {
  TwoStreams t(2);
  const plan::Plan plan = t.builder.Build();
  const HappensBefore order(plan);
  EXPECT_FALSE(order.Before(F(t.use), F(t.load, 1)));
  EXPECT_TRUE(order.Before(F(t.use), F(t.load, 2)));
  EXPECT_TRUE(order.Before(F(t.use, 5), F(t.load, 7)));     // repeats with the step
  EXPECT_TRUE(order.Before(F(t.use, 1), F(t.load, 4000)));  // beyond the expansion
  EXPECT_FALSE(order.Before(F(t.load, 1), F(t.use)));
}

TEST(HappensBefore, RegistersAreComparedOverAllTheirAccesses) {
  PlanBuilder builder;
  const uint32_t feed = builder.Stream("feed");
  const uint32_t compute = builder.Stream("compute");
  const uint32_t other = builder.Stream("comm");
  const uint32_t load = builder.Task("load", feed);
  const uint32_t read = builder.Task("read", compute);
  const uint32_t copy = builder.Task("copy", other);
  const uint32_t late = builder.Task("late", compute);
  const uint32_t sink = builder.Task("sink", compute);
  const uint32_t a = builder.Register(load, {read, copy});
  const uint32_t b = builder.Register(late, {sink});
  const plan::Plan plan = builder.Build();
  HappensBefore order(plan);
  EXPECT_FALSE(order.AllBefore(a, 0, b, 0));  // copy may still read
  plan::AfterEdge edge;
  edge.set_task(copy);
  order.AddAfterEdge(late, edge);
  EXPECT_TRUE(order.AllBefore(a, 0, b, 0));
  EXPECT_TRUE(order.Before(F(copy), F(sink)));  // what follows learns it too
  EXPECT_FALSE(order.AllBefore(b, 0, a, 1));
}

TEST(HappensBefore, MicroBatchesAndChunksFollowTheLevelOfTheRegister) {
  PlanBuilder builder(4);
  const uint32_t feed = builder.Stream("feed");
  const uint32_t compute = builder.Stream("compute");
  const uint32_t comm = builder.Stream("comm");
  const uint32_t start = builder.Task("start", feed);
  const uint32_t slice =
      builder.Task("slice", feed, {.level = plan::MICRO, .slot = 1, .slot_per_micro = 2});
  const uint32_t use =
      builder.Task("use", compute, {.level = plan::MICRO, .slot = 1, .slot_per_micro = 2});
  const uint32_t ring = builder.Task("ring", comm, {.level = plan::CHUNK, .slot = 99, .chunks = 3});
  const uint32_t end = builder.Task("end", compute, {.slot = 99});
  builder.Register(start, {slice});
  builder.Register(slice, {use}, {.level = plan::MICRO, .slots = 2});
  builder.Register(use, {ring});
  builder.Register(ring, {end});
  const plan::Plan plan = builder.Build();
  const HappensBefore order(plan);
  EXPECT_TRUE(order.Before(F(slice, 0, 2), F(use, 0, 2)));
  EXPECT_TRUE(order.Before(F(use, 0, 0), F(slice, 0, 2)));  // two slots
  EXPECT_FALSE(order.Before(F(use, 0, 1), F(slice, 0, 2)));
  EXPECT_TRUE(order.Before(F(use, 0, 2), F(slice, 1, 0)));  // across the wrap
  EXPECT_FALSE(order.Before(F(use, 0, 3), F(slice, 1, 0)));
  EXPECT_TRUE(
      order.Before(F(slice, 0, 3), F(start, 1)));  // start's slot is held to the last micro-batch
  EXPECT_TRUE(order.Before(F(use, 0, 3), F(ring, 0, 0, 0)));
  EXPECT_TRUE(order.Before(F(ring, 0, 0, 2), F(end)));
}

TEST(HappensBefore, AReceiveBeginsAtItsPostAndEndsAtItsArrival) {
  PlanBuilder builder;
  const uint32_t recv_stream = builder.Stream("recv");
  const uint32_t compute = builder.Stream("compute");
  const uint32_t recv = builder.Task("recv", recv_stream, {.kind = plan::RECV});
  const uint32_t use = builder.Task("use", compute);
  const uint32_t rest = builder.Task("rest", compute);
  builder.Register(recv, {use}, {.slots = 2});
  const plan::Plan plan = builder.Build();
  const HappensBefore order(plan);
  EXPECT_TRUE(order.Before(F(recv), F(use)));
  EXPECT_TRUE(order.Before(F(use), F(recv, 2)));
  EXPECT_FALSE(order.Before(F(use), F(recv, 1)));
  // The second post may come before the first arrival, yet arrivals keep their order.
  EXPECT_FALSE(order.Before(F(recv), F(recv, 1)));
  EXPECT_TRUE(order.Before(F(recv), F(recv, 2)));
  EXPECT_TRUE(order.Before(F(recv), F(use, 1)));
  EXPECT_FALSE(order.Before(F(rest), F(recv, 2)));
}

// A plan of several streams with random registers and edges that raise the stamp.
plan::Plan RandomPlan(uint32_t seed) {
  std::mt19937 random(seed);
  auto below = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
  PlanBuilder builder(1 + below(3));
  const uint32_t streams = 2 + below(3);
  for (uint32_t s = 0; s < streams; ++s) builder.Stream("s" + std::to_string(s));
  const uint32_t recv_stream = builder.Stream("recv");
  const uint32_t tasks = 8;
  std::vector<uint32_t> ids;
  ids.push_back(
      builder.Task("recv", recv_stream,
                   {.kind = plan::RECV, .level = plan::MICRO, .slot = 1, .slot_per_micro = 1}));
  for (uint32_t i = 0; i < tasks; ++i) {
    const uint32_t place = below(3);
    TaskSpec spec{.level = place == 1 ? plan::MICRO : plan::STEP, .slot = place == 2 ? 50 : place};
    if (place == 1) spec.slot_per_micro = 1;
    ids.push_back(builder.Task("t" + std::to_string(i), below(streams), spec));
  }
  plan::Plan& plan = builder.plan();
  auto first_stamp = [&](uint32_t t) { return StampOf(plan, FirstFiring(plan, t, plan::STEP, 0)); };
  for (const uint32_t a : ids) {
    for (const uint32_t b : ids) {
      const plan::Task& from = plan.tasks(static_cast<int>(a));
      const plan::Task& to = plan.tasks(static_cast<int>(b));
      if (first_stamp(a) >= first_stamp(b) || below(4) != 0) continue;
      const bool both = from.level() == plan::MICRO && to.level() == plan::MICRO;
      const plan::Level level = both ? plan::MICRO : plan::STEP;
      const bool fits = both || StampOf(plan, LastFiring(plan, a, level, 0)) < first_stamp(b);
      if (fits) builder.Register(a, {b}, {.level = level, .slots = 1 + below(2)});
    }
  }
  return builder.Build();
}

// Reachability over start and end events, written out plainly.
std::vector<std::vector<bool>> Reach(const plan::Plan& plan, const FiringGraph& graph,
                                     uint32_t steps) {
  const size_t n = size_t{graph.size()} * steps;
  std::vector<std::vector<bool>> reach(2 * n,
                                       std::vector<bool>(2 * n, false));  // 2i start, 2i+1 end
  auto node = [&](uint32_t step, uint32_t i) { return 2 * (size_t{step} * graph.size() + i); };
  for (uint32_t s = 0; s < steps; ++s) {
    for (uint32_t i = 0; i < graph.size(); ++i) reach[node(s, i)][node(s, i) + 1] = true;
    for (const FiringEdge& e : graph.edges()) {
      if (s + e.steps >= steps) continue;
      const bool receives =
          plan.tasks(static_cast<int>(graph.TaskOf(e.from))).kind() == plan::RECV &&
          e.kind == EdgeKind::kStream;
      const size_t from = node(s, e.from), to = node(s + e.steps, e.to);
      if (receives) {
        reach[from][to] = true;
        reach[from + 1][to + 1] = true;
      } else {
        reach[from + 1][to] = true;
      }
    }
  }
  for (size_t k = 0; k < 2 * n; ++k) {
    for (size_t i = 0; i < 2 * n; ++i) {
      if (!reach[i][k]) continue;
      for (size_t j = 0; j < 2 * n; ++j) {
        if (reach[k][j]) reach[i][j] = true;
      }
    }
  }
  return reach;
}

TEST(HappensBefore, EqualsReachabilityOnRandomPlansAlsoWithAddedEdges) {
  for (uint32_t seed = 0; seed < 40; ++seed) {
    plan::Plan plan = RandomPlan(seed);
    HappensBefore order(plan, 3);
    for (int round = 0; round < 3; ++round) {
      const FiringGraph graph(plan);
      const auto reach = Reach(plan, graph, 3);
      uint32_t ordered = 0;
      for (uint32_t s = 0; s < 3; ++s) {
        for (uint32_t i = 0; i < graph.size(); ++i) {
          for (uint32_t j = 0; j < graph.size(); ++j) {
            const bool expected = reach[2 * size_t{i} + 1][2 * (size_t{s} * graph.size() + j)];
            const FiringId a = graph.At(plan, i), b = graph.At(plan, j, s);
            ASSERT_EQ(order.Before(a, b), expected)
                << "seed " << seed << ": " << FiringName(plan, a) << " and " << FiringName(plan, b);
            ordered += expected;
          }
        }
      }
      EXPECT_GT(ordered, 0u);
      // One more edge between two tasks of one level, in stamp order.
      const uint32_t a = (seed + static_cast<uint32_t>(round)) % 8, b = 8 - a;
      const plan::Task& from = plan.tasks(static_cast<int>(a));
      if (a >= b || from.level() != plan.tasks(static_cast<int>(b)).level()) continue;
      plan::AfterEdge edge;
      edge.set_task(a);
      edge.set_level(from.level());
      edge.set_lag(StampOf(plan, FiringAt(plan, a, 0)) < StampOf(plan, FiringAt(plan, b, 0)) ? 0
                                                                                             : 4);
      order.AddAfterEdge(b, edge);
      *plan.mutable_tasks(static_cast<int>(b))->add_after() = edge;
    }
  }
}

}  // namespace
}  // namespace oneflow
