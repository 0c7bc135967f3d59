// conv2d and its gradients against seven nested loops in double.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/convolution_case.h"
#include "kernels/cpu/cpu_kernels.h"

namespace oneflow::kernels {
namespace {

TEST(Conv2d, ForwardAndGradients) {
  for (const ConvolutionRow& row : ConvolutionRows()) {
    const Reference ref = ReferenceOf(row);
    const TestTensor x = TestTensor::Of<float>(ref.x_shape, ref.x);
    const TestTensor w = TestTensor::Of<float>(ref.w_shape, ref.w);
    const TestTensor dy = TestTensor::Of<float>(ref.y_shape, ref.dy);
    for (const int threads : {1, 2}) {
      ExpectClose(RunKernel("conv2d", AttrsOf(row), {x, w}, ref.y_shape, threads), ref.y, 1e-5,
                  1e-4, "y " + Text(row));
      Attrs input = AttrsOf(row);
      input.Set("h", row.h);
      input.Set("w", row.w);
      ExpectClose(RunKernel("conv2d_grad_input", input, {dy, w}, ref.x_shape, threads), ref.dx,
                  1e-5, 1e-4, "dx " + Text(row));
      Attrs weight = AttrsOf(row);
      weight.Set("kh", row.r);
      weight.Set("kw", row.s);
      ExpectClose(RunKernel("conv2d_grad_weight", weight, {x, dy}, ref.w_shape, threads), ref.dw,
                  1e-5, 5e-4, "dw " + Text(row));
    }
  }
}

// Of each part: of its samples as one.
TEST(Conv2d, SumsOfPartsBesideTheResult) {
  for (const ConvolutionRow& row : ConvolutionRows()) {
    const Reference ref = ReferenceOf(row);
    const int64_t k = ref.y_shape[3], n = ref.y_shape[0];
    for (int64_t parts = 1; parts <= std::max<int64_t>(1, n); ++parts) {
      if (n % parts != 0) continue;
      const int64_t rows = NumElements(ref.y_shape) / std::max<int64_t>(1, k) / parts;
      std::vector<double> sums(static_cast<size_t>(parts * k)), squares(sums);
      for (int64_t at = 0; at < parts * k; ++at) {
        const auto y = [&](int64_t i) {
          return ref.y[static_cast<size_t>((at / k * rows + i) * k + at % k)];
        };
        double& sum = sums[static_cast<size_t>(at)];
        for (int64_t i = 0; i < rows; ++i) sum += y(i);
        for (int64_t i = 0; i < rows; ++i) {
          squares[static_cast<size_t>(at)] += std::pow(y(i) - sum / static_cast<double>(rows), 2);
        }
      }
      for (const int threads : {1, 2}) {
        const Shape of_parts = {parts, k};
        KernelCase test(
            "conv2d_sums", AttrsOf(row),
            {TestTensor::Of<float>(ref.x_shape, ref.x), TestTensor::Of<float>(ref.w_shape, ref.w)},
            {TestTensor::Empty(DType::kF32, ref.y_shape), TestTensor::Empty(DType::kF32, of_parts),
             TestTensor::Empty(DType::kF32, of_parts)},
            threads);
        test.Run();
        const std::string what = Text(row) + " in parts " + std::to_string(parts);
        ExpectClose(test.Output<float>(0), ref.y, 1e-5, 1e-4, "y " + what);
        ExpectClose(test.Output<float>(1), sums, 1e-5, 1e-4 * static_cast<double>(rows), what);
        ExpectClose(test.Output<float>(2), squares, 1e-4, 1e-4, what);
      }
    }
  }
}

TEST(Conv2d, SumsOfPartsThatAreNotEqualAreRefused) {
  const auto check = [](int64_t parts, DType sums) {
    KernelCase test("conv2d_sums", AttrsOf({6, 4, 4, 2, 3, 1, 1, 1, {1, 1}, {0, 0}, {1, 1}}),
                    {TestTensor::Empty(DType::kF32, {6, 4, 4, 2}),
                     TestTensor::Empty(DType::kF32, {3, 2, 1, 1})},
                    {TestTensor::Empty(DType::kF32, {6, 4, 4, 3}),
                     TestTensor::Empty(sums, {parts, 3}), TestTensor::Empty(sums, {parts, 3})});
    return CpuKernels().Check(test.spec()).ok();
  };
  EXPECT_TRUE(check(3, DType::kF32));
  EXPECT_FALSE(check(4, DType::kF32));
  EXPECT_FALSE(check(0, DType::kF32));
  EXPECT_FALSE(check(3, DType::kF64));
}

TEST(Conv2d, SameBitsInEveryRun) {
  const ConvolutionRow row = {32, 8, 8, 16, 32, 3, 3, 1, {1, 1}, {1, 1}, {1, 1}};
  const Reference ref = ReferenceOf(row);
  const TestTensor x = TestTensor::Of<float>(ref.x_shape, ref.x);
  const TestTensor dy = TestTensor::Of<float>(ref.y_shape, ref.dy);
  Attrs attrs = AttrsOf(row);
  attrs.Set("kh", row.r);
  attrs.Set("kw", row.s);
  const std::vector<float> first = RunKernel("conv2d_grad_weight", attrs, {x, dy}, ref.w_shape, 2);
  for (int run = 0; run < 10; ++run) {
    EXPECT_EQ(RunKernel("conv2d_grad_weight", attrs, {x, dy}, ref.w_shape, 2), first);
  }
}

}  // namespace
}  // namespace oneflow::kernels
