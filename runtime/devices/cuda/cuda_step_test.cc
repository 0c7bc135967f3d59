// Steps as graphs on a GPU without one (kernels/cuda/soft_cuda_for_test.h): what they read, when they are over,
// and that nothing which they use goes before.
#include "runtime/devices/cuda/cuda_step.h"

#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/soft_cuda_for_test.h"
#include "kernels/cuda/soft_gpus_for_test.h"
#include "kernels/cuda/soft_memory_for_test.h"
#include "kernels/cuda/soft_nccl_for_test.h"
#include "plan/gpu_memory.h"

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
  for (int64_t step = 0; step < 6; ++step) {  // all places have a graph
    Launch(step);
    Finish(step);
  }
  Block other = *context_->Allocate(0, 64);
  ASSERT_TRUE(step_->Rebind(Work(other.data())).ok());
  memory_ = std::move(other);  // the old block goes with `other`
  Launch(6);
  Finish(6);
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

// What comes behind it in its stream waits until the test lets it.
struct Holds final : public kernels::Kernel {
  absl::Status Run(const kernels::KernelArgs&, kernels::Stream* stream) const override {
    return stream->OnComplete(
        [](void* argument) {
          const auto* open = static_cast<const std::atomic<bool>*>(argument);
          while (!open->load()) std::this_thread::yield();
        },
        open);
  }
  std::atomic<bool>* open = nullptr;
};

class CudaStepOnTwoGpusTest : public testing::Test {
 protected:
  void SetUp() override {
    kernels::SoftGpus::Of().Set(2, /*reach=*/false);
    context_ = *CudaContext::Make(api_, /*captures=*/true);
    for (const int gpu : {0, 1}) ASSERT_TRUE(context_->Open(gpu).ok());
    here_ = *context_->Allocate(0, 64);
    there_ = *context_->Allocate(1, 64);
    near_ = reinterpret_cast<float*>(here_.data());
    far_ = reinterpret_cast<float*>(there_.data());
    context_->Drain();  // the zeros
    holds_.open = &open_;
    work_.lanes = {{0, "compute"}, {1, "compute"}};
    work_.devices = {0, 1};
    work_.window = 4;
    work_.names = {"task"};
  }
  void TearDown() override {
    step_.reset();
    here_ = Block();
    there_ = Block();
    context_.reset();
    kernels::SoftGpus::Of().Set(1, false);
  }
  StepWork::Firing On(uint32_t device, const kernels::Kernel* kernel) {
    StepWork::Firing firing;
    firing.op = &op_;
    firing.kernel = kernel;
    firing.lane = firing.device = device;
    return firing;
  }
  // far[0] <- the only input, then far[1] += far[0], both behind what the test holds.
  void MakeFeedingStep() {
    work_.input_bytes = {4};
    StepWork::Firing feed = On(1, nullptr);
    feed.kind = StepWork::Kind::kFeed;
    feed.dtype = DType::kF32;
    feed.logical = feed.begin = feed.extent = {1};
    feed.begin = {0};
    feed.outputs = {far_};
    StepWork::Firing add = On(1, &adds_[0]);
    add.inputs = {far_};
    add.outputs = {far_ + 1};
    work_.firings = {On(1, &holds_), feed, add};
    step_ = *CudaStep::Make(context_, work_, /*captures=*/false);
  }
  void Launch(int64_t step, float input) {
    const auto* bytes = reinterpret_cast<const std::byte*>(&input);
    ASSERT_TRUE(step_->Launch(step, &bytes).ok());
  }
  void Finish(int64_t step) {
    std::vector<StepBlock> blocks(work_.devices.size());
    ASSERT_TRUE(step_->Finish(step, nullptr, &blocks).ok());
  }
  // Time for what does not wait to come too early.
  static void Pause() { std::this_thread::sleep_for(std::chrono::milliseconds(30)); }

  const kernels::CudaApi* const api_ = kernels::SoftCudaApi();
  const std::string op_ = "op";
  std::atomic<bool> open_{false};
  Holds holds_;
  AddsOnItsGpu adds_[3];
  std::shared_ptr<CudaContext> context_;
  Block here_, there_;
  float* near_ = nullptr;
  float* far_ = nullptr;
  StepWork work_;
  std::unique_ptr<CudaStep> step_;
};

// Registers of another GPU as inputs, as outputs that a firing changes, and as both at once.
TEST_F(CudaStepOnTwoGpusTest, OperandsOfTheOtherGpuAreBroughtAndSent) {
  near_[0] = 1;
  far_[0] = 10;
  far_[1] = 100;
  StepWork::Firing firing = On(0, &adds_[0]);  // far[1] += near[0]
  firing.inputs = {near_};
  firing.outputs = {far_ + 1};
  firing.remote_outputs = {{0, 1, 4, /*whole=*/false}};
  work_.firings.push_back(firing);
  firing = On(0, &adds_[1]);  // near[1] += far[1]
  firing.inputs = {far_ + 1};
  firing.outputs = {near_ + 1};
  firing.remote_inputs = {{0, 1, 4}};
  work_.firings.push_back(firing);
  firing = On(0, &adds_[2]);  // far[0] += far[0], one place
  firing.inputs = {far_};
  firing.outputs = {far_};
  firing.remote_inputs = firing.remote_outputs = {{0, 1, 4}};
  work_.firings.push_back(firing);
  step_ = *CudaStep::Make(context_, work_, /*captures=*/true);
  for (int64_t i = 0; i < 3; ++i) {
    ASSERT_TRUE(step_->Launch(i, nullptr).ok());
    Finish(i);
  }
  EXPECT_EQ(far_[1], 103);
  EXPECT_EQ(near_[1], 101 + 102 + 103);
  EXPECT_EQ(far_[0], 80);
}

TEST_F(CudaStepOnTwoGpusTest, InputsWaitForTheStepBefore) {
  MakeFeedingStep();
  Launch(0, 5);
  Launch(1, 7);
  Pause();
  open_.store(true);
  Finish(0);
  Finish(1);
  EXPECT_EQ(far_[1], 12);
}

TEST_F(CudaStepOnTwoGpusTest, AStepWaitsForItsInputs) {
  MakeFeedingStep();
  open_.store(true);
  std::atomic<bool> arrives{false};
  const auto wait = [](void* argument) {
    while (!static_cast<std::atomic<bool>*>(argument)->load()) std::this_thread::yield();
  };
  ASSERT_TRUE(context_->StreamOfGpu(1)->OnComplete(wait, &arrives).ok());
  Launch(0, 5);
  Pause();
  arrives.store(true);
  Finish(0);
  EXPECT_EQ(far_[1], 5);
}

TEST_F(CudaStepOnTwoGpusTest, WhatIsDoneAsideWaitsForTheSteps) {
  MakeFeedingStep();
  Launch(0, 5);
  float read = 0;
  ASSERT_TRUE(context_
                  ->Aside(1,
                          [&](kernels::CudaStream* stream) {
                            return kernels::CudaStatus(
                                *api_, api_->copy(&read, far_ + 1, 4, stream->handle()), "a read");
                          })
                  .ok());
  Pause();
  open_.store(true);
  context_->StreamOfGpu(1)->Drain();
  EXPECT_EQ(read, 5);
  Finish(0);
}

// Counts the copies of large inputs that are over.
std::atomic<int> brought{0};
kernels::CudaError CopyAndCount(void* to, const void* from, int64_t bytes,
                                kernels::CudaStreamHandle stream) {
  const kernels::CudaApi* api = kernels::SoftCudaApi();
  const kernels::CudaError error = api->copy(to, from, bytes, stream);
  if (error != 0 || !InputsComeAhead(bytes)) return error;
  return api->stream_callback(
      stream, [](void*) { ++brought; }, nullptr);
}

// register[0] <- the only input, a large one, then total += register[0], behind what the test holds; on the GPU that
// leads or the other, in graphs or not.
class LargeInputsTest : public CudaStepOnTwoGpusTest,
                        public testing::WithParamInterface<std::tuple<uint32_t, bool>> {
 protected:
  static constexpr int64_t kElements = (int64_t{1} << 18) + 64;
  void SetUp() override {
    CudaStepOnTwoGpusTest::SetUp();
    const auto [device, captures] = GetParam();
    counting_.copy = &CopyAndCount;
    context_ = *CudaContext::Make(&counting_, captures);
    for (const int gpu : {0, 1}) ASSERT_TRUE(context_->Open(gpu).ok());
    register_ = *context_->Allocate(static_cast<int>(device), kElements * 4);
    context_->Drain();
    work_.input_bytes = {kElements * 4};
    StepWork::Firing feed = On(device, nullptr);
    feed.kind = StepWork::Kind::kFeed;
    feed.dtype = DType::kF32;
    feed.logical = feed.extent = {kElements};
    feed.begin = {0};
    feed.outputs = {register_.data()};
    StepWork::Firing add = On(device, &adds_[0]);
    add.inputs = {register_.data()};
    add.outputs = {device == 0 ? near_ : far_};
    work_.firings = {On(device, &holds_), feed, add};
    step_ = *CudaStep::Make(context_, work_, captures);
    open_.store(true);
    for (int64_t step = 0; step < 6; ++step) {  // all places have their graphs
      LaunchAs(step, 0);
      Finish(step);
    }
    brought.store(0);
    open_.store(false);
  }
  void TearDown() override {
    open_.store(true);
    step_.reset();
    register_ = Block();
    CudaStepOnTwoGpusTest::TearDown();
  }
  void LaunchAs(int64_t step, float value) {
    const std::vector<float> input(kElements, value);
    const auto* bytes = reinterpret_cast<const std::byte*>(input.data());
    ASSERT_TRUE(step_->Launch(step, &bytes).ok());
  }
  // True if so many have come before the test has waited for long.
  static bool Brought(int wanted) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (brought.load() < wanted && std::chrono::steady_clock::now() < end) {
      std::this_thread::yield();
    }
    return brought.load() == wanted;
  }
  float Total() const { return std::get<0>(GetParam()) == 0 ? near_[0] : far_[0]; }

  kernels::CudaApi counting_ = *kernels::SoftCudaApi();
  Block register_;
};

TEST_P(LargeInputsTest, ComeWhileTheStepBeforeRuns) {
  LaunchAs(6, 1);
  LaunchAs(7, 10);
  LaunchAs(8, 100);
  EXPECT_TRUE(Brought(2));
  Pause();
  EXPECT_TRUE(Brought(2)) << "the third overwrites what the first reads";
  open_.store(true);
  for (const int64_t step : {6, 7, 8}) Finish(step);
  EXPECT_EQ(Total(), 111);
}

TEST_P(LargeInputsTest, WaitForTheStepThatReadsTheSameHalf) {
  LaunchAs(6, 1);
  LaunchAs(8, 10);
  Pause();
  EXPECT_TRUE(Brought(1));
  open_.store(true);
  for (const int64_t step : {6, 8}) Finish(step);
  EXPECT_EQ(Total(), 11);
}

// What makes the blocks of a new step zeros stands in the stream that its inputs do not come by.
TEST_P(LargeInputsTest, TheFirstComeBehindTheZerosOfTheirBlock) {
  const auto hold = [](void* open) {
    while (!static_cast<std::atomic<bool>*>(open)->load()) std::this_thread::yield();
  };
  ASSERT_TRUE(context_->stream()->OnComplete(hold, &open_).ok());
  const std::unique_ptr<CudaStep> fresh = *CudaStep::Make(context_, work_, std::get<1>(GetParam()));
  const std::vector<float> input(kElements, 7.0F);
  const auto* bytes = reinterpret_cast<const std::byte*>(input.data());
  ASSERT_TRUE(fresh->Launch(0, &bytes).ok());
  Pause();
  EXPECT_TRUE(Brought(0));
  open_.store(true);
  std::vector<StepBlock> blocks(work_.devices.size());
  ASSERT_TRUE(fresh->Finish(0, nullptr, &blocks).ok());
  EXPECT_EQ(Total(), 7);
}

TEST_P(LargeInputsTest, WhatIsDoneAsideStandsBetweenTwoSteps) {
  LaunchAs(6, 1);
  LaunchAs(7, 2);
  const float written = 100;
  const int gpu = static_cast<int>(std::get<0>(GetParam()));
  const auto write = [&](kernels::CudaStream* stream) -> absl::Status {
    OF_RETURN_IF_ERROR(stream->OnComplete(
        [](void*) { std::this_thread::sleep_for(std::chrono::milliseconds(30)); }, nullptr));
    return kernels::CudaStatus(
        *api_, api_->copy_in(gpu == 0 ? near_ : far_, &written, 4, stream->handle()), "a write");
  };
  ASSERT_TRUE(context_->Aside(gpu, write).ok());
  LaunchAs(8, 3);
  open_.store(true);
  for (const int64_t step : {6, 7, 8}) Finish(step);
  EXPECT_EQ(Total(), 103);
}

INSTANTIATE_TEST_SUITE_P(OnAGpu, LargeInputsTest,
                         testing::Combine(testing::Values(0u, 1u), testing::Bool()));

// A ring that is one call, then a task of each member that reads the result; another ring of the same GPUs
// on other streams.
class CudaStepRingsTest : public CudaStepOnTwoGpusTest {
 protected:
  void SetUp() override {
    kernels::SetSoftNccl(true);
    CudaStepOnTwoGpusTest::SetUp();
    // Devices 0 and 2 lie on GPU 0, 1 and 3 on GPU 1.
    work_.devices = {0, 1, 2, 3};
    work_.lanes = {{0, "comm"}, {1, "comm"}, {2, "comm"}, {3, "comm"}};
  }
  void TearDown() override {
    CudaStepOnTwoGpusTest::TearDown();
    kernels::SetSoftNccl(false);
  }
  void AddRing(RingKind kind, uint32_t first_device, float* first, float* second) {
    WholeRing ring;
    ring.kind = kind;
    ring.mode = "sum";
    ring.dtype = DType::kF32;
    ring.elements = 4;
    ring.even = true;
    for (uint32_t m = 0; m < 2; ++m) {
      ring.members.push_back({first_device + m, 0, 0});
      ring.devices.push_back(work_.devices[first_device + m]);
      StepWork::Firing firing = On(first_device + m, nullptr);
      firing.kind = StepWork::Kind::kCollective;
      firing.ring = static_cast<uint32_t>(work_.rings.size());
      firing.member = m;
      firing.outputs = {m == 0 ? first : second};
      work_.firings.push_back(firing);
    }
    work_.rings.push_back(ring);
  }
};

TEST_F(CudaStepRingsTest, EachKindIsOneCall) {
  for (const RingKind kind :
       {RingKind::kAllReduce, RingKind::kReduceScatter, RingKind::kAllGather}) {
    for (int i = 0; i < 4; ++i) {
      near_[i] = static_cast<float>(i);
      far_[i] = static_cast<float>(10 * i);
    }
    work_.firings.clear();
    work_.rings.clear();
    AddRing(kind, 0, near_, far_);
    step_ = *CudaStep::Make(context_, work_, /*captures=*/true);
    ASSERT_TRUE(step_->Launch(0, nullptr).ok());
    Finish(0);
    const bool sums = kind != RingKind::kAllGather;
    EXPECT_EQ(near_[1], sums ? 11 : 1);
    EXPECT_EQ(far_[3], sums ? 33 : 30);
    EXPECT_EQ(far_[1], kind == RingKind::kAllReduce ? 11 : sums ? -77 : 1);
    EXPECT_EQ(near_[3], kind == RingKind::kAllReduce ? 33 : sums ? -77 : 30);
  }
}

TEST_F(CudaStepRingsTest, CallsOfAGpuFollowEachOtherOnAllStreams) {
  // Two communicators: captured, their calls would come in a drawn order, and stand in each other's way.
  testing::internal::CaptureStderr();
  for (int i = 0; i < 8; ++i) near_[i] = far_[i] = 1;
  for (int i = 0; i < 3; ++i) {
    AddRing(RingKind::kAllReduce, 0, near_, far_);
    AddRing(RingKind::kAllReduce, 2, near_ + 4, far_ + 4);
  }
  step_ = *CudaStep::Make(context_, work_, /*captures=*/true);
  for (int64_t i = 0; i < 12; ++i) {
    for (int e = 0; e < 8; ++e) near_[e] = far_[e] = 1;
    ASSERT_TRUE(step_->Launch(i, nullptr).ok());
    Finish(i);
    EXPECT_EQ(near_[0], 8);
    EXPECT_EQ(far_[7], 8);
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST_F(CudaStepRingsTest, WhoReadsTheSumWaitsForTheCall) {
  near_[0] = 1;
  far_[0] = 2;
  work_.firings.push_back(On(0, &holds_));
  AddRing(RingKind::kAllReduce, 0, near_, far_);
  StepWork::Firing reads = On(3, &adds_[0]);  // far[8] += far[0], on another stream of GPU 1
  reads.inputs = {far_};
  reads.outputs = {far_ + 8};
  reads.waits = {2};
  work_.firings[2].awaited = true;
  work_.firings.push_back(reads);
  step_ = *CudaStep::Make(context_, work_, /*captures=*/false);
  ASSERT_TRUE(step_->Launch(0, nullptr).ok());
  Pause();
  open_.store(true);
  Finish(0);
  EXPECT_EQ(far_[8], 3);
}

}  // namespace
}  // namespace oneflow
