#include "runtime/session.h"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <sstream>

#include "base/status.h"
#include "runtime/plans_for_test.h"

namespace oneflow {
namespace {

std::vector<HostTensor> Fetched(Session* session, InvocationId id) {
  absl::StatusOr<std::vector<HostTensor>> outputs = session->Fetch(id);
  EXPECT_TRUE(outputs.ok()) << MessageOf(outputs.status());
  return outputs.ok() ? *outputs : std::vector<HostTensor>();
}

InvocationId Launched(Session* session, PlanId plan, std::vector<HostTensor> inputs) {
  absl::StatusOr<InvocationId> id = session->Launch(plan, std::move(inputs));
  EXPECT_TRUE(id.ok()) << MessageOf(id.status());
  return id.value_or(-1);
}

std::vector<float> Plus(std::vector<float> values, float more) {
  for (float& value : values) value += more;
  return values;
}

TEST(SessionTest, RunsStepsAndKeepsStates) {
  const kernels::KernelTable table = TestKernels();
  std::unique_ptr<Session> session = SessionWith(&table);
  absl::StatusOr<PlanId> plan = session->Load(ChainPlan(5));
  ASSERT_TRUE(plan.ok()) << MessageOf(plan.status());
  ASSERT_TRUE(session->HasState("w"));
  EXPECT_EQ(session->StateVersion("w"), 0u);
  ASSERT_TRUE(session->WriteState("w", Filled({4, 4}, 100)).ok());
  std::vector<float> w = ValuesOf(Filled({4, 4}, 100));
  for (int step = 0; step < 20; ++step) {
    const HostTensor x = Filled({4, 4}, static_cast<float>(step));
    const InvocationId id = Launched(session.get(), *plan, {x});
    const std::vector<HostTensor> outputs = Fetched(session.get(), id);
    ASSERT_EQ(outputs.size(), 1u);
    const std::vector<float> y = Plus(ValuesOf(x), 5);
    EXPECT_EQ(ValuesOf(outputs[0]), y);
    for (size_t i = 0; i < w.size(); ++i) w[i] += y[i];
  }
  absl::StatusOr<HostTensor> state = session->ReadState("w");
  ASSERT_TRUE(state.ok());
  EXPECT_EQ(ValuesOf(*state), w);
  EXPECT_EQ(session->StateVersion("w"), 21u);
}

TEST(SessionTest, UnreadOutputsStallNothingAndAreNotLost) {
  const kernels::KernelTable table = TestKernels();
  std::unique_ptr<Session> session = SessionWith(&table);
  const PlanId plan = *session->Load(ChainPlan(2));
  std::vector<InvocationId> ids;
  for (int step = 0; step < 50; ++step) {
    ids.push_back(Launched(session.get(), plan, {Filled({4, 4}, static_cast<float>(step))}));
  }
  ASSERT_TRUE(session->Wait().ok());
  session->Discard(ids[3]);
  for (int step : {49, 0, 25}) {
    const std::vector<HostTensor> outputs = Fetched(session.get(), ids[static_cast<size_t>(step)]);
    EXPECT_EQ(ValuesOf(outputs[0]), Plus(ValuesOf(Filled({4, 4}, static_cast<float>(step))), 2));
  }
  EXPECT_FALSE(session->Fetch(ids[3]).ok());   // discarded
  EXPECT_FALSE(session->Fetch(ids[49]).ok());  // read before
}

TEST(SessionTest, AReadOutputIsNotOverwrittenWhileItIsHeld) {
  const kernels::KernelTable table = TestKernels();
  std::unique_ptr<Session> session = SessionWith(&table);
  const PlanId plan = *session->Load(ChainPlan(2));
  std::vector<std::vector<HostTensor>> held;
  for (int step = 0; step < 10; ++step) {
    const HostTensor x = Filled({4, 4}, static_cast<float>(step));
    held.push_back(Fetched(session.get(), Launched(session.get(), plan, {x})));
  }
  for (int step = 0; step < 10; ++step) {
    EXPECT_EQ(ValuesOf(held[static_cast<size_t>(step)][0]),
              Plus(ValuesOf(Filled({4, 4}, static_cast<float>(step))), 2));
  }
}

TEST(SessionTest, MicroBatchesMoveBetweenDevices) {
  const kernels::KernelTable table = TestKernels();
  for (uint32_t slots : {1u, 2u, 3u}) {
    SessionOptions options;
    options.verify = false;  // HasDataflow
    std::unique_ptr<Session> session = SessionWith(&table, options);
    absl::StatusOr<PlanId> plan = session->Load(PipelinePlan(4, slots));
    ASSERT_TRUE(plan.ok()) << MessageOf(plan.status());
    for (int step = 0; step < 5; ++step) {
      const HostTensor x = Filled({16, 4}, static_cast<float>(step));
      const std::vector<HostTensor> outputs =
          Fetched(session.get(), Launched(session.get(), *plan, {x}));
      ASSERT_EQ(outputs.size(), 2u);
      const std::vector<float> z = Plus(ValuesOf(x), 2);
      EXPECT_EQ(ValuesOf(outputs[0]), z);
      std::vector<float> y(16, 0.0f);
      for (size_t i = 0; i < z.size(); ++i) y[i % 16] += z[i];
      EXPECT_EQ(ValuesOf(outputs[1]), y);
    }
    const std::vector<DeviceCounters> counters = session->Counters();
    ASSERT_EQ(counters.size(), 2u);
    EXPECT_EQ(counters[0].received_bytes, 0u);
    EXPECT_EQ(counters[1].received_bytes, 5u * 4 * 64);  // the move, once per micro-batch
    EXPECT_EQ(counters[0].firings, 5u * 8);
    EXPECT_EQ(counters[1].firings, 5u * 13);
  }
}

TEST(SessionTest, PlansShareStatesAndOneArena) {
  const kernels::KernelTable table = TestKernels();
  std::unique_ptr<Session> session = SessionWith(&table);
  const PlanId small = *session->Load(ChainPlan(2));
  const uint64_t before = session->Counters()[0].arena_bytes;
  Launched(session.get(), small, {Filled({4, 4}, 1)});
  const PlanId large = *session->Load(ChainPlan(9));
  EXPECT_GT(session->Counters()[0].arena_bytes, before);
  EXPECT_EQ(session->Counters()[0].arena_bytes,
            static_cast<uint64_t>(ChainPlan(9).devices(0).arena_bytes()));
  for (int round = 0; round < 6; ++round) {  // without a wait between them
    Launched(session.get(), small, {Filled({4, 4}, 1)});
    Launched(session.get(), large, {Filled({4, 4}, 1)});
  }
  absl::StatusOr<HostTensor> w = session->ReadState("w");
  ASSERT_TRUE(w.ok());
  EXPECT_EQ(ValuesOf(*w)[0], 7 * 3.0f + 6 * 10.0f);
}

TEST(SessionTest, TwoSessionsRunAtOnce) {
  const kernels::KernelTable table = TestKernels();
  std::vector<std::unique_ptr<Session>> sessions;
  std::vector<PlanId> plans;
  for (int s = 0; s < 2; ++s) {
    sessions.push_back(SessionWith(&table));
    plans.push_back(*sessions.back()->Load(ChainPlan(3 + s)));
  }
  for (int step = 0; step < 20; ++step) {
    std::vector<InvocationId> ids;
    for (size_t s = 0; s < 2; ++s) {
      ids.push_back(Launched(sessions[s].get(), plans[s], {Filled({4, 4}, 1)}));
    }
    for (size_t s = 0; s < 2; ++s) {
      EXPECT_EQ(ValuesOf(Fetched(sessions[s].get(), ids[s])[0])[0], 4.0f + static_cast<float>(s));
    }
  }
  sessions[0].reset();
  EXPECT_EQ(ValuesOf(*sessions[1]->ReadState("w"))[0], 20 * 5.0f);
}

TEST(SessionTest, RefusesWhatDoesNotFitBeforeAnythingRuns) {
  const kernels::KernelTable table = TestKernels();
  std::unique_ptr<Session> session = SessionWith(&table);
  const PlanId plan = *session->Load(ChainPlan(2));
  EXPECT_EQ(KindOf(session->Launch(plan, {}).status()), ErrorKind::kData);
  EXPECT_EQ(KindOf(session->Launch(plan, {Filled({4, 5}, 0)}).status()), ErrorKind::kShape);
  HostTensor wrong = HostTensor::Allocate(DType::kI32, {4, 4});
  EXPECT_EQ(KindOf(session->Launch(plan, {wrong}).status()), ErrorKind::kDType);
  EXPECT_FALSE(session->Launch(plan + 1, {}).ok());
  EXPECT_EQ(KindOf(session->WriteState("w", Filled({4}, 0))), ErrorKind::kShape);
  EXPECT_FALSE(session->ReadState("v").ok());

  plan::Plan other = ChainPlan(2);
  other.mutable_states(0)->mutable_shards(0)->set_shape(0, 2);
  EXPECT_EQ(KindOf(session->Load(other).status()), ErrorKind::kPlan);
  plan::Plan peer = ChainPlan(2);
  peer.set_world_size(2);
  EXPECT_EQ(KindOf(session->Load(peer).status()), ErrorKind::kPlan);
  plan::Plan unknown = ChainPlan(2);
  unknown.mutable_tasks(1)->set_op("nonsense");
  EXPECT_FALSE(session->Load(unknown).ok());

  EXPECT_EQ(session->StateVersion("w"), 0u);
  Launched(session.get(), plan, {Filled({4, 4}, 0)});
  EXPECT_TRUE(session->Wait().ok());
}

TEST(SessionTest, NullDevicesRunTheOrderAlone) {
  plan::Plan plan = PipelinePlan(4, 2);
  for (plan::DeviceProto& device : *plan.mutable_devices()) device.set_kind("null");
  SessionOptions options;
  options.verify = HasDataflow(plan);
  std::unique_ptr<Session> session = SessionWith(nullptr, options);
  const PlanId id = *session->Load(plan);
  for (int step = 0; step < 10; ++step) {
    const std::vector<HostTensor> outputs =
        Fetched(session.get(), Launched(session.get(), id, {Filled({16, 4}, 1)}));
    EXPECT_EQ(ValuesOf(outputs[1]), std::vector<float>(16, 0.0f));
  }
  EXPECT_EQ(session->Counters()[0].arena_bytes, 0u);
  EXPECT_EQ(session->Counters()[1].firings, 130u);
}

TEST(SessionTest, DestructionInMidStepJoinsTheThreads) {
  std::atomic<bool> gate{false};
  const kernels::KernelTable table = TestKernels(&gate);
  std::unique_ptr<Session> session = SessionWith(&table);
  const PlanId plan = *session->Load(ChainPlan(3, "block"));
  for (int i = 0; i < 3; ++i) Launched(session.get(), plan, {Filled({4, 4}, 1)});
  std::thread opener([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    gate.store(true);
  });
  session.reset();
  opener.join();
}

TEST(SessionTest, TheWatchdogNamesTheKernelThatBlocks) {
  std::atomic<bool> gate{false};
  const kernels::KernelTable table = TestKernels(&gate);
  SessionOptions options;
  options.watchdog_seconds = 0.02;
  testing::internal::CaptureStderr();
  std::unique_ptr<Session> session = SessionWith(&table, options);
  const PlanId plan = *session->Load(ChainPlan(3, "block"));
  const InvocationId id = Launched(session.get(), plan, {Filled({4, 4}, 1)});
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  gate.store(true);
  EXPECT_EQ(Fetched(session.get(), id).size(), 1u);  // it speaks, it does not kill
  session.reset();
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_NE(log.find("no progress for"), std::string::npos) << log;
  EXPECT_NE(log.find("first by stamp: rank 0 add.0 (model.py:20) step 0 micro 0: runs since"),
            std::string::npos)
      << log;
  EXPECT_NE(log.find("neighbour: rank 0 add.1"), std::string::npos) << log;
}

TEST(SessionTest, AFiringThatTheDeviceDoesNotTakeFailsTheSession) {
  const kernels::KernelTable table = TestKernels();
  std::unique_ptr<Session> session = SessionWith(&table);
  const PlanId plan = *session->Load(ChainPlan(3, "refuse"));
  for (int step = 0; step < 2; ++step) {
    EXPECT_EQ(Fetched(session.get(), Launched(session.get(), plan, {Filled({4, 4}, 1)})).size(),
              1u);
  }
  const InvocationId id = Launched(session.get(), plan, {Filled({4, 4}, 1)});
  const absl::Status failed = session->Fetch(id).status();
  EXPECT_NE(MessageOf(failed).find("add.0 (model.py:20): the device is lost"), std::string::npos)
      << MessageOf(failed);
  EXPECT_EQ(session->Wait(), failed);
}

TEST(SessionTest, WritesATraceWithTheTasksNames) {
  const kernels::KernelTable table = TestKernels();
  SessionOptions options;
  options.trace_path = testing::TempDir() + "/session_test.pftrace";
  std::unique_ptr<Session> session = SessionWith(&table, options);
  const PlanId plan = *session->Load(ChainPlan(3));
  for (int i = 0; i < 4; ++i) Launched(session.get(), plan, {Filled({4, 4}, 1)});
  ASSERT_TRUE(session->Wait().ok());
  session.reset();
  std::ifstream file(options.trace_path, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  const std::string text = bytes.str();
  EXPECT_NE(text.find("device 0 compute (chain)"), std::string::npos);
  size_t slices = 0;
  for (size_t at = text.find("add.2"); at != std::string::npos; at = text.find("add.2", at + 1)) {
    ++slices;
  }
  EXPECT_EQ(slices, 4u);
}

TEST(SessionTest, DebugStringShowsEveryActor) {
  const kernels::KernelTable table = TestKernels();
  std::unique_ptr<Session> session = SessionWith(&table);
  const PlanId plan = *session->Load(ChainPlan(2));
  Fetched(session.get(), Launched(session.get(), plan, {Filled({4, 4}, 1)}));
  ASSERT_TRUE(session->Wait().ok());
  const std::string text = session->DebugString();
  EXPECT_NE(text.find("1 steps launched, 1 completed"), std::string::npos) << text;
  EXPECT_NE(text.find("rank 0 update.w (model.py:40) step 1 micro 0: waits for the next "
                      "invocation, waits for r2 from add.1 [1/1 in:0]"),
            std::string::npos)
      << text;
}

}  // namespace
}  // namespace oneflow
