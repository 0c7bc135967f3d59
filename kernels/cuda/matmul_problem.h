// CudaMatmul: the problem of a product, and what one call of it gets.
//
// Plain data that crosses the seam (kernels/cuda/cuda_api.h). Owner: the caller. Threads: any. Read next:
// kernels/cuda/matmul.cu.
#ifndef ONEFLOW_KERNELS_CUDA_MATMUL_PROBLEM_H_
#define ONEFLOW_KERNELS_CUDA_MATMUL_PROBLEM_H_

#include <cstdint>

namespace oneflow::kernels {

// d[m,n] = a . b, row-major; transposed operands lie as [k,m], [n,k]. Strides between batches.
// What operands and result are; kTF32: f32, multiplied as TF32. Sums are f32, of f64 f64.
enum class CudaMath : int32_t { kF32, kTF32, kBF16, kF16, kF64 };
// What a product does beside: adds bias[n] before it rounds; does that and gelu_tanh, and may leave in x what that was
// of; is the gradient that goes through gelu_tanh of x; or sums an operand over k in f32, a to sums[m], b to sums[n].
enum class CudaEpilogue : int32_t {
  kNone,
  kBias,
  kBiasGelu,
  kBiasGeluX,
  kGeluGrad,
  kSumsOfA,
  kSumsOfB
};
constexpr bool HasBias(CudaEpilogue epilogue) {
  return epilogue == CudaEpilogue::kBias || epilogue == CudaEpilogue::kBiasGelu ||
         epilogue == CudaEpilogue::kBiasGeluX;
}
constexpr bool HasX(CudaEpilogue epilogue) {
  return epilogue == CudaEpilogue::kBiasGeluX || epilogue == CudaEpilogue::kGeluGrad;
}
constexpr bool HasSums(CudaEpilogue epilogue) {
  return epilogue == CudaEpilogue::kSumsOfA || epilogue == CudaEpilogue::kSumsOfB;
}
struct CudaMatmul {
  int64_t m, n, k;
  bool transpose_a, transpose_b;
  CudaEpilogue epilogue;
  int64_t batches, stride_a, stride_b, stride_d;
  CudaMath math;
  int64_t workspace_bytes;  // of the library
  int32_t alignment;        // bytes on which a, b and d of every call lie, a power of two
  // What m, n and k are rounded up to in copies of the operands, which lie in the workspace behind the
  // library's part, a's, b's and d's, each from a multiple of kLibraryAlignment on; 0: as they are. An
  // operand has a copy if a dim of it is rounded up: with zeros there. For one product of 2-byte elements.
  int64_t padded_m, padded_n, padded_k;
};

// Of one call; nullptr: what the problem has not.
struct CudaMatmulOperands {
  const void *a, *b, *bias;
  void *d, *sums;
  void* x;  // lies as d does; kBiasGeluX writes it, kGeluGrad reads it
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_MATMUL_PROBLEM_H_
