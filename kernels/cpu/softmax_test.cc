// softmax, log_softmax, cross_entropy and their gradients against formulas in double.
#include <array>
#include <cmath>
#include <limits>

#include "kernels/cpu/kernel_case.h"

namespace oneflow::kernels {
namespace {

struct SoftmaxRow {
  Shape shape;
  int64_t dim;
};

std::vector<SoftmaxRow> SoftmaxRows() {
  return {{{5, 10}, 1},    {{5, 10}, 0},   {{3, 4, 5}, 1},   {{7}, 0},
          {{2, 1000}, -1}, {{600, 33}, 1}, {{0, 10}, 1},     {{4, 1}, 1},
          {{6, 50, 7}, 1}, {{5, 10}, -2},  {{2, 40, 150}, 1}};
}

// Calls f(positions of one line) for each line along the dim.
template <typename F>
void ForEachLine(const SoftmaxRow& row, const F& f) {
  const int64_t dim = row.dim < 0 ? row.dim + static_cast<int64_t>(row.shape.size()) : row.dim;
  Shape others = row.shape;
  others[dim] = 1;
  for (Shape index : Indices(others)) {
    std::vector<int64_t> line;
    for (index[dim] = 0; index[dim] < row.shape[dim]; ++index[dim]) {
      line.push_back(BroadcastPosition(row.shape, index));
    }
    f(line);
  }
}

TEST(Softmax, ForwardAndGradients) {
  for (const SoftmaxRow& row : SoftmaxRows()) {
    const int64_t n = NumElements(row.shape);
    const std::vector<float> x = RandomFloats(n, 1, -10, 10);
    const std::vector<float> dy = RandomFloats(n, 2);
    std::vector<double> soft(n), log_soft(n), soft_grad(n), log_grad(n);
    ForEachLine(row, [&](const std::vector<int64_t>& line) {
      double sum = 0;
      for (const int64_t i : line) sum += std::exp(static_cast<double>(x[i]));
      double dot = 0;
      double total = 0;
      for (const int64_t i : line) {
        soft[i] = std::exp(static_cast<double>(x[i])) / sum;
        log_soft[i] = x[i] - std::log(sum);
        dot += soft[i] * dy[i];
        total += dy[i];
      }
      for (const int64_t i : line) {
        soft_grad[i] = soft[i] * (dy[i] - dot);
        log_grad[i] = dy[i] - soft[i] * total;
      }
    });
    const Attrs attrs = {{"dim", row.dim}};
    const TestTensor xt = TestTensor::Of<float>(row.shape, x);
    const TestTensor dyt = TestTensor::Of<float>(row.shape, dy);
    const auto rounded = [&](const std::vector<double>& v) {
      return TestTensor::Of<float>(row.shape, std::vector<float>(v.begin(), v.end()));
    };
    for (const int threads : {1, 2}) {
      const std::string what = ToString(row.shape) + std::to_string(row.dim);
      ExpectClose(RunKernel("softmax", attrs, {xt}, row.shape, threads), soft, 3e-6, 1e-12, what);
      ExpectClose(RunKernel("log_softmax", attrs, {xt}, row.shape, threads), log_soft, 1e-6, 2e-6,
                  what);
      ExpectClose(RunKernel("softmax_grad", attrs, {rounded(soft), dyt}, row.shape, threads),
                  soft_grad, 1e-5, 1e-6, what);
      ExpectClose(
          RunKernel("log_softmax_grad", attrs, {rounded(log_soft), dyt}, row.shape, threads),
          log_grad, 1e-5, 2e-5, what);
    }
  }
}

TEST(Softmax, LargeLogitsDoNotOverflow) {
  const std::vector<float> out = RunKernel("softmax", {{"dim", int64_t{0}}},
                                           {TestTensor::Of<float>({3}, {1000, 1000, -1000})}, {3});
  EXPECT_EQ(out, (std::vector<float>{0.5f, 0.5f, 0}));
}

// [n, stride] logits of which `classes` count, their labels, and what cross_entropy and its gradient say in
// double.
struct Labelled {
  int64_t n, stride, classes;
  std::vector<float> logits, dloss, dlse;
  std::vector<int64_t> labels;
  std::vector<double> loss, lse, grad;

  // Logits as `dtype` holds them.
  Labelled(DType dtype, int64_t rows, int64_t width, int64_t used, bool with_dlse)
      : n(rows), stride(width), classes(used), dloss(RandomFloats(n, 2)), dlse(n) {
    logits = Rounded(dtype, RandomFloats(n * stride, 1, -5, 5));
    if (with_dlse) dlse = RandomFloats(n, 3);
    for (int64_t i = 0; i < n; ++i) labels.push_back(i * 7 % classes);
    grad.resize(n * stride);
    for (int64_t i = 0; i < n; ++i) {
      const float* x = logits.data() + i * stride;
      double sum = 0;
      for (int64_t j = 0; j < classes; ++j) sum += std::exp(static_cast<double>(x[j]));
      lse.push_back(std::log(sum));
      loss.push_back(lse[i] - x[labels[i]]);
      for (int64_t j = 0; j < classes; ++j) {
        grad[i * stride + j] = std::exp(x[j] - lse[i]) * (double{dloss[i]} + dlse[i]) -
                               (labels[i] == j ? dloss[i] : 0);
      }
    }
  }
  static std::vector<float> Rounded(DType dtype, std::vector<float> values) {
    for (float& value : values) {
      if (dtype == DType::kBF16) value = BF16(value);
      if (dtype == DType::kF16) value = F16(value);
    }
    return values;
  }
  template <typename T>
  TestTensor Logits() const {
    std::vector<T> values;
    for (const float value : logits) values.push_back(T(value));
    return TestTensor::Of<T>({n, stride}, values);
  }
};

template <typename T>
std::vector<float> AsFloats(const std::vector<T>& values) {
  std::vector<float> floats;
  for (const T value : values) floats.push_back(static_cast<float>(static_cast<Compute<T>>(value)));
  return floats;
}

template <typename T>
void ExpectLossAndGradient(const Labelled& want, double tolerance) {
  using C = Compute<T>;
  const DType dtype = DTypeOf<T>(), sums = DTypeOf<C>();
  const Attrs attrs = {{"classes", want.classes == want.stride ? int64_t{0} : want.classes}};
  const TestTensor labels = TestTensor::Of<int64_t>({want.n}, want.labels);
  const auto of_sums = [&](const auto& values) {
    return TestTensor::Of<C>({want.n}, std::vector<C>(values.begin(), values.end()));
  };
  for (const int threads : {1, 2}) {
    KernelCase test("cross_entropy", attrs, {want.Logits<T>(), labels},
                    {TestTensor::Empty(sums, {want.n}), TestTensor::Empty(sums, {want.n})},
                    threads);
    test.Run();
    ExpectClose(AsFloats(test.Output<C>(0)), want.loss, 2e-6, 2e-6);
    ExpectClose(AsFloats(test.Output<C>(1)), want.lse, 2e-6, 2e-6);
    std::vector<TestTensor> inputs = {want.Logits<T>(), labels, of_sums(want.lse),
                                      of_sums(want.dloss), of_sums(want.dlse)};
    if (want.dlse == std::vector<float>(want.n)) inputs.pop_back();
    KernelCase grad("cross_entropy_grad", attrs, inputs,
                    {TestTensor::Empty(dtype, {want.n, want.stride})}, threads);
    grad.Run();
    ExpectClose(AsFloats(grad.Output<T>(0)), want.grad, tolerance, tolerance / 8);
  }
}

TEST(CrossEntropy, LossAndGradient) {
  for (const auto& [stride, classes] : std::vector<std::array<int64_t, 2>>{
           {1, 1}, {10, 10}, {37, 37}, {40, 37}, {40, 33}, {2, 1}}) {
    for (const bool with_dlse : {false, true}) {
      ExpectLossAndGradient<float>({DType::kF32, 501, stride, classes, with_dlse}, 1e-5);
      ExpectLossAndGradient<double>({DType::kF64, 101, stride, classes, with_dlse}, 1e-6);
      ExpectLossAndGradient<BF16>({DType::kBF16, 101, stride, classes, with_dlse}, 1.0 / 256);
      ExpectLossAndGradient<F16>({DType::kF16, 101, stride, classes, with_dlse}, 1.0 / 2048);
    }
  }
}

TEST(CrossEntropy, WhatStandsBehindTheClassesIsNotReadAndHasNoGradient) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const TestTensor logits = TestTensor::Of<float>({2, 4}, {1, 2, nan, nan, 3, 1, nan, nan});
  const TestTensor labels = TestTensor::Of<int64_t>({2}, {0, 2});  // 2 is none of two classes
  const Attrs attrs = {{"classes", int64_t{2}}};
  KernelCase test("cross_entropy", attrs, {logits, labels},
                  {TestTensor::Empty(DType::kF32, {2}), TestTensor::Empty(DType::kF32, {2})});
  test.Run();
  EXPECT_NEAR(test.Output<float>(0)[0], std::log1p(std::exp(1.0)), 1e-6);
  EXPECT_TRUE(std::isnan(test.Output<float>(0)[1]));
  EXPECT_EQ(test.block.error_bound, 2);
  const std::vector<float> grad =
      RunKernel("cross_entropy_grad", attrs,
                {logits, labels, TestTensor::Of<float>({2}, test.Output<float>(1)),
                 TestTensor::Of<float>({2}, {1, 1})},
                {2, 4});
  EXPECT_NEAR(grad[1], 1 / (1 + std::exp(-1.0)), 1e-6);
  EXPECT_NEAR(grad[0], -grad[1], 1e-6);
  for (const int i : {2, 3, 6, 7}) EXPECT_EQ(grad[i], 0) << i;
}

TEST(CrossEntropy, OneBufferHoldsScoresAndGradient) {
  constexpr int64_t kRows = 5, kClasses = 1003;
  const TestTensor scores = RandomTensor({kRows, kClasses}, 3);
  const TestTensor labels = TestTensor::Of<int64_t>({kRows}, {0, 1002, 7, 500, 31});
  const TestTensor dloss = RandomTensor({kRows}, 4), lse = RandomTensor({kRows}, 5, 6, 8);
  const TestTensor gradient = TestTensor::Empty(DType::kF32, {kRows, kClasses});
  KernelCase apart("cross_entropy_grad", {}, {scores, labels, lse, dloss}, {gradient});
  apart.Run();
  EXPECT_TRUE(apart.needs().MayAlias(0, 0));
  KernelCase over("cross_entropy_grad", {}, {scores, labels, lse, dloss}, {scores});
  over.Run();
  EXPECT_EQ(scores.Values<float>(), gradient.Values<float>());
}

// A loss near 0 beside scores whose size a float's last place is larger than.
TEST(CrossEntropy, ASmallLossOfLargeScoresKeepsItsDigits) {
  KernelCase test(
      "cross_entropy", {},
      {TestTensor::Of<float>({1, 2}, {1e4f, 1e4f - 5}), TestTensor::Of<int64_t>({1}, {0})},
      {TestTensor::Empty(DType::kF32, {1}), TestTensor::Empty(DType::kF32, {1})});
  test.Run();
  EXPECT_NEAR(test.Output<float>(0)[0], std::log1p(std::exp(-5.0)), 1e-7);
}

TEST(CrossEntropy, LabelOutOfRangeIsReportedAndNanForItsSampleOnly) {
  const TestTensor logits = RandomTensor({4, 3}, 1);
  const TestTensor labels = TestTensor::Of<int64_t>({4}, {0, 3, -1, int64_t{1} << 40});
  KernelCase test("cross_entropy", {}, {logits, labels},
                  {TestTensor::Empty(DType::kF32, {4}), TestTensor::Empty(DType::kF32, {4})});
  test.Run();
  EXPECT_EQ(test.block.error(), DataErrorCode::kIndexOutOfRange);
  EXPECT_EQ(test.block.error_bound, 3);
  EXPECT_TRUE(test.block.error_value < 0 || test.block.error_value >= 3);
  const std::vector<float> loss = test.Output<float>(0);
  EXPECT_FALSE(std::isnan(loss[0]));
  for (int i = 1; i < 4; ++i) EXPECT_TRUE(std::isnan(loss[i])) << i;
  const std::vector<float> grad = RunKernel(
      "cross_entropy_grad", {},
      {logits, labels, TestTensor::Of<float>({4}, test.Output<float>(1)), RandomTensor({4}, 2)},
      {4, 3});
  for (int i = 0; i < 12; ++i) EXPECT_EQ(std::isnan(grad[i]), i >= 3) << i;
}

TEST(CrossEntropy, NarrowLabelsAndEmptyShard) {
  KernelCase test(
      "cross_entropy", {},
      {TestTensor::Of<float>({2, 3}, {0, 0, 1, 2, 1, 0}), TestTensor::Of<int32_t>({2}, {2, 0})},
      {TestTensor::Empty(DType::kF32, {2}), TestTensor::Empty(DType::kF32, {2})});
  test.Run();
  EXPECT_NEAR(test.Output<float>(0)[0], std::log(2 + std::exp(1.0)) - 1, 1e-6);
  KernelCase empty("cross_entropy", {}, {RandomTensor({0, 3}, 1), TestTensor::Of<int64_t>({0}, {})},
                   {TestTensor::Empty(DType::kF32, {0}), TestTensor::Empty(DType::kF32, {0})}, 2);
  empty.Run();
}

}  // namespace
}  // namespace oneflow::kernels
