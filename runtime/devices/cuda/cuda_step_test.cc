// Steps as graphs on a GPU without one (kernels/cuda/soft_cuda_for_test.h): what they read, when they are over,
// and that nothing which they use goes before.
#include "runtime/devices/cuda/cuda_step.h"

#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/soft_cuda_for_test.h"

namespace oneflow {
namespace {

using kernels::StepBlock;

// Adds 1 to its output when the test lets it; reports wrong data if the test says so.
struct Late final : public kernels::Kernel {
  absl::Status Run(const kernels::KernelArgs& args, kernels::Stream* stream) const override {
    out = static_cast<float*>(args.outputs[0]);
    block = args.block;
    return stream->OnComplete(
        [](void* argument) {
          const Late* late = static_cast<Late*>(argument);
          while (!late->open->load()) std::this_thread::yield();
          if (late->wrong->load()) {
            kernels::ReportDataError(late->block, 5, kernels::DataErrorCode::kIndexOutOfRange, 9,
                                     7);
          }
          *late->out.load() += 1;
        },
        const_cast<Late*>(this));
  }
  std::atomic<bool>* open = nullptr;
  std::atomic<bool>* wrong = nullptr;
  // The same in every step, but written again while the one before may still run.
  mutable std::atomic<float*> out = nullptr;
  mutable std::atomic<StepBlock*> block = nullptr;
};

class CudaStepTest : public testing::Test {
 protected:
  void SetUp() override {
    context_ = *CudaContext::Make(&api_, /*captures=*/true);
    ASSERT_TRUE(context_->Open(0).ok());
    memory_ = *context_->Allocate(0, 64);
    late_.open = &open_;
    late_.wrong = &wrong_;
    step_ = *CudaStep::Make(context_, Work(memory_.data()), /*captures=*/true);
  }
  StepWork Work(std::byte* out) const {
    StepWork work;
    work.lanes = {{0, "compute"}, {1, "compute"}};
    work.devices = {0, 1};
    work.window = 4;
    work.may_fail = true;
    work.names = {"late"};
    StepWork::Firing firing;
    firing.kernel = &late_;
    firing.op = &op_;
    firing.lane = firing.device = 1;
    firing.outputs = {out};
    work.firings.push_back(firing);
    return work;
  }
  float Value() { return *reinterpret_cast<float*>(memory_.data()); }
  void Launch(int64_t step) { ASSERT_TRUE(step_->Launch(step, nullptr).ok()); }
  std::vector<StepBlock> Finish(int64_t step) {
    std::vector<StepBlock> blocks(2);
    EXPECT_TRUE(step_->Finish(step, nullptr, &blocks).ok());
    return blocks;
  }

  const kernels::CudaApi api_ = kernels::SoftCudaRuntime();
  const std::string op_ = "late";
  std::atomic<bool> open_{true};
  std::atomic<bool> wrong_{false};
  Late late_;
  std::shared_ptr<CudaContext> context_;
  Block memory_;
  std::unique_ptr<CudaStep> step_;
};

TEST_F(CudaStepTest, FinishesWhenTheGpuHas) {
  for (int64_t step = 0; step < 6; ++step) {
    open_.store(false);
    Launch(step);
    std::thread opener([this] { open_.store(true); });
    Finish(step);
    EXPECT_EQ(Value(), static_cast<float>(step + 1));
    opener.join();
  }
}

TEST_F(CudaStepTest, GoesToOtherMemoryWhenItIsBoundAgain) {
  for (int64_t step = 0; step < 3; ++step) {
    Launch(step);
    Finish(step);
  }
  Block other = *context_->Allocate(0, 64);
  ASSERT_TRUE(step_->Rebind(Work(other.data())).ok());
  memory_ = std::move(other);  // the old block goes with `other`
  Launch(3);
  Finish(3);
  EXPECT_EQ(Value(), 1);
}

TEST_F(CudaStepTest, WhatIsWrongStaysUntilItIsForgotten) {
  for (int64_t step = 0; step < 3; ++step) {
    Launch(step);
    EXPECT_EQ(Finish(step)[1].error_code, 0u);
  }
  wrong_.store(true);
  Launch(3);
  EXPECT_EQ(Finish(3)[1].error_value, 9);
  wrong_.store(false);
  Launch(4);
  const std::vector<StepBlock> blocks = Finish(4);
  EXPECT_EQ(blocks[1].error_task, 5u);
  EXPECT_EQ(blocks[0].error_code, 0u);
  ASSERT_TRUE(step_->ForgetErrors().ok());
  Launch(5);
  EXPECT_EQ(Finish(5)[1].error_code, 0u);
}

TEST_F(CudaStepTest, NothingGoesBeforeItsGraphIsOver) {
  Launch(0);
  Launch(1);
  Finish(0);
  Finish(1);
  open_.store(false);
  Launch(2);
  Launch(3);
  std::thread opener([this] {
    // Long enough for the memory to go first, if nobody waited.
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    open_.store(true);
  });
  step_.reset();
  memory_ = Block();
  opener.join();
  context_->Drain();
  // A stream that ends tells of writes to memory that had gone.
  kernels::CudaStreamHandle stream = nullptr;
  ASSERT_EQ(api_.stream_create(&stream), 0);
  EXPECT_EQ(api_.stream_destroy(stream), 0);
}

}  // namespace
}  // namespace oneflow
