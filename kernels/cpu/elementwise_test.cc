// Unary, binary, comparison and cast kernels against double-precision formulas written here.
#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <set>
#include <string>

#include "kernels/cpu/kernel_case.h"
#include "kernels/scalar/math.h"

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
      {"exp2", 0, static_cast<float>(-20), static_cast<float>(20),
       [](double x) { return std::exp2(x); }},
      {"expm1", 0, static_cast<float>(-4), static_cast<float>(4),
       [](double x) { return std::expm1(x); }},
      {"log2", 0, static_cast<float>(0.01), static_cast<float>(50),
       [](double x) { return std::log2(x); }},
      {"log10", 0, static_cast<float>(0.01), static_cast<float>(50),
       [](double x) { return std::log10(x); }},
      {"log1p", 0, static_cast<float>(-0.9), static_cast<float>(9),
       [](double x) { return std::log1p(x); }},
      {"reciprocal", 0, static_cast<float>(0.1), static_cast<float>(9),
       [](double x) { return 1 / x; }},
      {"sin", 0, static_cast<float>(-9), static_cast<float>(9),
       [](double x) { return std::sin(x); }},
      {"cos", 0, static_cast<float>(-9), static_cast<float>(9),
       [](double x) { return std::cos(x); }},
      {"tan", 0, static_cast<float>(-1.4), static_cast<float>(1.4),
       [](double x) { return std::tan(x); }},
      {"asin", 0, static_cast<float>(-0.99), static_cast<float>(0.99),
       [](double x) { return std::asin(x); }},
      {"acos", 0, static_cast<float>(-0.99), static_cast<float>(0.99),
       [](double x) { return std::acos(x); }},
      {"atan", 0, static_cast<float>(-9), static_cast<float>(9),
       [](double x) { return std::atan(x); }},
      {"sinh", 0, static_cast<float>(-4), static_cast<float>(4),
       [](double x) { return std::sinh(x); }},
      {"cosh", 0, static_cast<float>(-4), static_cast<float>(4),
       [](double x) { return std::cosh(x); }},
      {"asinh", 0, static_cast<float>(-9), static_cast<float>(9),
       [](double x) { return std::asinh(x); }},
      {"acosh", 0, static_cast<float>(1.01), static_cast<float>(9),
       [](double x) { return std::acosh(x); }},
      {"atanh", 0, static_cast<float>(-0.9), static_cast<float>(0.9),
       [](double x) { return std::atanh(x); }},
      {"erf", 0, static_cast<float>(-5), static_cast<float>(5),
       [](double x) { return std::erf(x); }},
      {"erfc", 0, static_cast<float>(-3), static_cast<float>(5),
       [](double x) { return std::erfc(x); }},
      {"lgamma", 0, 0.1f, 40, [](double x) { return std::lgamma(x); }},
      {"silu", 0, static_cast<float>(-9), static_cast<float>(9),
       [](double x) { return x / (1 + std::exp(-x)); }},
      {"softplus", 0, static_cast<float>(-30), static_cast<float>(30),
       [](double x) { return std::log1p(std::exp(x)); }},
      {"logsigmoid", 0, static_cast<float>(-30), static_cast<float>(30),
       [](double x) { return -std::log1p(std::exp(-x)); }},
      {"hardsigmoid", 0, static_cast<float>(-5), static_cast<float>(5),
       [](double x) { return std::clamp(x / 6 + 0.5, 0.0, 1.0); }},
      {"relu6", 0, static_cast<float>(-9), static_cast<float>(9),
       [](double x) { return std::clamp(x, 0.0, 6.0); }},
      {"hardswish", 0, static_cast<float>(-5), static_cast<float>(5),
       [](double x) { return x * std::clamp(x / 6 + 0.5, 0.0, 1.0); }},
      {"floor", 0, static_cast<float>(-9), static_cast<float>(9),
       [](double x) { return std::floor(x); }},
      {"ceil", 0, static_cast<float>(-9), static_cast<float>(9),
       [](double x) { return std::ceil(x); }},
      {"round", 0, static_cast<float>(-9), static_cast<float>(9),
       [](double x) { return std::nearbyint(x); }},
      {"trunc", 0, static_cast<float>(-9), static_cast<float>(9),
       [](double x) { return std::trunc(x); }},
      {"sign", 0, static_cast<float>(-9), static_cast<float>(9),
       [](double x) { return x > 0   ? 1.0
                             : x < 0 ? -1.0
                                     : x; }},
      {"gelu", 0, -6, 6, [](double x) { return x * 0.5 * std::erfc(-x * M_SQRT1_2); }},
      {"gelu_tanh", 0, -6, 6,
       [](double x) {
         return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
       }},
      {"mish", 0, -9, 9, [](double x) { return x * std::tanh(std::log1p(std::exp(x))); }},
      {"elu", 0.7, -4, 4, [](double x) { return x > 0 ? x : 0.7 * std::expm1(x); }},
      {"leaky_relu", 0.1, -4, 4, [](double x) { return x > 0 ? x : 0.1 * x; }},
      {"pow_scalar", 2, -2, 2, [](double x) { return x * x; }},
      {"pow_scalar", 3, -2, 2, [](double x) { return x * x * x; }},
      {"pow_scalar", -1, 0.1f, 2, [](double x) { return 1 / x; }},
      {"pow_scalar", 1.5, 0, 2, [](double x) { return std::pow(x, 1.5); }},
  };
}

// Functions that pass through 0 by cancellation are as exact there as their terms are.
double Absolute(const std::string& op) {
  const bool cancels = op == "gelu" || op == "gelu_tanh" || op == "mish" || op == "sin" ||
                       op == "cos" || op == "softplus" || op == "logsigmoid" || op == "log" ||
                       op == "acos" || op == "hardsigmoid" || op == "hardswish";
  return cancels ? 4e-7 : 1e-37;
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
            expected, 5e-7, Absolute(row.op), row.op);
      }
    }
  }
}

// Narrow types are computed in f32 and rounded once; f64 is the library's.
TEST(Unary, OtherFloatsAreTheFormulaRounded) {
  for (const UnaryRow& row : UnaryRows()) {
    const int64_t n = 3001;  // more than a tile
    const std::vector<float> x = RandomFloats(n, 1, row.low, row.high);
    std::vector<BF16> bf16;
    std::vector<F16> f16;
    std::vector<double> f64;
    for (const float v : x) {
      bf16.emplace_back(v);
      f16.emplace_back(v);
      f64.push_back(v);
    }
    KernelCase wide(row.op, ValueAttrs(row), {TestTensor::Of<double>({n}, f64)},
                    {TestTensor::Empty(DType::kF64, {n})}, 2);
    wide.Run();
    const std::vector<double> wide_y = wide.Output<double>();
    KernelCase brain(row.op, ValueAttrs(row), {TestTensor::Of<BF16>({n}, bf16)},
                     {TestTensor::Empty(DType::kBF16, {n})}, 2);
    brain.Run();
    const std::vector<BF16> brain_y = brain.Output<BF16>();
    KernelCase half(row.op, ValueAttrs(row), {TestTensor::Of<F16>({n}, f16)},
                    {TestTensor::Empty(DType::kF16, {n})}, 2);
    half.Run();
    const std::vector<F16> half_y = half.Output<F16>();
    for (int64_t i = 0; i < n; ++i) {
      const double exact = row.reference(f64[i]);
      ASSERT_NEAR(wide_y[i], exact, 1e-12 * std::abs(exact) + 1e-13) << row.op << "(" << f64[i];
      const double b = row.reference(bf16[i]);
      ASSERT_NEAR(brain_y[i], b, 0.0040 * std::abs(b) + 1e-6) << row.op << "(" << bf16[i];
      const double h = row.reference(f16[i]);
      if (std::abs(h) > 65000) continue;
      ASSERT_NEAR(half_y[i], h, 0.0005 * std::abs(h) + 1e-6) << row.op << "(" << f16[i];
    }
  }
}

// All halves, and the floats around every one of them, as the compiler's own conversions have them.
TEST(Types, HalvesAreThoseOfTheHardware) {
  for (uint32_t bits = 0; bits < 1 << 16; ++bits) {
    F16 half;
    half.bits = static_cast<uint16_t>(bits);
    const _Float16 hard = std::bit_cast<_Float16>(half.bits);
    const float value = half;
    ASSERT_EQ(std::bit_cast<uint32_t>(value), std::bit_cast<uint32_t>(static_cast<float>(hard)))
        << bits;
    for (const int32_t step : {-4097, -4096, -4095, -1, 0, 1, 4095, 4096, 4097}) {
      const float near = std::bit_cast<float>(std::bit_cast<uint32_t>(value) + step);
      if (near != near) continue;
      ASSERT_EQ(F16(near).bits, std::bit_cast<uint16_t>(static_cast<_Float16>(near))) << near;
    }
  }
}

// Over all magnitudes.
TEST(ScalarMath, IsWithinUnitsOfTheLastPlace) {
  double worst_log = 0, worst_erf = 0;
  for (uint32_t bits = 1; bits < 0x7f800000u; bits += 4999) {
    const float x = std::bit_cast<float>(bits);
    const auto units = [](float got, double wanted) {
      const float rounded = static_cast<float>(std::abs(wanted));
      const double unit = std::nextafter(rounded, 2 * rounded + 1) - static_cast<double>(rounded);
      return std::abs(got - wanted) / unit;
    };
    worst_log = std::max(worst_log, units(LogF(x), std::log(static_cast<double>(x))));
    worst_erf = std::max(worst_erf, units(ErfF(x), std::erf(static_cast<double>(x))));
  }
  EXPECT_LT(worst_log, 2);
  EXPECT_LT(worst_erf, 3);
  EXPECT_EQ(LogF(0.0f), -kInf);
  EXPECT_EQ(LogF(kInf), kInf);
  EXPECT_TRUE(std::isnan(LogF(-1.0f)) && std::isnan(LogF(kNan)) && std::isnan(ErfF(kNan)));
}

// Where x < 0 its two terms would cancel: it keeps a relative accuracy, and half of the digits of a
// bf16 to the end of the tail. The loop of this machine has the bits of the function itself.
TEST(ScalarMath, GeluAndItsSlopeKeepTheirTail) {
  std::vector<float> xs;
  for (int i = -14 * 4096; i <= 14 * 4096; ++i) xs.push_back(static_cast<float>(i) / 4096.0f);
  const int64_t n = static_cast<int64_t>(xs.size());
  const TestTensor x = TestTensor::Of<float>({n}, xs);
  const TestTensor ones = TestTensor::Of<float>({n}, std::vector<float>(xs.size(), 1.0f));
  const std::vector<float> y = RunKernel("gelu", {}, {x}, {n}, 2);
  const std::vector<float> slope = RunKernel("gelu_grad", {}, {x, ones}, {n}, 2);
  for (size_t i = 0; i < xs.size(); ++i) {
    const double v = xs[i];
    if (std::abs(v) < 12) {  // beyond it the kernels flush denormals
      ASSERT_EQ(y[i], GeluF(xs[i])) << v;
      ASSERT_EQ(slope[i], GeluSlopeF(xs[i])) << v;
    }
    const double cdf = 0.5 * std::erfc(-v * M_SQRT1_2);
    const double density = std::exp(-v * v / 2) * 0.39894228040143268;
    const double relative = v > -1 ? 3e-7 : v > -3 ? 2e-6 : v > -5 ? 1e-4 : v > -9 ? 0.03 : 1;
    ASSERT_NEAR(y[i], v * cdf, relative * std::abs(v * cdf) + 1e-30) << v;
    ASSERT_NEAR(slope[i], cdf + v * density, 1.2e-7) << v;
    // Its zero is at -0.75, so the terms of which it is made count.
    const double of_terms = v > -3 ? 2e-6 : v > -5 ? 1e-3 : 1e-2;
    ASSERT_NEAR(slope[i], cdf + v * density, of_terms * (cdf - v * density) + 1e-30) << v;
  }
  EXPECT_EQ(GeluF(kInf), kInf);
  EXPECT_EQ(GeluF(-kInf), 0);
  EXPECT_EQ(GeluF(-1e30f), 0);
  EXPECT_TRUE(std::signbit(GeluF(-0.0f)) && GeluF(-0.0f) == 0);
  EXPECT_EQ(GeluSlopeF(kInf), 1);
  EXPECT_EQ(GeluSlopeF(-kInf), 0);
  EXPECT_TRUE(std::isnan(GeluF(kNan)) && std::isnan(GeluSlopeF(kNan)));
}

TEST(Unary, SpecialValues) {
  const std::vector<float> x = {kInf,  -kInf,  kNan,   0.0f,    -0.0f,
                                88.7f, 88.73f, -87.5f, -103.0f, -110.0f};
  std::vector<double> exp_expected, tanh_expected, sigmoid_expected;
  for (const float v : x) {
    exp_expected.push_back(std::exp(static_cast<double>(v)));
    if (exp_expected.back() > std::numeric_limits<float>::max()) exp_expected.back() = kInf;
    if (exp_expected.back() < std::numeric_limits<float>::min())
      exp_expected.back() = 0;  // flushed
    tanh_expected.push_back(std::tanh(static_cast<double>(v)));
    sigmoid_expected.push_back(1 / (1 + std::exp(-static_cast<double>(v))));
  }
  const TestTensor in = TestTensor::Of<float>({10}, x);
  ExpectClose(RunKernel("exp", {}, {in}, {10}), exp_expected, 1e-6, 0, "exp");
  ExpectClose(RunKernel("tanh", {}, {in}, {10}), tanh_expected, 1e-6, 0, "tanh");
  ExpectClose(RunKernel("sigmoid", {}, {in}, {10}), sigmoid_expected, 1e-6, 1e-38, "sigmoid");
  const std::vector<float> relu = RunKernel("relu", {}, {in}, {10});
  EXPECT_EQ(relu[0], kInf);
  EXPECT_EQ(relu[1], 0.0f);
  EXPECT_TRUE(std::isnan(relu[2]));
}

TEST(Unary, TanhIsAccurateNearZero) {
  const std::vector<float> x = {1e-8f, -1e-5f, 1e-3f, 0.1f, 0.6249f, 0.6251f, -0.7f, 3e-38f};
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
      {"pow", [](double a, double b) { return std::pow(a, b); }},
      {"atan2", [](double a, double b) { return std::atan2(a, b); }},
      {"fmod", [](double a, double b) { return std::fmod(a, b); }},
      {"remainder", [](double a, double b) { return a - b * std::floor(a / b); }},
      {"floor_divide", [](double a, double b) { return std::floor(a / b); }},
  };
}

// Against the slope of the formula, in f64: what was saved is y for those that say so.
TEST(Gradients, EqualTheSlopeOfTheFormula) {
  const std::set<std::string> saves_y = {"exp2", "expm1",   "reciprocal", "tan",
                                         "tanh", "sigmoid", "relu",       "relu6"};
  int met = 0;
  for (const UnaryRow& row : UnaryRows()) {
    const std::string op = std::string(row.op) + "_grad";
    if (CpuKernels().Find(op) == nullptr) continue;
    ++met;
    const int64_t n = 500;
    std::vector<double> saved, dy, expected;
    const double h = 1e-5;
    for (const float value : RandomFloats(n, 7, row.low, row.high)) {
      // Away from kinks at 0, 3 and 6, and from the ends of where the function is defined.
      double x = std::clamp<double>(value, row.low + 1e-3, row.high - 1e-3);
      if (std::abs(x) < 1e-3 || std::abs(std::abs(x) - 3) < 1e-3 || std::abs(x - 6) < 1e-3) {
        x += 0.01;
      }
      saved.push_back(saves_y.contains(row.op) ? row.reference(x) : x);
      dy.push_back(1 + x / 3);
      expected.push_back(dy.back() * (row.reference(x + h) - row.reference(x - h)) / (2 * h));
    }
    KernelCase test(op, ValueAttrs(row),
                    {TestTensor::Of<double>({n}, saved), TestTensor::Of<double>({n}, dy)},
                    {TestTensor::Empty(DType::kF64, {n})}, 2);
    test.Run();
    const std::vector<double> got = test.Output<double>();
    for (int64_t i = 0; i < n; ++i) {
      ASSERT_NEAR(got[i], expected[i], 2e-6 * (1 + std::abs(expected[i])))
          << op << " at " << saved[i];
    }
  }
  EXPECT_EQ(met, 35);
}

std::vector<double> InDouble(const std::string& op, const std::vector<double>& x,
                             const std::vector<double>& dy = {}) {
  const Shape shape = {static_cast<int64_t>(x.size())};
  std::vector<TestTensor> operands = {TestTensor::Of<double>(shape, x)};
  if (!dy.empty()) operands.push_back(TestTensor::Of<double>(shape, dy));
  KernelCase test(op, {}, operands, {TestTensor::Empty(DType::kF64, shape)});
  test.Run();
  return test.Output<double>();
}

TEST(Special, ErfinvIsTheInverseOfErf) {
  std::vector<double> x = {0, 1e-300, -1e-9, 0.49999, 0.5, -0.9, 1 - 1e-9, 1 - 1e-16};
  for (const double v : RandomFloats(500, 3, -1, 1)) x.push_back(v);
  const std::vector<double> y = InDouble("erfinv", x);
  for (size_t i = 0; i < x.size(); ++i) {
    // Where erf is flat its complement says more.
    const double error = std::abs(x[i]) < 0.5 ? std::erf(y[i]) - x[i]
                                              : (1 - std::abs(x[i])) - std::erfc(std::abs(y[i]));
    const double size = std::abs(x[i]) < 0.5 ? std::abs(x[i]) : 1 - std::abs(x[i]);
    ASSERT_LE(std::abs(error), 4e-15 * size * (1 + y[i] * y[i])) << x[i];
    ASSERT_EQ(std::signbit(y[i]), std::signbit(x[i]));
  }
  const std::vector<double> ends = InDouble("erfinv", {1, -1, 1.5, NAN});
  EXPECT_EQ(ends[0], HUGE_VAL);
  EXPECT_EQ(ends[1], -HUGE_VAL);
  EXPECT_TRUE(std::isnan(ends[2]) && std::isnan(ends[3]));
}

// gamma'(1) and the values that follow by recurrence, duplication and reflection.
TEST(Special, DigammaAndItsSlopeAtKnownPoints) {
  const double euler = 0.57721566490153286;
  const std::vector<double> x = {1, 0.5, 2, -0.5, 100, 1e-3};
  const std::vector<double> first = {-euler,
                                     -euler - 2 * std::log(2.0),
                                     1 - euler,
                                     2 - euler - 2 * std::log(2.0),
                                     4.6001618527380874,
                                     -1000.5755719318103};
  const double sixth = M_PI * M_PI / 6;
  const std::vector<double> second = {sixth,         3 * sixth,           sixth - 1,
                                      3 * sixth + 4, 0.01005016666333357, 1000001.6425331959};
  const std::vector<double> y = InDouble("digamma", x);
  const std::vector<double> slope = InDouble("digamma_grad", x, std::vector<double>(x.size(), 1));
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_NEAR(y[i], first[i], 3e-15 * std::max(1.0, std::abs(first[i]))) << x[i];
    EXPECT_NEAR(slope[i], second[i], 3e-15 * std::max(1.0, std::abs(second[i]))) << x[i];
  }
  const std::vector<double> poles = InDouble("digamma", {0.0, -0.0, -3, HUGE_VAL, NAN});
  EXPECT_EQ(poles[0], -HUGE_VAL);
  EXPECT_EQ(poles[1], HUGE_VAL);
  EXPECT_TRUE(std::isnan(poles[2]) && std::isnan(poles[4]));
  EXPECT_EQ(poles[3], HUGE_VAL);
}

TEST(Binary, BitsAndLogicOfIntegers) {
  const TestTensor a = TestTensor::Of<int32_t>({4}, {12, -7, 0, 5});
  const TestTensor b = TestTensor::Of<int32_t>({4}, {10, 3, 0, -2});
  const auto run = [&](const char* op, DType dtype) {
    KernelCase test(op, {}, {a, b}, {TestTensor::Empty(dtype, {4})});
    test.Run();
    if (dtype == DType::kI32) return test.Output<int32_t>();
    const std::vector<uint8_t> bools = test.Output<uint8_t>();
    return std::vector<int32_t>(bools.begin(), bools.end());
  };
  EXPECT_EQ(run("bitwise_and", DType::kI32), (std::vector<int32_t>{8, 1, 0, 4}));
  EXPECT_EQ(run("bitwise_or", DType::kI32), (std::vector<int32_t>{14, -5, 0, -1}));
  EXPECT_EQ(run("bitwise_xor", DType::kI32), (std::vector<int32_t>{6, -6, 0, -5}));
  EXPECT_EQ(run("fmod", DType::kI32), (std::vector<int32_t>{2, -1, 0, 1}));
  EXPECT_EQ(run("remainder", DType::kI32), (std::vector<int32_t>{2, 2, 0, -1}));
  EXPECT_EQ(run("floor_divide", DType::kI32), (std::vector<int32_t>{1, -3, 0, -3}));
  EXPECT_EQ(run("logical_and", DType::kBool), (std::vector<int32_t>{1, 1, 0, 1}));
  EXPECT_EQ(run("logical_or", DType::kBool), (std::vector<int32_t>{1, 1, 0, 1}));
  EXPECT_EQ(run("logical_xor", DType::kBool), (std::vector<int32_t>{0, 0, 0, 0}));
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

// Every byte but 0 is true, and rows of all lengths, with either choice one number.
TEST(Comparison, WhereOfRowsAndNumbers) {
  for (const int64_t n : {1, 7, 64, 1000}) {
    std::vector<uint8_t> conditions(n);
    std::vector<float> a(n), b(n);
    for (int64_t i = 0; i < n; ++i) {
      conditions[i] = static_cast<uint8_t>(i * 37 % 5 == 0 ? 0 : i * 37);
      a[i] = static_cast<float>(i);
      b[i] = -1 - a[i];
    }
    for (const bool one_a : {false, true}) {
      for (const bool one_b : {false, true}) {
        TestTensor condition = TestTensor::Of<uint8_t>({n}, conditions);
        condition.type.dtype = DType::kBool;
        const TestTensor x = one_a ? TestTensor::Of<float>({}, {5}) : TestTensor::Of<float>({n}, a);
        const TestTensor y =
            one_b ? TestTensor::Of<float>({}, {kNan}) : TestTensor::Of<float>({n}, b);
        KernelCase test("where", {}, {condition, x, y}, {TestTensor::Empty(DType::kF32, {n})}, 2);
        test.Run();
        const std::vector<float> out = test.Output<float>();
        for (int64_t i = 0; i < n; ++i) {
          const float expected = conditions[i] != 0 ? (one_a ? 5 : a[i]) : (one_b ? kNan : b[i]);
          EXPECT_EQ(std::bit_cast<uint32_t>(out[i]), std::bit_cast<uint32_t>(expected)) << i;
        }
      }
    }
  }
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
