// Two ranks, each a session of this process, over a transport that delivers in a random order.
#include <gtest/gtest.h>

#include <chrono>

#include "base/status.h"
#include "comm/blame.h"
#include "runtime/fake_transport_for_test.h"
#include "runtime/plans_for_test.h"
#include "runtime/session.h"

namespace oneflow {
namespace {

class RanksTest : public testing::Test {
 protected:
  void Start(uint32_t chunks, uint32_t slots, uint32_t seed, SessionOptions options = {}) {
    network_ = std::make_unique<FakeNetwork>(2, seed);
    const std::vector<plan::Plan> plans = TwoRankPlans(chunks, slots);
    for (int r = 0; r < 2; ++r) {
      options.verify = false;  // HasDataflow
      options.transport = network_->rank(r);
      sessions_.push_back(SessionWith(&table_, options));
      absl::StatusOr<PlanId> plan = sessions_.back()->Load(plans[static_cast<size_t>(r)]);
      ASSERT_TRUE(plan.ok()) << MessageOf(plan.status());
      plan_[r] = *plan;
    }
  }

  InvocationId Launch(int rank, float value) {
    absl::StatusOr<InvocationId> id =
        sessions_[static_cast<size_t>(rank)]->Launch(plan_[rank], {Filled({4, 4}, value)});
    EXPECT_TRUE(id.ok()) << MessageOf(id.status());
    return id.value_or(-1);
  }

  const kernels::KernelTable table_ = TestKernels();
  std::unique_ptr<FakeNetwork> network_;
  std::vector<std::unique_ptr<Session>> sessions_;
  PlanId plan_[2] = {0, 0};
};

TEST_F(RanksTest, ChunksArriveInOrderUnderAnyTiming) {
  for (uint32_t seed = 0; seed < 10; ++seed) {
    sessions_.clear();
    Start(5, 1 + seed % 3, seed);
    if (HasFatalFailure()) return;
    std::vector<InvocationId> ids;
    for (int step = 0; step < 8; ++step) {
      Launch(0, static_cast<float>(step));
      ids.push_back(Launch(1, -1));  // what rank 1 is given it does not read
    }
    for (int step = 0; step < 8; ++step) {
      absl::StatusOr<std::vector<HostTensor>> outputs =
          sessions_[1]->Fetch(ids[static_cast<size_t>(step)]);
      ASSERT_TRUE(outputs.ok()) << MessageOf(outputs.status());
      const std::vector<float> x = ValuesOf(Filled({4, 4}, static_cast<float>(step)));
      for (size_t i = 0; i < x.size(); ++i) {
        ASSERT_EQ(ValuesOf((*outputs)[0])[i], 5 * (x[i] + 1)) << "seed " << seed;
      }
    }
    // Rank 0 fetches nothing: there is no value.
    absl::StatusOr<std::vector<HostTensor>> none = sessions_[0]->Fetch(0);
    ASSERT_TRUE(none.ok());
    EXPECT_EQ((*none)[0].data, nullptr);
    EXPECT_TRUE(sessions_[0]->Wait().ok());
    EXPECT_EQ(sessions_[1]->Counters()[0].received_bytes, 8u * 5 * 64);
    EXPECT_EQ(sessions_[0]->Counters()[0].received_bytes, 0u);
  }
}

// A rank that has all it wanted may go while its peers still wait for what it owes them.
TEST_F(RanksTest, ASessionThatEndsSendsWhatItOwes) {
  for (uint32_t seed = 0; seed < 10; ++seed) {
    sessions_.clear();
    Start(5, 1, seed);
    if (HasFatalFailure()) return;
    Launch(0, 2);
    const InvocationId id = Launch(1, -1);
    sessions_[0].reset();
    absl::StatusOr<std::vector<HostTensor>> outputs = sessions_[1]->Fetch(id);
    ASSERT_TRUE(outputs.ok()) << MessageOf(outputs.status());
    const std::vector<float> x = ValuesOf(Filled({4, 4}, 2));
    EXPECT_EQ(ValuesOf((*outputs)[0])[0], 5 * (x[0] + 1));
  }
}

TEST_F(RanksTest, ARankThatIsBehindIsWaitedFor) {
  Start(3, 2, 1);
  if (HasFatalFailure()) return;
  for (int step = 0; step < 4; ++step) Launch(0, static_cast<float>(step));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  std::vector<InvocationId> ids;
  for (int step = 0; step < 4; ++step) ids.push_back(Launch(1, 0));
  for (int step = 0; step < 4; ++step) {
    absl::StatusOr<std::vector<HostTensor>> outputs =
        sessions_[1]->Fetch(ids[static_cast<size_t>(step)]);
    ASSERT_TRUE(outputs.ok());
    EXPECT_EQ(ValuesOf((*outputs)[0])[0], 3 * (static_cast<float>(step) + 1));
  }
}

TEST_F(RanksTest, ALostPeerIsTheRootCauseOfEveryCall) {
  Start(3, 2, 1);
  if (HasFatalFailure()) return;
  const InvocationId id = Launch(1, 0);
  std::thread loser([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    network_->Lose(0);
  });
  const absl::Status cause = sessions_[1]->Fetch(id).status();
  loser.join();
  EXPECT_EQ(KindOf(cause), ErrorKind::kPeer);
  EXPECT_EQ(MessageOf(cause), "rank 0 is gone");
  EXPECT_EQ(sessions_[1]->Wait(), cause);
  EXPECT_EQ(sessions_[1]->Launch(plan_[1], {Filled({4, 4}, 0)}).status(), cause);
  EXPECT_EQ(sessions_[1]->ReadState("w").status(), cause);
}

TEST_F(RanksTest, TheWatchdogNamesThePeerThatOwesAMessageAndGivesItUp) {
  SessionOptions options;
  options.watchdog_seconds = 0.03;
  options.peer_seconds = 0.1;
  testing::internal::CaptureStderr();
  Start(3, 2, 1, options);
  if (HasFatalFailure()) return;
  const InvocationId id = Launch(1, 0);  // rank 0 launches nothing
  const absl::Status cause = sessions_[1]->Fetch(id).status();
  sessions_.clear();
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_NE(
      log.find("first by stamp: rank 1 receive (model.py:10) step 0 micro 0: waits for rank 0 "
               "to send on channel r0.0.0-1"),
      std::string::npos)
      << log;
  EXPECT_EQ(KindOf(cause), ErrorKind::kPeer);
  EXPECT_NE(MessageOf(cause).find("rank 0 owes a message"), std::string::npos);
  EXPECT_EQ(network_->AwaitAborts(), 1);
}

// The sender waits for a credit, which the transport cannot know.
TEST_F(RanksTest, APeerThatLeavesAndStillOwesIsGivenUpAtOnce) {
  for (const int left : {0, 1}) {
    sessions_.clear();
    Start(3, 1, 1);  // the watchdog would speak after 30 s
    if (HasFatalFailure()) return;
    Launch(1 - left, 0);
    network_->Leave(left);
    const absl::Status cause = sessions_[static_cast<size_t>(1 - left)]->Wait();
    EXPECT_EQ(KindOf(cause), ErrorKind::kPeer);
    EXPECT_EQ(comm::BlamedRank(cause), left);
    EXPECT_NE(MessageOf(cause).find("ended and owes a message"), std::string::npos) << cause;
  }
}

TEST_F(RanksTest, DestructionWithPostedSlotsClosesTheChannels) {
  Start(3, 2, 1);
  if (HasFatalFailure()) return;
  Launch(1, 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  sessions_[1].reset();
  Launch(0, 1);  // its sends find no receiver
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  sessions_[0].reset();
}

}  // namespace
}  // namespace oneflow
