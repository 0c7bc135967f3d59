// The order in which a step is enqueued as a whole holds exactly what the plan holds.
#include "runtime/step_schedule.h"

#include <fstream>
#include <set>
#include <sstream>
#include <string>
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

StepWork WorkOf(const plan::Plan& plan) {
  DeviceSet devices(nullptr);  // for their order alone
  auto program = Program::Create(plan, &devices);
  EXPECT_TRUE(program.ok()) << program.status();
  auto work = StepWorkOf(**program);
  EXPECT_TRUE(work.ok()) << work.status();
  return *std::move(work);
}

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

INSTANTIATE_TEST_SUITE_P(Plans, StepScheduleTest, testing::Range(0, 6));

}  // namespace
}  // namespace oneflow
