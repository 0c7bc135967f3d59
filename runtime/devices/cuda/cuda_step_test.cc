// Steps as graphs on a GPU without one (kernels/cuda/soft_cuda_for_test.h): what they read, when they are over,
// and that nothing which they use goes before.
#include "runtime/devices/cuda/cuda_step.h"

#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/soft_cuda_for_test.h"
#include "kernels/cuda/soft_gpus_for_test.h"
#include "kernels/cuda/soft_memory_for_test.h"

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

// Adds its input to its output, if the GPU that it runs on has them.
struct AddsOnItsGpu final : public kernels::Kernel {
  absl::Status Run(const kernels::KernelArgs& args, kernels::Stream* stream) const override {
    in = static_cast<const float*>(args.inputs[0]);
    out = static_cast<float*>(args.outputs[0]);
    for (const void* place : {args.inputs[0], static_cast<const void*>(args.outputs[0])}) {
      int owner = -1;
      EXPECT_TRUE(kernels::SoftMemory::Of().OwnerOf(place, &owner));
      EXPECT_EQ(owner, kernels::SoftGpus::Current());
    }
    return stream->OnComplete(
        [](void* argument) {
          const AddsOnItsGpu* adds = static_cast<AddsOnItsGpu*>(argument);
          *adds->out += *adds->in;
        },
        const_cast<AddsOnItsGpu*>(this));
  }
  mutable const float* in = nullptr;
  mutable float* out = nullptr;
};

// Registers of another GPU as inputs, as outputs that a firing changes, and as both at once.
TEST(CudaStepOnTwoGpusTest, OperandsOfTheOtherGpuAreBroughtAndSent) {
  const kernels::CudaApi api = kernels::SoftCudaRuntime();
  kernels::SoftGpus::Of().Set(2, /*reach=*/false);
  {
    const auto context = *CudaContext::Make(&api, /*captures=*/true);
    for (const int gpu : {0, 1}) ASSERT_TRUE(context->Open(gpu).ok());
    const AddsOnItsGpu adds[3];
    const std::string op = "add";
    const Block here = *context->Allocate(0, 64), there = *context->Allocate(1, 64);
    float* near = reinterpret_cast<float*>(here.data());
    float* far = reinterpret_cast<float*>(there.data());
    context->Drain();  // the zeros
    near[0] = 1;
    far[0] = 10;
    far[1] = 100;
    StepWork work;
    work.lanes = {{0, "comm"}};
    work.devices = {0, 1};
    work.window = 4;
    work.names = {"adds"};
    StepWork::Firing firing;
    firing.op = &op;
    firing.kernel = &adds[0];  // far[1] += near[0]
    firing.inputs = {near};
    firing.outputs = {far + 1};
    firing.remote_outputs = {{0, 1, 4, /*whole=*/false}};
    work.firings.push_back(firing);
    firing.kernel = &adds[1];  // near[1] += far[1]
    firing.inputs = {far + 1};
    firing.outputs = {near + 1};
    firing.remote_inputs = {{0, 1, 4}};
    firing.remote_outputs = {};
    work.firings.push_back(firing);
    firing.kernel = &adds[2];  // far[0] += far[0], one place
    firing.inputs = {far};
    firing.outputs = {far};
    firing.remote_outputs = {{0, 1, 4}};
    work.firings.push_back(firing);
    const auto step = *CudaStep::Make(context, work, /*captures=*/true);
    for (int64_t i = 0; i < 3; ++i) {
      ASSERT_TRUE(step->Launch(i, nullptr).ok());
      std::vector<StepBlock> blocks(2);
      ASSERT_TRUE(step->Finish(i, nullptr, &blocks).ok());
    }
    EXPECT_EQ(far[1], 103);
    EXPECT_EQ(near[1], 101 + 102 + 103);
    EXPECT_EQ(far[0], 80);
  }
  kernels::SoftGpus::Of().Set(1, false);
}

}  // namespace
}  // namespace oneflow
