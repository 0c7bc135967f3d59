// Unary, binary, comparison and cast kernels against double-precision formulas written here.
#include <cmath>
#include <functional>
#include <limits>

#include "kernels/cpu/kernel_case.h"

namespace oneflow::kernels {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct UnaryRow {
  const char* op;
  double value;
  float low, high;
  std::function<double(double)> reference;
};

std::vector<UnaryRow> UnaryRows() {
  return {
      {"neg", 0, -2, 2, [](double x) { return -x; }},
      {"abs", 0, -2, 2, [](double x) { return std::abs(x); }},
      {"exp", 0, -80, 80, [](double x) { return std::exp(x); }},
      {"log", 0, 0.001f, 50, [](double x) { return std::log(x); }},
      {"sqrt", 0, 0, 50, [](double x) { return std::sqrt(x); }},
      {"rsqrt", 0, 0.01f, 50, [](double x) { return 1 / std::sqrt(x); }},
      {"tanh", 0, -4, 4, [](double x) { return std::tanh(x); }},
      {"sigmoid", 0, -30, 30, [](double x) { return 1 / (1 + std::exp(-x)); }},
      {"relu", 0, -2, 2, [](double x) { return x < 0 ? 0 : x; }},
      {"square", 0, -2, 2, [](double x) { return x * x; }},
      {"add_scalar", 0.5, -2, 2, [](double x) { return x + 0.5; }},
      {"mul_scalar", -3, -2, 2, [](double x) { return x * -3; }},
      {"pow_scalar", 2, -2, 2, [](double x) { return x * x; }},
      {"pow_scalar", 3, -2, 2, [](double x) { return x * x * x; }},
      {"pow_scalar", -1, 0.1f, 2, [](double x) { return 1 / x; }},
      {"pow_scalar", 1.5, 0, 2, [](double x) { return std::pow(x, 1.5); }},
  };
}

Attrs ValueAttrs(const UnaryRow& row) {
  return row.value == 0 ? Attrs{} : Attrs{{"value", row.value}};
}

TEST(Unary, EqualsFormulaAtOddSizesAndTeams) {
  for (const UnaryRow& row : UnaryRows()) {
    for (const int64_t n : {0, 1, 7, 33, 1000, 140001}) {
      const std::vector<float> x = RandomFloats(n, 1, row.low, row.high);
      std::vector<double> expected;
      for (const float v : x) expected.push_back(row.reference(v));
      for (const int threads : {1, 2}) {
        ExpectClose(
            RunKernel(row.op, ValueAttrs(row), {TestTensor::Of<float>({n}, x)}, {n}, threads),
            expected, 4e-7, 1e-37, row.op);
      }
    }
  }
}

TEST(Unary, SpecialValues) {
  const std::vector<float> x = {kInf,  -kInf,  kNan,   0.0f,    -0.0f,
                                88.7f, 88.73f, -87.5f, -103.0f, -110.0f};
  std::vector<double> exp_expected, tanh_expected, sigmoid_expected;
  for (const float v : x) {
    exp_expected.push_back(std::exp(static_cast<double>(v)));
    if (exp_expected.back() > std::numeric_limits<float>::max()) exp_expected.back() = kInf;
    tanh_expected.push_back(std::tanh(static_cast<double>(v)));
    sigmoid_expected.push_back(1 / (1 + std::exp(-static_cast<double>(v))));
  }
  const TestTensor in = TestTensor::Of<float>({10}, x);
  ExpectClose(RunKernel("exp", {}, {in}, {10}), exp_expected, 1e-6, 2e-45, "exp");
  ExpectClose(RunKernel("tanh", {}, {in}, {10}), tanh_expected, 1e-6, 0, "tanh");
  ExpectClose(RunKernel("sigmoid", {}, {in}, {10}), sigmoid_expected, 1e-6, 1e-38, "sigmoid");
  const std::vector<float> relu = RunKernel("relu", {}, {in}, {10});
  EXPECT_EQ(relu[0], kInf);
  EXPECT_EQ(relu[1], 0.0f);
  EXPECT_TRUE(std::isnan(relu[2]));
}

TEST(Unary, TanhIsAccurateNearZero) {
  const std::vector<float> x = {1e-8f, -1e-5f, 1e-3f, 0.1f, 0.6249f, 0.6251f, -0.7f, 3e-39f};
  std::vector<double> expected;
  for (const float v : x) expected.push_back(std::tanh(static_cast<double>(v)));
  ExpectClose(RunKernel("tanh", {}, {TestTensor::Of<float>({8}, x)}, {8}), expected, 4e-7, 0);
}

TEST(Unary, Integers) {
  const TestTensor x = TestTensor::Of<int64_t>({3}, {-5, 0, int64_t{1} << 40});
  KernelCase add("add_scalar", {{"value", int64_t{3}}}, {x}, {TestTensor::Empty(DType::kI64, {3})});
  add.Run();
  EXPECT_EQ(add.Output<int64_t>(), (std::vector<int64_t>{-2, 3, (int64_t{1} << 40) + 3}));
  KernelCase abs("abs", {}, {x}, {TestTensor::Empty(DType::kI64, {3})});
  abs.Run();
  EXPECT_EQ(abs.Output<int64_t>(), (std::vector<int64_t>{5, 0, int64_t{1} << 40}));
  KernelCase exp("exp", {}, {x}, {TestTensor::Empty(DType::kI64, {3})});
  EXPECT_FALSE(exp.Make());
  EXPECT_EQ(KindOf(exp.status), ErrorKind::kDType);
}

TEST(Unary, InPlace) {
  for (const char* op : {"relu", "neg", "mul_scalar"}) {
    const TestTensor x = RandomTensor({140001}, 3);
    const std::vector<float> apart = RunKernel(op, {{"value", 2.0}}, {x}, {140001}, 2);
    KernelCase same(op, {{"value", 2.0}}, {x}, {x}, 2);
    same.Run();
    EXPECT_TRUE(same.needs().MayAlias(0, 0)) << op;
    EXPECT_EQ(same.Output<float>(), apart) << op;
  }
}

struct BinaryRow {
  const char* op;
  std::function<double(double, double)> reference;
};
std::vector<BinaryRow> BinaryRows() {
  return {
      {"add", [](double a, double b) { return a + b; }},
      {"sub", [](double a, double b) { return a - b; }},
      {"mul", [](double a, double b) { return a * b; }},
      {"div", [](double a, double b) { return a / b; }},
      {"maximum", [](double a, double b) { return std::max(a, b); }},
      {"minimum", [](double a, double b) { return std::min(a, b); }},
      {"relu_grad", [](double y, double dy) { return y > 0 ? dy : 0; }},
      {"tanh_grad", [](double y, double dy) { return dy * (1 - y * y); }},
      {"sigmoid_grad", [](double y, double dy) { return dy * y * (1 - y); }},
      {"abs_grad", [](double x, double dy) { return x > 0   ? dy
                                                    : x < 0 ? -dy
                                                            : 0; }},
  };
}

struct BroadcastShapes {
  Shape a, b, out;
};

TEST(Binary, BroadcastsEveryWay) {
  const std::vector<BroadcastShapes> shapes = {
      {{7}, {7}, {7}},
      {{}, {}, {}},
      {{5, 9}, {9}, {5, 9}},
      {{5, 9}, {5, 1}, {5, 9}},
      {{5, 1}, {5, 9}, {5, 9}},
      {{9}, {5, 9}, {5, 9}},
      {{5, 1}, {1, 9}, {5, 9}},
      {{}, {3, 4}, {3, 4}},
      {{3, 4}, {}, {3, 4}},
      {{2, 1, 3, 1}, {5, 1, 7}, {2, 5, 3, 7}},
      {{2, 3, 4, 5}, {3, 1, 1}, {2, 3, 4, 5}},
      {{1, 1}, {1, 1}, {1, 1}},
      {{0, 9}, {9}, {0, 9}},
      {{5, 0}, {5, 1}, {5, 0}},
      {{257, 600}, {600}, {257, 600}},
      {{257, 600}, {257, 1}, {257, 600}},
  };
  for (const BinaryRow& row : BinaryRows()) {
    for (const BroadcastShapes& shape : shapes) {
      const std::vector<float> a = RandomFloats(NumElements(shape.a), 1);
      const std::vector<float> b = RandomFloats(NumElements(shape.b), 2);
      std::vector<double> expected;
      for (const Shape& index : Indices(shape.out)) {
        expected.push_back(row.reference(a[BroadcastPosition(shape.a, index)],
                                         b[BroadcastPosition(shape.b, index)]));
      }
      for (const int threads : {1, 2}) {
        ExpectClose(
            RunKernel(row.op, {},
                      {TestTensor::Of<float>(shape.a, a), TestTensor::Of<float>(shape.b, b)},
                      shape.out, threads),
            expected, 1e-6, 2e-7, std::string(row.op) + ToString(shape.a) + ToString(shape.b));
      }
    }
  }
}

TEST(Binary, MaximumKeepsNan) {
  const TestTensor a = TestTensor::Of<float>({3}, {kNan, 1, 2});
  const TestTensor b = TestTensor::Of<float>({3}, {1, kNan, 5});
  for (const char* op : {"maximum", "minimum"}) {
    const std::vector<float> out = RunKernel(op, {}, {a, b}, {3});
    EXPECT_TRUE(std::isnan(out[0])) << op;
    EXPECT_TRUE(std::isnan(out[1])) << op;
    EXPECT_EQ(out[2], op[1] == 'a' ? 5 : 2);
  }
}

TEST(Binary, InPlaceOverTheFirstOperand) {
  const TestTensor a = RandomTensor({600, 257}, 1);
  const TestTensor bias = RandomTensor({257}, 2);
  const std::vector<float> apart = RunKernel("add", {}, {a, bias}, {600, 257}, 2);
  KernelCase same("add", {}, {a, bias}, {a}, 2);
  same.Run();
  EXPECT_TRUE(same.needs().MayAlias(0, 0));
  EXPECT_EQ(same.Output<float>(), apart);
  // Over a broadcast operand it is not allowed.
  KernelCase grown("add", {}, {bias, a}, {TestTensor::Empty(DType::kF32, {600, 257})});
  ASSERT_TRUE(grown.Make());
  EXPECT_FALSE(grown.needs().MayAlias(0, 0));
  EXPECT_TRUE(grown.needs().MayAlias(0, 1));
}

TEST(Binary, IntegersWrapAndDivideByZero) {
  const int32_t least = std::numeric_limits<int32_t>::min();
  const TestTensor a = TestTensor::Of<int32_t>({4}, {7, least, least, 9});
  const TestTensor b = TestTensor::Of<int32_t>({4}, {2, -1, 1, 0});
  KernelCase div("div", {}, {a, b}, {TestTensor::Empty(DType::kI32, {4})});
  div.Run();
  EXPECT_EQ(div.Output<int32_t>(), (std::vector<int32_t>{3, least, least, 0}));
  KernelCase add("add", {}, {a, b}, {TestTensor::Empty(DType::kI32, {4})});
  add.Run();
  EXPECT_EQ(add.Output<int32_t>()[1], std::numeric_limits<int32_t>::max());
}

template <typename T>
void CheckComparisons(const std::vector<T>& a, const std::vector<T>& b) {
  using Relation = std::function<bool(double, double)>;
  const std::vector<std::pair<const char*, Relation>> rows = {
      {"eq", [](double x, double y) { return x == y; }},
      {"ne", [](double x, double y) { return x != y; }},
      {"lt", [](double x, double y) { return x < y; }},
      {"le", [](double x, double y) { return x <= y; }},
      {"gt", [](double x, double y) { return x > y; }},
      {"ge", [](double x, double y) { return x >= y; }},
      {"logical_and", [](double x, double y) { return x != 0 && y != 0; }},
  };
  const Shape shape = {static_cast<int64_t>(a.size())};
  for (const auto& [op, relation] : rows) {
    KernelCase test(op, {}, {TestTensor::Of<T>(shape, a), TestTensor::Of<T>(shape, b)},
                    {TestTensor::Empty(DType::kBool, shape)});
    test.Run();
    const std::vector<uint8_t> out = test.Output<uint8_t>();
    for (size_t i = 0; i < a.size(); ++i) {
      const double x = static_cast<double>(static_cast<Compute<T>>(a[i]));
      const double y = static_cast<double>(static_cast<Compute<T>>(b[i]));
      EXPECT_EQ(out[i], relation(x, y) ? 1 : 0) << op << " " << x << " " << y;
    }
  }
}

TEST(Comparison, EveryDType) {
  CheckComparisons<float>({1, 2, -3, 0, kNan, kInf, -0.0f}, {1, 3, -4, 0, kNan, -kInf, 0});
  CheckComparisons<int64_t>({1, 2, -3, 0}, {1, 3, -4, 0});
  CheckComparisons<int32_t>({1, 2, -3, 0}, {1, 3, -4, 0});
  CheckComparisons<int8_t>({1, 2, -3, 0}, {1, 3, -4, 0});
  CheckComparisons<uint8_t>({1, 2, 253, 0}, {1, 3, 4, 0});
  CheckComparisons<BF16>({BF16(1.f), BF16(2.f), BF16(-3.f)}, {BF16(1.f), BF16(3.f), BF16(-4.f)});
  CheckComparisons<F16>({F16(1.f), F16(2.f), F16(-3.f)}, {F16(1.f), F16(3.f), F16(-4.f)});
  CheckComparisons<Bool>({Bool(true), Bool(false), Bool(true)},
                         {Bool(true), Bool(true), Bool(false)});
}

TEST(Comparison, WhereBroadcasts) {
  const TestTensor condition = TestTensor::Of<uint8_t>({2, 1}, {1, 0});
  TestTensor as_bool = condition;
  as_bool.type.dtype = DType::kBool;
  KernelCase test(
      "where", {},
      {as_bool, TestTensor::Of<int64_t>({3}, {1, 2, 3}), TestTensor::Of<int64_t>({}, {-1})},
      {TestTensor::Empty(DType::kI64, {2, 3})}, 2);
  test.Run();
  EXPECT_EQ(test.Output<int64_t>(), (std::vector<int64_t>{1, 2, 3, -1, -1, -1}));
}

TEST(Cast, BetweenAllKinds) {
  const TestTensor x =
      TestTensor::Of<float>({8}, {1.5f, -2.7f, 0, 3e10f, -3e10f, kNan, 200, 1e-3f});
  KernelCase to_int("cast", {}, {x}, {TestTensor::Empty(DType::kI32, {8})});
  to_int.Run();
  EXPECT_EQ(to_int.Output<int32_t>(),
            (std::vector<int32_t>{1, -2, 0, std::numeric_limits<int32_t>::max(),
                                  std::numeric_limits<int32_t>::min(), 0, 200, 0}));
  KernelCase to_byte("cast", {}, {x}, {TestTensor::Empty(DType::kU8, {8})});
  to_byte.Run();
  EXPECT_EQ(to_byte.Output<uint8_t>(), (std::vector<uint8_t>{1, 0, 0, 255, 0, 0, 200, 0}));
  KernelCase to_bool("cast", {}, {x}, {TestTensor::Empty(DType::kBool, {8})});
  to_bool.Run();
  EXPECT_EQ(to_bool.Output<uint8_t>(), (std::vector<uint8_t>{1, 1, 0, 1, 1, 1, 1, 1}));
  KernelCase back("cast", {}, {TestTensor::Of<int64_t>({2}, {-7, 1 << 20})},
                  {TestTensor::Empty(DType::kF32, {2})});
  back.Run();
  EXPECT_EQ(back.Output<float>(), (std::vector<float>{-7, 1 << 20}));
}

TEST(Cast, Bf16RoundsToNearestEven) {
  // 1 + 2^-8 is halfway between two bf16 numbers: the even one is 1; 1 + 3 * 2^-8 rounds up.
  const TestTensor x = TestTensor::Of<float>({4}, {1.00390625f, 1.01171875f, kNan, kInf});
  KernelCase down("cast", {}, {x}, {TestTensor::Empty(DType::kBF16, {4})});
  down.Run();
  const std::vector<uint16_t> bits = down.Output<uint16_t>();
  EXPECT_EQ(bits[0], 0x3f80);
  EXPECT_EQ(bits[1], 0x3f82);
  EXPECT_TRUE((bits[2] & 0x7f80) == 0x7f80 && (bits[2] & 0x7f) != 0);
  EXPECT_EQ(bits[3], 0x7f80);
}

}  // namespace
}  // namespace oneflow::kernels
