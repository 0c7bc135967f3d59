// sum, amax and argmax against loops over all indices in double.
#include <algorithm>
#include <limits>

#include "kernels/cpu/kernel_case.h"

namespace oneflow::kernels {
namespace {

struct ReductionRow {
  Shape shape;
  std::vector<int64_t> dims;
};

std::vector<ReductionRow> ReductionRows() {
  return {
      {{7}, {0}},
      {{}, {}},
      {{5, 9}, {0}},
      {{5, 9}, {1}},
      {{5, 9}, {0, 1}},
      {{5, 9}, {-1}},
      {{5, 9}, {}},
      {{2, 3, 4, 5}, {0, 2}},
      {{2, 3, 4, 5}, {1, 3}},
      {{2, 3, 4, 5}, {0, 1, 2}},
      {{3, 1, 4}, {1}},
      {{1, 1}, {0}},
      {{0, 9}, {0}},
      {{0, 9}, {1}},
      {{5, 0}, {1}},
      {{256, 1030}, {0}},
      {{256, 1030}, {1}},
      {{400, 400}, {0, 1}},
      {{40, 12, 16, 19}, {0, 1, 2}},
      {{40, 12, 16, 19}, {0, 3}},
      {{3, 50000}, {0}},
      {{50000, 3}, {0}},
      {{2, 70000, 1}, {1}},
  };
}

// Result by brute force; keepdim decides nothing but the shape.
template <typename T, typename Join>
std::vector<double> Reference(const ReductionRow& row, const std::vector<T>& x, double start,
                              const Join& join, Shape* out_shape) {
  std::vector<bool> reduced(row.shape.size(), false);
  for (const int64_t d : row.dims) reduced[d < 0 ? d + row.shape.size() : d] = true;
  Shape kept;
  for (size_t d = 0; d < row.shape.size(); ++d) kept.push_back(reduced[d] ? 1 : row.shape[d]);
  std::vector<double> out(NumElements(kept), start);
  int64_t i = 0;
  for (const Shape& index : Indices(row.shape)) {
    double& slot = out[BroadcastPosition(kept, index)];
    slot = join(slot, static_cast<double>(x[i++]));
  }
  *out_shape = kept;
  return out;
}

TEST(Sum, EqualsBruteForce) {
  for (const ReductionRow& row : ReductionRows()) {
    const std::vector<float> x = RandomFloats(NumElements(row.shape), 5);
    Shape shape;
    const std::vector<double> expected = Reference(
        row, x, 0, [](double a, double b) { return a + b; }, &shape);
    for (const int threads : {1, 2}) {
      const std::vector<float> out =
          RunKernel("sum", {{"dims", row.dims}, {"keepdim", true}},
                    {TestTensor::Of<float>(row.shape, x)}, shape, threads);
      ExpectClose(out, expected, 2e-6, 1e-4, ToString(row.shape));
    }
  }
}

TEST(Sum, ErrorDoesNotGrowWithLength) {
  // 2^22 times 0.1: adding one by one in f32 is off by more than 1 %.
  for (const Shape& shape : {Shape{1 << 22, 1}, Shape{1 << 20, 4}}) {
    const std::vector<float> x(1 << 22, 0.1f);
    const std::vector<float> out = RunKernel("sum", {{"dims", std::vector<int64_t>{0}}},
                                             {TestTensor::Of<float>(shape, x)}, {1, shape[1]});
    const double expected = static_cast<double>(shape[0]) * static_cast<double>(0.1f);
    for (const float v : out) EXPECT_NEAR(v, expected, expected * 1e-6);
  }
}

TEST(Sum, SameBitsInEveryRun) {
  const TestTensor x = RandomTensor({5000, 33}, 9);
  const Attrs attrs = {{"dims", std::vector<int64_t>{0}}};
  const std::vector<float> first = RunKernel("sum", attrs, {x}, {33}, 2);
  for (int run = 0; run < 20; ++run) EXPECT_EQ(RunKernel("sum", attrs, {x}, {33}, 2), first);
}

TEST(Sum, Integers) {
  KernelCase longs("sum", {{"dims", std::vector<int64_t>{0}}},
                   {TestTensor::Of<int64_t>({3, 2}, {1, 2, 3, 4, -10, int64_t{1} << 40})},
                   {TestTensor::Empty(DType::kI64, {2})});
  longs.Run();
  EXPECT_EQ(longs.Output<int64_t>(), (std::vector<int64_t>{-6, 6 + (int64_t{1} << 40)}));
  KernelCase bools(
      "sum", {{"dims", std::vector<int64_t>{0, 1}}},
      {TestTensor::Of<Bool>({2, 2}, {Bool(true), Bool(false), Bool(true), Bool(true)})},
      {TestTensor::Empty(DType::kI64, {})});
  bools.Run();
  EXPECT_EQ(bools.Output<int64_t>(), (std::vector<int64_t>{3}));
}

TEST(Amax, EqualsBruteForce) {
  for (const ReductionRow& row : ReductionRows()) {
    const std::vector<float> x = RandomFloats(NumElements(row.shape), 6);
    Shape shape;
    const std::vector<double> expected = Reference(
        row, x, -std::numeric_limits<double>::infinity(),
        [](double a, double b) { return std::max(a, b); }, &shape);
    for (const int threads : {1, 2}) {
      ExpectClose(RunKernel("amax", {{"dims", row.dims}, {"keepdim", true}},
                            {TestTensor::Of<float>(row.shape, x)}, shape, threads),
                  expected, 0, 0, ToString(row.shape));
    }
  }
}

TEST(Amax, NanWins) {
  std::vector<float> x(1000, 1.0f);
  x[123] = std::numeric_limits<float>::quiet_NaN();
  const TestTensor row = TestTensor::Of<float>({1, 1000}, x);
  EXPECT_TRUE(std::isnan(RunKernel("amax", {{"dims", std::vector<int64_t>{1}}}, {row}, {1})[0]));
  EXPECT_TRUE(
      std::isnan(RunKernel("amax", {{"dims", std::vector<int64_t>{0}}}, {row}, {1000})[123]));
}

TEST(Argmax, FirstOfEqualsAlongEachDim) {
  const std::vector<float> x = {1, 5, 5, 2, 7, 0, 7, 7, 3, 9, 9, 9};
  const Shape shape = {2, 3, 2};
  for (int64_t dim = -3; dim < 3; ++dim) {
    const int64_t wrapped = dim < 0 ? dim + 3 : dim;
    Shape kept = shape;
    kept[wrapped] = 1;
    std::vector<int64_t> expected;
    for (Shape index : Indices(kept)) {
      int64_t best = 0;
      float value = -1;
      for (int64_t k = 0; k < shape[wrapped]; ++k) {
        index[wrapped] = k;
        const float v = x[BroadcastPosition(shape, index)];
        if (v > value) {
          value = v;
          best = k;
        }
      }
      expected.push_back(best);
    }
    KernelCase test("argmax", {{"dim", dim}, {"keepdim", true}}, {TestTensor::Of<float>(shape, x)},
                    {TestTensor::Empty(DType::kI64, kept)}, 2);
    test.Run();
    EXPECT_EQ(test.Output<int64_t>(), expected) << dim;
  }
}

}  // namespace
}  // namespace oneflow::kernels
