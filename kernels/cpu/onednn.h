// Onednn: oneDNN's matmul (f32, bf16) and convolutions (f32) as primitives with planned scratch: what our own
// products are judged by, in tests and benchmarks.
//
// Kernels do not use it: a call of a oneDNN 3.2 primitive allocates (9 blocks a matmul, 17 to 29 a
// convolution), and a steady step allocates nothing. Threads: one call at a time per object; the team is the
// caller's, its size fixed when the primitive is made. Everything a call needs beyond its operands and
// those blocks lies in `workspace`. Read next: kernels/cpu/gemm.h, kernels/cpu/convolution.h.
#ifndef ONEFLOW_KERNELS_CPU_ONEDNN_H_
#define ONEFLOW_KERNELS_CPU_ONEDNN_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "base/dtype.h"
#include "base/shape.h"
#include "kernels/cpu/convolution.h"

namespace oneflow::kernels {

// A primitive of two operands and a result.
class OnednnPrimitive {
 public:
  virtual ~OnednnPrimitive() = default;
  virtual int64_t workspace_bytes() const = 0;
  virtual void Run(const void* a, const void* b, void* out, void* workspace) const = 0;
};

// A dense or strided operand: f32 or bf16.
struct StridedOperand {
  Shape shape;
  Shape strides;
  DType dtype = DType::kF32;
};

// out = a . b over the last two dims; the leading ones broadcast (extent 1). Same rank everywhere.
absl::StatusOr<std::unique_ptr<OnednnPrimitive>> MakeOnednnMatmul(const StridedOperand& a,
                                                                  const StridedOperand& b,
                                                                  const StridedOperand& out,
                                                                  int threads);

enum class ConvolutionPass {
  kForward,     // (x, weight) -> y
  kGradInput,   // (dy, weight) -> dx
  kGradWeight,  // (x, dy) -> dweight
};
absl::StatusOr<std::unique_ptr<OnednnPrimitive>> MakeOnednnConvolution(
    ConvolutionPass pass, const ConvolutionProblem& problem, int threads,
    DType dtype = DType::kF32);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_ONEDNN_H_
