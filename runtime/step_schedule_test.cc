// The order in which a step is enqueued as a whole holds exactly what the plan holds.
#include "runtime/step_schedule.h"

#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "plan/happens_before.h"
#include "plan/text.h"
#include "runtime/plans_for_test.h"

namespace oneflow {
namespace {

plan::Plan Golden(const std::string& name) {
  std::ifstream file(std::string(ONEFLOW_SOURCE_DIR) + "/tests/golden/" + name);
  std::stringstream text;
  text << file.rdbuf();
  return *ParsePlan(text.str());
}

StepWork WorkOf(const plan::Plan& plan, std::function<bool(const WholeRing&)> whole = nullptr) {
  DeviceSet devices(nullptr);  // for their order alone
  auto program = Program::Create(plan, &devices);
  EXPECT_TRUE(program.ok()) << program.status();
  auto work = StepWorkOf(**program, OwnCalls(**program, std::move(whole)));
  EXPECT_TRUE(work.ok()) << work.status();
  return *std::move(work);
}

constexpr uint32_t kNoTask = ~0u;

// By firing: those over before it begins, by lanes and waits but for wait `without`.
struct Wait {
  size_t firing, place;
  bool operator==(const Wait&) const = default;
};
std::vector<std::set<size_t>> Before(const StepWork& work, Wait without = {~size_t{0}, 0}) {
  std::vector<std::set<size_t>> before(work.firings.size());
  std::vector<int64_t> last(work.lanes.size(), -1);
  const auto add = [&](size_t firing, size_t other) {
    before[firing].insert(other);
    before[firing].insert(before[other].begin(), before[other].end());
  };
  for (size_t i = 0; i < work.firings.size(); ++i) {
    const StepWork::Firing& firing = work.firings[i];
    if (last[firing.lane] >= 0) add(i, static_cast<size_t>(last[firing.lane]));
    last[firing.lane] = static_cast<int64_t>(i);
    for (size_t w = 0; w < firing.waits.size(); ++w) {
      if (!(Wait{i, w} == without)) add(i, firing.waits[w]);
    }
  }
  return before;
}

// The same where a call is over for each of its members when all have come to it.
std::vector<std::set<size_t>> BeforeWithCalls(const StepWork& work) {
  std::vector<std::set<size_t>> before(work.firings.size());
  std::vector<int64_t> last(work.lanes.size(), -1);
  for (size_t i = 0; i < work.firings.size(); ++i) {
    const StepWork::Firing& firing = work.firings[i];
    const auto add = [&](size_t other) {
      before[i].insert(other);
      before[i].insert(before[other].begin(), before[other].end());
    };
    if (last[firing.lane] >= 0) add(static_cast<size_t>(last[firing.lane]));
    last[firing.lane] = static_cast<int64_t>(i);
    for (const uint32_t other : firing.waits) add(other);
    if (firing.kind != StepWork::Kind::kCollective ||
        firing.member + 1 < work.rings[firing.ring].members.size()) {
      continue;
    }
    std::set<size_t> all;
    for (size_t m = i - firing.member; m <= i; ++m) all.insert(before[m].begin(), before[m].end());
    for (size_t m = i - firing.member; m <= i; ++m) before[m] = all;
  }
  return before;
}

class StepScheduleTest : public testing::TestWithParam<int> {
 protected:
  static plan::Plan PlanUnderTest() {
    switch (GetParam()) {
      case 0:
        return ChainPlan(3);
      case 1:
        return PingPongPlan(4);
      case 2:
        return PipelinePlan(5, 1);
      case 3:
        return PipelinePlan(5, 2);
      case 4:
        return Golden("network_tp2.plan");
      default:
        return Golden("network_pp2_micro2.plan");
    }
  }
};

TEST_P(StepScheduleTest, OrdersWhatThePlanOrdersAndNothingElse) {
  const plan::Plan plan = PlanUnderTest();
  const StepWork work = WorkOf(plan);
  const HappensBefore order(plan);
  const std::vector<std::set<size_t>> before = Before(work);
  size_t across = 0;
  for (size_t b = 0; b < work.firings.size(); ++b) {
    const StepWork::Firing& later = work.firings[b];
    for (size_t a = 0; a < work.firings.size(); ++a) {
      const StepWork::Firing& earlier = work.firings[a];
      const bool expected = order.Before({earlier.task, 0, earlier.micro, earlier.chunk},
                                         {later.task, 0, later.micro, later.chunk});
      EXPECT_EQ(before[b].contains(a), expected)
          << work.names[earlier.task] << " micro " << earlier.micro << ", "
          << work.names[later.task] << " micro " << later.micro;
      across += expected && earlier.lane != later.lane;
    }
  }
  EXPECT_GT(across, 0u);
}

TEST_P(StepScheduleTest, WaitsForNothingThatIsImplied) {
  const StepWork work = WorkOf(PlanUnderTest());
  const std::vector<std::set<size_t>> all = Before(work);
  size_t waits = 0;
  for (size_t i = 0; i < work.firings.size(); ++i) {
    for (size_t w = 0; w < work.firings[i].waits.size(); ++w) {
      ++waits;
      EXPECT_NE(Before(work, {i, w}), all) << work.names[work.firings[i].task];
      EXPECT_NE(work.firings[work.firings[i].waits[w]].lane, work.firings[i].lane);
      EXPECT_TRUE(work.firings[work.firings[i].waits[w]].awaited);
    }
  }
  EXPECT_GT(waits, 0u);
}

// Every order of the plan between two firings, of which a ring's chunks are one, holds.
TEST(StepScheduleRingsTest, OneCallStandsForAllChunks) {
  const plan::Plan plan = Golden("network_tp2.plan");
  const StepWork apart = WorkOf(plan, [](const WholeRing&) { return false; });
  const StepWork work = WorkOf(plan, [](const WholeRing&) { return true; });
  ASSERT_FALSE(work.rings.empty());
  EXPECT_TRUE(apart.rings.empty());
  std::map<std::pair<uint32_t, uint32_t>, size_t> now;  // by task and micro-batch
  size_t calls = 0;
  for (size_t i = 0; i < work.firings.size(); ++i) {
    const StepWork::Firing& firing = work.firings[i];
    now[{firing.task, firing.micro}] = i;
    if (firing.kind != StepWork::Kind::kCollective) continue;
    ++calls;
    const WholeRing& ring = work.rings[firing.ring];
    now[{ring.members[firing.member].send, firing.micro}] = i;
    now[{ring.members[firing.member].reduce, firing.micro}] = i;
    EXPECT_EQ(firing.device, ring.members[firing.member].device);
    if (firing.member > 0) {
      EXPECT_EQ(work.firings[i - 1].ring, firing.ring);
      EXPECT_EQ(work.firings[i - 1].member + 1, firing.member);
    }
  }
  EXPECT_EQ(calls, 2 * work.rings.size());
  EXPECT_LT(work.firings.size(), apart.firings.size());
  const HappensBefore order(plan);
  const std::vector<std::set<size_t>> before = BeforeWithCalls(work);
  size_t to_calls = 0, from_calls = 0;
  for (const StepWork::Firing& later : apart.firings) {
    for (const StepWork::Firing& earlier : apart.firings) {
      if (!order.Before({earlier.task, 0, earlier.micro, earlier.chunk},
                        {later.task, 0, later.micro, later.chunk})) {
        continue;
      }
      const size_t a = now.at({earlier.task, earlier.micro});
      const size_t b = now.at({later.task, later.micro});
      const auto of_call = [&](size_t i) {
        return work.firings[i].kind == StepWork::Kind::kCollective;
      };
      if (of_call(a) && of_call(b) && work.firings[a].ring == work.firings[b].ring) continue;
      // A member's part ends with its last chunk. What an earlier one has sent to others may be behind them
      // before: nobody but the call touches its buffer until then.
      if (of_call(a)) {
        const WholeRing& ring = work.rings[work.firings[a].ring];
        const uint32_t reduce = ring.members[work.firings[a].member].reduce;
        const uint32_t chunks = plan.tasks(static_cast<int>(reduce)).chunks();
        if (earlier.task != reduce || earlier.chunk + 1 != chunks) continue;
      }
      to_calls += of_call(b);
      from_calls += of_call(a);
      EXPECT_TRUE(before[b].contains(a))
          << apart.names[earlier.task] << ", " << apart.names[later.task];
    }
  }
  EXPECT_GT(to_calls, 0u);
  EXPECT_GT(from_calls, 0u);
}

// An edge to a later chunk alone, from what nothing else orders before the ring.
TEST(StepScheduleRingsTest, ACallWaitsForWhatAnyOfItsChunksWaitsFor) {
  plan::Plan plan = Golden("network_tp2.plan");
  const StepWork apart = WorkOf(plan, [](const WholeRing&) { return false; });
  const HappensBefore order(plan);
  const std::vector<WholeRing> rings = RingsOf(plan);
  ASSERT_FALSE(rings.empty());
  const uint32_t reduce = rings.back().members[1].reduce;
  const FiringId first = {reduce, 0, 0, 0};
  uint32_t earlier = kNoTask;
  for (const StepWork::Firing& firing : apart.firings) {
    const FiringId id = {firing.task, 0, firing.micro, firing.chunk};
    const plan::Task& task = plan.tasks(static_cast<int>(firing.task));
    if (task.level() == plan::STEP &&
        task.stamp().position() < plan.tasks(static_cast<int>(reduce)).stamp().position() &&
        StampOf(plan, id) < StampOf(plan, first) && !order.Before(id, first)) {
      earlier = firing.task;
    }
  }
  ASSERT_NE(earlier, kNoTask);
  plan::AfterEdge* edge = plan.mutable_tasks(static_cast<int>(reduce))->add_after();
  edge->set_task(earlier);
  edge->set_level(plan::STEP);
  const StepWork work = WorkOf(plan, [](const WholeRing&) { return true; });
  ASSERT_EQ(work.rings.size(), rings.size());
  const std::vector<std::set<size_t>> before = Before(work);
  size_t at = 0, call = 0;
  for (size_t i = 0; i < work.firings.size(); ++i) {
    const StepWork::Firing& firing = work.firings[i];
    if (firing.task == earlier) at = i;
    if (firing.kind == StepWork::Kind::kCollective && firing.ring + 1 == rings.size() &&
        firing.member == 1) {
      call = i;
    }
  }
  EXPECT_TRUE(before[call].contains(at)) << work.names[earlier];
}

// What stands between two chunks cannot stand before or behind all of them.
TEST(StepScheduleRingsTest, ARingThatIsEnteredGoesTaskByTask) {
  plan::Plan plan = Golden("network_tp2.plan");
  const std::vector<WholeRing> rings = RingsOf(plan);
  ASSERT_FALSE(rings.empty());
  // The stage of the other member's buffer, say, waits for this member's first chunk: an order of the plan,
  // and none of calls.
  const WholeRing::Member& first = rings[0].members[0];
  const uint32_t other_buffer =
      plan.tasks(static_cast<int>(rings[0].members[1].reduce)).inputs(0).register_();
  const uint32_t stage = plan.registers(static_cast<int>(other_buffer)).producer();
  plan::AfterEdge* edge = plan.mutable_tasks(static_cast<int>(stage))->add_after();
  edge->set_task(first.send);
  edge->set_level(plan::STEP);
  plan.mutable_tasks(static_cast<int>(first.send))->mutable_stamp()->set_sub(0);
  plan.mutable_tasks(static_cast<int>(stage))->mutable_stamp()->set_sub(1);
  const StepWork work = WorkOf(plan, [](const WholeRing&) { return true; });
  EXPECT_TRUE(work.rings.empty());
}

INSTANTIATE_TEST_SUITE_P(Plans, StepScheduleTest, testing::Range(0, 6));

}  // namespace
}  // namespace oneflow
