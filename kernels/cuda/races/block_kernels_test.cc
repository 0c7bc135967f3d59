// Kernels whose threads meet at barriers, one call of each way in which they do, on software CUDA: the same bits in every
// order of their threads, and under ThreadSanitizer no two of them at one place without a barrier between. Numbers:
// kernels/cuda/conformance_test.cc.
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/conformance_case_for_test.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/cuda_stream.h"
#include "kernels/cuda/device_bytes_for_test.h"
#include "kernels/cuda/soft_cuda_for_test.h"

namespace oneflow::kernels {
namespace {

constexpr DType kF = DType::kF32;

// Runs the kernel and leaves its results in the case's outputs.
void RunOnce(const Case& call) {
  const CudaApi* api = SoftCudaApi();
  const KernelTable table = CudaKernels(api);
  const std::unique_ptr<CudaStream> stream = *CudaStream::Make(api);
  const KernelSpec spec = KernelCase(call.op, call.attrs, call.inputs, call.outputs).spec();
  const absl::StatusOr<Needs> needs = table.Describe(spec);
  ASSERT_TRUE(needs.ok()) << call.op << ": " << MessageOf(needs.status());
  const absl::StatusOr<std::unique_ptr<Kernel>> kernel = table.Make(spec);
  ASSERT_TRUE(kernel.ok()) << call.op << ": " << MessageOf(kernel.status());
  const auto bytes_of = [](const TestTensor& tensor) {
    return NumElements(tensor.type.shape) * SizeOf(tensor.type.dtype);
  };
  std::vector<std::unique_ptr<DeviceBytes>> buffers;
  std::vector<const void*> inputs;
  std::vector<void*> outputs;
  for (const TestTensor& input : call.inputs) {
    buffers.push_back(std::make_unique<DeviceBytes>(api, bytes_of(input)));
    buffers.back()->Write(input.bytes->data());
    inputs.push_back(buffers.back()->data());
  }
  for (const TestTensor& output : call.outputs) {
    buffers.push_back(std::make_unique<DeviceBytes>(api, bytes_of(output)));
    outputs.push_back(buffers.back()->data());
  }
  DeviceBytes workspace(api, needs->workspace_bytes);
  StepBlock block;
  KernelArgs args;
  args.inputs = inputs.data();
  args.outputs = outputs.data();
  args.workspace = workspace.data();
  args.block = &block;
  ASSERT_TRUE((*kernel)->Run(args, stream.get()).ok()) << call.op;
  stream->Drain();
  for (size_t i = 0; i < call.outputs.size(); ++i) {
    const std::vector<unsigned char> bytes = buffers[call.inputs.size() + i]->Read();
    std::memcpy(call.outputs[i].bytes->data(), bytes.data(), bytes.size());
  }
}

std::string BytesOf(const Case& call) {
  std::string bytes;
  for (const TestTensor& output : call.outputs) {
    bytes.append(static_cast<const char*>(output.bytes->data()),
                 static_cast<size_t>(NumElements(output.type.shape) * SizeOf(output.type.dtype)));
  }
  return bytes;
}

// Every launch draws its own order of threads.
void ExpectOneResult(const Case& call) {
  ASSERT_NO_FATAL_FAILURE(RunOnce(call));
  const std::string first = BytesOf(call);
  for (int run = 0; run < 2; ++run) {
    ASSERT_NO_FATAL_FAILURE(RunOnce(call));
    EXPECT_EQ(BytesOf(call) == first, true) << call.op << " gives other bits in another order";
  }
}

TEST(BlockKernels, RowsAndReductions) {
  const Attrs last = {{"dim", int64_t{1}}};
  const TestTensor rows = RandomTensor({4, 77}, 1);
  ExpectOneResult({"softmax", last, {rows}, {Of(kF, {4, 77})}});
  ExpectOneResult({"log_softmax_grad", last, {rows, RandomTensor({4, 77}, 2)}, {Of(kF, {4, 77})}});
  ExpectOneResult({"sum",
                   {{"dims", Longs{1}}, {"keepdim", false}},
                   {RandomTensor({3, 500}, 3)},
                   {Of(kF, {3})}});
  ExpectOneResult({"cumsum",
                   {{"dim", int64_t{-1}}, {"reverse", false}},
                   {RandomTensor({2, 150}, 4)},
                   {Of(kF, {2, 150})}});
  ExpectOneResult({"cross_entropy",
                   {},
                   {RandomTensor({4, 90}, 5), TestTensor::Of<int64_t>({4}, {0, 89, 3, 9})},
                   {Of(kF, {4}), Of(kF, {4})}});
  ExpectOneResult(
      {"permute", {{"dims", Longs{1, 0}}}, {Values(kF, {40, 45}, 6)}, {Of(kF, {45, 40})}});
}

// Rows that begin on 16 bytes, and the same rows where each begins elsewhere: a block of software CUDA has 32 threads,
// which take four packs each at a time.
TEST(BlockKernels, WhereARowOfScoresBeginsChangesNoBit) {
  constexpr int64_t kRows = 9, kClasses = 1'301, kPadded = 1'304;
  const TestTensor labels = TestTensor::Of<int64_t>({kRows}, {0, 1300, 3, 9, 64, 65, 700, 1, 2});
  for (const DType dtype : {kF, DType::kBF16, DType::kF16}) {
    const TestTensor rows = Values(dtype, {kRows, kClasses}, 5);
    const TestTensor padded = Values(dtype, {kRows, kPadded}, 6);
    const size_t width = static_cast<size_t>(SizeOf(dtype));
    for (int64_t row = 0; row < kRows; ++row) {
      std::memcpy(static_cast<char*>(padded.bytes->data()) + row * kPadded * SizeOf(dtype),
                  static_cast<const char*>(rows.bytes->data()) + row * kClasses * SizeOf(dtype),
                  kClasses * width);
    }
    const Case plain = {"cross_entropy", {}, {rows, labels}, {Of(kF, {kRows}), Of(kF, {kRows})}};
    const Case behind = {"cross_entropy",
                         {{"classes", kClasses}},
                         {padded, labels},
                         {Of(kF, {kRows}), Of(kF, {kRows})}};
    ASSERT_NO_FATAL_FAILURE(RunOnce(plain));
    ASSERT_NO_FATAL_FAILURE(RunOnce(behind));
    EXPECT_EQ(BytesOf(plain) == BytesOf(behind), true) << NameOf(dtype);
  }
}

TEST(BlockKernels, NormsAndUpdates) {
  const Attrs attrs = {{"dims", int64_t{1}}, {"eps", 1e-3}};
  for (const int64_t width : {300, 2056}) {  // by warps, by blocks
    const TestTensor x = RandomTensor({2, width}, 1), dy = RandomTensor({2, width}, 2);
    const TestTensor mean = RandomTensor({2}, 3, -0.2f, 0.2f), rstd = RandomTensor({2}, 4, 1, 2);
    ExpectOneResult({"layer_norm", attrs, {x}, {Of(kF, {2, width}), Of(kF, {2}), Of(kF, {2})}});
    ExpectOneResult({"layer_norm_grad", attrs, {x, dy, mean, rstd}, {Of(kF, {2, width})}});
    ExpectOneResult({"layer_norm_grads",
                     attrs,
                     {x, dy, mean, rstd},
                     {Of(kF, {2, width}), Of(kF, {width}), Of(kF, {width})}});
  }
  const Shape n = {300};
  ExpectOneResult(
      {"adamw_update",
       {{"beta1", 0.9}, {"beta2", 0.99}, {"eps", 1e-8}, {"weight_decay", 0.05}},
       {RandomTensor(n, 1), RandomTensor(n, 2), RandomTensor(n, 3), RandomTensor(n, 4, 0, 1),
        TestTensor::Of<float>({}, {0.1f}), TestTensor::Of<int64_t>({}, {3})},
       {Of(kF, n), Of(kF, n), Of(kF, n)}});
}

TEST(BlockKernels, Indices) {
  std::vector<int64_t> names(90);
  for (size_t i = 0; i < names.size(); ++i) names[i] = static_cast<int64_t>(i / 2 * 7 % 40);
  ExpectOneResult({"embedding_grad",
                   {{"rows", int64_t{40}}},
                   {RandomTensor({90, 5}, 3), TestTensor::Of<int64_t>({90}, names)},
                   {Of(kF, {40, 5})}});
}

TEST(BlockKernels, Attention) {
  const Attrs attrs = {{"causal", true}, {"scale", 0.1}};
  for (const DType dtype : {kF, DType::kBF16}) {  // tiles; tensor cores
    const Shape shape = {1, 36, 1, 16}, rows = {1, 1, 36};
    const TestTensor q = Values(dtype, shape, 1), k = Values(dtype, shape, 2),
                     v = Values(dtype, shape, 3);
    const Case forward = {"attention", attrs, {q, k, v}, {Of(dtype, shape), Of(kF, rows)}};
    ExpectOneResult(forward);
    ExpectOneResult({"attention_grad",
                     attrs,
                     {q, k, v, forward.outputs[0], forward.outputs[1], Values(dtype, shape, 4)},
                     {Of(dtype, shape), Of(dtype, shape), Of(dtype, shape)}});
  }
}

}  // namespace
}  // namespace oneflow::kernels
