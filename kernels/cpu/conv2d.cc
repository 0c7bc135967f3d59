// conv2d on NHWC images with weights [out, in / groups, kh, kw], f32, and its two gradients.
//
//   conv2d(x, weight) -> y        conv2d_grad_input(dy, weight) -> dx        conv2d_grad_weight(x,
//   dy) -> dweight
//
// The number of groups follows from the local shapes: where channels are cut over devices a shard
// holds some of the groups.
#include <cstdint>
#include <cstring>
#include <memory>

#include "kernels/cpu/convolution.h"
#include "kernels/cpu/definition.h"
#include "kernels/cpu/families.h"

namespace oneflow::kernels {
namespace {

enum class ConvolutionPass {
  kForward,     // (x, weight) -> y
  kGradInput,   // (dy, weight) -> dx
  kGradWeight,  // (x, dy) -> dweight
};

// Which operand of the spec is what.
struct Operands {
  const Operand& image;
  const Operand& weight;
  const Operand& result;
};
Operands OperandsOf(ConvolutionPass pass, const KernelSpec& spec) {
  switch (pass) {
    case ConvolutionPass::kForward:
      return {spec.inputs.at(0), spec.inputs.at(1), spec.outputs.at(0)};
    case ConvolutionPass::kGradInput:
      return {spec.outputs.at(0), spec.inputs.at(1), spec.inputs.at(0)};
    case ConvolutionPass::kGradWeight:
      break;
  }
  return {spec.inputs.at(0), spec.outputs.at(0), spec.inputs.at(1)};
}

absl::StatusOr<ConvolutionProblem> ProblemOf(ConvolutionPass pass, const KernelSpec& spec) {
  for (const Operand& in : spec.inputs) {
    if (in.dtype != DType::kF32) return UnsupportedDType(spec, in.dtype);
  }
  const auto [image, weight, result] = OperandsOf(pass, spec);
  if (image.shape.size() != 4 || weight.shape.size() != 4 || result.shape.size() != 4) {
    return MakeError(ErrorKind::kShape, spec.op + " takes NHWC images and 4-d weights");
  }
  ConvolutionProblem problem;
  problem.n = image.shape[0];
  problem.h = image.shape[1];
  problem.w = image.shape[2];
  problem.c = image.shape[3];
  problem.p = result.shape[1];
  problem.q = result.shape[2];
  problem.k = weight.shape[0];
  problem.r = weight.shape[2];
  problem.s = weight.shape[3];
  problem.groups = weight.shape[1] > 0 ? problem.c / weight.shape[1] : 1;
  problem.stride = PairAttr(spec.attrs, "stride");
  problem.padding = PairAttr(spec.attrs, "padding");
  problem.dilation = PairAttr(spec.attrs, "dilation");
  if (problem.groups > 1 && problem.k % problem.groups != 0) {
    return MakeError(ErrorKind::kShape, spec.op + ": " + std::to_string(problem.k) +
                                            " output channels are no multiple of " +
                                            std::to_string(problem.groups) + " groups");
  }
  return problem;
}

// Nothing to multiply: an empty shard.
bool IsEmpty(const ConvolutionProblem& p) {
  return p.n == 0 || p.h == 0 || p.w == 0 || p.c == 0 || p.k == 0 || p.p == 0 || p.q == 0 ||
         p.r == 0 || p.s == 0;
}

// f(the object that computes the pass).
template <typename F>
auto WithImplementation(ConvolutionPass pass, const ConvolutionProblem& problem, int threads,
                        const F& f) {
  if (pass == ConvolutionPass::kGradWeight) {
    return f(WeightGradient(problem, HostMicroKernels(), threads));
  }
  return f(TapConvolution(pass == ConvolutionPass::kForward ? TapConvolution::Direction::kForward
                                                            : TapConvolution::Direction::kGradInput,
                          problem, HostMicroKernels(), threads));
}

KernelDef ConvolutionOp(const char* op, ConvolutionPass pass) {
  return {op,
          [pass](const KernelSpec& spec) -> absl::StatusOr<Needs> {
            OF_ASSIGN_OR_RETURN(const ConvolutionProblem problem, ProblemOf(pass, spec));
            if (IsEmpty(problem)) return Needs{};
            return WithImplementation(pass, problem, spec.threads, [](const auto& made) {
              return Needs{made.workspace_bytes(), {}};
            });
          },
          [pass](const KernelSpec& spec) -> KernelOr {
            OF_ASSIGN_OR_RETURN(const ConvolutionProblem problem, ProblemOf(pass, spec));
            const int64_t bytes = NumElements(spec.outputs[0].shape) * SizeOf(DType::kF32);
            if (IsEmpty(problem)) {
              return KernelOf([bytes](const KernelArgs& args) {
                if (bytes > 0) std::memset(args.outputs[0], 0, bytes);
              });
            }
            return WithImplementation(
                pass, problem, spec.threads, [](auto made) -> std::unique_ptr<Kernel> {
                  return KernelOf([made = std::move(made)](const KernelArgs& args) {
                    made.Run(In<float>(args, 0), In<float>(args, 1), Out<float>(args, 0),
                             args.workspace);
                  });
                });
          }};
}

}  // namespace

std::vector<KernelDef> Conv2dKernels() {
  return {ConvolutionOp("conv2d", ConvolutionPass::kForward),
          ConvolutionOp("conv2d_grad_input", ConvolutionPass::kGradInput),
          ConvolutionOp("conv2d_grad_weight", ConvolutionPass::kGradWeight)};
}

}  // namespace oneflow::kernels
