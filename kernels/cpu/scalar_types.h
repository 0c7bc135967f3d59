// The switch from a DType to its C++ type (kernels/scalar/types.h).
//
// Functions. Threads: any. Read next: base/dtype.h.
#ifndef ONEFLOW_KERNELS_CPU_SCALAR_TYPES_H_
#define ONEFLOW_KERNELS_CPU_SCALAR_TYPES_H_

#include <cstdint>

#include "base/check.h"
#include "base/dtype.h"
#include "kernels/scalar/types.h"

namespace oneflow::kernels {

// The number that an attribute gives as an element: a float beyond int64 is clamped to it, NaN is 0,
// and what is left wraps in a narrower integer type.
template <typename T>
inline T ElementOf(double number) {
  if constexpr (std::is_same_v<T, Bool>) {
    return Bool(number != 0);
  } else if constexpr (std::is_integral_v<T>) {
    if (number != number) return 0;
    if (number >= 0x1p63) return static_cast<T>(std::numeric_limits<int64_t>::max());
    if (number < -0x1p63) return static_cast<T>(std::numeric_limits<int64_t>::min());
    return static_cast<T>(static_cast<int64_t>(number));
  } else if constexpr (std::is_same_v<T, double>) {
    return number;
  } else {
    return T(static_cast<float>(number));
  }
}

// f.template operator()<T>() for the type of `dtype`. REQUIRES: a valid dtype.
template <typename F>
auto DispatchDType(DType dtype, const F& f) {
  switch (dtype) {
    case DType::kF64:
      return f.template operator()<double>();
    case DType::kF32:
      return f.template operator()<float>();
    case DType::kBF16:
      return f.template operator()<BF16>();
    case DType::kF16:
      return f.template operator()<F16>();
    case DType::kI64:
      return f.template operator()<int64_t>();
    case DType::kI32:
      return f.template operator()<int32_t>();
    case DType::kI16:
      return f.template operator()<int16_t>();
    case DType::kI8:
      return f.template operator()<int8_t>();
    case DType::kU8:
      return f.template operator()<uint8_t>();
    case DType::kBool:
      return f.template operator()<Bool>();
    case DType::kInvalid:
      break;
  }
  OF_CHECK(false) << "invalid dtype";
  __builtin_unreachable();
}

// As DispatchDType with an unsigned integer of the same size, for kernels that only move bytes.
template <typename F>
auto DispatchSize(DType dtype, const F& f) {
  switch (SizeOf(dtype)) {
    case 8:
      return f.template operator()<uint64_t>();
    case 4:
      return f.template operator()<uint32_t>();
    case 2:
      return f.template operator()<uint16_t>();
    case 1:
      return f.template operator()<uint8_t>();
    default:
      break;
  }
  OF_CHECK(false) << "invalid dtype";
  __builtin_unreachable();
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_SCALAR_TYPES_H_
