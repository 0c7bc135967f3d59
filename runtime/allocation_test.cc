// A steady step allocates nothing on the session's threads: counted at operator new of this whole
// binary.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "runtime/plans_for_test.h"
#include "runtime/session.h"

namespace {

std::atomic<int64_t> others_allocated{0};  // by any thread but the test's
thread_local bool is_test_thread = false;  // of the test that counts
std::atomic<bool> counting{false};

void* Allocate(std::size_t bytes) {
  if (counting.load(std::memory_order_relaxed) && !is_test_thread) others_allocated.fetch_add(1);
  void* memory = std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t bytes) { return Allocate(bytes); }
void* operator new[](std::size_t bytes) { return Allocate(bytes); }
// AddressSanitizer has its own of these two, which would not match our delete.
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return Allocate(bytes); }
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept { return Allocate(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace oneflow {
namespace {

void CountASteadyStep(const plan::Plan& pipeline) {
  const kernels::KernelTable table = TestKernels();
  SessionOptions options;
  options.verify = HasDataflow(pipeline);
  options.trace_path = testing::TempDir() + "/allocation_test.pftrace";
  std::unique_ptr<Session> session = SessionWith(&table, options);
  const PlanId plan = *session->Load(pipeline);
  const HostTensor x = Filled({16, 4}, 1);
  const auto run = [&](int steps) {
    for (int step = 0; step < steps; ++step) session->Discard(*session->Launch(plan, {x}));
    ASSERT_TRUE(session->Wait().ok());
  };
  run(10);
  is_test_thread = true;
  others_allocated.store(0);
  counting.store(true);
  run(200);
  counting.store(false);
  EXPECT_EQ(others_allocated.load(), 0);
  // The counter sees what other threads do.
  counting.store(true);
  std::thread([] { ::operator delete(::operator new(8)); }).join();
  counting.store(false);
  EXPECT_GT(others_allocated.load(), 0);
}

TEST(AllocationTest, ASteadyStepAllocatesNothingOnTheSessionsThreads) {
  CountASteadyStep(PipelinePlan(4, 2));
}

TEST(AllocationTest, NorWhereDevicesAnswerLater) {
  CountASteadyStep(OnAsyncDevices(PipelinePlan(4, 2)));
}

}  // namespace
}  // namespace oneflow
