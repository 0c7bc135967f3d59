// matmul against a triple loop in double.
#include "kernels/cpu/kernel_case.h"

namespace oneflow::kernels {
namespace {

struct MatmulRow {
  Shape a_batch, b_batch, out_batch;
  int64_t m, k, n;
};

void CheckMatmul(const MatmulRow& row, bool transpose_a, bool transpose_b, int threads) {
  Shape a = row.a_batch;
  a.push_back(transpose_a ? row.k : row.m);
  a.push_back(transpose_a ? row.m : row.k);
  Shape b = row.b_batch;
  b.push_back(transpose_b ? row.n : row.k);
  b.push_back(transpose_b ? row.k : row.n);
  Shape out = row.out_batch;
  out.push_back(row.m);
  out.push_back(row.n);
  const std::vector<float> av = RandomFloats(NumElements(a), 1);
  const std::vector<float> bv = RandomFloats(NumElements(b), 2);
  std::vector<double> expected;
  double scale = 1;
  for (const Shape& batch : Indices(row.out_batch)) {
    const float* am = av.data() + BroadcastPosition(row.a_batch, batch) * row.m * row.k;
    const float* bm = bv.data() + BroadcastPosition(row.b_batch, batch) * row.k * row.n;
    for (int64_t i = 0; i < row.m; ++i) {
      for (int64_t j = 0; j < row.n; ++j) {
        double sum = 0;
        for (int64_t p = 0; p < row.k; ++p) {
          sum += static_cast<double>(transpose_a ? am[p * row.m + i] : am[i * row.k + p]) *
                 (transpose_b ? bm[j * row.k + p] : bm[p * row.n + j]);
        }
        expected.push_back(sum);
        scale = std::max(scale, std::abs(sum));
      }
    }
  }
  ExpectClose(RunKernel("matmul", {{"transpose_a", transpose_a}, {"transpose_b", transpose_b}},
                        {TestTensor::Of<float>(a, av), TestTensor::Of<float>(b, bv)}, out, threads),
              expected, 1e-6, 2e-6 * scale,
              ToString(a) + ToString(b) + (transpose_a ? "t" : "n") + (transpose_b ? "t" : "n"));
}

TEST(Matmul, EqualsTripleLoop) {
  const std::vector<MatmulRow> rows = {
      {{}, {}, {}, 1, 1, 1},       {{}, {}, {}, 3, 5, 7},
      {{}, {}, {}, 65, 33, 17},    {{}, {}, {}, 1, 300, 10},
      {{}, {}, {}, 129, 70, 10},   {{}, {}, {}, 5, 64, 1},
      {{}, {}, {}, 200, 257, 131}, {{4}, {}, {4}, 3, 5, 7},
      {{4}, {4}, {4}, 3, 5, 7},    {{2, 3}, {3}, {2, 3}, 4, 6, 5},
      {{1}, {4}, {4}, 3, 5, 7},    {{2, 1}, {1, 3}, {2, 3}, 9, 8, 33},
      {{}, {}, {}, 0, 5, 7},       {{}, {}, {}, 3, 0, 7},
      {{}, {}, {}, 3, 5, 0},       {{0}, {}, {0}, 3, 5, 7},
      {{}, {}, {}, 40, 1030, 50},  {{}, {}, {}, 31, 600, 1100},
  };
  for (const MatmulRow& row : rows) {
    for (const bool transpose_a : {false, true}) {
      for (const bool transpose_b : {false, true}) {
        for (const int threads : {1, 2}) CheckMatmul(row, transpose_a, transpose_b, threads);
      }
    }
  }
}

// Of one batch: y = round(a . b + bias), rounded once: within half a unit of the type, and what sums lose.
template <typename T>
void CheckLinear(int64_t m, int64_t n, int64_t k, bool transpose_b, double half_unit, double lost) {
  const auto random = [](int64_t size, uint32_t seed) {
    const std::vector<float> values = RandomFloats(size, seed);
    return std::vector<T>(values.begin(), values.end());
  };
  const std::vector<T> a = random(m * k, 1), b = random(k * n, 2), bias = random(n, 3);
  KernelCase test(
      "linear", {{"transpose_a", false}, {"transpose_b", transpose_b}},
      {TestTensor::Of<T>({m, k}, a), TestTensor::Of<T>(transpose_b ? Shape{n, k} : Shape{k, n}, b),
       TestTensor::Of<T>({n}, bias)},
      {TestTensor::Empty(DTypeOf<T>(), {m, n})}, 2);
  ASSERT_TRUE(test.Make()) << test.status;
  test.Run();
  const std::vector<T> y = test.Output<T>();
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = static_cast<double>(bias[j]);
      for (int64_t p = 0; p < k; ++p) {
        sum += static_cast<double>(a[i * k + p]) *
               static_cast<double>(transpose_b ? b[j * k + p] : b[p * n + j]);
      }
      ASSERT_NEAR(static_cast<double>(y[i * n + j]), sum, std::abs(sum) * half_unit + lost)
          << NameOf(DTypeOf<T>()) << " " << m << "x" << n << "x" << k;
    }
  }
}

TEST(Linear, AddsTheBiasBeforeItRounds) {
  struct Row {
    int64_t m, n, k;
    bool transpose_b;
  };
  // The last two: an empty sum, and no result.
  for (const Row& row : std::vector<Row>{{7, 5, 33, false},
                                         {64, 96, 128, true},
                                         {130, 70, 65, false},
                                         {3, 5, 0, false},
                                         {0, 5, 3, true}}) {
    CheckLinear<float>(row.m, row.n, row.k, row.transpose_b, 0x1p-24, 5e-5);
    CheckLinear<double>(row.m, row.n, row.k, row.transpose_b, 0x1p-53, 1e-12);
    CheckLinear<BF16>(row.m, row.n, row.k, row.transpose_b, 0x1p-8, 5e-5);
    CheckLinear<F16>(row.m, row.n, row.k, row.transpose_b, 0x1p-11, 5e-5);
  }
}

// The bits of the two ops, whichever operand is summed and however it lies.
TEST(MatmulSums, AreAProductAndASum) {
  const int64_t m = 37, n = 21, k = 300;
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      for (const bool of_a : {false, true}) {
        const Attrs attrs = {{"transpose_a", ta}, {"transpose_b", tb}};
        const TestTensor a = RandomTensor(ta ? Shape{k, m} : Shape{m, k}, 1);
        const TestTensor b = RandomTensor(tb ? Shape{n, k} : Shape{k, n}, 2);
        Attrs joined = attrs;
        joined.Set("of", std::string(of_a ? "a" : "b"));
        const TestTensor d = TestTensor::Empty(DType::kF32, {m, n});
        const TestTensor sums = TestTensor::Empty(DType::kF32, {of_a ? m : n});
        KernelCase test("matmul_sums", joined, {a, b}, {d, sums}, 2);
        ASSERT_TRUE(test.Make()) << test.status;
        test.Run();
        EXPECT_EQ(d.Values<float>(), RunKernel("matmul", attrs, {a, b}, {m, n}, 2));
        const bool rows = of_a ? ta : !tb;
        EXPECT_EQ(
            sums.Values<float>(),
            RunKernel("sum", {{"dims", std::vector<int64_t>{rows ? 0 : 1}}, {"keepdim", false}},
                      {of_a ? a : b}, {of_a ? m : n}, 2));
      }
    }
  }
}

// The bits of the two ops, in every type, with x and without.
template <typename T>
void CheckMatmulGelu(bool transpose_b) {
  const int64_t m = 37, n = 21, k = 50;
  const DType dtype = DTypeOf<T>();
  const auto drawn = [&](const Shape& shape, uint32_t seed) {
    const std::vector<float> values = RandomFloats(NumElements(shape), seed, -1, 1);
    return TestTensor::Of<T>(shape, std::vector<T>(values.begin(), values.end()));
  };
  const auto run = [&](const std::string& op, const Attrs& attrs, std::vector<TestTensor> inputs,
                       size_t results) {
    std::vector<TestTensor> outputs;
    for (size_t i = 0; i < results; ++i) outputs.push_back(TestTensor::Empty(dtype, {m, n}));
    KernelCase test(op, attrs, std::move(inputs), outputs, 2);
    EXPECT_TRUE(test.Make()) << test.status;
    test.Run();
    return outputs;
  };
  const auto bytes = [](const TestTensor& tensor) {
    const char* at = static_cast<const char*>(tensor.bytes->data());
    return std::string(at, at + m * n * sizeof(T));
  };
  const Attrs attrs = {{"transpose_b", transpose_b}};
  const TestTensor a = drawn({m, k}, 1), b = drawn(transpose_b ? Shape{n, k} : Shape{k, n}, 2);
  const TestTensor bias = drawn({n}, 3), saved = drawn({m, n}, 4);
  const TestTensor x = run("linear", attrs, {a, b, bias}, 1)[0];
  const TestTensor y = run("gelu_tanh", {}, {x}, 1)[0];
  Attrs saving = attrs;
  saving.Set("saves", true);
  const std::vector<TestTensor> both = run("linear_gelu", saving, {a, b, bias}, 2);
  EXPECT_EQ(bytes(both[0]), bytes(y));
  EXPECT_EQ(bytes(both[1]), bytes(x));
  EXPECT_EQ(bytes(run("linear_gelu", attrs, {a, b, bias}, 1)[0]), bytes(y));
  const TestTensor dy = run("matmul", attrs, {a, b}, 1)[0];
  EXPECT_EQ(bytes(run("matmul_gelu_grad", attrs, {a, b, saved}, 1)[0]),
            bytes(run("gelu_tanh_grad", {}, {saved, dy}, 1)[0]));
}

TEST(MatmulGelu, AreAProductAndAnActivation) {
  for (const bool transpose_b : {false, true}) {
    CheckMatmulGelu<float>(transpose_b);
    CheckMatmulGelu<double>(transpose_b);
    CheckMatmulGelu<BF16>(transpose_b);
    CheckMatmulGelu<F16>(transpose_b);
  }
}

TEST(Matmul, SameBitsInEveryRun) {
  const TestTensor a = RandomTensor({256, 300}, 1);
  const TestTensor b = RandomTensor({300, 200}, 2);
  const std::vector<float> first = RunKernel("matmul", {}, {a, b}, {256, 200}, 2);
  for (int run = 0; run < 10; ++run) {
    EXPECT_EQ(RunKernel("matmul", {}, {a, b}, {256, 200}, 2), first);
  }
}

TEST(Matmul, RefusesIntegers) {
  KernelCase test("matmul", {},
                  {TestTensor::Of<int64_t>({1, 1}, {2}), TestTensor::Of<int64_t>({1, 1}, {3})},
                  {TestTensor::Empty(DType::kI64, {1, 1})});
  EXPECT_FALSE(test.Make());
  EXPECT_EQ(KindOf(test.status), ErrorKind::kDType);
}

}  // namespace
}  // namespace oneflow::kernels
