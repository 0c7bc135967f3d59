#include "runtime/stream_order.h"

#include <gtest/gtest.h>

namespace oneflow {
namespace {

TEST(StreamOrderTest, NobodyHasATurnBeforeItsStepIsLaunched) {
  const std::vector<uint32_t> order = {4, 7};
  StreamOrder stream(&order);
  EXPECT_EQ(stream.Current(), StreamOrder::kNobody);
  EXPECT_EQ(stream.Launch(), 4);
  EXPECT_EQ(stream.Advance(), 7);
  EXPECT_EQ(stream.Advance(), StreamOrder::kNobody);  // step 1 was not launched
  EXPECT_EQ(stream.Launch(), 4);
}

TEST(StreamOrderTest, LaunchesAheadStartNothingTwice) {
  const std::vector<uint32_t> order = {4, 7};
  StreamOrder stream(&order);
  EXPECT_EQ(stream.Launch(), 4);
  EXPECT_EQ(stream.Launch(), StreamOrder::kNobody);
  EXPECT_EQ(stream.Advance(), 7);
  EXPECT_EQ(stream.Advance(), 4);  // step 1 follows at once
  EXPECT_EQ(stream.step(), 1);
}

TEST(StreamOrderTest, AStepIsOverWithItsLastFiring) {
  const std::vector<uint32_t> order = {4, 7};
  StreamOrder stream(&order);
  stream.Launch();
  EXPECT_FALSE(stream.Finish());
  EXPECT_TRUE(stream.Finish());
  EXPECT_FALSE(stream.Finish());
}

TEST(StreamOrderTest, ArrivalsAreHandedOnInTheOrderOfTheStream) {
  const std::vector<uint32_t> order = {4, 7, 7};
  StreamOrder stream(&order);
  for (int step = 0; step < 2; ++step) {
    for (uint32_t task : order) {
      EXPECT_EQ(stream.NextArrival(), task);
      stream.Arrive();
    }
  }
}

}  // namespace
}  // namespace oneflow
