#include "runtime/stream_order.h"

#include <gtest/gtest.h>

namespace oneflow {
namespace {

StreamPlan HostWork(const std::vector<uint32_t>& tasks) {
  return {tasks, std::vector<bool>(tasks.size()), std::vector<bool>(tasks.size())};
}

TEST(StreamOrderTest, NobodyHasATurnBeforeItsStepIsLaunched) {
  const StreamPlan order = HostWork({4, 7});
  StreamOrder stream(&order);
  EXPECT_EQ(stream.Current(), StreamOrder::kNobody);
  EXPECT_EQ(stream.Launch(), 4);
  EXPECT_EQ(stream.Advance(), 7);
  EXPECT_EQ(stream.Advance(), StreamOrder::kNobody);  // step 1 was not launched
  EXPECT_EQ(stream.Launch(), 4);
}

TEST(StreamOrderTest, LaunchesAheadStartNothingTwice) {
  const StreamPlan order = HostWork({4, 7});
  StreamOrder stream(&order);
  EXPECT_EQ(stream.Launch(), 4);
  EXPECT_EQ(stream.Launch(), StreamOrder::kNobody);
  EXPECT_EQ(stream.Advance(), 7);
  EXPECT_EQ(stream.Advance(), 4);  // step 1 follows at once
  EXPECT_EQ(stream.step(), 1);
}

TEST(StreamOrderTest, AStepIsOverWithItsLastFiring) {
  const StreamPlan order = HostWork({4, 7});
  StreamOrder stream(&order);
  stream.Launch();
  EXPECT_FALSE(stream.Finish());
  EXPECT_TRUE(stream.Finish());
  EXPECT_FALSE(stream.Finish());
}

TEST(StreamOrderTest, ArrivalsAreHandedOnInTheOrderOfTheStream) {
  const StreamPlan order = HostWork({4, 7, 7});
  StreamOrder stream(&order);
  for (int step = 0; step < 2; ++step) {
    for (uint32_t task : order.tasks) {
      EXPECT_EQ(stream.NextArrival(), task);
      stream.Arrive();
    }
  }
}

// pack and assemble on the device, a send between them: the send has its turn when pack is finished,
// the next step's pack its turn while assemble still runs.
TEST(StreamOrderTest, HostWorkWaitsForTheDeviceBeforeIt) {
  const StreamPlan order = {{4, 7, 9}, {true, false, true}, {true, false, true}};
  StreamOrder stream(&order);
  EXPECT_EQ(stream.Launch(), 4);
  EXPECT_TRUE(stream.CurrentReports());
  EXPECT_EQ(stream.Launch(), StreamOrder::kNobody);
  stream.Enqueued();
  EXPECT_EQ(stream.Advance(), StreamOrder::kNobody);
  EXPECT_EQ(stream.Current(), 7);  // in reports it is the send that is next
  EXPECT_EQ(stream.DeviceFinished(), 7);
  EXPECT_FALSE(stream.CurrentReports());
  EXPECT_EQ(stream.Advance(), 9);
  stream.Enqueued();
  EXPECT_EQ(stream.Advance(), 4);
  stream.Enqueued();
  EXPECT_EQ(stream.Advance(), StreamOrder::kNobody);
  EXPECT_EQ(stream.DeviceFinished(), StreamOrder::kNobody);  // assemble; pack still runs
  EXPECT_EQ(stream.DeviceFinished(), 7);
}

}  // namespace
}  // namespace oneflow
