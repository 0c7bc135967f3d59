// Binary elementwise ops with NumPy broadcasting, and the gradients that are products of two
// tensors. 3 * sizeof(T) bytes per element where nothing is broadcast. In place over the first
// operand if it has the result's shape. Integer overflow wraps; division of an integer by zero
// gives 0.
#include <cstdint>
#include <type_traits>

#include "kernels/cpu/broadcast_rows.h"
#include "kernels/cpu/families.h"

namespace oneflow::kernels {
namespace {

absl::Status CheckBinary(const KernelSpec& spec) {
  return CheckBroadcast(spec).SameDType().status();
}

template <typename Function>
KernelDef NumberOp(const char* op) {
  return {op, CheckBinary, Elementwise, [](const KernelSpec& spec) -> KernelOr {
            switch (const DType dtype = spec.inputs.at(0).dtype) {
              case DType::kF32:
                return MakeBroadcast<Function, float, float>(spec);
              case DType::kI64:
                return MakeBroadcast<Function, int64_t, int64_t>(spec);
              case DType::kI32:
                return MakeBroadcast<Function, int32_t, int32_t>(spec);
              case DType::kI8:
                return MakeBroadcast<Function, int8_t, int8_t>(spec);
              case DType::kU8:
                return MakeBroadcast<Function, uint8_t, uint8_t>(spec);
              default:
                return UnsupportedDType(spec, dtype);
            }
          }};
}

template <typename Function>
KernelDef FloatOp(const char* op) {
  return {op, CheckBinary, Elementwise, [](const KernelSpec& spec) -> KernelOr {
            const DType dtype = spec.inputs.at(0).dtype;
            if (dtype != DType::kF32) return UnsupportedDType(spec, dtype);
            return MakeBroadcast<Function, float, float>(spec);
          }};
}

}  // namespace

std::vector<KernelDef> BinaryKernels() {
  return {
      NumberOp<Add>("add"),
      NumberOp<Sub>("sub"),
      NumberOp<Mul>("mul"),
      NumberOp<Div>("div"),
      NumberOp<Maximum>("maximum"),
      NumberOp<Minimum>("minimum"),
      FloatOp<ReluGrad>("relu_grad"),
      FloatOp<TanhGrad>("tanh_grad"),
      FloatOp<SigmoidGrad>("sigmoid_grad"),
      FloatOp<AbsGrad>("abs_grad"),
  };
}

}  // namespace oneflow::kernels
