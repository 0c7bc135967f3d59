// embedding, gather, scatter_add, cumsum and their gradients against loops written here; indices that
// name nothing.
#include <cstdint>

#include "kernels/cpu/kernel_case.h"

namespace oneflow::kernels {
namespace {

using Longs = std::vector<int64_t>;
TestTensor Indices64(const Shape& shape, const Longs& values) {
  return TestTensor::Of<int64_t>(shape, values);
}

TEST(Embedding, RowsOfATableAndOfAShare) {
  const std::vector<float> table = RandomFloats(7 * 3, 1);
  const Longs index = {6, 0, 3, 3};
  std::vector<double> expected;
  for (const int64_t row : index) {
    for (int64_t c = 0; c < 3; ++c) expected.push_back(table[row * 3 + c]);
  }
  ExpectClose(
      RunKernel("embedding", {}, {TestTensor::Of<float>({7, 3}, table), Indices64({2, 2}, index)},
                {2, 2, 3}, 2),
      expected, 0, 0, "whole");
  // Rows 3 to 5 of 7: the others are zeros.
  TestTensor share = TestTensor::Of<float>({3, 3}, {table.begin() + 9, table.begin() + 18});
  share.type.logical_shape = {7, 3};
  share.type.begin = {3, 0};
  for (size_t i = 0; i < expected.size(); ++i) {
    if (index[i / 3] < 3 || index[i / 3] > 5) expected[i] = 0;
  }
  ExpectClose(RunKernel("embedding", {}, {share, Indices64({2, 2}, index)}, {2, 2, 3}), expected, 0,
              0, "share");
}

TEST(Embedding, GradientAddsRowsInOrderWhateverTheTeam) {
  const int64_t n = 5000, rows = 300, c = 64;
  const std::vector<float> dy = RandomFloats(n * c, 1);
  Longs index;
  for (int64_t i = 0; i < n; ++i) index.push_back(i * i % 251);
  std::vector<double> expected(rows * c, 0);
  for (int64_t i = 0; i < n; ++i) {
    if (index[i] == 4) continue;  // padding
    for (int64_t j = 0; j < c; ++j) expected[index[i] * c + j] += dy[i * c + j];
  }
  const Attrs attrs{{"rows", rows}, {"padding_idx", int64_t{4}}};
  const std::vector<TestTensor> inputs = {TestTensor::Of<float>({n, c}, dy), Indices64({n}, index)};
  const std::vector<float> one = RunKernel("embedding_grad", attrs, inputs, {rows, c}, 1);
  ExpectClose(one, expected, 1e-5, 1e-4, "embedding_grad");
  EXPECT_EQ(RunKernel("embedding_grad", attrs, inputs, {rows, c}, 2), one);
}

TEST(Gather, ReadsAndAddsWhereTheIndexSays) {
  const std::vector<float> x = RandomFloats(2 * 4 * 3, 1);
  const Longs index = {3, 0, 1, 1, 1, 2, 0, 3, 3, 2, 2, 0};  // [2,2,3] along dim 1
  const std::vector<float> src = RandomFloats(12, 2);
  std::vector<double> gathered, scattered(x.begin(), x.end());
  for (int64_t i = 0; i < 12; ++i) {
    const int64_t at = i / 6 * 12 + index[i] * 3 + i % 3;
    gathered.push_back(x[at]);
    scattered[at] += src[i];
  }
  const Attrs dim{{"dim", int64_t{1}}};
  const TestTensor xt = TestTensor::Of<float>({2, 4, 3}, x);
  const TestTensor it = Indices64({2, 2, 3}, index);
  ExpectClose(RunKernel("gather", dim, {xt, it}, {2, 2, 3}, 2), gathered, 0, 0, "gather");
  ExpectClose(
      RunKernel("scatter_add", dim, {xt, it, TestTensor::Of<float>({2, 2, 3}, src)}, {2, 4, 3}, 2),
      scattered, 1e-6, 1e-6, "scatter_add");
}

TEST(Gather, AnIndexThatNamesNothingIsReported) {
  for (const int64_t wrong : {int64_t{4}, int64_t{-1}}) {
    KernelCase gather("gather", {{"dim", int64_t{0}}},
                      {RandomTensor({4}, 1), Indices64({2}, {1, wrong})},
                      {TestTensor::Empty(DType::kF32, {2})});
    gather.Run();
    EXPECT_EQ(gather.block.error(), DataErrorCode::kIndexOutOfRange);
    EXPECT_EQ(gather.Output<float>()[1], 0.0f);
    KernelCase rows("embedding", {}, {RandomTensor({4, 2}, 1), Indices64({1}, {wrong})},
                    {TestTensor::Empty(DType::kF32, {1, 2})});
    rows.Run();
    EXPECT_EQ(rows.block.error(), DataErrorCode::kIndexOutOfRange);
  }
}

TEST(Cumsum, BothWaysAlongEachDim) {
  const std::vector<float> x = RandomFloats(3 * 5 * 4, 1);
  const TestTensor xt = TestTensor::Of<float>({3, 5, 4}, x);
  std::vector<double> forward(x.size()), backward(x.size());
  for (int64_t o = 0; o < 3; ++o) {
    for (int64_t i = 0; i < 4; ++i) {
      double sum = 0, rest = 0;
      for (int64_t k = 0; k < 5; ++k) {
        const int64_t at = o * 20 + k * 4 + i;
        const int64_t mirrored = o * 20 + (4 - k) * 4 + i;
        forward[at] = sum += x[at];
        backward[mirrored] = rest += x[mirrored];
      }
    }
  }
  ExpectClose(RunKernel("cumsum", {{"dim", int64_t{1}}}, {xt}, {3, 5, 4}, 2), forward, 1e-6, 1e-6);
  ExpectClose(RunKernel("cumsum", {{"dim", int64_t{-2}}, {"reverse", true}}, {xt}, {3, 5, 4}, 2),
              backward, 1e-6, 1e-6);
}

}  // namespace
}  // namespace oneflow::kernels
