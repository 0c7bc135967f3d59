#include "base/dtype.h"

#include <array>
#include <utility>

namespace oneflow {
namespace {

struct Row {
  DType dtype;
  std::string_view name;
  int64_t size;
};

constexpr std::array<Row, 10> kRows = {{{DType::kF32, "f32", 4},
                                        {DType::kBF16, "bf16", 2},
                                        {DType::kF16, "f16", 2},
                                        {DType::kI64, "i64", 8},
                                        {DType::kI32, "i32", 4},
                                        {DType::kI8, "i8", 1},
                                        {DType::kU8, "u8", 1},
                                        {DType::kBool, "bool", 1},
                                        {DType::kF64, "f64", 8},
                                        {DType::kI16, "i16", 2}}};

}  // namespace

int64_t SizeOf(DType dtype) {
  for (const Row& row : kRows) {
    if (row.dtype == dtype) return row.size;
  }
  return 0;
}

std::string_view NameOf(DType dtype) {
  for (const Row& row : kRows) {
    if (row.dtype == dtype) return row.name;
  }
  return "invalid";
}

std::optional<DType> ParseDType(std::string_view name) {
  for (const Row& row : kRows) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

bool IsFloating(DType dtype) {
  return dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kBF16 ||
         dtype == DType::kF16;
}

}  // namespace oneflow
