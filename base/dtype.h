// DType: the element types of tensors, one enum for graphs, plans, kernels and Python.
//
// Owned by nobody: plain values. Threads: any. The numbers are part of the plan format (plan.proto
// repeats them); append, never renumber. Read next: base/shape.h.
#ifndef ONEFLOW_BASE_DTYPE_H_
#define ONEFLOW_BASE_DTYPE_H_

#include <cstdint>
#include <optional>
#include <string_view>

namespace oneflow {

// Element type of a tensor.
enum class DType : uint8_t {
  kInvalid = 0,
  kF32 = 1,
  kBF16 = 2,
  kF16 = 3,
  kI64 = 4,
  kI32 = 5,
  kI8 = 6,
  kU8 = 7,
  kBool = 8,
  kF64 = 9,
  kI16 = 10,
};

// Bytes of one element; 0 for kInvalid.
int64_t SizeOf(DType dtype);

// Name as printed in graphs and plans: "f64", "f32", "bf16", "f16", "i64", "i32", "i16", "i8", "u8",
// "bool".
std::string_view NameOf(DType dtype);

// Inverse of NameOf; nullopt for an unknown name.
std::optional<DType> ParseDType(std::string_view name);

// True for f64, f32, bf16, f16.
bool IsFloating(DType dtype);

// In what statistics of floats (means, sums over many elements) are kept: f64 those of f64, else f32.
inline DType StatsType(DType dtype) { return dtype == DType::kF64 ? DType::kF64 : DType::kF32; }

}  // namespace oneflow

#endif  // ONEFLOW_BASE_DTYPE_H_
