// CudaFused: a chain of elementwise ops as plain data that crosses to the library for CUDA.
//
// Values. Threads: any. Read next: kernels/cuda/fused.cu, kernels/cuda/fused_kernels.cc.
#ifndef ONEFLOW_KERNELS_CUDA_FUSED_PROBLEM_H_
#define ONEFLOW_KERNELS_CUDA_FUSED_PROBLEM_H_

#include <cstdint>

#include "kernels/cuda/cuda_api.h"

namespace oneflow::kernels {

// A chain of elementwise ops (plan/fused.h). A step's function is its number in the lists of
// kernels/scalar/fused_functions.h; element types are numbers of a DType.
inline constexpr int kCudaFusedSteps = 8;
inline constexpr int kCudaFusedInputs = 12;
enum class CudaFusedKind : int32_t { kUnary, kCast, kBinary, kGradient, kDropout, kBatchNorm };
struct CudaFusedStep {
  CudaFusedKind kind;
  int32_t function;
  int32_t input;            // the first one that it reads beside the value
  int32_t dtype;            // of its result, and of a binary op's other operand
  bool reversed, repeated;  // the value is the right operand; the other one is one element
  float value;              // the op's attribute
};
struct CudaFused {
  int64_t begin, end;  // elements of this call
  int32_t dtype, out_dtype, steps, inputs;
  CudaFusedStep step[kCudaFusedSteps];
  int64_t c, group;  // channels, and the group of these elements, of a batch norm
  CudaDropout dropout;
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_FUSED_PROBLEM_H_
