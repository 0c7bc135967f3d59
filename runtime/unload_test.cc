// Plans end: what a session holds goes with the plan, what the caller may still ask for stays.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/status.h"
#include "runtime/fake_transport_for_test.h"
#include "runtime/plans_for_test.h"
#include "runtime/session.h"

namespace oneflow {
namespace {

float FirstOf(Session* session, PlanId plan, float value) {
  absl::StatusOr<InvocationId> id = session->Launch(plan, {Filled({4, 4}, value)});
  EXPECT_TRUE(id.ok()) << MessageOf(id.status());
  if (!id.ok()) return -1;
  absl::StatusOr<std::vector<HostTensor>> outputs = session->Fetch(*id);
  EXPECT_TRUE(outputs.ok()) << MessageOf(outputs.status());
  return outputs.ok() ? ValuesOf((*outputs)[0])[0] : -1;
}

TEST(UnloadTest, WhatASessionHoldsIsFlatOverPlans) {
  const kernels::KernelTable table = TestKernels();
  std::unique_ptr<Session> session = SessionWith(&table);
  const PlanId kept = *session->Load(ChainPlan(2));
  EXPECT_EQ(FirstOf(session.get(), kept, 1), 3);
  const Session::Holdings before = session->holdings();
  for (int i = 0; i < 100; ++i) {
    const PlanId plan = *session->Load(ChainPlan(1 + i % 7));
    EXPECT_EQ(FirstOf(session.get(), plan, 1), 2.0f + static_cast<float>(i % 7));
    ASSERT_TRUE(session->Unload(plan).ok());
    EXPECT_FALSE(session->Launch(plan, {Filled({4, 4}, 0)}).ok());
    EXPECT_FALSE(session->Unload(plan).ok());
  }
  const Session::Holdings after = session->holdings();
  EXPECT_EQ(after.plans, 1u);
  EXPECT_EQ(after.numbers, 2u);
  EXPECT_EQ(after.message_room, before.message_room);
  EXPECT_EQ(after.fetch_rings, 1u);
  EXPECT_EQ(after.states, 1u);  // the state lives on, and so do its values
  EXPECT_EQ(after.staging_bytes, before.staging_bytes);
  EXPECT_EQ(FirstOf(session.get(), kept, 1), 3);
  EXPECT_EQ(session->StateVersion("w"), 102u);
}

TEST(UnloadTest, WaitsForStepsInFlightAndKeepsUnreadOutputs) {
  const kernels::KernelTable table = TestKernels();
  std::unique_ptr<Session> session = SessionWith(&table);
  const PlanId plan = *session->Load(ChainPlan(3));
  std::vector<InvocationId> ids;
  for (int i = 0; i < 3; ++i) {
    ids.push_back(*session->Launch(plan, {Filled({4, 4}, static_cast<float>(i))}));
  }
  ASSERT_TRUE(session->Unload(plan).ok());
  const PlanId next = *session->Load(ChainPlan(1));
  EXPECT_EQ(FirstOf(session.get(), next, 5), 6);
  EXPECT_EQ(session->holdings().fetch_rings, 2u);
  EXPECT_EQ(ValuesOf((*session->Fetch(ids[2]))[0])[0], 5);
  EXPECT_FALSE(session->Fetch(ids[2]).ok());
  session->Discard(ids[0]);
  EXPECT_EQ(ValuesOf((*session->Fetch(ids[1]))[0])[0], 4);
  EXPECT_EQ(session->holdings().fetch_rings, 1u);
}

TEST(UnloadTest, NumbersAreUsedAgainAndRefusedWhenNoneIsLeft) {
  const kernels::KernelTable table = TestKernels();
  SessionOptions options;
  options.max_plans = 2;
  std::unique_ptr<Session> session = SessionWith(&table, options);
  const PlanId first = *session->Load(ChainPlan(1));
  const PlanId second = *session->Load(ChainPlan(2));
  const absl::Status refused = session->Load(ChainPlan(3)).status();
  EXPECT_EQ(KindOf(refused), ErrorKind::kPlan);
  EXPECT_NE(MessageOf(refused).find("2 plans are loaded"), std::string::npos);
  ASSERT_TRUE(session->Unload(first).ok());
  const PlanId third = *session->Load(ChainPlan(3));
  EXPECT_NE(third, first);
  EXPECT_EQ(FirstOf(session.get(), third, 0), 3);
  EXPECT_EQ(FirstOf(session.get(), second, 0), 2);
}

TEST(UnloadTest, AStateGoesWhenNoPlanNamesIt) {
  const kernels::KernelTable table = TestKernels();
  std::unique_ptr<Session> session = SessionWith(&table);
  const PlanId plan = *session->Load(ChainPlan(1));
  EXPECT_FALSE(session->DropState("w").ok());
  ASSERT_TRUE(session->Unload(plan).ok());
  EXPECT_TRUE(session->HasState("w"));
  ASSERT_TRUE(session->DropState("w").ok());
  EXPECT_FALSE(session->HasState("w"));
  EXPECT_EQ(session->Counters()[0].state_bytes, 0u);
}

TEST(UnloadTest, ATraceNamesTheSlicesOfPlansThatHaveGone) {
  const kernels::KernelTable table = TestKernels();
  SessionOptions options;
  options.trace_path = testing::TempDir() + "/unload_test.pftrace";
  std::unique_ptr<Session> session = SessionWith(&table, options);
  for (int i = 0; i < 3; ++i) {
    plan::Plan plan = ChainPlan(2);
    plan.set_name("chain_" + std::to_string(i));
    const PlanId id = *session->Load(plan);
    FirstOf(session.get(), id, 0);
    ASSERT_TRUE(session->Unload(id).ok());
  }
  session.reset();
  std::ifstream file(options.trace_path, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  for (int i = 0; i < 3; ++i) {
    EXPECT_NE(bytes.str().find("compute (chain_" + std::to_string(i) + ")"), std::string::npos);
  }
}

// Ranks unload at different moments; what comes later belongs to plans that have the numbers now.
TEST(UnloadTest, RanksLoadAndUnloadUnderAnyTiming) {
  const kernels::KernelTable table = TestKernels();
  for (uint32_t seed = 0; seed < 5; ++seed) {
    FakeNetwork network(2, seed);
    std::vector<std::unique_ptr<Session>> sessions;
    for (int r = 0; r < 2; ++r) {
      SessionOptions options;
      options.transport = network.rank(r);
      options.verify = false;  // HasDataflow
      sessions.push_back(SessionWith(&table, options));
    }
    for (int round = 0; round < 6; ++round) {
      std::vector<plan::Plan> plans = TwoRankPlans(2 + static_cast<uint32_t>(round) % 3, 2);
      for (plan::Plan& plan : plans) {
        plan.mutable_channels(0)->set_name("r" + std::to_string(round) + ".0.0-1");
      }
      const PlanId sender = *sessions[0]->Load(plans[0]);
      const PlanId receiver = *sessions[1]->Load(plans[1]);
      ASSERT_TRUE(sessions[0]->Launch(sender, {Filled({4, 4}, 1)}).ok());
      const absl::StatusOr<InvocationId> id = sessions[1]->Launch(receiver, {Filled({4, 4}, -1)});
      ASSERT_TRUE(id.ok());
      ASSERT_TRUE(sessions[0]->Unload(sender).ok());
      const absl::StatusOr<std::vector<HostTensor>> outputs = sessions[1]->Fetch(*id);
      ASSERT_TRUE(outputs.ok()) << MessageOf(outputs.status());
      EXPECT_EQ(ValuesOf((*outputs)[0])[0], 2.0f * static_cast<float>(2 + round % 3));
      ASSERT_TRUE(sessions[1]->Unload(receiver).ok());
      EXPECT_EQ(sessions[0]->holdings().channels + sessions[1]->holdings().channels, 0u);
    }
  }
}

}  // namespace
}  // namespace oneflow
