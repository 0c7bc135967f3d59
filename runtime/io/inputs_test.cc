// Inputs and outputs of a step: the step sees what they were during Launch, in memory that is kept.
#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "base/status.h"
#include "runtime/io/fetch_ring.h"
#include "runtime/io/staging.h"
#include "runtime/plans_for_test.h"
#include "runtime/session.h"

namespace oneflow {
namespace {

// feed -> fetch of one large input.
plan::Plan CopyPlan(const Shape& shape) {
  PlanBuilder b;
  const uint32_t feed = b.Stream("feed"), fetch = b.Stream("fetch");
  const uint32_t x = b.Task("feed.x", feed, Spec(plan::FEED, "feed"));
  const uint32_t y = b.Task("fetch.y", fetch, Spec(plan::FETCH, "fetch"));
  RegisterSpec reg;
  reg.shape = shape;
  b.Register(x, {y}, reg);
  AddInput(&b.plan(), "x", shape);
  AddOutput(&b.plan(), "y", shape);
  b.plan().set_name("copy");
  return b.Build();
}

TEST(InputsTest, SmallOnesMayChangeAfterLaunchAlsoWhileStepsWait) {
  std::atomic<bool> gate{false};
  const kernels::KernelTable table = TestKernels(&gate);
  std::unique_ptr<Session> session = SessionWith(&table);
  const PlanId plan = *session->Load(ChainPlan(2, "block"));
  HostTensor x = HostTensor::Allocate(DType::kF32, {4, 4});
  std::vector<InvocationId> ids;
  for (int step = 0; step < 4; ++step) {  // none can end before the gate opens
    const HostTensor values = Filled({4, 4}, static_cast<float>(step));
    std::memcpy(x.data.get(), values.data.get(), static_cast<size_t>(x.bytes()));
    ids.push_back(*session->Launch(plan, {x}));
    std::memset(x.data.get(), 0xff, static_cast<size_t>(x.bytes()));
  }
  EXPECT_EQ(x.data.use_count(), 1);
  gate.store(true);
  for (int step = 0; step < 4; ++step) {
    EXPECT_EQ(ValuesOf((*session->Fetch(ids[static_cast<size_t>(step)]))[0])[0],
              2.0f + static_cast<float>(step));
  }
}

TEST(InputsTest, LargeOnesAreReadInPlaceWithinLaunch) {
  const kernels::KernelTable table = TestKernels();
  std::unique_ptr<Session> session = SessionWith(&table);
  const Shape shape = {256, 1024};  // 1 MiB
  absl::StatusOr<PlanId> plan = session->Load(CopyPlan(shape));
  ASSERT_TRUE(plan.ok()) << MessageOf(plan.status());
  const HostTensor x = Filled(shape, 0);
  for (int step = 0; step < 10; ++step) {
    std::memset(x.data.get(), step, static_cast<size_t>(x.bytes()));
    const InvocationId id = *session->Launch(*plan, {x});
    EXPECT_EQ(x.data.use_count(), 1);
    std::memset(x.data.get(), 0xff, static_cast<size_t>(x.bytes()));
    const HostTensor y = (*session->Fetch(id))[0];
    EXPECT_EQ(static_cast<int>(y.data.get()[y.bytes() - 1]), step);
    ASSERT_TRUE(session->Wait().ok());
  }
  EXPECT_EQ(session->holdings().staging_bytes, 0u);
}

TEST(InputsTest, StagingIsKeptAndItsFirstFreeBufferIsTaken) {
  Staging staging;
  std::array<Invocation, Invocation::kWindow> ring;
  for (Invocation& invocation : ring) invocation.input_bytes.resize(2);
  const std::vector<HostTensor> inputs = {Filled({100}, 1), Filled({3}, 2)};
  std::set<const std::byte*> places;
  const auto copy = [&](size_t step) {
    Invocation& invocation = ring[step % ring.size()];
    staging.Copy(inputs, {true, true}, &invocation);
    invocation.feeds_left.store(1);
    EXPECT_EQ(std::memcmp(invocation.input_bytes[1], inputs[1].data.get(), 12), 0);
    return invocation.input_bytes[0];
  };
  for (size_t step = 0; step < 20; ++step) {  // one step at a time
    places.insert(copy(step));
    ring[step % ring.size()].feeds_left.store(0);
  }
  EXPECT_EQ(places.size(), 1u);
  const size_t one = staging.bytes();
  for (size_t step = 20; step < 60; ++step) {  // all in flight
    places.insert(copy(step));
    if (step >= 23) ring[(step + 1) % ring.size()].feeds_left.store(0);
  }
  EXPECT_EQ(places.size(), 4u);
  EXPECT_EQ(staging.bytes(), 4 * one);
}

TEST(InputsTest, OutputsThatTheCallerLetsGoOfAreUsedAgain) {
  const plan::Plan plan = CopyPlan({64});
  FetchRing ring(plan, {true});
  std::set<const std::byte*> places;
  std::vector<HostTensor> held;
  for (int64_t id = 0; id < 50; ++id) {
    FetchEntry* entry = ring.Open(id);
    places.insert(entry->tensors[0].data.get());
    held.assign(1, entry->tensors[0]);  // until the next one is there: y = step(x) in a loop
    entry->done.store(true);
    ring.Release(entry);
  }
  EXPECT_EQ(places.size(), 2u);
  EXPECT_EQ(ring.unread(), 0u);
}

}  // namespace
}  // namespace oneflow
