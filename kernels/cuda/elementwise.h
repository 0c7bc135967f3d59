// Element types of the elementwise kernels on a GPU.
//
// Functions. Threads: any. Read next: kernels/scalar/table.h, kernels/cuda/elementwise.cu.
#ifndef ONEFLOW_KERNELS_CUDA_ELEMENTWISE_H_
#define ONEFLOW_KERNELS_CUDA_ELEMENTWISE_H_

#include <cstdint>

#include "base/dtype.h"
#include "kernels/scalar/table.h"

namespace oneflow::kernels {

inline bool IsAligned(const void* data, size_t bytes) {
  return reinterpret_cast<uintptr_t>(data) % bytes == 0;
}

// find.operator()<T>() for an element type that `kElements` has, else nullptr. bool is worked on as u8.
template <Elements kElements, typename Result, typename Find>
Result FindElement(DType dtype, const Find& find) {
  if constexpr (kElements != Elements::kBits) {
    if (dtype == DType::kF32) return find.template operator()<float>();
    if (dtype == DType::kBF16) return find.template operator()<BF16>();
    if (dtype == DType::kF16) return find.template operator()<F16>();
    if (dtype == DType::kF64) return find.template operator()<double>();
  }
  if constexpr (kElements != Elements::kFloats) {
    if (dtype == DType::kI64) return find.template operator()<int64_t>();
    if (dtype == DType::kI32) return find.template operator()<int32_t>();
    if (dtype == DType::kI16) return find.template operator()<int16_t>();
    if (dtype == DType::kI8) return find.template operator()<int8_t>();
    if (dtype == DType::kU8) return find.template operator()<uint8_t>();
  }
  if constexpr (kElements == Elements::kBits || kElements == Elements::kAll) {
    if (dtype == DType::kBool) return find.template operator()<uint8_t>();
  }
  return nullptr;
}

// find.operator()<T>() for a float type, f64 too, else nullptr.
template <typename Result, typename Find>
Result FindFloat(DType dtype, const Find& find) {
  if (dtype == DType::kF32) return find.template operator()<float>();
  if (dtype == DType::kBF16) return find.template operator()<BF16>();
  if (dtype == DType::kF16) return find.template operator()<F16>();
  if (dtype == DType::kF64) return find.template operator()<double>();
  return nullptr;
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_ELEMENTWISE_H_
