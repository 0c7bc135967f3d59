// Batch norm against two-pass formulas in double, groups of samples, shards and micro-batches.
#include <cmath>

#include "kernels/cpu/kernel_case.h"

namespace oneflow::kernels {
namespace {

struct Reference {
  int64_t groups, c, rows;  // rows: of one group
  std::vector<double> sum, sq_sum, mean, rstd, y, sum_dy, sum_dy_xhat, dx;
};

// x, dy: [groups * rows, c].
Reference Compute(int64_t groups, int64_t c, const std::vector<float>& x,
                  const std::vector<float>& dy, const std::vector<float>& weight,
                  const std::vector<float>& bias) {
  Reference ref;
  ref.groups = groups;
  ref.c = c;
  ref.rows = static_cast<int64_t>(x.size()) / c / groups;
  const size_t stats = groups * c;
  for (std::vector<double>* v :
       {&ref.sum, &ref.sq_sum, &ref.mean, &ref.rstd, &ref.sum_dy, &ref.sum_dy_xhat}) {
    v->assign(stats, 0);
  }
  ref.y.resize(x.size());
  ref.dx.resize(x.size());
  const auto each = [&](const auto& f) {
    for (size_t i = 0; i < x.size(); ++i) {
      const size_t j = i % c;
      f(i, i / c / ref.rows * c + j, j);
    }
  };
  each([&](size_t i, size_t s, size_t) { ref.sum[s] += x[i]; });
  for (size_t s = 0; s < stats; ++s) ref.mean[s] = ref.sum[s] / ref.rows;
  each([&](size_t i, size_t s, size_t) { ref.sq_sum[s] += std::pow(x[i] - ref.mean[s], 2); });
  for (size_t s = 0; s < stats; ++s) ref.rstd[s] = 1 / std::sqrt(ref.sq_sum[s] / ref.rows + 1e-5);
  each([&](size_t i, size_t s, size_t j) {
    const double xhat = (x[i] - ref.mean[s]) * ref.rstd[s];
    ref.y[i] = xhat * weight[j] + bias[j];
    ref.sum_dy[s] += dy[i];
    ref.sum_dy_xhat[s] += dy[i] * xhat;
  });
  each([&](size_t i, size_t s, size_t j) {
    const double xhat = (x[i] - ref.mean[s]) * ref.rstd[s];
    ref.dx[i] = weight[j] * ref.rstd[s] *
                (dy[i] - ref.sum_dy[s] / ref.rows - xhat * ref.sum_dy_xhat[s] / ref.rows);
  });
  return ref;
}

TestTensor Tensor(const Shape& shape, const std::vector<double>& values) {
  return TestTensor::Of<float>(shape, std::vector<float>(values.begin(), values.end()));
}

void CheckBatchNorm(const Shape& shape, int64_t groups, int threads) {
  const int64_t c = shape.back();
  std::vector<float> x = RandomFloats(NumElements(shape), 1);
  for (float& v : x) v += 3;  // a mean that is not small
  const std::vector<float> dy = RandomFloats(NumElements(shape), 2);
  const std::vector<float> weight = RandomFloats(c, 3);
  const std::vector<float> bias = RandomFloats(c, 4);
  const Reference ref = Compute(groups, c, x, dy, weight, bias);
  const Attrs attrs = {{"groups", groups}};
  const Shape stats = {groups, c};
  const TestTensor xt = TestTensor::Of<float>(shape, x);
  const TestTensor dyt = TestTensor::Of<float>(shape, dy);
  const TestTensor wt = TestTensor::Of<float>({c}, weight);
  const TestTensor bt = TestTensor::Of<float>({c}, bias);
  const TestTensor mean = Tensor(stats, ref.mean);
  const TestTensor rstd = Tensor(stats, ref.rstd);
  const std::string what = ToString(shape);
  const double size = static_cast<double>(ref.rows);
  ExpectClose(RunKernel("bn_sum", attrs, {xt}, stats, threads), ref.sum, 2e-6, 1e-6 * size, what);
  ExpectClose(RunKernel("bn_sq_sum", attrs, {xt, mean}, stats, threads), ref.sq_sum, 4e-6,
              1e-6 * size, what);
  // From one pass over each sample.
  const Shape of_samples = {shape[0], c};
  KernelCase pass(
      "bn_sample_sums", {}, {xt},
      {TestTensor::Empty(DType::kF32, of_samples), TestTensor::Empty(DType::kF32, of_samples)},
      threads);
  pass.Run();
  const TestTensor sample_sums = TestTensor::Of<float>(of_samples, pass.Output<float>(0));
  const TestTensor squares = TestTensor::Of<float>(of_samples, pass.Output<float>(1));
  ExpectClose(RunKernel("bn_sum", attrs, {sample_sums}, stats, threads), ref.sum, 2e-6, 1e-6 * size,
              what);
  Attrs joined = attrs;
  joined.Set("count", NumElements(shape) / shape[0] / c);
  ExpectClose(RunKernel("bn_join_squares", joined, {sample_sums, squares, mean}, stats, threads),
              ref.sq_sum, 4e-6, 1e-6 * size, what);
  ExpectClose(RunKernel("bn_apply", attrs, {xt, mean, rstd, wt, bt}, shape, threads), ref.y, 1e-5,
              1e-5, what);
  KernelCase sums("bn_grad_sums", attrs, {xt, dyt, mean, rstd},
                  {TestTensor::Empty(DType::kF32, stats), TestTensor::Empty(DType::kF32, stats)},
                  threads);
  sums.Run();
  ExpectClose(sums.Output<float>(0), ref.sum_dy, 4e-6, 2e-6 * size, what);
  ExpectClose(sums.Output<float>(1), ref.sum_dy_xhat, 4e-6, 4e-6 * size, what);
  ExpectClose(RunKernel("bn_grad_input", {{"groups", groups}, {"count", ref.rows}},
                        {xt, dyt, mean, rstd, wt, Tensor(stats, ref.sum_dy),
                         Tensor(stats, ref.sum_dy_xhat)},
                        shape, threads),
              ref.dx, 2e-5, 2e-5, what);
}

TEST(BatchNorm, EqualsFormulas) {
  for (const int threads : {1, 2}) {
    CheckBatchNorm({6, 3, 5, 7}, 1, threads);
    CheckBatchNorm({6, 3, 5, 7}, 3, threads);
    CheckBatchNorm({6, 3, 5, 7}, 6, threads);
    CheckBatchNorm({8, 10}, 2, threads);
    CheckBatchNorm({32, 16, 16, 24}, 1, threads);
    CheckBatchNorm({32, 16, 16, 24}, 4, threads);
    CheckBatchNorm({5, 1}, 1, threads);
  }
}

// In one pass, of numbers whose mean is ten thousand times their deviation: sums of squares less the square of the
// mean would have no digit left. Samples differ in their means too, and one is constant.
TEST(BatchNorm, OnePassKeepsWhatTheMeanHides) {
  const int64_t n = 5, rows = 300;
  for (const int64_t c : {int64_t{3}, int64_t{16}, int64_t{200}}) {
    std::vector<float> x = RandomFloats(n * rows * c, 7);
    for (size_t i = 0; i < x.size(); ++i) {
      const int64_t sample = static_cast<int64_t>(i) / c / rows;
      x[i] = sample == 4 ? 10001.0f : 10000.0f + static_cast<float>(sample) + x[i];
    }
    std::vector<double> mean(c), squares(c);
    for (size_t i = 0; i < x.size(); ++i) mean[i % c] += x[i] / static_cast<double>(n * rows);
    for (size_t i = 0; i < x.size(); ++i) squares[i % c] += std::pow(x[i] - mean[i % c], 2);
    for (const int threads : {1, 2, 8}) {
      KernelCase pass(
          "bn_sample_sums", {}, {TestTensor::Of<float>({n, 20, 15, c}, x)},
          {TestTensor::Empty(DType::kF32, {n, c}), TestTensor::Empty(DType::kF32, {n, c})},
          threads);
      pass.Run();
      const std::vector<float> apart = pass.Output<float>(1);
      EXPECT_EQ(apart[4 * c], 0) << "of one number again and again";
      ExpectClose(RunKernel("bn_join_squares", {{"groups", int64_t{1}}, {"count", rows}},
                            {TestTensor::Of<float>({n, c}, pass.Output<float>(0)),
                             TestTensor::Of<float>({n, c}, apart), Tensor({1, c}, mean)},
                            {1, c}, threads),
                  squares, 2e-3, 0, std::to_string(c));
    }
  }
}

TEST(BatchNorm, EmptyShardSumsToZero) {
  const std::vector<float> out =
      RunKernel("bn_sum", {{"groups", int64_t{1}}}, {RandomTensor({0, 4, 4, 3}, 1)}, {1, 3});
  EXPECT_EQ(out, (std::vector<float>{0, 0, 0}));
  RunKernel("bn_apply", {{"groups", int64_t{1}}},
            {RandomTensor({0, 4, 4, 3}, 1), RandomTensor({1, 3}, 2), RandomTensor({1, 3}, 3),
             RandomTensor({3}, 4), RandomTensor({3}, 5)},
            {0, 4, 4, 3});
}

// A shard's sample finds its group by its place in the logical batch.
TEST(BatchNorm, GroupsFollowTheLogicalBatch) {
  // Logical batch 8 in 4 groups of 2; the shard holds samples 4..7, the local statistics groups 2
  // and 3.
  const std::vector<float> values = {1, 2, 3, 4};
  TestTensor x = TestTensor::Of<float>({4, 1}, values);
  x.type.logical_shape = {8, 1};
  x.type.begin = {4, 0};
  TestTensor out = TestTensor::Empty(DType::kF32, {2, 1});
  out.type.logical_shape = {4, 1};
  out.type.begin = {2, 0};
  KernelCase sharded("bn_sum", {{"groups", int64_t{2}}}, {x}, {out});
  sharded.Run();
  EXPECT_EQ(sharded.Output<float>(), (std::vector<float>{3, 7}));

  // A micro-batch of 2 samples is the m-th group; all groups are local to it as one row each.
  TestTensor micro = TestTensor::Of<float>({2, 1}, {5, 6});
  micro.type.logical_shape = {8, 1};
  micro.type.micro_stride = 2;
  TestTensor all = TestTensor::Empty(DType::kF32, {4, 1});
  KernelCase spread("bn_sum", {{"groups", int64_t{4}}}, {micro}, {all});
  spread.Run(0);
  EXPECT_EQ(spread.Output<float>(), (std::vector<float>{11, 0, 0, 0}));
  spread.Run(2);
  EXPECT_EQ(spread.Output<float>(), (std::vector<float>{0, 0, 11, 0}));
  TestTensor own = TestTensor::Empty(DType::kF32, {1, 1});
  own.type.logical_shape = {4, 1};
  own.type.micro_stride = 1;
  KernelCase one("bn_sum", {{"groups", int64_t{1}}}, {micro}, {own});
  one.Run(3);
  EXPECT_EQ(one.Output<float>(), (std::vector<float>{11}));
}

TEST(BatchNorm, ApplyInPlace) {
  const TestTensor x = RandomTensor({4, 6, 6, 10}, 1);
  const std::vector<TestTensor> rest = {RandomTensor({2, 10}, 2), RandomTensor({2, 10}, 3),
                                        RandomTensor({10}, 4), RandomTensor({10}, 5)};
  const Attrs attrs = {{"groups", int64_t{2}}};
  const std::vector<float> apart =
      RunKernel("bn_apply", attrs, {x, rest[0], rest[1], rest[2], rest[3]}, {4, 6, 6, 10});
  KernelCase same("bn_apply", attrs, {x, rest[0], rest[1], rest[2], rest[3]}, {x});
  same.Run();
  EXPECT_TRUE(same.needs().MayAlias(0, 0));
  EXPECT_EQ(same.Output<float>(), apart);
}

TEST(BatchNorm, RunningUpdateFoldsInOrder) {
  const TestTensor running = TestTensor::Of<float>({2}, {1, 2});
  KernelCase test("running_update", {{"momentum", 0.25}, {"steps", int64_t{2}}},
                  {running, TestTensor::Of<float>({2, 2}, {4, 8, 0, 1})}, {running});
  test.Run();
  EXPECT_TRUE(test.needs().MayAlias(0, 0));
  // ((1 * .75 + 4 * .25) * .75 + 0, (2 * .75 + 8 * .25) * .75 + 1 * .25)
  EXPECT_EQ(test.Output<float>(), (std::vector<float>{1.3125f, 2.875f}));
}

}  // namespace
}  // namespace oneflow::kernels
