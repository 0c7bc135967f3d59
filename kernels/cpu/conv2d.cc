// conv2d on NHWC images with weights [out, in / groups, kh, kw], f32, and its two gradients.
//
//   conv2d(x, weight) -> y        conv2d_grad_input(dy, weight) -> dx        conv2d_grad_weight(x,
//   dy) -> dweight
//
// The number of groups follows from the local shapes: where channels are cut over devices a shard
// holds some of the groups.
#include <algorithm>
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

// The tables of taps that a kernel makes have this many entries at most.
constexpr double kMaxTapEntries = 1 << 28;

absl::Status CheckConvolution(ConvolutionPass pass, const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(2).Outputs(1).AllF32();
  if (!check.ok()) return check.status();
  const auto [image, weight, result] = OperandsOf(pass, spec);
  check.Rank(image, 4, 4).Rank(weight, 4, 4).Rank(result, 4, 4);
  const std::array<int64_t, 2> stride = check.Pair("stride", 1, kMaxWindow);
  const std::array<int64_t, 2> padding = check.Pair("padding", 0, kMaxWindow);
  const std::array<int64_t, 2> dilation = check.Pair("dilation", 1, kMaxWindow);
  if (!check.ok()) return check.status();
  const int64_t channels = weight.shape[1];  // of a group
  const int64_t groups = channels > 0 ? image.shape[3] / channels : 1;
  check.Require(groups >= 1 && image.shape[3] == groups * channels && weight.shape[0] % groups == 0,
                "channels of image and weight are those of whole groups");
  check.Require(image.shape[0] == result.shape[0], "image and result have one batch");
  check.Require(weight.shape[0] == result.shape[3], "a filter per channel of the result");
  const int64_t lines = *std::max_element(&image.shape[1], &image.shape[3]);
  const int64_t targets = *std::max_element(&result.shape[1], &result.shape[3]);
  check.Require(static_cast<double>(std::max(lines, targets)) *
                        static_cast<double>(weight.shape[2]) *
                        static_cast<double>(weight.shape[3]) <=
                    kMaxTapEntries,
                "fewer taps than a table holds");
  for (size_t d = 0; check.ok() && d < 2; ++d) {
    check.Require(result.shape[1 + d] == WindowExtent(image.shape[1 + d], weight.shape[2 + d],
                                                      stride[d], padding[d], dilation[d]),
                  "the window slides over the image");
  }
  return check.status();
}

ConvolutionProblem ProblemOf(ConvolutionPass pass, const KernelSpec& spec) {
  const auto [image, weight, result] = OperandsOf(pass, spec);
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
  return {op, [pass](const KernelSpec& spec) { return CheckConvolution(pass, spec); },
          [pass](const KernelSpec& spec) -> absl::StatusOr<Needs> {
            const ConvolutionProblem problem = ProblemOf(pass, spec);
            if (IsEmpty(problem)) return Needs{};
            return WithImplementation(pass, problem, spec.threads, [](const auto& made) {
              return Needs{made.workspace_bytes(), {}};
            });
          },
          [pass](const KernelSpec& spec) -> KernelOr {
            const ConvolutionProblem problem = ProblemOf(pass, spec);
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
