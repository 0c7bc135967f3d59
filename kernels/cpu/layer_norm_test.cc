// layer_norm and rms_norm and their gradients against formulas in double, in f32 and in bf16.
#include <cmath>

#include "kernels/cpu/kernel_case.h"

namespace oneflow::kernels {
namespace {

struct Expected {
  std::vector<double> y, mean, rstd, dx, dweight, dbias;
};

// Rows of n; `centered`: layer_norm.
Expected Formulas(const std::vector<float>& x, const std::vector<float>& dy,
                  const std::vector<float>& weight, const std::vector<float>& bias, int64_t n,
                  double eps, bool centered) {
  Expected e;
  const int64_t rows = static_cast<int64_t>(x.size()) / n;
  e.y.resize(x.size());
  e.dx.resize(x.size());
  e.dweight.assign(static_cast<size_t>(n), 0);
  e.dbias.assign(static_cast<size_t>(n), 0);
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = x.data() + r * n;
    double mean = 0, square = 0;
    for (int64_t i = 0; centered && i < n; ++i) mean += row[i] / static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i) square += (row[i] - mean) * (row[i] - mean);
    const double rstd = 1 / std::sqrt(square / static_cast<double>(n) + eps);
    e.mean.push_back(mean);
    e.rstd.push_back(rstd);
    double sum = 0, dot = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double hat = (row[i] - mean) * rstd;
      const double g = static_cast<double>(dy[r * n + i]) * weight[i];
      e.y[r * n + i] = hat * weight[i] + (centered ? bias[i] : 0);
      e.dweight[i] += dy[r * n + i] * hat;
      e.dbias[i] += dy[r * n + i];
      sum += g;
      dot += g * hat;
    }
    for (int64_t i = 0; i < n; ++i) {
      const double hat = (row[i] - mean) * rstd;
      const double g = static_cast<double>(dy[r * n + i]) * weight[i];
      const double count = static_cast<double>(n);
      e.dx[r * n + i] = rstd * (g - (centered ? sum / count : 0) - hat * dot / count);
    }
  }
  return e;
}

TestTensor Of(const Shape& shape, const std::vector<double>& values) {
  return TestTensor::Of<float>(shape, std::vector<float>(values.begin(), values.end()));
}

TEST(LayerNorm, EqualsTheFormula) {
  for (const bool centered : {true, false}) {
    for (const auto& [rows, n] :
         std::vector<std::pair<int64_t, int64_t>>{{1, 5}, {7, 33}, {900, 64}}) {
      const std::vector<float> x = RandomFloats(rows * n, 1, -1, 5);
      const std::vector<float> dy = RandomFloats(rows * n, 2);
      const std::vector<float> weight = RandomFloats(n, 3);
      const std::vector<float> bias = RandomFloats(n, 4);
      const Expected e = Formulas(x, dy, weight, bias, n, 1e-3, centered);
      const std::string name = centered ? "layer_norm" : "rms_norm";
      const Attrs dims{{"dims", int64_t{1}}};
      const Attrs attrs{{"dims", int64_t{1}}, {"eps", 1e-3}};
      const TestTensor xt = TestTensor::Of<float>({rows, n}, x);
      const TestTensor dyt = TestTensor::Of<float>({rows, n}, dy);
      const TestTensor wt = TestTensor::Of<float>({n}, weight);
      const auto empty = [](const Shape& shape) { return TestTensor::Empty(DType::kF32, shape); };
      for (const int threads : {1, 2}) {
        std::vector<TestTensor> inputs = {xt, wt};
        std::vector<TestTensor> outputs = {empty({rows, n}), empty({rows})};
        std::vector<TestTensor> saved = {xt, dyt};
        if (centered) {
          inputs.push_back(TestTensor::Of<float>({n}, bias));
          outputs.push_back(empty({rows}));
          saved.push_back(Of({rows}, e.mean));
        }
        saved.push_back(Of({rows}, e.rstd));
        KernelCase forward(name, attrs, inputs, outputs, threads);
        forward.Run();
        ExpectClose(forward.Output<float>(0), e.y, 2e-6, 3e-6, name);
        ExpectClose(forward.Output<float>(centered ? 2 : 1), e.rstd, 2e-6, 0, "rstd");
        KernelCase weights(name + "_weight_grad", dims, saved,
                           centered ? std::vector{empty({n}), empty({n})} : std::vector{empty({n})},
                           threads);
        weights.Run();
        ExpectClose(weights.Output<float>(0), e.dweight, 1e-5, 2e-5, "dweight");
        if (centered) ExpectClose(weights.Output<float>(1), e.dbias, 1e-5, 2e-5, "dbias");
        saved.push_back(wt);
        KernelCase backward(name + "_grad", dims, saved, {empty({rows, n})}, threads);
        backward.Run();
        ExpectClose(backward.Output<float>(0), e.dx, 1e-5, 1e-5, "dx");
      }
    }
  }
}

TEST(LayerNorm, NarrowRowsAreComputedInF32) {
  const int64_t n = 70;
  std::vector<BF16> x, weight;
  std::vector<float> wide, wide_weight;
  for (const float v : RandomFloats(3 * n, 1, -1, 5)) {
    x.emplace_back(v);
    wide.push_back(x.back());
  }
  for (const float v : RandomFloats(n, 2)) {
    weight.emplace_back(v);
    wide_weight.push_back(weight.back());
  }
  const Expected e =
      Formulas(wide, std::vector<float>(wide.size()), wide_weight, {}, n, 1e-5, false);
  KernelCase test("rms_norm", {{"dims", int64_t{1}}},
                  {TestTensor::Of<BF16>({3, n}, x), TestTensor::Of<BF16>({n}, weight)},
                  {TestTensor::Empty(DType::kBF16, {3, n}), TestTensor::Empty(DType::kF32, {3})},
                  2);
  test.Run();
  ExpectClose(test.Output<float>(1), e.rstd, 2e-6, 0, "rstd");
  const std::vector<BF16> y = test.Output<BF16>(0);
  for (size_t i = 0; i < y.size(); ++i) {
    ASSERT_NEAR(y[i], e.y[i], 0.004 * std::abs(e.y[i]) + 1e-6) << i;
  }
}

}  // namespace
}  // namespace oneflow::kernels
