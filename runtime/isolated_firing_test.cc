// A kernel that touches what is not its own is caught at its firing.
#include "runtime/isolated_firing.h"

#include <cstring>

#include "base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/guarded_block.h"
#include "runtime/plans_for_test.h"
#include "runtime/virtual_runtime.h"

namespace oneflow {
namespace {

using ::testing::HasSubstr;

float* Out(const kernels::KernelArgs& args) { return static_cast<float*>(args.outputs[0]); }
void Fill(const kernels::KernelArgs& args, size_t) {
  std::memset(args.outputs[0], 0, kElements * sizeof(float));
}

// A step of x -> add -> y whose `add` runs `function`.
absl::Status RunWith(void (*function)(const kernels::KernelArgs&, size_t), bool isolate) {
  const kernels::KernelTable table({DefineKernel("add", function), DefineKernel("update", Fill)});
  const plan::Plan plan = ChainPlan(1);
  VirtualRuntime::Setup setup;
  setup.cpu_kernels = &table;
  setup.isolate = isolate;
  auto runtime = VirtualRuntime::Create({&plan}, setup);
  if (!runtime.ok()) return runtime.status();
  VirtualOptions options;
  return (*runtime)->Run({}, {{Filled({4, 4}, 1)}}, options).status();
}

TEST(IsolatedFiring, AGoodKernelRuns) {
  const absl::Status status = RunWith(Fill, true);
  EXPECT_TRUE(status.ok()) << MessageOf(status);
}

TEST(IsolatedFiring, AWriteBeforeAnOutputIsSeen) {
  const auto writes = [](const kernels::KernelArgs& args, size_t) { Out(args)[-1] = 1; };
#if defined(__SANITIZE_ADDRESS__)
  EXPECT_DEATH((void)RunWith(writes, true), "use-after-poison");
#else
  EXPECT_THAT(MessageOf(RunWith(writes, true)), HasSubstr("wrote beside its output 0"));
#endif
  EXPECT_THAT(MessageOf(RunWith(Fill, false)), "");
}

TEST(IsolatedFiring, AnAccessBehindAnOutputEndsTheProcess) {
  const auto writes = [](const kernels::KernelArgs& args, size_t) { Out(args)[kElements] = 1; };
  EXPECT_DEATH((void)RunWith(writes, true), "");
  const auto reads = [](const kernels::KernelArgs& args, size_t) {
    volatile float beyond = static_cast<const float*>(args.inputs[0])[kElements];
    Out(args)[0] = beyond;
  };
  EXPECT_DEATH((void)RunWith(reads, true), "");
}

TEST(IsolatedFiring, AChangedInputIsSeen) {
  const auto changes = [](const kernels::KernelArgs& args, size_t) {
    static_cast<float*>(const_cast<void*>(args.inputs[0]))[0] = 77;
  };
  EXPECT_THAT(MessageOf(RunWith(changes, true)), HasSubstr("changed its input 0"));
}

TEST(GuardedBlock, IsAlignedAndEndsAtAGuard) {
  for (const int64_t bytes : {int64_t{0}, int64_t{1}, int64_t{63}, int64_t{64}, int64_t{4096},
                              int64_t{4097}, int64_t{100000}}) {
    const GuardedBlock block(bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(block.data()) % 64, 0u);
    if (bytes > 0) std::memset(block.data(), 1, static_cast<size_t>(bytes));
    EXPECT_TRUE(block.Intact()) << bytes;
  }
}

}  // namespace
}  // namespace oneflow
