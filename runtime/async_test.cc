// Devices that answer later: the same bits as on a CPU, with threads and in virtual time; what is told
// finished when it is only enqueued shows.
#include <gtest/gtest.h>

#include <chrono>
#include <utility>

#include "base/status.h"
#include "plan/verify.h"
#include "runtime/plans_for_test.h"
#include "runtime/session.h"

namespace oneflow {
namespace {

using Steps = std::vector<std::vector<std::vector<float>>>;  // [step][output]

// x is s at step s. Steps overlap as far as the window allows.
Steps RunInSession(const plan::Plan& plan, const Shape& shape, int steps) {
  const kernels::KernelTable table = TestKernels();
  SessionOptions options;
  options.verify = HasDataflow(plan);
  std::unique_ptr<Session> session = SessionWith(&table, options);
  const absl::StatusOr<PlanId> id = session->Load(plan);
  EXPECT_TRUE(id.ok()) << MessageOf(id.status());
  std::vector<InvocationId> launched;
  for (int step = 0; step < steps; ++step) {
    launched.push_back(*session->Launch(*id, {Filled(shape, static_cast<float>(step))}));
  }
  Steps results;
  for (const InvocationId invocation : launched) {
    const absl::StatusOr<std::vector<HostTensor>> outputs = session->Fetch(invocation);
    EXPECT_TRUE(outputs.ok()) << MessageOf(outputs.status());
    std::vector<std::vector<float>>& values = results.emplace_back();
    for (const HostTensor& output : *outputs) values.push_back(ValuesOf(output));
  }
  if (session->HasState("w")) results.push_back({ValuesOf(*session->ReadState("w"))});
  return results;
}

absl::StatusOr<VirtualRun> RunVirtually(const std::vector<plan::Plan>& plans, const Shape& shape,
                                        uint64_t seed, bool verify = true) {
  const kernels::KernelTable table = TestKernels();
  std::vector<const plan::Plan*> pointers;
  for (const plan::Plan& plan : plans) pointers.push_back(&plan);
  absl::StatusOr<std::unique_ptr<VirtualRuntime>> runtime =
      VirtualRuntime::Create(pointers, {&table, verify && HasDataflow(plans[0])});
  if (!runtime.ok()) return runtime.status();
  std::vector<std::vector<HostTensor>> inputs;
  for (int s = 0; s < 6; ++s) inputs.push_back({Filled(shape, static_cast<float>(s))});
  VirtualOptions options;
  options.seed = seed;
  options.steps = 6;
  return (*runtime)->Run({}, inputs, options);
}

std::vector<std::vector<float>> AllBitsOf(const VirtualRun& run) {
  std::vector<std::vector<float>> bits;
  for (const std::vector<HostTensor>& step : run.outputs) {
    for (const HostTensor& output : step) bits.push_back(ValuesOf(output));
  }
  for (const auto& [name, state] : run.states) bits.push_back(ValuesOf(state));
  return bits;
}

TEST(AsyncDeviceTest, SessionsGiveTheBitsOfACpu) {
  for (const auto& [plan, shape] : {std::pair<plan::Plan, Shape>{ChainPlan(30), {4, 4}},
                                    {ChainPlan(3, "add", 2), {4, 4}},
                                    {PipelinePlan(4, 2), {16, 4}}}) {
    EXPECT_EQ(RunInSession(OnAsyncDevices(plan), shape, 40), RunInSession(plan, shape, 40))
        << plan.name();
  }
}

TEST(AsyncDeviceTest, ManyOrdersGiveTheSameBits) {
  const std::vector<std::pair<std::vector<plan::Plan>, Shape>> cases = {
      {{ChainPlan(4, "add", 2)}, {4, 4}},
      {{PipelinePlan(4, 2)}, {16, 4}},
      {TwoRankPlans(6, 2), {4, 4}}};
  for (const auto& [plans, shape] : cases) {
    std::vector<plan::Plan> later;
    for (const plan::Plan& plan : plans) later.push_back(OnAsyncDevices(plan));
    const std::vector<std::vector<float>> right = AllBitsOf(*RunVirtually(plans, shape, 0));
    for (uint64_t seed = 0; seed < 100; ++seed) {
      const absl::StatusOr<VirtualRun> run = RunVirtually(later, shape, seed);
      ASSERT_TRUE(run.ok()) << MessageOf(run.status());
      ASSERT_EQ(AllBitsOf(*run), right) << plans[0].name() << " seed " << seed;
    }
  }
}

// Every edge that the host or the other device stands at says enqueued: the verifier refuses it, and
// a run shows why.
TEST(AsyncDeviceTest, EnqueuedInPlaceOfFinishedShowsAsWrongBits) {
  plan::Plan planted = OnAsyncDevices(PipelinePlan(4, 2));
  for (plan::Register& reg : *planted.mutable_registers()) {
    *reg.mutable_enqueued() = reg.consumers();
  }
  EXPECT_EQ(KindOf(VerifyPlan(planted)), ErrorKind::kPlan);
  const std::vector<std::vector<float>> right =
      AllBitsOf(*RunVirtually({PipelinePlan(4, 2)}, {16, 4}, 0));
  int wrong = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const absl::StatusOr<VirtualRun> run = RunVirtually({planted}, {16, 4}, seed, false);
    wrong += !run.ok() || AllBitsOf(*run) != right;
  }
  EXPECT_GT(wrong, 0);
}

TEST(AsyncDeviceTest, ASessionThatIsDestroyedInMidStepEndsWhatItsDevicesHave) {
  const kernels::KernelTable table = TestKernels();
  for (int round = 0; round < 10; ++round) {
    SessionOptions options;
    options.verify = false;  // HasDataflow
    std::unique_ptr<Session> session = SessionWith(&table, options);
    const PlanId id = *session->Load(OnAsyncDevices(PipelinePlan(8, 2)));
    for (int step = 0; step < 4; ++step) {
      ASSERT_TRUE(session->Launch(id, {Filled({32, 4}, 1)}).ok());
    }
    session.reset();
  }
}

TEST(AsyncDeviceTest, ReportsSayWhatIsOnADevice) {
  std::atomic<bool> gate{false};
  const kernels::KernelTable table = TestKernels(&gate);
  std::unique_ptr<Session> session = SessionWith(&table);
  const PlanId id = *session->Load(OnAsyncDevices(ChainPlan(3, "block")));
  const InvocationId invocation = *session->Launch(id, {Filled({4, 4}, 1)});
  std::string text;
  // add.1 is enqueued behind add.0, which cannot end.
  const std::string behind = "add.1 (model.py:30) step 0 micro 0: is on its device";
  for (int look = 0; look < 10000 && text.find(behind) == std::string::npos; ++look) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    text = session->DebugString();
  }
  EXPECT_NE(text.find(behind), std::string::npos) << text;
  EXPECT_NE(text.find("add.0 (model.py:20) step 0 micro 0: is on its device"), std::string::npos)
      << text;
  gate.store(true);
  EXPECT_TRUE(session->Fetch(invocation).ok());
}

}  // namespace
}  // namespace oneflow
