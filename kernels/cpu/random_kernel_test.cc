// dropout: the mask is the published Philox function of the logical index, whatever the layout.
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

}  // namespace
}  // namespace oneflow::kernels
