// What a plan takes of GPUs, reckoned by hand on small plans; on real ones tests/e2e/test_cuda_memory.py holds it beside
// what software CUDA allocates.
#include "plan/gpu_memory.h"

#include "base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plan/memory_limit.h"
#include "plan/plans_for_test.h"

namespace oneflow {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

plan::Plan OnGpus(plan::Plan plan) {
  for (plan::DeviceProto& device : *plan.mutable_devices()) device.set_kind("cuda");
  return plan;
}

plan::Target TargetOf(const plan::Plan& plan, const std::vector<uint32_t>& gpus, int64_t memory) {
  plan::Target target;
  for (int d = 0; d < plan.devices_size(); ++d) {
    plan::TargetDevice* device = target.add_devices();
    device->set_kind("cuda");
    device->set_gpu(gpus[static_cast<size_t>(d)]);
    device->set_memory_bytes(memory);
  }
  return target;
}

TEST(GpuMemory, OfOneDeviceByPool) {
  const plan::Plan plan = OnGpus(TrainingStep().Build());
  const std::vector<GpuMemory> gpus = GpuMemoryOf(plan, {{3}});
  ASSERT_EQ(gpus.size(), 1u);
  EXPECT_EQ(gpus[0].gpu, 3u);
  EXPECT_EQ(gpus[0].states, 64);  // [4,4] f32
  EXPECT_EQ(gpus[0].arenas, plan.devices(0).arena_bytes());
  EXPECT_EQ(gpus[0].inputs, 256);       // 64 bytes, on 256
  EXPECT_EQ(gpus[0].outputs, 2 * 256);  // a report, and the output
  EXPECT_EQ(gpus[0].messages + gpus[0].detours + gpus[0].rounding, 0);
  EXPECT_EQ(gpus[0].Bytes(), 64 + gpus[0].arenas + 3 * 256);
}

TEST(GpuMemory, WhatIsThereIsNotTakenAgain) {
  const plan::Plan plan = OnGpus(TrainingStep().Build());
  const int64_t arena = plan.devices(0).arena_bytes();
  GpuPlacement placement = {{0}};
  placement.states = {"w"};
  placement.arenas = {{arena, false}};
  EXPECT_EQ(GpuMemoryOf(plan, placement)[0].Bytes(), 3 * 256);
  placement.arenas = {{arena - 64, false}};  // it is allocated anew: all of the new one
  EXPECT_EQ(GpuMemoryOf(plan, placement)[0].arenas, arena);
  placement.arenas = {{arena - 64, true}};  // where it lies
  EXPECT_EQ(GpuMemoryOf(plan, placement)[0].arenas, 64);
}

TEST(GpuMemory, OnlyWhatKeepsNoGateTakesADetour) {
  TrainingStep step;
  plan::Plan plan = OnGpus(step.Build());
  plan.mutable_tasks(static_cast<int>(step.loss))->set_may_fail(true);
  EXPECT_EQ(GpuMemoryOf(plan, {{0}})[0].detours, 0);  // an sgd_update
  plan.mutable_tasks(static_cast<int>(step.update))->set_op("where");
  EXPECT_EQ(GpuMemoryOf(plan, {{0}})[0].detours, 256);
}

TEST(GpuMemory, MessagesHaveRoomBetweenGpusAlone) {
  const plan::Plan plan = OnGpus(Pipeline().Build());
  ASSERT_EQ(plan.devices_size(), 2);
  const std::vector<GpuMemory> one = GpuMemoryOf(plan, {{5, 5}}), two = GpuMemoryOf(plan, {{1, 0}});
  ASSERT_EQ(one.size(), 1u);
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(one[0].messages, 0);
  EXPECT_EQ(two[0].gpu, 1u);  // that of the first device leads
  EXPECT_GT(two[0].messages + two[1].messages, 0);
  EXPECT_EQ(one[0].arenas, two[0].arenas + two[1].arenas);
  EXPECT_EQ(one[0].states, two[0].states + two[1].states);
}

TEST(GpuMemory, BlocksAreRoundedByTheDriver) {
  const plan::Plan plan = OnGpus(TrainingStep().Build());
  GpuPlacement placement = {{0}};
  for (const int64_t granule : {64, 4096}) {
    placement.granule_bytes = granule;
    const GpuMemory memory = GpuMemoryOf(plan, placement)[0];
    EXPECT_EQ((memory.Bytes() + memory.rounding) % granule, 0) << granule;
    EXPECT_EQ(memory.rounding > 0, granule > 64) << granule;
  }
}

TEST(MemoryLimit, AGpuIsFullWithAllThatLieOnIt) {
  const plan::Plan plan = OnGpus(Pipeline().Build());
  const int64_t both = GpuMemoryOf(plan, {{0, 0}})[0].Bytes();
  EXPECT_TRUE(CheckMemory(plan, TargetOf(plan, {0, 0}, both), nullptr).ok());
  EXPECT_TRUE(CheckMemory(plan, TargetOf(plan, {0, 0}, 0), nullptr).ok());  // nobody knows
  const absl::Status full = CheckMemory(plan, TargetOf(plan, {0, 0}, both - 1), nullptr);
  EXPECT_EQ(KindOf(full), ErrorKind::kOutOfMemory);
  EXPECT_THAT(MessageOf(full), HasSubstr("GPU 0 (cuda:0, cuda:1) needs "));
  EXPECT_THAT(MessageOf(full), HasSubstr("model.py:"));
  EXPECT_TRUE(CheckMemory(plan, TargetOf(plan, {0, 1}, both - 1), nullptr).ok());
}

TEST(MemoryLimit, WhatOthersHaveIsNotThere) {
  const plan::Plan plan = OnGpus(TrainingStep().Build());
  const int64_t bytes = GpuMemoryOf(plan, {{0}})[0].Bytes();
  plan::Target target = TargetOf(plan, {0}, bytes + 100);
  target.mutable_devices(0)->set_reserved_bytes(100);
  EXPECT_TRUE(CheckMemory(plan, target, nullptr).ok());
  target.mutable_devices(0)->set_reserved_bytes(101);
  const std::string text = MessageOf(CheckMemory(plan, target, nullptr));
  EXPECT_THAT(text, HasSubstr("101 B  not the plan's"));
  EXPECT_THAT(text, HasSubstr("Largest states there:\n  64 bytes  w"));
  EXPECT_THAT(text, Not(HasSubstr("S(0)")));  // dp is 1
  EXPECT_THAT(GpuMemoryText(plan, target, nullptr), HasSubstr("memory by GPU\n  GPU 0 (cuda:0): "));
}

TEST(MemoryLimit, OtherDevicesAreCountedOneByOne) {
  const plan::Plan plan = Pipeline().Build();
  plan::Target target = TargetOf(plan, {0, 0}, 0);
  target.mutable_devices(1)->set_memory_bytes(1);
  const absl::Status full = CheckMemory(plan, target, nullptr);
  EXPECT_EQ(KindOf(full), ErrorKind::kOutOfMemory);
  EXPECT_THAT(MessageOf(full), HasSubstr("cpu:1 needs "));
  EXPECT_THAT(MessageOf(full), HasSubstr("accumulate="));
  EXPECT_EQ(GpuMemoryText(plan, target, nullptr), "");
}

}  // namespace
}  // namespace oneflow
