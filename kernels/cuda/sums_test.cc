// How sums are made on CUDA, where a comparison with the CPU's within a tolerance does not see it: the type
// that they are made in, and the order of their shares. All results are exact numbers.
#include <cmath>
#include <cstring>

#include "kernels/cuda/conformance_case_for_test.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/cuda_stream.h"
#include "kernels/cuda/device_bytes_for_test.h"

namespace oneflow::kernels {
namespace {

constexpr float kLarge = 1 << 24;  // from here on f32 does not count by ones

TestTensor Floats(const Shape& shape, const std::vector<float>& values) {
  return TestTensor::Of<float>(shape, values);
}

// Writes the results of one call on software CUDA into the outputs of `test`; returns its workspace.
int64_t RunOnSoft(const Case& test) {
  const CudaApi* api = SoftCudaApi();
  const auto stream = CudaStream::Make(api);
  KernelSpec spec{test.op, test.attrs, {}, {}, 1};
  for (const TestTensor& input : test.inputs) spec.inputs.push_back(input.type);
  for (const TestTensor& output : test.outputs) spec.outputs.push_back(output.type);
  const KernelTable table = CudaKernels(api);
  const absl::StatusOr<Needs> needs = table.Describe(spec);
  const absl::StatusOr<std::unique_ptr<Kernel>> kernel = table.Make(spec);
  EXPECT_TRUE(stream.ok() && needs.ok() && kernel.ok()) << spec.Key();
  std::vector<std::unique_ptr<DeviceBytes>> buffers;
  std::vector<const void*> inputs;
  std::vector<void*> outputs;
  const auto bytes = [](const TestTensor& tensor) {
    return NumElements(tensor.type.shape) * SizeOf(tensor.type.dtype);
  };
  for (const TestTensor& input : test.inputs) {
    buffers.push_back(std::make_unique<DeviceBytes>(api, bytes(input)));
    buffers.back()->Write(input.bytes->data());
    inputs.push_back(buffers.back()->data());
  }
  for (const TestTensor& output : test.outputs) {
    buffers.push_back(std::make_unique<DeviceBytes>(api, bytes(output)));
    outputs.push_back(buffers.back()->data());
  }
  const DeviceBytes workspace(api, needs->workspace_bytes);
  KernelArgs args;
  args.inputs = inputs.data();
  args.outputs = outputs.data();
  args.workspace = workspace.data();
  EXPECT_TRUE((*kernel)->Run(args, stream->get()).ok()) << spec.Key();
  (*stream)->Drain();
  for (size_t i = 0; i < test.outputs.size(); ++i) {
    const std::vector<unsigned char> read = buffers[test.inputs.size() + i]->Read();
    std::memcpy(test.outputs[i].bytes->data(), read.data(), read.size());
  }
  return needs->workspace_bytes;
}

// `rows` rows of `columns`: a large number, ones, and the large number less. Its sum over the rows is
// rows - 2 where it is made in f64, and less where ones are added to the large number in f32.
std::vector<float> Cancelling(int64_t rows, int64_t columns) {
  std::vector<float> values(static_cast<size_t>(rows * columns), 1.0f);
  for (int64_t c = 0; c < columns; ++c) {
    values[static_cast<size_t>(c)] = kLarge;
    values[static_cast<size_t>((rows - 1) * columns + c)] = -kLarge;
  }
  return values;
}

TEST(CudaSums, OfFloatsAreMadeInF64) {
  for (const int64_t n : {int64_t{40}, int64_t{9001}}) {
    // Along lines, which blocks or shares of them join, and across, which threads do.
    const TestTensor along = Of(DType::kF32, {1});
    RunOnSoft({"sum",
               {{"dims", Longs{1}}, {"keepdim", false}},
               {Floats({1, n}, Cancelling(n, 1))},
               {along}});
    EXPECT_EQ(along.Values<float>()[0], static_cast<float>(n - 2)) << n;
    const TestTensor across = Of(DType::kF32, {3});
    RunOnSoft({"sum",
               {{"dims", Longs{0}}, {"keepdim", false}},
               {Floats({n, 3}, Cancelling(n, 3))},
               {across}});
    EXPECT_EQ(across.Values<float>()[2], static_cast<float>(n - 2)) << n;
  }
}

// Beside a product: in 16 bits by the product itself, in f32; else by a kernel behind it, in f64.
TEST(CudaSums, BesideAProductAreMadeInF32OrByAKernelOfTheirOwn) {
  const int64_t k = 10;
  const std::vector<float> values = Cancelling(k, 3);
  for (const bool copied : {false, true}) {  // a product through copies makes no sums
    const int64_t m = copied ? 129 : 2, n = copied ? 130 : 3, rows = copied ? 128 : k;
    std::vector<BF16> b(static_cast<size_t>(rows * n), BF16(1.0f));
    for (int64_t c = 0; c < n; ++c) {
      b[static_cast<size_t>(c)] = BF16(kLarge);
      b[static_cast<size_t>((rows - 1) * n + c)] = BF16(-kLarge);
    }
    const std::vector<BF16> zeros(static_cast<size_t>(rows * m), BF16(0.0f));
    const TestTensor sums = Of(DType::kBF16, {n});
    RunOnSoft({"matmul_sums",
               {{"transpose_a", true}, {"of", std::string("b")}},
               {TestTensor::Of<BF16>({rows, m}, zeros), TestTensor::Of<BF16>({rows, n}, b)},
               {Of(DType::kBF16, {m, n}), sums}});
    EXPECT_EQ(static_cast<float>(sums.Values<BF16>()[2]), copied ? 126.0f : 0.0f);
  }
  const TestTensor sums = Of(DType::kF32, {3});
  RunOnSoft({"matmul_sums",
             {{"transpose_a", true}, {"of", std::string("b")}},
             {Floats({k, 2}, std::vector<float>(20, 0.0f)), Floats({k, 3}, values)},
             {Of(DType::kF32, {2, 3}), sums}});
  EXPECT_EQ(sums.Values<float>()[2], 8.0f);
}

TEST(CudaSums, OfColumnsAreMadeInF64) {
  const int64_t n = 700;
  const TestTensor x = Floats({n, 3}, Cancelling(n, 3));
  const TestTensor sums = Of(DType::kF32, {1, 3});
  RunOnSoft({"bn_sum", {{"groups", int64_t{1}}}, {x}, {sums}});
  EXPECT_EQ(sums.Values<float>()[1], static_cast<float>(n - 2));

  const std::vector<float> ones(static_cast<size_t>(n), 1.0f);
  const TestTensor weight = Of(DType::kF32, {3}), bias = Of(DType::kF32, {3});
  RunOnSoft({"layer_norm_weight_grad",
             {{"dims", int64_t{1}}},
             {x, x, Floats({n}, ones), Floats({n}, ones)},
             {weight, bias}});
  EXPECT_EQ(bias.Values<float>()[0], static_cast<float>(n - 2));
}

// A warp adds some rows in f32; what the warps have, 2^30 in one and -2^30 in another, is joined in f64.
TEST(CudaSums, OfWarpsAreJoinedInF64) {
  const int64_t rows = 1200, n = 256;
  std::vector<float> values(static_cast<size_t>(rows * n), 1.0f);
  for (int64_t c = 0; c < n; ++c) {
    values[static_cast<size_t>(c)] = 1 << 30;
    values[static_cast<size_t>((rows - 1) * n + c)] = -(1 << 30);
  }
  const TestTensor x = Floats({rows, n}, values);
  const TestTensor stats = Floats({rows}, std::vector<float>(static_cast<size_t>(rows), 1.0f));
  const TestTensor dx = Of(DType::kF32, {rows, n});
  const TestTensor weight = Of(DType::kF32, {n}), bias = Of(DType::kF32, {n});
  RunOnSoft({"layer_norm_grads", {{"dims", int64_t{1}}}, {x, x, stats, stats}, {dx, weight, bias}});
  // But for the ones beside those two.
  for (int64_t c = 0; c < n; ++c) {
    EXPECT_NEAR(bias.Values<float>()[static_cast<size_t>(c)], rows, 20) << c;
  }
}

// Whether one pass makes all gradients of a layer norm or two do, as for 6 columns, dx is the same.
TEST(CudaSums, OfARowAreTheSameForAllGradients) {
  for (const int64_t n : {int64_t{6}, int64_t{260}, int64_t{1024}}) {
    const int64_t rows = 29;
    const TestTensor x = RandomTensor({rows, n}, 1), dy = RandomTensor({rows, n}, 2);
    const TestTensor weight = RandomTensor({n}, 3);
    const TestTensor mean = RandomTensor({rows}, 4), rstd = RandomTensor({rows}, 5, 0.5f, 2.0f);
    const TestTensor alone = Of(DType::kF32, {rows, n}), dx = Of(DType::kF32, {rows, n});
    const Attrs dims = {{"dims", int64_t{1}}};
    RunOnSoft({"layer_norm_grad", dims, {x, dy, mean, rstd, weight}, {alone}});
    RunOnSoft({"layer_norm_grads",
               dims,
               {x, dy, mean, rstd, weight},
               {dx, Of(DType::kF32, {n}), Of(DType::kF32, {n})}});
    EXPECT_EQ(dx.Values<float>(), alone.Values<float>()) << n;
  }
}

TEST(CudaSums, OfNarrowProductsAreMadeInF32) {
  const int64_t k = 1024;  // bf16 counts by ones to 256, f16 to 2048
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    TestTensor a = Of(dtype, {1, 3 * k}), b = Of(dtype, {3 * k, 1});
    DispatchDType(dtype, [&]<typename T>() {
      for (int64_t i = 0; i < 3 * k; ++i) {
        static_cast<T*>(a.bytes->data())[i] = Convert<T>(1.0f);
        static_cast<T*>(b.bytes->data())[i] = Convert<T>(1.0f);
      }
    });
    const TestTensor d = Of(dtype, {1, 1});
    RunOnSoft({"matmul", {{"transpose_a", false}, {"transpose_b", false}}, {a, b}, {d}});
    DispatchDType(dtype, [&]<typename T>() {
      const float sum = static_cast<float>(static_cast<const T*>(d.bytes->data())[0]);
      EXPECT_EQ(sum, static_cast<float>(3 * k)) << NameOf(dtype);
    });
  }
}

// 2^24 + 1 + 1 - 2^24 is 0 in f32 in this order, and 2 from behind.
TEST(CudaSums, SharesAreJoinedInTheirOrder) {
  const int64_t pixels = 16 * 9 * 9, channels = 8;
  Case test{"conv2d_grad_weight",
            {{"stride", Longs{1, 1}},
             {"padding", Longs{0, 0}},
             {"dilation", Longs{1, 1}},
             {"groups", int64_t{1}},
             {"kh", int64_t{1}},
             {"kw", int64_t{1}}},
            {Of(DType::kF32, {16, 9, 9, channels}), Of(DType::kF32, {16, 9, 9, channels})},
            {Of(DType::kF32, {channels, channels, 1, 1})}};
  const int64_t results = channels * channels;
  const auto set = [&](int input, int64_t pixel, float value) {
    float* at = static_cast<float*>(test.inputs[input].bytes->data());
    for (int64_t c = 0; c < channels; ++c) at[pixel * channels + c] = value;
  };
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    set(0, pixel, 0);
    set(1, pixel, 1);
  }
  const int64_t shares = pixels / 256;  // so many pixels are worth a share (image_kernels.cc)
  ASSERT_GE(shares, 4);
  ASSERT_GE(RunOnSoft(test), shares * results * int64_t{sizeof(float)});
  const auto first_of = [&](int64_t share) { return pixels * share / shares; };
  set(0, first_of(0), kLarge);
  set(0, first_of(1), 1);
  set(0, first_of(2), 1);
  set(0, first_of(shares - 1), -kLarge);
  RunOnSoft(test);
  for (const float sum : test.outputs[0].Values<float>()) EXPECT_EQ(sum, 0.0f);
}

}  // namespace
}  // namespace oneflow::kernels
