// Sessions on the CUDA device over software CUDA: what its threads share, for ThreadSanitizer above all.
// Numbers of kernels: kernels/cuda/conformance_test.cc; of models: tests/e2e/test_cuda.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "base/status.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cuda/soft_cuda_for_test.h"
#include "kernels/cuda/soft_gpus_for_test.h"
#include "plan/text.h"
#include "runtime/devices/device_set.h"
#include "runtime/plans_for_test.h"
#include "runtime/program.h"
#include "runtime/session.h"

namespace oneflow {
namespace {

// The plan with kernels of the CUDA table on a device of that kind: every `add` changes the sign.
plan::Plan OnCuda(plan::Plan plan) {
  for (plan::Task& task : *plan.mutable_tasks()) {
    if (task.op() == "add") task.set_op("neg");
    if (task.op() == "update") task.set_op("add");
    if (task.op() == "accumulate") {
      plan::AttrProto* mode = task.add_attrs();
      mode->set_name("mode");
      mode->set_s("sum");
    }
  }
  for (plan::DeviceProto& device : *plan.mutable_devices()) device.set_kind("cuda");
  MarkNeeds(&plan);
  return plan;
}

SessionOptions Options() {
  SessionOptions options;
  options.cpu_kernels = &kernels::CpuKernels();
  options.cuda = kernels::SoftCudaApi();
  options.verify = false;  // the ops' rules are not these plans'
  return options;
}

// What a step gives for x, after a number of changes of its sign that is odd or not.
std::vector<float> Expected(float x, bool odd) {
  std::vector<float> values = ValuesOf(Filled({4, 4}, x));
  for (float& value : values) value = odd ? -value : value;
  return values;
}

// x is s + 1 at step s; steps overlap as far as the window allows.
void RunSteps(Session* session, PlanId id, int steps, bool odd) {
  std::vector<InvocationId> launched;
  for (int step = 0; step < steps; ++step) {
    const float x = static_cast<float>(step + 1);
    const absl::StatusOr<InvocationId> invocation = session->Launch(id, {Filled({4, 4}, x)});
    ASSERT_TRUE(invocation.ok()) << MessageOf(invocation.status());
    launched.push_back(*invocation);
  }
  for (int step = 0; step < steps; ++step) {
    const absl::StatusOr<std::vector<HostTensor>> outputs = session->Fetch(launched[step]);
    ASSERT_TRUE(outputs.ok()) << MessageOf(outputs.status());
    EXPECT_EQ(ValuesOf(outputs->at(0)), Expected(static_cast<float>(step + 1), odd)) << step;
  }
}

TEST(CudaSession, StepsThatOverlapKeepTheirOrder) {
  std::unique_ptr<Session> session = *Session::Create(Options());
  const absl::StatusOr<PlanId> id = session->Load(OnCuda(ChainPlan(31, "add", 2)));
  ASSERT_TRUE(id.ok()) << MessageOf(id.status());
  RunSteps(session.get(), *id, 40, /*odd=*/true);
  std::vector<float> sum(kElements);  // the state has had each step once
  for (int step = 0; step < 40; ++step) {
    const std::vector<float> values = Expected(static_cast<float>(step + 1), true);
    for (size_t e = 0; e < sum.size(); ++e) sum[e] += values[e];
  }
  EXPECT_EQ(ValuesOf(*session->ReadState("w")), sum);
}

TEST(CudaSession, StreamsOfAPlanFollowEachOther) {
  std::unique_ptr<Session> session = *Session::Create(Options());
  const absl::StatusOr<PlanId> id = session->Load(OnCuda(PingPongPlan(20)));
  ASSERT_TRUE(id.ok()) << MessageOf(id.status());
  RunSteps(session.get(), *id, 40, /*odd=*/false);
}

TEST(CudaSession, SessionsOfTwoThreadsShareTheDevice) {
  const auto run = [] {
    for (int round = 0; round < 3; ++round) {
      std::unique_ptr<Session> session = *Session::Create(Options());
      const absl::StatusOr<PlanId> id = session->Load(OnCuda(ChainPlan(5)));
      ASSERT_TRUE(id.ok()) << MessageOf(id.status());
      RunSteps(session.get(), *id, 10, /*odd=*/true);
    }
  };
  std::thread other(run);
  run();
  other.join();
}

TEST(CudaSession, DevicesOnTwoGpusSendEachOtherMessages) {
  kernels::SoftGpus::Of().Set(2, /*reach=*/false);
  for (const std::vector<int>& placement : {std::vector<int>{}, {1, 0}, {1, 1}}) {
    SessionOptions options = Options();
    options.cuda_placement = placement;
    std::unique_ptr<Session> session = *Session::Create(options);
    const absl::StatusOr<PlanId> id = session->Load(OnCuda(PipelinePlan(4, 2)));
    EXPECT_TRUE(id.ok()) << MessageOf(id.status());
    std::vector<InvocationId> launched;
    for (int step = 0; step < 20; ++step) {
      const float x = static_cast<float>(step);
      launched.push_back(*session->Launch(*id, {Filled({16, 4}, x)}));
    }
    for (int step = 0; step < 20; ++step) {
      const absl::StatusOr<std::vector<HostTensor>> outputs = session->Fetch(launched[step]);
      ASSERT_TRUE(outputs.ok()) << MessageOf(outputs.status());
      // Two changes of the sign, and a sum over the micro-batches.
      const std::vector<float> x = ValuesOf(Filled({16, 4}, static_cast<float>(step)));
      EXPECT_EQ(ValuesOf(outputs->at(0)), x);
      std::vector<float> sum(16, 0.0f);
      for (size_t e = 0; e < x.size(); ++e) sum[e % 16] += x[e];
      EXPECT_EQ(ValuesOf(outputs->at(1)), sum);
    }
    const bool lies_there = placement.size() == 2 && placement[0] == 1;
    EXPECT_EQ(session->Counters()[0].gpu, lies_there ? 1 : 0);
  }
  kernels::SoftGpus::Of().Set(1, false);
}

// Between GPUs whole registers are sent (docs/decisions/0035).
TEST(CudaSession, APlanThatSendsPiecesIsRefused) {
  std::ifstream file(std::string(ONEFLOW_SOURCE_DIR) + "/tests/golden/network_dp2.plan");
  std::stringstream text;
  text << file.rdbuf();
  plan::Plan plan = *ParsePlan(text.str());
  for (plan::DeviceProto& device : *plan.mutable_devices()) {
    device.set_kind("cuda");
    device.set_arena_bytes(int64_t{1} << 30);
  }
  for (plan::Task& task : *plan.mutable_tasks()) {
    if (task.has_workspace()) {  // a GPU's products want more
      plan.mutable_registers(static_cast<int>(task.workspace()))->set_bytes(int64_t{64} << 20);
    }
    if (task.kind() != plan::SEND) continue;
    plan::AttrProto* dim = task.add_attrs();
    dim->set_name("dim");
    dim->set_i(0);
  }
  DeviceSet devices(&kernels::CpuKernels(), kernels::SoftCudaApi());
  EXPECT_THAT(
      MessageOf(Program::Create(plan, &devices).status()),
      testing::AllOf(testing::HasSubstr("send"), testing::HasSubstr("no call of a cuda device")));
}

TEST(CudaSession, OneThatIsDestroyedInMidStepEndsWhatItsDeviceHas) {
  for (int round = 0; round < 10; ++round) {
    std::unique_ptr<Session> session = *Session::Create(Options());
    const PlanId id = *session->Load(OnCuda(ChainPlan(30)));
    for (int step = 0; step < 4; ++step) {
      ASSERT_TRUE(session->Launch(id, {Filled({4, 4}, 1)}).ok());
    }
    session.reset();
  }
}

}  // namespace
}  // namespace oneflow
