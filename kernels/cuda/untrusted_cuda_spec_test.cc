// Every kernel of the CUDA table under random changes of a correct spec, as a plan file may hold them
// (kernels/cpu/untrusted_spec_for_test.h): each is refused, or is described and made without harm, and runs
// inside its buffers on software CUDA.
#include <cstring>
#include <set>

#include "kernels/cpu/untrusted_spec_for_test.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/cuda_stream.h"
#include "kernels/cuda/device_bytes_for_test.h"

namespace oneflow::kernels {
namespace {

constexpr int kPerRow = 150;
constexpr int64_t kMostBytes = 1 << 11;  // threads of a block are fibers, which are dear

int64_t BytesOf(const Operand& operand) {
  return NumElements(operand.shape) * SizeOf(operand.dtype);
}

// Runs the kernel on random bytes: what they say, an index say, is as untrusted as the spec.
void RunInside(const KernelSpec& spec, const Needs& needs, const Kernel& kernel, CudaStream* stream,
               std::mt19937& random) {
  const CudaApi* api = SoftCudaApi();
  std::vector<std::unique_ptr<DeviceBytes>> buffers;
  std::vector<const void*> inputs;
  std::vector<void*> outputs;
  const auto filled = [&](const Operand& operand) {
    buffers.push_back(std::make_unique<DeviceBytes>(api, BytesOf(operand)));
    const std::vector<unsigned char> bytes(static_cast<size_t>(BytesOf(operand)),
                                           static_cast<unsigned char>(random()));
    buffers.back()->Write(bytes.data());
    return buffers.back()->data();
  };
  for (const Operand& input : spec.inputs) inputs.push_back(filled(input));
  for (const Operand& output : spec.outputs) outputs.push_back(filled(output));
  const DeviceBytes workspace(api, needs.workspace_bytes);
  DeviceBytes block(api, sizeof(StepBlock));
  KernelArgs args;
  args.inputs = inputs.data();
  args.outputs = outputs.data();
  args.workspace = workspace.data();
  args.block = static_cast<StepBlock*>(block.data());
  args.block->Begin(0);
  args.micro = random() % 5;
  args.chunk = random() % 5;
  const absl::Status status = kernel.Run(args, stream);
  // A micro-batch that the spec does not know of.
  EXPECT_TRUE(status.ok() || spec.op.starts_with("micro_")) << MessageOf(status);
  stream->Drain();
  for (const std::unique_ptr<DeviceBytes>& buffer : buffers) buffer->CheckGuard();
  workspace.CheckGuard();
}

TEST(UntrustedCudaSpec, IsRefusedOrStaysInsideItsBuffers) {
  const KernelTable table = CudaKernels(SoftCudaApi());
  const absl::StatusOr<std::unique_ptr<CudaStream>> stream = CudaStream::Make(SoftCudaApi());
  ASSERT_TRUE(stream.ok());
  std::mt19937 random(20240712);
  std::set<std::string> met, ran_ops;
  int ran = 0, refused = 0, described = 0;
  for (const untrusted::Row& row : untrusted::Rows()) {
    met.insert(row.op);
    for (int i = 0; i < kPerRow; ++i) {
      KernelSpec spec{row.op, row.attrs, row.inputs, row.outputs, 1};
      for (uint32_t changes = i == 0 ? 0 : 1 + random() % 3; changes > 0; --changes) {
        untrusted::Change(&spec, random);
      }
      const absl::Status status = table.Check(spec);
      const absl::StatusOr<Needs> needs = table.Describe(spec);
      const absl::StatusOr<std::unique_ptr<Kernel>> kernel = table.Make(spec);
      if (!status.ok()) {
        ++refused;
        EXPECT_NE(MessageOf(status).find(row.op), std::string::npos) << MessageOf(status);
        EXPECT_FALSE(needs.ok() || kernel.ok()) << spec.Key();
        continue;
      }
      // A type for which there is no kernel.
      if (!needs.ok() || !kernel.ok()) {
        ++refused;
        EXPECT_NE(i, 0) << spec.Key();
        continue;
      }
      ++described;
      ASSERT_GE(needs->workspace_bytes, 0) << spec.Key();
      int64_t most = 0;
      for (const Operand& operand : spec.inputs) most = std::max(most, BytesOf(operand));
      for (const Operand& operand : spec.outputs) most = std::max(most, BytesOf(operand));
      if (most > kMostBytes || needs->workspace_bytes > int64_t{1} << 26) continue;
      RunInside(spec, *needs, **kernel, stream->get(), random);
      ASSERT_FALSE(::testing::Test::HasFailure()) << spec.Key();
      ran_ops.insert(row.op);
      ++ran;
    }
  }
  EXPECT_GT(ran, 2000);
  EXPECT_GT(described, ran);
  EXPECT_GT(refused, 8000);
  EXPECT_EQ(met.size(), table.ops().size());
  EXPECT_EQ(ran_ops.size(), met.size());
}

// Batches are not counted out while a kernel is made: of products of nothing a plan may name any number.
TEST(UntrustedCudaSpec, ManyProductsOfNothingAreMadeAtOnce) {
  using untrusted::F;
  const int64_t many = int64_t{1} << 20;
  const KernelSpec spec{
      "matmul", {}, {F({many, many, 0, 5}), F({many, 1, 5, 3})}, {F({many, many, 0, 3})}, 1};
  const KernelTable table = CudaKernels(SoftCudaApi());
  ASSERT_TRUE(table.Check(spec).ok()) << MessageOf(table.Check(spec));
  const absl::StatusOr<std::unique_ptr<Kernel>> kernel = table.Make(spec);
  ASSERT_TRUE(kernel.ok()) << MessageOf(kernel.status());
  EXPECT_EQ(table.Describe(spec)->workspace_bytes, 0);
}

}  // namespace
}  // namespace oneflow::kernels
