// Every kernel of the table under random changes of a correct spec (untrusted_spec_for_test.h). Each is
// refused, or runs inside its buffers (KernelCase sees writes, the sanitizers see reads).
#include "kernels/cpu/untrusted_spec_for_test.h"

namespace oneflow::kernels {
namespace {

TEST(UntrustedSpec, IsRefusedOrStaysInsideItsBuffers) {
  constexpr int kPerRow = 1500;
  constexpr int64_t kMostBytes = 1 << 16;
  std::mt19937 random(20240711);
  std::set<std::string> met;
  int ran = 0, refused = 0;
  for (const untrusted::Row& row : untrusted::Rows()) {
    met.insert(row.op);
    KernelSpec correct{row.op, row.attrs, row.inputs, row.outputs, 1};
    ASSERT_TRUE(CpuKernels().Check(correct).ok())
        << row.op << ": " << MessageOf(CpuKernels().Check(correct));
    for (int i = 0; i < kPerRow; ++i) {
      KernelSpec spec = correct;
      for (uint32_t changes = 1 + random() % 3; changes > 0; --changes) {
        untrusted::Change(&spec, random);
      }
      const absl::Status status = CpuKernels().Check(spec);
      // Both say the same as the check.
      const absl::StatusOr<Needs> needs = CpuKernels().Describe(spec);
      if (!status.ok()) {
        ++refused;
        EXPECT_NE(MessageOf(status).find(row.op), std::string::npos) << MessageOf(status);
        EXPECT_FALSE(needs.ok());
        EXPECT_FALSE(CpuKernels().Make(spec).ok());
        continue;
      }
      int64_t bytes = needs.ok() ? needs->workspace_bytes : 0;
      ASSERT_GE(bytes, 0) << spec.Key();
      std::vector<TestTensor> inputs, outputs;
      bool small = spec.threads <= 4;
      for (const std::vector<Operand>* side : {&spec.inputs, &spec.outputs}) {
        for (const Operand& operand : *side) {
          bytes = std::max(bytes, NumElements(operand.shape) * SizeOf(operand.dtype));
        }
      }
      if (!small || bytes > kMostBytes) continue;
      for (const auto& [side, tensors] :
           {std::pair{&spec.inputs, &inputs}, std::pair{&spec.outputs, &outputs}}) {
        for (const Operand& operand : *side) {
          tensors->push_back(TestTensor::Empty(operand.dtype, operand.shape));
          tensors->back().type = operand;
          std::memset(tensors->back().bytes->data(), static_cast<int>(random() % 256),
                      NumElements(operand.shape) * SizeOf(operand.dtype));
        }
      }
      KernelCase test(spec.op, spec.attrs, inputs, outputs, spec.threads);
      if (!test.Make()) {  // a dtype that the op has no loop for
        ++refused;
        continue;
      }
      test.may_refuse = true;
      test.Run(/*micro=*/random() % 5, /*chunk=*/random() % 5);
      ASSERT_FALSE(::testing::Test::HasFailure()) << spec.Key();
      ++ran;
    }
  }
  EXPECT_GT(ran, 5000);
  EXPECT_GT(refused, 50000);
  EXPECT_EQ(met.size(), CpuKernels().ops().size());
}

}  // namespace
}  // namespace oneflow::kernels
