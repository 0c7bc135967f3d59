// Onednn: the only door to oneDNN: matmul and the three convolutions, f32, as primitives with
// planned scratch.
//
// Owned by the kernel that made it. Threads: one call at a time per object; the team is the
// caller's, its size fixed when the primitive is made (block sizes and the order of sums follow
// it). Everything a call needs beyond its operands lies in `workspace`. Read next:
// kernels/cpu/matmul.cc, kernels/cpu/conv2d.cc.
#ifndef ONEFLOW_KERNELS_CPU_ONEDNN_H_
#define ONEFLOW_KERNELS_CPU_ONEDNN_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
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

// A dense or strided f32 operand.
struct StridedOperand {
  Shape shape;
  Shape strides;
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
    ConvolutionPass pass, const ConvolutionProblem& problem, int threads);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_ONEDNN_H_
