// The functions of ops that may stand in a chain (plan/fused.h), as lists in which a GPU finds them by number. Their
// gradients stand in the same list: NAME_grad of those that have one.
//
// Types. Threads: any. Read next: kernels/cuda/fused.cu.
#ifndef ONEFLOW_KERNELS_SCALAR_FUSED_FUNCTIONS_H_
#define ONEFLOW_KERNELS_SCALAR_FUSED_FUNCTIONS_H_

#include <string_view>

#include "kernels/scalar/table.h"

namespace oneflow::kernels {

template <typename... Functions>
struct FunctionList {
  static constexpr int kCount = sizeof...(Functions);
};

using FusedUnary =
    FunctionList<Abs, AddScalar, Exp, Gelu, GeluTanh, Hardsigmoid, Hardswish, LeakyRelu, MulScalar,
                 Neg, Reciprocal, Relu, Relu6, Rsqrt, Sigmoid, Silu, Sqrt, Square, Tanh>;
inline constexpr std::string_view kFusedUnary[] = {
    "abs",        "add_scalar", "exp",  "gelu",       "gelu_tanh", "hardsigmoid", "hardswish",
    "leaky_relu", "mul_scalar", "neg",  "reciprocal", "relu",      "relu6",       "rsqrt",
    "sigmoid",    "silu",       "sqrt", "square",     "tanh"};
static_assert(std::size(kFusedUnary) == FusedUnary::kCount);

using FusedBinary = FunctionList<Add, Div, Maximum, Minimum, Mul, Sub>;
inline constexpr std::string_view kFusedBinary[] = {"add",     "div", "maximum",
                                                    "minimum", "mul", "sub"};
static_assert(std::size(kFusedBinary) == FusedBinary::kCount);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_SCALAR_FUSED_FUNCTIONS_H_
