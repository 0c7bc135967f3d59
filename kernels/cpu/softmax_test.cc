// softmax, log_softmax, cross_entropy and their gradients against formulas in double.
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

TEST(CrossEntropy, LossAndGradient) {
  for (const int64_t c : {1, 10, 37}) {
    const int64_t n = 1001;
    const std::vector<float> logits = RandomFloats(n * c, 1, -5, 5);
    const std::vector<float> dloss = RandomFloats(n, 2);
    std::vector<int64_t> labels;
    for (int64_t i = 0; i < n; ++i) labels.push_back(i * 7 % c);
    std::vector<double> loss(n), log_probs(n * c), grad(n * c);
    for (int64_t i = 0; i < n; ++i) {
      double sum = 0;
      for (int64_t j = 0; j < c; ++j) sum += std::exp(static_cast<double>(logits[i * c + j]));
      for (int64_t j = 0; j < c; ++j) {
        log_probs[i * c + j] = logits[i * c + j] - std::log(sum);
        grad[i * c + j] = (std::exp(log_probs[i * c + j]) - (labels[i] == j ? 1 : 0)) * dloss[i];
      }
      loss[i] = -log_probs[i * c + labels[i]];
    }
    for (const int threads : {1, 2}) {
      const TestTensor label_tensor = TestTensor::Of<int64_t>({n}, labels);
      KernelCase test("cross_entropy", {}, {TestTensor::Of<float>({n, c}, logits), label_tensor},
                      {TestTensor::Empty(DType::kF32, {n}), TestTensor::Empty(DType::kF32, {n, c})},
                      threads);
      test.Run();
      ExpectClose(test.Output<float>(0), loss, 2e-6, 2e-6);
      ExpectClose(test.Output<float>(1), log_probs, 2e-6, 2e-6);
      ExpectClose(RunKernel("cross_entropy_grad", {},
                            {TestTensor::Of<float>({n, c}, test.Output<float>(1)), label_tensor,
                             TestTensor::Of<float>({n}, dloss)},
                            {n, c}, threads),
                  grad, 1e-5, 1e-6);
    }
  }
}

TEST(CrossEntropy, OneBufferHoldsScoresLogProbsAndGradient) {
  constexpr int64_t kRows = 5, kClasses = 1003;
  const TestTensor scores = RandomTensor({kRows, kClasses}, 3);
  const TestTensor labels = TestTensor::Of<int64_t>({kRows}, {0, 1002, 7, 500, 31});
  const TestTensor dloss = RandomTensor({kRows}, 4);
  const TestTensor loss = TestTensor::Empty(DType::kF32, {kRows});
  const TestTensor log_probs = TestTensor::Empty(DType::kF32, {kRows, kClasses});
  const TestTensor gradient = TestTensor::Empty(DType::kF32, {kRows, kClasses});
  KernelCase apart("cross_entropy", {}, {scores, labels}, {loss, log_probs});
  apart.Run();
  EXPECT_TRUE(apart.needs().MayAlias(1, 0));
  KernelCase gradient_apart("cross_entropy_grad", {}, {log_probs, labels, dloss}, {gradient});
  gradient_apart.Run();
  EXPECT_TRUE(gradient_apart.needs().MayAlias(0, 0));
  const std::vector<float> expected_loss = loss.Values<float>();
  KernelCase over("cross_entropy", {}, {scores, labels}, {loss, scores});
  over.Run();
  EXPECT_EQ(scores.Values<float>(), log_probs.Values<float>());
  EXPECT_EQ(loss.Values<float>(), expected_loss);
  KernelCase gradient_over("cross_entropy_grad", {}, {scores, labels, dloss}, {scores});
  gradient_over.Run();
  EXPECT_EQ(scores.Values<float>(), gradient.Values<float>());
}

TEST(CrossEntropy, LabelOutOfRangeIsReportedAndNanForItsSampleOnly) {
  const TestTensor logits = RandomTensor({4, 3}, 1);
  const TestTensor labels = TestTensor::Of<int64_t>({4}, {0, 3, -1, int64_t{1} << 40});
  KernelCase test("cross_entropy", {}, {logits, labels},
                  {TestTensor::Empty(DType::kF32, {4}), TestTensor::Empty(DType::kF32, {4, 3})});
  test.Run();
  EXPECT_EQ(test.block.error(), DataErrorCode::kIndexOutOfRange);
  EXPECT_EQ(test.block.error_bound, 3);
  EXPECT_TRUE(test.block.error_value < 0 || test.block.error_value >= 3);
  const std::vector<float> loss = test.Output<float>(0);
  EXPECT_FALSE(std::isnan(loss[0]));
  for (int i = 1; i < 4; ++i) EXPECT_TRUE(std::isnan(loss[i])) << i;
  const std::vector<float> grad = RunKernel(
      "cross_entropy_grad", {},
      {TestTensor::Of<float>({4, 3}, test.Output<float>(1)), labels, RandomTensor({4}, 2)}, {4, 3});
  for (int i = 0; i < 12; ++i) EXPECT_EQ(std::isnan(grad[i]), i >= 3) << i;
}

TEST(CrossEntropy, NarrowLabelsAndEmptyShard) {
  KernelCase test("cross_entropy", {},
                  {RandomTensor({2, 3}, 1), TestTensor::Of<int32_t>({2}, {2, 0})},
                  {TestTensor::Empty(DType::kF32, {2}), TestTensor::Empty(DType::kF32, {2, 3})});
  test.Run();
  EXPECT_EQ(test.Output<float>(0)[0], -test.Output<float>(1)[2]);
  KernelCase empty("cross_entropy", {}, {RandomTensor({0, 3}, 1), TestTensor::Of<int64_t>({0}, {})},
                   {TestTensor::Empty(DType::kF32, {0}), TestTensor::Empty(DType::kF32, {0, 3})},
                   2);
  empty.Run();
}

}  // namespace
}  // namespace oneflow::kernels
