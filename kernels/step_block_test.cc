// StepBlock: one error per step, the first, whole.
#include "kernels/step_block.h"

#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/kernel.h"

namespace oneflow::kernels {
namespace {

TEST(StepBlock, KeepsTheFirstErrorAndForgetsItWithTheStep) {
  StepBlock block;
  block.Begin(7);
  EXPECT_EQ(block.step, 7u);
  EXPECT_EQ(block.error(), DataErrorCode::kNone);
  EXPECT_EQ(DescribeDataError(block), "");
  KernelArgs args;
  args.block = &block;
  args.task = 3;
  ReportDataError(args, DataErrorCode::kIndexOutOfRange, 37, 10);
  args.task = 4;
  ReportDataError(args, DataErrorCode::kIndexOutOfRange, -1, 5);
  EXPECT_EQ(block.error(), DataErrorCode::kIndexOutOfRange);
  EXPECT_EQ(block.error_task, 3u);
  EXPECT_EQ(DescribeDataError(block), "index 37 is out of range of 10");
  block.Begin(8);
  EXPECT_EQ(block.step, 8u);
  EXPECT_EQ(DescribeDataError(block), "");
}

TEST(StepBlock, AReportOfManyThreadsIsWhole) {
  for (int round = 0; round < 200; ++round) {
    StepBlock block;
    std::vector<std::thread> threads;
    for (uint32_t t = 1; t <= 4; ++t) {
      threads.emplace_back([&block, t] {
        ReportDataError(&block, t, DataErrorCode::kIndexOutOfRange, 100 * t, 1000 * t);
      });
    }
    for (std::thread& thread : threads) thread.join();
    ASSERT_NE(block.error_task, 0u);
    EXPECT_EQ(block.error_value, 100 * block.error_task);
    EXPECT_EQ(block.error_bound, 1000 * block.error_task);
  }
}

}  // namespace
}  // namespace oneflow::kernels
