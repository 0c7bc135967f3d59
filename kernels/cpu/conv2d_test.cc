// conv2d and its gradients against seven nested loops in double.
#include "kernels/cpu/convolution_case.h"

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
