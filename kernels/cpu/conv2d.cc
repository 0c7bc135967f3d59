// conv2d on NHWC images with weights [out, in / groups, kh, kw], and its two gradients.
//
//   conv2d(x, weight) -> y        conv2d_grad_input(dy, weight) -> dx        conv2d_grad_weight(x,
//   dy) -> dweight
//   conv2d_sums(x, weight) -> y, sums, squares: conv2d, and bn_sample_sums of y behind it, whose samples are the parts
//
// The number of groups follows from the local shapes: where channels are cut over devices a shard
// holds some of the groups.
//
// f32 by the micro-kernels of this machine, bf16 by its instructions for bf16; depthwise by loops.
// Where it has none, and in f16, operands are widened to f32 as a whole and the result is narrowed:
// sums are f32 always.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>

#include "kernels/cpu/bf16_convolution.h"
#include "kernels/cpu/bf16_gemm.h"
#include "kernels/cpu/bf16_weight_gradient.h"
#include "kernels/cpu/convolution.h"
#include "kernels/cpu/convolution_sums.h"
#include "kernels/cpu/definition.h"
#include "kernels/cpu/depthwise.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/widened.h"

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
// Those of bf16 and depthwise ones have no tables, but a few numbers per tap, and count elements from
// a pixel in the padding.
constexpr double kMaxTaps = 1 << 24;
constexpr int64_t kMaxChannels = int64_t{1} << 31;

absl::Status CheckConvolution(ConvolutionPass pass, const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(2).Outputs(1).SameDType();
  check.Takes(check.in(0), {DType::kF32, DType::kBF16, DType::kF16});
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
  const bool has_tables = image.dtype == DType::kF32 && !(groups > 1 && channels == 1);
  check.Require(
      has_tables || (static_cast<double>(weight.shape[2]) * static_cast<double>(weight.shape[3]) <=
                         kMaxTaps &&
                     std::max(image.shape[3], result.shape[3]) <= kMaxChannels),
      "fewer taps and channels");
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

TapConvolution::Direction DirectionOf(ConvolutionPass pass) {
  return pass == ConvolutionPass::kForward ? TapConvolution::Direction::kForward
                                           : TapConvolution::Direction::kGradInput;
}

// f(the object that computes the pass in f32).
template <typename F>
auto WithImplementation(ConvolutionPass pass, const ConvolutionProblem& problem, int threads,
                        const F& f) {
  const bool grad_weight = pass == ConvolutionPass::kGradWeight;
  if (IsDepthwise(problem)) {
    return grad_weight ? f(DepthwiseWeightGradient<float>(problem, threads))
                       : f(Depthwise<float>(DirectionOf(pass), problem, threads));
  }
  if (grad_weight) return f(WeightGradient(problem, HostMicroKernels(), threads));
  return f(TapConvolution(DirectionOf(pass), problem, HostMicroKernels(), threads));
}

// An image that is a matrix, pixels by channels: the pass is one product.
bool IsProduct(ConvolutionPass pass, const ConvolutionProblem& c) {
  return pass != ConvolutionPass::kGradWeight && c.groups == 1 && c.r == 1 && c.s == 1 &&
         c.stride == std::array<int64_t, 2>{1, 1} && c.padding == std::array<int64_t, 2>{0, 0};
}
GemmProblem ProductOf(ConvolutionPass pass, const ConvolutionProblem& c) {
  const int64_t pixels = c.n * c.h * c.w;
  if (pass == ConvolutionPass::kForward) return {pixels, c.k, c.c, c.c, 1, 1, c.c, c.k};
  return {pixels, c.c, c.k, c.k, 1, c.c, 1, c.c};
}

bool ComputesAsItIs(DType dtype, const ConvolutionProblem& problem) {
  return dtype == DType::kBF16 && (IsDepthwise(problem) || HostBf16Tiles() != nullptr);
}

// f(the object that computes the pass in bf16). REQUIRES: ComputesAsItIs.
template <typename F>
auto WithBf16Implementation(ConvolutionPass pass, const ConvolutionProblem& problem, int threads,
                            const F& f) {
  const bool grad_weight = pass == ConvolutionPass::kGradWeight;
  if (IsDepthwise(problem)) {
    return grad_weight ? f(DepthwiseWeightGradient<BF16>(problem, threads))
                       : f(Depthwise<BF16>(DirectionOf(pass), problem, threads));
  }
  const Bf16Tiles& tiles = *HostBf16Tiles();
  if (grad_weight) return f(Bf16WeightGradient(problem, tiles, HostMicroKernels(), threads));
  if (IsProduct(pass, problem)) {
    return f(Bf16Gemm(ProductOf(pass, problem), tiles, HostMicroKernels(), threads));
  }
  return f(Bf16Convolution(DirectionOf(pass), problem, tiles, threads));
}

absl::StatusOr<Needs> DescribeConvolution(ConvolutionPass pass, const KernelSpec& spec) {
  const ConvolutionProblem problem = ProblemOf(pass, spec);
  const DType dtype = spec.inputs.at(0).dtype;
  if (IsEmpty(problem)) return Needs{};
  const auto bytes = [](const auto& made) { return made.workspace_bytes(); };
  if (ComputesAsItIs(dtype, problem)) {
    return Needs{WithBf16Implementation(pass, problem, spec.threads, bytes), {}};
  }
  const int64_t own = WithImplementation(pass, problem, spec.threads, bytes);
  return Needs{(NarrowOf(dtype) ? Widened(spec).bytes() : 0) + own, {}};
}

KernelOr MakeConvolution(ConvolutionPass pass, const KernelSpec& spec) {
  const ConvolutionProblem problem = ProblemOf(pass, spec);
  const DType dtype = spec.inputs.at(0).dtype;
  if (IsEmpty(problem)) {
    const int64_t bytes = NumElements(spec.outputs[0].shape) * SizeOf(dtype);
    return KernelOf([bytes](const KernelArgs& args) {
      if (bytes > 0) std::memset(args.outputs[0], 0, bytes);
    });
  }
  if (ComputesAsItIs(dtype, problem)) {
    return WithBf16Implementation(
        pass, problem, spec.threads, [](auto made) -> std::unique_ptr<Kernel> {
          return KernelOf([made = std::move(made)](const KernelArgs& args) {
            made.Run(In<BF16>(args, 0), In<BF16>(args, 1), Out<BF16>(args, 0), args.workspace);
          });
        });
  }
  return WithImplementation(pass, problem, spec.threads, [&](auto made) -> std::unique_ptr<Kernel> {
    if (dtype == DType::kF32) {
      return KernelOf([made = std::move(made)](const KernelArgs& args) {
        made.Run(In<float>(args, 0), In<float>(args, 1), Out<float>(args, 0), args.workspace);
      });
    }
    return KernelOf([made = std::move(made), widened = Widened(spec)](const KernelArgs& args) {
      widened.Run(args, [&](const float* a, const float* b, float* out, void* workspace) {
        made.Run(a, b, out, workspace);
      });
    });
  });
}

KernelDef ConvolutionOp(const char* op, ConvolutionPass pass) {
  return {op, [pass](const KernelSpec& spec) { return CheckConvolution(pass, spec); },
          [pass](const KernelSpec& spec) { return DescribeConvolution(pass, spec); },
          [pass](const KernelSpec& spec) { return MakeConvolution(pass, spec); }};
}

// ---- conv2d_sums ----

KernelDef PartSumsKernel() {
  for (KernelDef& def : BatchNormKernels()) {
    if (def.op == "bn_sample_sums") return std::move(def);
  }
  return {};
}

absl::Status CheckSums(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(2).Outputs(3);
  if (!check.ok()) return check.status();
  OF_RETURN_IF_ERROR(CheckConvolution(ConvolutionPass::kForward, ConvolutionOfSums(spec)));
  const Operand& y = check.out(0);
  check.Takes(check.out(1), {StatsType(y.dtype)}).Rank(check.out(1), 2, 2);
  check.Same(check.out(2), check.out(1));
  if (!check.ok()) return check.status();
  const int64_t parts = check.out(1).shape[0];
  return check.Require(parts >= 1 && y.shape[0] % parts == 0, "samples in equal parts")
      .HasShape(check.out(1), {parts, y.shape[3]})
      .status();
}

absl::StatusOr<Needs> DescribeSums(const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const Needs convolution,
                      DescribeConvolution(ConvolutionPass::kForward, ConvolutionOfSums(spec)));
  OF_ASSIGN_OR_RETURN(const Needs sums, PartSumsKernel().describe(PartSumsOf(spec)));
  return Needs{std::max(convolution.workspace_bytes, sums.workspace_bytes), {}};
}

KernelOr MakeSums(const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(std::unique_ptr<Kernel> convolution,
                      MakeConvolution(ConvolutionPass::kForward, ConvolutionOfSums(spec)));
  OF_ASSIGN_OR_RETURN(std::unique_ptr<Kernel> sums, PartSumsKernel().make(PartSumsOf(spec)));
  return KernelOf([convolution = std::shared_ptr<Kernel>(std::move(convolution)),
                   sums = std::shared_ptr<Kernel>(std::move(sums))](const KernelArgs& args) {
    absl::Status status = convolution->Run(args, nullptr);
    const void* const y = args.outputs[0];
    KernelArgs of_sums = args;
    of_sums.inputs = &y;
    of_sums.outputs = args.outputs + 1;
    status.Update(sums->Run(of_sums, nullptr));
    return status;
  });
}

}  // namespace

std::vector<KernelDef> Conv2dKernels() {
  return {ConvolutionOp("conv2d", ConvolutionPass::kForward),
          {"conv2d_sums", CheckSums, DescribeSums, MakeSums},
          ConvolutionOp("conv2d_grad_input", ConvolutionPass::kGradInput),
          ConvolutionOp("conv2d_grad_weight", ConvolutionPass::kGradWeight)};
}

}  // namespace oneflow::kernels
