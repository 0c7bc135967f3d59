// The small values of base/: dtype, shape, location, host tensor, check.
#include <cstdint>
#include <limits>

#include "base/check.h"
#include "base/dtype.h"
#include "base/host_tensor.h"
#include "base/location.h"
#include "base/shape.h"
#include "gtest/gtest.h"

namespace oneflow {
namespace {

TEST(DTypeTest, NamesAndSizes) {
  const DType all[] = {DType::kF32, DType::kBF16, DType::kF16,  DType::kI64, DType::kI32,
                       DType::kI8,  DType::kU8,   DType::kBool, DType::kF64, DType::kI16};
  std::string text;
  for (DType dtype : all) {
    text += std::string(NameOf(dtype)) + ":" + std::to_string(SizeOf(dtype)) + " ";
    EXPECT_EQ(ParseDType(NameOf(dtype)), dtype);
  }
  EXPECT_EQ(text, "f32:4 bf16:2 f16:2 i64:8 i32:4 i8:1 u8:1 bool:1 f64:8 i16:2 ");
  EXPECT_EQ(SizeOf(DType::kInvalid), 0);
  EXPECT_EQ(ParseDType("invalid"), std::nullopt);
  EXPECT_EQ(ParseDType("f8"), std::nullopt);
  EXPECT_TRUE(IsFloating(DType::kBF16));
  EXPECT_FALSE(IsFloating(DType::kI64));
}

TEST(ShapeTest, CountsElements) {
  EXPECT_EQ(NumElements({}), 1);
  EXPECT_EQ(NumElements({2, 3, 4}), 24);
  EXPECT_EQ(CheckedNumElements({0, 5}), 0);
  EXPECT_EQ(CheckedNumElements({2, -1}), std::nullopt);
  EXPECT_EQ(CheckedNumElements({std::numeric_limits<int64_t>::max(), 2}), std::nullopt);
  EXPECT_EQ(ToString(StridesOf({2, 3, 4})), "[12,4,1]");
  EXPECT_EQ(ToString(Shape{}), "[]");
}

TEST(LocationTest, ShortForm) {
  EXPECT_EQ((Location{"/a/b/mlp.py", 8, "f"}).Short(), "mlp.py:8");
  EXPECT_EQ((Location{"mlp.py", 8, "f"}).Short(), "mlp.py:8");
  EXPECT_EQ(Location().Short(), "?");
  EXPECT_FALSE(Location().known());
}

TEST(HostTensorTest, AllocatesAlignedBytes) {
  const HostTensor tensor = HostTensor::Allocate(DType::kI64, {3, 5});
  EXPECT_EQ(tensor.bytes(), 120);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.data.get()) % 64, 0u);
  const HostTensor empty = HostTensor::Allocate(DType::kF32, {0});
  EXPECT_EQ(empty.bytes(), 0);
  EXPECT_NE(empty.data, nullptr);
}

TEST(CheckDeathTest, SaysWhatAndWhy) {
  OF_CHECK(1 + 1 == 2) << "never printed";
  EXPECT_DEATH(OF_CHECK(1 + 1 == 3) << "sums differ", "CHECK failed: 1 \\+ 1 == 3 sums differ");
}

}  // namespace
}  // namespace oneflow
