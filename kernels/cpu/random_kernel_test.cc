// dropout: the mask is the published Philox function of the logical index, whatever the layout.
#include <algorithm>
#include <array>
#include <cmath>

#include "base/philox.h"
#include "kernels/cpu/kernel_case.h"

namespace oneflow::kernels {
namespace {

Attrs DropoutAttrs(double p) { return {{"p", p}, {"seed", int64_t{42}}, {"key", int64_t{7}}}; }

bool Keeps(double p, uint64_t step, uint64_t index) {
  const uint32_t word = PhiloxBlock(PhiloxKey(42, 7), step, index / 4)[index % 4];
  return word >= p * 4294967296.0;
}

TEST(Dropout, MaskIsPhiloxOfTheLogicalIndex) {
  for (const int64_t n : {1, 3, 64, 65, 1001, 100003}) {
    const std::vector<float> x = RandomFloats(n, 1, 1, 2);
    for (const int threads : {1, 2}) {
      for (const int64_t step : {0, 5}) {
        const std::vector<float> y = RunKernel(
            "dropout", DropoutAttrs(0.3),
            {TestTensor::Of<float>({n}, x), TestTensor::Of<int64_t>({}, {step})}, {n}, threads);
        for (int64_t i = 0; i < n; ++i) {
          const double expected = Keeps(0.3, step, i) ? x[i] / 0.7 : 0;
          ASSERT_NEAR(y[i], expected, 1e-6) << i;
        }
      }
    }
  }
}

TEST(Dropout, RateAndMeanAreRight) {
  const int64_t n = 200000;
  const std::vector<float> y = RunKernel(
      "dropout", DropoutAttrs(0.25),
      {TestTensor::Of<float>({n}, std::vector<float>(n, 1.0f)), TestTensor::Of<int64_t>({}, {3})},
      {n});
  double zeros = 0;
  double sum = 0;
  for (const float v : y) {
    zeros += v == 0;
    sum += v;
  }
  EXPECT_NEAR(zeros / n, 0.25, 0.005);
  EXPECT_NEAR(sum / n, 1, 0.01);
}

TEST(Dropout, ShardsAndMicroBatchesSeeTheSameMask) {
  const Shape logical = {8, 6, 5};
  const std::vector<float> x = RandomFloats(NumElements(logical), 1, 1, 2);
  const TestTensor step = TestTensor::Of<int64_t>({}, {9});
  const std::vector<float> whole =
      RunKernel("dropout", DropoutAttrs(0.5), {TestTensor::Of<float>(logical, x), step}, logical);
  struct Row {
    Shape begin, shape;
    int64_t micro_stride;
    uint32_t micro;
  };
  for (const Row& row : std::vector<Row>{{{2, 0, 0}, {3, 6, 5}, 0, 0},
                                         {{0, 1, 0}, {8, 3, 5}, 0, 0},
                                         {{0, 0, 2}, {8, 6, 1}, 0, 0},
                                         {{1, 2, 3}, {2, 2, 2}, 0, 0},
                                         {{1, 0, 0}, {1, 6, 5}, 2, 3},
                                         {{0, 0, 3}, {2, 6, 2}, 2, 2}}) {
    std::vector<float> local, expected;
    for (const Shape& index : Indices(row.shape)) {
      const Shape at = {index[0] + row.begin[0] + row.micro_stride * row.micro,
                        index[1] + row.begin[1], index[2] + row.begin[2]};
      local.push_back(x[BroadcastPosition(logical, at)]);
      expected.push_back(whole[BroadcastPosition(logical, at)]);
    }
    TestTensor shard = TestTensor::Of<float>(row.shape, local);
    shard.type.logical_shape = logical;
    shard.type.begin = row.begin;
    shard.type.micro_stride = row.micro_stride;
    for (const char* op : {"dropout", "dropout_grad"}) {
      KernelCase test(op, DropoutAttrs(0.5), {shard, step},
                      {TestTensor::Empty(DType::kF32, row.shape)});
      test.Run(row.micro);
      EXPECT_EQ(test.Output<float>(), expected) << op << ToString(row.begin);
    }
  }
}

TEST(Dropout, NoneAllScalarAndInPlace) {
  const TestTensor x = RandomTensor({100}, 1);
  const TestTensor step = TestTensor::Of<int64_t>({}, {0});
  EXPECT_EQ(RunKernel("dropout", DropoutAttrs(0), {x, step}, {100}), x.Values<float>());
  EXPECT_EQ(RunKernel("dropout", DropoutAttrs(1), {x, step}, {100}), std::vector<float>(100, 0.0f));
  RunKernel("dropout", DropoutAttrs(0.5), {RandomTensor({}, 1), step}, {});
  RunKernel("dropout", DropoutAttrs(0.5), {RandomTensor({0, 4}, 1), step}, {0, 4});
  const std::vector<float> apart = RunKernel("dropout", DropoutAttrs(0.5), {x, step}, {100});
  KernelCase same("dropout", DropoutAttrs(0.5), {x, step}, {x});
  same.Run();
  EXPECT_TRUE(same.needs().MayAlias(0, 0));
  EXPECT_EQ(same.Output<float>(), apart);
}

Attrs Stream() { return {{"seed", int64_t{42}}, {"key", int64_t{7}}}; }

TEST(Drawn, NumbersArePhiloxOfTheLogicalIndex) {
  for (const int64_t n : {1, 3, 64, 65, 1001, 100003}) {
    for (const int threads : {1, 2}) {
      const std::vector<TestTensor> inputs = {TestTensor::Of<float>({n}, std::vector<float>(n)),
                                              TestTensor::Of<int64_t>({}, {5})};
      const std::vector<float> uniform = RunKernel("uniform", Stream(), inputs, {n}, threads);
      const std::vector<float> normal = RunKernel("normal", Stream(), inputs, {n}, threads);
      for (int64_t i = 0; i < n; ++i) {
        const std::array<uint32_t, 4> words = PhiloxBlock(PhiloxKey(42, 7), 5, i / 4);
        const double unit = 1.0 / (1 << 24);
        ASSERT_EQ(uniform[i], static_cast<float>((words[i % 4] >> 8) * unit)) << i;
        const int64_t pair = i % 4 / 2 * 2;
        const double radius = std::sqrt(-2 * std::log(((words[pair] >> 8) + 1) * unit));
        const double angle = 2 * M_PI * ((words[pair + 1] >> 8) * unit);
        const double expected = radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle));
        ASSERT_NEAR(normal[i], expected, 3e-6) << i;
      }
    }
  }
}

TEST(Drawn, NarrowNumbersStayBelowOne) {
  const int64_t n = 100000;
  const TestTensor step = TestTensor::Of<int64_t>({}, {0});
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF64}) {
    KernelCase test("uniform", Stream(), {TestTensor::Empty(dtype, {n}), step},
                    {TestTensor::Empty(dtype, {n})});
    test.Run();
    double sum = 0;
    double most = 0;
    const auto see = [&](double value) {
      sum += value;
      most = std::max(most, value);
      ASSERT_GE(value, 0);
    };
    if (dtype == DType::kBF16) {
      for (const BF16 value : test.Output<BF16>()) see(value);
    } else if (dtype == DType::kF16) {
      for (const F16 value : test.Output<F16>()) see(value);
    } else {
      for (const double value : test.Output<double>()) see(value);
    }
    EXPECT_LT(most, 1);
    EXPECT_NEAR(sum / n, 0.5, 0.006);
  }
}

TEST(Drawn, ShardsAndMicroBatchesSeeTheSameNumbers) {
  const Shape logical = {8, 6, 5};
  const TestTensor step = TestTensor::Of<int64_t>({}, {9});
  const TestTensor shape = TestTensor::Of<float>(logical, std::vector<float>(240));
  for (const char* op : {"uniform", "normal"}) {
    const std::vector<float> whole = RunKernel(op, Stream(), {shape, step}, logical);
    TestTensor shard = TestTensor::Of<float>({2, 3, 2}, std::vector<float>(12));
    shard.type.logical_shape = logical;
    shard.type.begin = {0, 1, 3};
    shard.type.micro_stride = 2;
    KernelCase test(op, Stream(), {shard, step}, {TestTensor::Empty(DType::kF32, {2, 3, 2})});
    test.Run(2);
    std::vector<float> expected;
    for (const Shape& index : Indices({2, 3, 2})) {
      expected.push_back(
          whole[BroadcastPosition(logical, {index[0] + 4, index[1] + 1, index[2] + 3})]);
    }
    EXPECT_EQ(test.Output<float>(), expected) << op;
  }
}

}  // namespace
}  // namespace oneflow::kernels
