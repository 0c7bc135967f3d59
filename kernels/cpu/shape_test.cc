// permute, broadcast_to, cat, slice, slice_grad and constant, by index arithmetic.
#include <numeric>

#include "kernels/cpu/kernel_case.h"

namespace oneflow::kernels {
namespace {

std::vector<float> Iota(int64_t n) {
  std::vector<float> values(n);
  std::iota(values.begin(), values.end(), 0.0f);
  return values;
}

void CheckPermute(const Shape& shape, const std::vector<int64_t>& dims) {
  const std::vector<float> x = Iota(NumElements(shape));
  Shape out;
  for (const int64_t d : dims) out.push_back(shape[d]);
  std::vector<float> expected;
  for (const Shape& index : Indices(out)) {
    Shape source(shape.size());
    for (size_t d = 0; d < dims.size(); ++d) source[dims[d]] = index[d];
    expected.push_back(x[BroadcastPosition(shape, source)]);
  }
  for (const int threads : {1, 2}) {
    EXPECT_EQ(
        RunKernel("permute", {{"dims", dims}}, {TestTensor::Of<float>(shape, x)}, out, threads),
        expected)
        << ToString(shape) << ToString(dims);
  }
}

TEST(Permute, EveryOrder) {
  std::vector<int64_t> dims = {0, 1, 2, 3};
  do {
    CheckPermute({3, 2, 5, 4}, dims);
    CheckPermute({2, 1, 33, 17}, dims);
  } while (std::next_permutation(dims.begin(), dims.end()));
  CheckPermute({1000, 300}, {1, 0});
  CheckPermute({16, 3, 65, 63}, {0, 2, 3, 1});
  CheckPermute({16, 65, 63, 3}, {0, 3, 1, 2});
  CheckPermute({}, {});
  CheckPermute({0, 5}, {1, 0});
}

TEST(Permute, OneByteElements) {
  KernelCase test("permute", {{"dims", std::vector<int64_t>{1, 0}}},
                  {TestTensor::Of<uint8_t>({2, 3}, {1, 2, 3, 4, 5, 6})},
                  {TestTensor::Empty(DType::kU8, {3, 2})});
  test.Run();
  EXPECT_EQ(test.Output<uint8_t>(), (std::vector<uint8_t>{1, 4, 2, 5, 3, 6}));
}

TEST(BroadcastTo, RepeatsWhatIsMissing) {
  struct Row {
    Shape from, to;
  };
  for (const Row& row : std::vector<Row>{{{}, {3, 4}},
                                         {{4}, {3, 4}},
                                         {{3, 1}, {3, 4}},
                                         {{2, 1, 3}, {2, 5, 3}},
                                         {{1}, {0}},
                                         {{1, 1}, {300, 301}}}) {
    const std::vector<float> x = Iota(NumElements(row.from));
    std::vector<float> expected;
    for (const Shape& index : Indices(row.to))
      expected.push_back(x[BroadcastPosition(row.from, index)]);
    EXPECT_EQ(RunKernel("broadcast_to", {{"shape", row.to}}, {TestTensor::Of<float>(row.from, x)},
                        row.to, 2),
              expected)
        << ToString(row.from);
  }
}

TEST(Cat, AlongEachDim) {
  for (int64_t dim = 0; dim < 3; ++dim) {
    std::vector<TestTensor> inputs;
    Shape out = {2, 3, 4};
    out[dim] = 0;
    std::vector<Shape> shapes;
    for (const int64_t extent : {2, 0, 5}) {
      Shape shape = {2, 3, 4};
      shape[dim] = extent;
      out[dim] += extent;
      shapes.push_back(shape);
      inputs.push_back(RandomTensor(shape, static_cast<uint32_t>(extent)));
    }
    std::vector<float> expected;
    for (Shape index : Indices(out)) {
      size_t input = 0;
      while (index[dim] >= shapes[input][dim]) index[dim] -= shapes[input++][dim];
      expected.push_back(inputs[input].Values<float>()[BroadcastPosition(shapes[input], index)]);
    }
    EXPECT_EQ(RunKernel("cat", {{"dim", dim}}, inputs, out), expected) << dim;
  }
}

TEST(Slice, StartStopStep) {
  struct Row {
    int64_t dim, start, stop, step, count;
  };
  const Shape shape = {4, 6, 5};
  const std::vector<float> x = Iota(NumElements(shape));
  for (const Row& row : std::vector<Row>{{0, 1, 3, 1, 2},
                                         {1, 0, 6, 2, 3},
                                         {2, 1, 5, 3, 2},
                                         {-1, 0, 5, 1, 5},
                                         {1, 2, 2, 1, 0},
                                         {0, -1, 4, 1, 1}}) {
    Shape out = shape;
    const int64_t dim = row.dim < 0 ? row.dim + 3 : row.dim;
    out[dim] = row.count;
    const Attrs attrs = {
        {"dim", row.dim}, {"start", row.start}, {"stop", row.stop}, {"step", row.step}};
    std::vector<float> expected;
    const int64_t start = row.start < 0 ? row.start + shape[dim] : row.start;
    std::vector<float> expected_grad(x.size(), 0.0f);
    float next = 1;
    for (Shape index : Indices(out)) {
      index[dim] = start + index[dim] * row.step;
      expected.push_back(x[BroadcastPosition(shape, index)]);
      expected_grad[BroadcastPosition(shape, index)] = next++;
    }
    EXPECT_EQ(RunKernel("slice", attrs, {TestTensor::Of<float>(shape, x)}, out), expected);
    // The gradient is zero outside of the slice.
    std::vector<float> dy = Iota(NumElements(out));
    for (float& v : dy) v += 1;
    Attrs grad_attrs = attrs;
    grad_attrs.Set("extent", shape[dim]);
    EXPECT_EQ(RunKernel("slice_grad", grad_attrs, {TestTensor::Of<float>(out, dy)}, shape),
              expected_grad);
  }
}

TEST(Constant, EveryDType) {
  KernelCase longs("constant", {{"value", int64_t{-3}}}, {}, {TestTensor::Empty(DType::kI64, {2})});
  longs.Run();
  EXPECT_EQ(longs.Output<int64_t>(), (std::vector<int64_t>{-3, -3}));
  KernelCase floats("constant", {{"value", 0.25}}, {}, {TestTensor::Empty(DType::kF32, {})});
  floats.Run();
  EXPECT_EQ(floats.Output<float>(), (std::vector<float>{0.25f}));
  KernelCase none("constant", {{"value", 1.0}}, {}, {TestTensor::Empty(DType::kF32, {0, 3})});
  none.Run();
  KernelCase flag("constant", {{"value", 2.0}}, {}, {TestTensor::Empty(DType::kBool, {1})});
  flag.Run();
  EXPECT_EQ(flag.Output<uint8_t>(), (std::vector<uint8_t>{1}));
}

}  // namespace
}  // namespace oneflow::kernels
