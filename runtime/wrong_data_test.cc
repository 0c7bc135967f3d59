// Wrong data fails its step and those launched behind it, changes nothing, and is told once.
#include <gtest/gtest.h>

#include "base/status.h"
#include "runtime/fake_transport_for_test.h"
#include "runtime/plans_for_test.h"
#include "runtime/session.h"
#include "runtime/virtual_runtime.h"

namespace oneflow {
namespace {

// x -> judge -> add -> add -> y, w += y; w is written when the host knows what judge found.
plan::Plan JudgedChain(const std::string& kind) {
  plan::Plan plan = ChainPlan(3, "judge");
  int judge = 0;
  for (int t = 0; t < plan.tasks_size(); ++t) {
    plan::Task* task = plan.mutable_tasks(t);
    if (task->op() == "judge") {
      judge = t;
      task->set_may_fail(true);
    }
    if (task->op() == "update") task->add_after()->set_task(static_cast<uint32_t>(judge));
  }
  return kind == "async" ? OnAsyncDevices(plan) : plan;
}

// By the kind of the device.
class WrongDataTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    session_ = SessionWith(&table_);
    plan_ = *session_->Load(JudgedChain(GetParam()));
  }
  absl::StatusOr<InvocationId> Launch(float value) {
    return session_->Launch(plan_, {Filled({4, 4}, value)});
  }
  // y of a step that must be right.
  void ExpectGood(float value) {
    const absl::StatusOr<InvocationId> id = Launch(value);
    ASSERT_TRUE(id.ok()) << MessageOf(id.status());
    const absl::StatusOr<std::vector<HostTensor>> outputs = session_->Fetch(*id);
    ASSERT_TRUE(outputs.ok()) << MessageOf(outputs.status());
    EXPECT_EQ(ValuesOf((*outputs)[0])[0], value + 3);
  }
  static void ExpectError(const absl::Status& error) {
    EXPECT_EQ(KindOf(error), ErrorKind::kData) << MessageOf(error);
    EXPECT_NE(MessageOf(error).find("-5 is out of range of 7"), std::string::npos)
        << MessageOf(error);
    ASSERT_TRUE(LocationOf(error).has_value());
    EXPECT_EQ(LocationOf(error)->Short(), "model.py:20");
  }

  const kernels::KernelTable table_ = TestKernels();
  std::unique_ptr<Session> session_;
  PlanId plan_ = 0;
};

TEST_P(WrongDataTest, FailsItsStepAloneWhenTheOutputsAreRead) {
  ExpectGood(1);
  const float before = ValuesOf(*session_->ReadState("w"))[0];
  for (int round = 0; round < 3; ++round) {
    const InvocationId id = *Launch(-5);
    ExpectError(session_->Fetch(id).status());
    EXPECT_EQ(session_->TakeUndoneFrom(), id);
    EXPECT_EQ(session_->TakeUndoneFrom(), -1);
    EXPECT_EQ(ValuesOf(*session_->ReadState("w"))[0], before);
  }
  ExpectGood(2);
  EXPECT_EQ(ValuesOf(*session_->ReadState("w"))[0], before + 5);
  EXPECT_TRUE(session_->Wait().ok());
}

TEST_P(WrongDataTest, StepsLaunchedBehindItChangeNothingEither) {
  for (int launched_behind = 0; launched_behind < 3; ++launched_behind) {
    const float before = ValuesOf(*session_->ReadState("w"))[0];
    const InvocationId good = *Launch(1);
    const InvocationId bad = *Launch(-5);
    std::vector<InvocationId> behind;
    absl::Status error;
    for (int i = 0; i < launched_behind && error.ok(); ++i) {
      absl::StatusOr<InvocationId> id = Launch(2);
      if (id.ok()) behind.push_back(*id);
      error = id.status();
    }
    if (error.ok()) error = session_->Wait();
    ExpectError(error);  // once
    EXPECT_TRUE(session_->Wait().ok());
    EXPECT_EQ(session_->TakeUndoneFrom(), bad);
    EXPECT_EQ(ValuesOf(*session_->ReadState("w"))[0], before + 4);
    EXPECT_EQ(ValuesOf((*session_->Fetch(good))[0])[0], 4);
    ExpectError(session_->Fetch(bad).status());
    for (InvocationId id : behind) ExpectError(session_->Fetch(id).status());
    ExpectGood(2);
  }
}

TEST_P(WrongDataTest, AnotherPlanHearsOfItAndGoesOn) {
  const PlanId other =
      *session_->Load(GetParam() == "async" ? OnAsyncDevices(ChainPlan(1)) : ChainPlan(1));
  ASSERT_TRUE(Launch(-5).ok());
  ExpectError(session_->Launch(other, {Filled({4, 4}, 1)}).status());
  EXPECT_TRUE(session_->Launch(other, {Filled({4, 4}, 1)}).ok());
  EXPECT_EQ(ValuesOf(*session_->ReadState("w"))[0], 2);
}

TEST_P(WrongDataTest, NobodyAsksButItIsSaid) {
  session_->Discard(*Launch(-5));
  while (session_->Counters()[0].firings < 6) std::this_thread::yield();
  testing::internal::CaptureStderr();
  session_.reset();
  EXPECT_NE(testing::internal::GetCapturedStderr().find("-5 is out of range of 7"),
            std::string::npos);
}

// With several ranks nobody can go on: what a peer received before may be in its states.
INSTANTIATE_TEST_SUITE_P(Kinds, WrongDataTest, testing::Values("cpu", "async"),
                         [](const auto& info) { return info.param; });

TEST_P(WrongDataTest, EndsAJobOfSeveralRanks) {
  FakeNetwork network(2, 1);
  std::vector<plan::Plan> plans = TwoRankPlans(2, 2);
  for (plan::Task& task : *plans[0].mutable_tasks()) {
    if (task.op() == "add") task.set_op("judge");
  }
  std::vector<std::unique_ptr<Session>> sessions;
  std::vector<InvocationId> ids;
  for (int r = 0; r < 2; ++r) {
    SessionOptions options;
    options.transport = network.rank(r);
    options.verify = false;  // HasDataflow
    sessions.push_back(SessionWith(&table_, options));
    const absl::StatusOr<PlanId> plan = sessions.back()->Load(plans[static_cast<size_t>(r)]);
    ASSERT_TRUE(plan.ok()) << MessageOf(plan.status());
    ids.push_back(*sessions.back()->Launch(*plan, {Filled({4, 4}, -5)}));
  }
  const absl::Status cause = sessions[0]->Wait();
  EXPECT_EQ(KindOf(cause), ErrorKind::kData) << MessageOf(cause);
  EXPECT_EQ(sessions[0]->Wait(), cause);  // for good
  EXPECT_EQ(network.AwaitAborts(), 1);
  network.Lose(0);  // what an abort becomes at the peers
  EXPECT_EQ(KindOf(sessions[1]->Fetch(ids[1]).status()), ErrorKind::kPeer);
}

TEST_P(WrongDataTest, EndsARunInVirtualTime) {
  const plan::Plan plan = JudgedChain(GetParam());
  VirtualRuntime::Setup setup;
  setup.cpu_kernels = &table_;
  std::unique_ptr<VirtualRuntime> runtime = *VirtualRuntime::Create({&plan}, setup);
  VirtualOptions options;
  options.steps = 2;
  for (uint64_t seed = 0; seed < 5; ++seed) {
    options.seed = seed;
    ExpectError(runtime->Run({}, {{Filled({4, 4}, 1)}, {Filled({4, 4}, -5)}}, options).status());
    EXPECT_TRUE(runtime->Run({}, {{Filled({4, 4}, 1)}, {Filled({4, 4}, 1)}}, options).ok());
  }
}

}  // namespace
}  // namespace oneflow
