// What stands around a library's convolution that makes statistics: the number of each channel that it sums about, and
// the statistics of its sums. The graph itself is tested by asking cuDNN (cudnn_graphs_main.cc).
#include "kernels/cuda/convolution_sums.h"

#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/cpu/convolution_case.h"
#include "kernels/cuda/convolution_problem.h"
#include "kernels/cuda/convolution_space.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/cuda_stream.h"
#include "kernels/cuda/device_bytes_for_test.h"
#include "kernels/cuda/soft_cuda_for_test.h"

namespace oneflow::kernels {
namespace {

float Rounded(float value) { return static_cast<float>(BF16(value)); }

KernelSpec SpecOf(const ConvolutionRow& row, const Reference& ref, int64_t parts) {
  const auto empty = [](DType dtype, const Shape& shape) {
    return TestTensor::Empty(dtype, shape).type;
  };
  const Operand sums = empty(DType::kF32, {parts, row.k});
  return {"conv2d_sums",
          AttrsOf(row),
          {empty(DType::kBF16, ref.x_shape), empty(DType::kBF16, ref.w_shape)},
          {empty(DType::kBF16, ref.y_shape), sums, sums},
          1};
}

std::vector<float> Floats(const DeviceBytes& bytes) {
  const std::vector<unsigned char> read = bytes.Read();
  const float* at = reinterpret_cast<const float*>(read.data());
  return {at, at + read.size() / sizeof(float)};
}

// One of the numbers themselves: in the middle, where the padding is seldom seen.
TEST(CudaConvolutionSums, ArePivotedAboutThePixelInTheMiddle) {
  const CudaApi* api = SoftCudaApi();
  const auto stream = CudaStream::Make(api);
  ASSERT_TRUE(stream.ok());
  for (const ConvolutionRow& row : ConvolutionRows()) {
    const Reference ref = ReferenceOf(row, &Rounded);
    if (NumElements(ref.y_shape) == 0 || row.c == 0) continue;
    const CudaConvolution p = ConvolutionOf(SpecOf(row, ref, 1));
    std::vector<BF16> x(ref.x.begin(), ref.x.end()), w(ref.w.begin(), ref.w.end());
    DeviceBytes images(api, static_cast<int64_t>(x.size()) * 2);
    DeviceBytes filters(api, static_cast<int64_t>(w.size()) * 2);
    DeviceBytes pivots(api, p.k * 4);
    images.Write(x.data());
    filters.Write(w.data());
    ASSERT_EQ(ChannelPivots(p, images.data(), filters.data(), static_cast<float*>(pivots.data()),
                            (*stream)->handle()),
              0);
    (*stream)->Drain();
    const int64_t middle = (p.p / 2 * p.q + p.q / 2) * p.k;
    const std::vector<double> expected(ref.y.begin() + middle, ref.y.begin() + middle + p.k);
    ExpectClose(Floats(pivots), expected, 1e-5, 1e-5, Text(row));
  }
}

// Numbers whose mean is ten thousand times their deviation keep the digits that bn_sample_sums keeps, and one number
// again and again has no deviation, though a library adds them in f32.
TEST(CudaConvolutionSums, KeepWhatTheMeanHides) {
  constexpr int64_t kChannels = 5, kRows = 600;
  CudaConvolution p = {};
  p.k = kChannels;
  p.n = 2;
  p.p = 20;
  p.q = 15;
  const std::vector<float> noise = RandomFloats(kChannels * kRows, 3);
  std::vector<float> pivots, raw_sums, raw_squares;
  std::vector<double> sums, squares;
  for (int64_t k = 0; k < kChannels; ++k) {
    const auto y = [&](int64_t i) {
      return 10000.0f + (k == 4 ? 0 : noise[static_cast<size_t>(k * kRows + i)]);
    };
    pivots.push_back(y(kRows / 2));
    float sum = 0, square = 0;
    double whole = 0, apart = 0;
    for (int64_t i = 0; i < kRows; ++i) {
      sum += y(i) - pivots.back();
      square += (y(i) - pivots.back()) * (y(i) - pivots.back());
      whole += y(i);
    }
    for (int64_t i = 0; i < kRows; ++i) apart += std::pow(y(i) - whole / kRows, 2);
    raw_sums.push_back(sum);
    raw_squares.push_back(square);
    sums.push_back(whole);
    squares.push_back(apart);
  }
  const CudaApi* api = SoftCudaApi();
  const auto stream = CudaStream::Make(api);
  ASSERT_TRUE(stream.ok());
  const auto of_channels = [&](const std::vector<float>& values) {
    auto bytes = std::make_unique<DeviceBytes>(api, kChannels * 4);
    bytes->Write(values.data());
    return bytes;
  };
  const auto about = of_channels(pivots), first = of_channels(raw_sums),
             second = of_channels(raw_squares), sum = of_channels(pivots),
             square = of_channels(pivots);
  const auto at = [](const auto& bytes) { return static_cast<float*>(bytes->data()); };
  ASSERT_EQ(
      PivotedSums(p, at(about), at(first), at(second), at(sum), at(square), (*stream)->handle()),
      0);
  (*stream)->Drain();
  ExpectClose(Floats(*sum), sums, 1e-7, 0, "sums");
  ExpectClose(Floats(*square), squares, 1e-4, 0, "squares");
  EXPECT_EQ(Floats(*square)[4], 0);
}

// Where no library makes them, as here, they are what the two ops make, bit by bit.
TEST(CudaConvolutionSums, AreThoseOfTheTwoOpsWithoutALibrary) {
  const CudaApi* api = SoftCudaApi();
  const KernelTable table = CudaKernels(api);
  const auto stream = CudaStream::Make(api);
  ASSERT_TRUE(stream.ok());
  const ConvolutionRow row = {4, 9, 9, 8, 16, 3, 3, 1, {1, 1}, {1, 1}, {1, 1}};
  const Reference ref = ReferenceOf(row, &Rounded);
  const int64_t parts = ref.y_shape[0];
  const KernelSpec joined = SpecOf(row, ref, parts);
  KernelSpec convolution = joined, sums = joined;
  convolution.op = "conv2d";
  convolution.outputs.resize(1);
  sums.op = "bn_sample_sums";
  sums.inputs = {joined.outputs[0]};
  sums.outputs.erase(sums.outputs.begin());
  const auto bytes_of = [](const Operand& operand) {
    return NumElements(operand.shape) * SizeOf(operand.dtype);
  };
  const std::vector<BF16> x(ref.x.begin(), ref.x.end()), w(ref.w.begin(), ref.w.end());
  DeviceBytes images(api, bytes_of(joined.inputs[0])), filters(api, bytes_of(joined.inputs[1]));
  images.Write(x.data());
  filters.Write(w.data());
  std::vector<std::unique_ptr<DeviceBytes>> results;
  for (int i = 0; i < 6; ++i) {
    results.push_back(
        std::make_unique<DeviceBytes>(api, bytes_of(joined.outputs[static_cast<size_t>(i % 3)])));
  }
  const auto run = [&](const KernelSpec& spec, std::vector<const void*> in,
                       std::vector<void*> out) {
    const absl::StatusOr<Needs> needs = table.Describe(spec);
    const auto kernel = table.Make(spec);
    ASSERT_TRUE(needs.ok() && kernel.ok());
    DeviceBytes workspace(api, needs->workspace_bytes);
    KernelArgs args;
    args.inputs = in.data();
    args.outputs = out.data();
    args.workspace = workspace.data();
    ASSERT_TRUE((*kernel)->Run(args, stream->get()).ok());
    (*stream)->Drain();
  };
  const auto at = [&](int i) { return results[static_cast<size_t>(i)]->data(); };
  run(joined, {images.data(), filters.data()}, {at(0), at(1), at(2)});
  run(convolution, {images.data(), filters.data()}, {at(3)});
  run(sums, {at(3)}, {at(4), at(5)});
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(results[i]->Read(), results[i + 3]->Read()) << i;
}

// Of several parts no library makes the sums; of one there is room for what it needs around it.
TEST(CudaConvolutionSums, HaveRoomInTheWorkspaceOfOnePart) {
  const ConvolutionRow row = {4, 16, 16, 32, 48, 3, 3, 1, {1, 1}, {1, 1}, {1, 1}};
  const Reference ref = ReferenceOf(row);
  const auto room = [&](int64_t parts) {
    const KernelSpec spec = SpecOf(row, ref, parts);
    const CudaConvolution p = ConvolutionOf(spec);
    const absl::StatusOr<Needs> needs = CudaDescriptions().Describe(spec);
    EXPECT_TRUE(needs.ok() && needs->workspace_bytes >= p.workspace_bytes);
    return std::pair(p.workspace_bytes, EngineRoom(p));
  };
  const auto [one, engine] = room(1);
  const auto [several, engine_alone] = room(2);
  EXPECT_EQ(one - several, 3 * AlignedBytes(48 * 4));
  EXPECT_EQ(engine, engine_alone);
  EXPECT_EQ(engine, kSumBudget);
}

}  // namespace
}  // namespace oneflow::kernels
