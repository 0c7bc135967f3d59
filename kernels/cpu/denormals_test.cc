// Every CPU kernel flushes denormals in every thread of its team, and leaves the caller's mode alone.
#include "kernels/cpu/denormals.h"

#include <bit>
#include <cmath>
#include <limits>

#include "kernels/cpu/kernel_case.h"

namespace oneflow::kernels {
namespace {

// The least normal number, read at run time: the compiler must not compute with it.
template <typename T>
T Least() {
  volatile T least = std::numeric_limits<T>::min();
  return least;
}

// As a thread does whose mode nobody has changed.
bool KeepsDenormals() { return Least<float>() / 2 != 0 && Least<double>() / 2 != 0; }

template <typename T>
TestTensor Filled(const Shape& shape, T value) {
  return TestTensor::Of<T>(shape, std::vector<T>(NumElements(shape), value));
}
template <typename T>
TestTensor Tiny(const Shape& shape) {
  std::vector<T> values(NumElements(shape));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<T>(i % 7 + 1) * std::numeric_limits<T>::denorm_min();
  }
  return TestTensor::Of<T>(shape, values);
}

const Shape kLong = {1 << 18};  // beyond the grain: each thread of a team has a part

class Denormals : public testing::TestWithParam<int> {  // of threads
 protected:
  template <typename T>
  void ExpectZeros(const std::string& op, Attrs attrs, const std::vector<TestTensor>& inputs,
                   const Shape& output) {
    KernelCase test(op, std::move(attrs), inputs, {TestTensor::Empty(DTypeOf<T>(), output)},
                    GetParam());
    test.Run();
    for (const T value : test.Output<T>()) ASSERT_EQ(std::fpclassify(value), FP_ZERO) << op;
    EXPECT_TRUE(KeepsDenormals()) << op;
  }

  template <typename T>
  void ExpectZerosOf() {
    const T least = std::numeric_limits<T>::min();
    ExpectZeros<T>("add", {}, {Tiny<T>(kLong), Tiny<T>(kLong)}, kLong);
    ExpectZeros<T>("mul", {}, {Tiny<T>(kLong), Filled<T>(kLong, 1024)}, kLong);
    ExpectZeros<T>("mul", {}, {Filled<T>(kLong, least), Filled<T>(kLong, T{0.5})}, kLong);
    Attrs all;
    all.Set("dims", std::vector<int64_t>{0});
    all.Set("keepdim", false);
    ExpectZeros<T>("sum", all, {Tiny<T>(kLong)}, {});
    Attrs plain;
    plain.Set("transpose_a", false);
    plain.Set("transpose_b", false);
    const Shape square = {256, 256};
    ExpectZeros<T>("matmul", plain, {Tiny<T>(square), Filled<T>(square, 1)}, square);
  }
};

TEST_P(Denormals, OperandsAndResultsAreZero) {
  ASSERT_TRUE(KeepsDenormals());
  ExpectZerosOf<float>();
  ExpectZerosOf<double>();
}

// In float a half's denormals are none, and a bf16 is half of a float: casts keep both.
TEST_P(Denormals, CastsOfNarrowFloatsKeepThem) {
  std::vector<F16> halves(kLong[0]);
  std::vector<BF16> uppers(kLong[0]);
  for (size_t i = 0; i < halves.size(); ++i) {
    halves[i].bits = static_cast<uint16_t>(i % 0x400);  // zero and the denormals
    uppers[i].bits = static_cast<uint16_t>(i % 0x80);
  }
  const auto cast = [](const TestTensor& from, DType to) {
    KernelCase test("cast", {}, {from}, {TestTensor::Empty(to, from.type.shape)}, GetParam());
    test.Run();
    return test;
  };
  const std::vector<float> wide = cast(TestTensor::Of(kLong, halves), DType::kF32).Output<float>();
  const std::vector<float> wider = cast(TestTensor::Of(kLong, uppers), DType::kF32).Output<float>();
  for (size_t i = 0; i < halves.size(); ++i) {
    ASSERT_EQ(wide[i], static_cast<float>(halves[i].bits) * 0x1p-24f);
    ASSERT_EQ(std::bit_cast<uint32_t>(wider[i]), static_cast<uint32_t>(uppers[i].bits) << 16);
  }
  const std::vector<F16> back = cast(TestTensor::Of(kLong, wide), DType::kF16).Output<F16>();
  const std::vector<BF16> upper = cast(TestTensor::Of(kLong, wider), DType::kBF16).Output<BF16>();
  for (size_t i = 0; i < halves.size(); ++i) {
    ASSERT_EQ(back[i].bits, halves[i].bits);
    ASSERT_EQ(upper[i].bits, uppers[i].bits);
  }
}

// A mode that the caller has set stays as well.
TEST(FlushDenormals, GivesBackTheModeThatItFound) {
  {
    const FlushDenormals outer;
    EXPECT_EQ(Least<float>() / 2, 0);
    {
      const FlushDenormals inner;
      EXPECT_EQ(Least<float>() / 2, 0);
    }
    EXPECT_EQ(Least<float>() / 2, 0);
  }
  EXPECT_TRUE(KeepsDenormals());
}

INSTANTIATE_TEST_SUITE_P(Teams, Denormals, testing::Values(1, 2));

}  // namespace
}  // namespace oneflow::kernels
