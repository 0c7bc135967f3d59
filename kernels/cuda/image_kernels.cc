// Rows of the CUDA table: convolutions and pooling.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>

#include "base/dtype.h"
#include "kernels/cpu/convolution_sums.h"
#include "kernels/cuda/convolution_algorithms.h"
#include "kernels/cuda/convolution_problem.h"
#include "kernels/cuda/convolution_space.h"
#include "kernels/cuda/definition.h"
#include "kernels/cuda/sample_sums.h"
#include "kernels/cuda/shares.h"

namespace oneflow::kernels {
namespace {

void SetPair(const KernelSpec& spec, const char* name, int64_t* pair) {
  const std::array<int64_t, 2> values = PairAttr(spec.attrs, name);
  pair[0] = values[0];
  pair[1] = values[1];
}

// ---- Convolution ----

// Rows and columns that make a tile worth its barriers, the side of a GPU's tile, and the depth that is
// worth a share of its own.
constexpr int64_t kLeastTile = 8;
constexpr int64_t kTileSide = 64;
constexpr int64_t kDeepShare = 256;

}  // namespace

CudaConvolution ConvolutionOf(const KernelSpec& spec) {
  const bool grad_input = spec.op == "conv2d_grad_input";
  const bool grad_weight = spec.op == "conv2d_grad_weight";
  const Operand& image = grad_input ? spec.outputs.at(0) : spec.inputs.at(0);
  const Operand& weight = grad_weight ? spec.outputs.at(0) : spec.inputs.at(1);
  const Operand& result = grad_input    ? spec.inputs.at(0)
                          : grad_weight ? spec.inputs.at(1)
                                        : spec.outputs.at(0);
  CudaConvolution c = {};
  c.pass = grad_input    ? CudaConvolutionPass::kGradInput
           : grad_weight ? CudaConvolutionPass::kGradWeight
                         : CudaConvolutionPass::kForward;
  c.dtype = static_cast<int32_t>(spec.inputs.at(0).dtype);
  c.n = image.shape[0];
  c.h = image.shape[1];
  c.w = image.shape[2];
  c.c = image.shape[3];
  c.p = result.shape[1];
  c.q = result.shape[2];
  c.k = weight.shape[0];
  c.r = weight.shape[2];
  c.s = weight.shape[3];
  c.groups = weight.shape[1] > 0 ? c.c / weight.shape[1] : 1;
  c.parts = spec.op == "conv2d_sums" ? spec.outputs.at(1).shape[0] : 0;
  SetPair(spec, "stride", c.stride);
  SetPair(spec, "padding", c.padding);
  SetPair(spec, "dilation", c.dilation);
  const int64_t filters = c.k / c.groups, channels = c.c / c.groups;
  int64_t depth = 0;
  if (grad_weight) {
    c.group_rows = filters;
    c.group_columns = c.r * c.s * channels;
    depth = c.n * c.p * c.q;
  } else {
    c.group_rows = grad_input ? c.n * c.h * c.w : c.n * c.p * c.q;
    c.group_columns = grad_input ? channels : filters;
  }
  c.tiled = c.group_rows >= kLeastTile && c.group_columns >= kLeastTile;
  const auto tiles = [](int64_t extent) { return (extent + kTileSide - 1) / kTileSide; };
  c.splits = c.tiled
                 ? SharesOf(kFillingBlocks, c.groups * tiles(c.group_rows) * tiles(c.group_columns),
                            depth, kDeepShare)
                 : SharesByThread(c.groups * c.group_rows * c.group_columns, depth);
  // Own kernels need room for their shares, a library's engine its budget: which of
  // the two serves is not known here.
  const int64_t results = c.groups * c.group_rows * c.group_columns;
  const int64_t shares = c.splits == 1 ? 0 : c.splits * results * int64_t{sizeof(float)};
  c.workspace_bytes = IsForLibrary(c) ? std::max(shares, EngineWorkspace(c)) : shares;
  return c;
}

namespace {

// nullptr: no kernel takes the type.
absl::StatusOr<std::shared_ptr<void>> PlanOf(const CudaApi* api, CudaConvolution problem) {
  AlgorithmChoices& choices = AlgorithmChoices::OfProcess();
  problem.compiles = choices.measures();  // who waits for one may wait for the other
  void* made = nullptr;
  OF_RETURN_IF_ERROR(
      CudaStatus(*api, api->convolution_plan(&problem, &made), "planning a convolution"));
  if (made == nullptr) return std::shared_ptr<void>();
  std::shared_ptr<void> plan(made, api->convolution_release);
  OF_RETURN_IF_ERROR(ChooseConvolutionAlgorithm(api, problem, plan, &choices));
  return plan;
}

KernelOr MakeConvolution(const CudaApi* api, const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const std::shared_ptr<void> plan, PlanOf(api, ConvolutionOf(spec)));
  if (plan == nullptr) return NoCudaKernel(spec);
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    const CudaOperands operands = OperandsOf(args);
    return api->convolution(plan.get(), &operands, stream);
  });
}

absl::StatusOr<Needs> DescribeConvolution(const KernelSpec& spec) {
  return Needs{ConvolutionOf(spec).workspace_bytes, {}};
}

// ---- A convolution and the sums of its parts ----

absl::StatusOr<Needs> DescribeConvolutionSums(const KernelSpec& spec) {
  return Needs{std::max(ConvolutionOf(spec).workspace_bytes,
                        SampleSumsWorkspace(SamplesOf(PartSumsOf(spec)))),
               {}};
}

KernelOr MakeConvolutionSums(const CudaApi* api, const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const std::shared_ptr<void> plan, PlanOf(api, ConvolutionOf(spec)));
  if (plan == nullptr) return NoCudaKernel(spec);
  const auto sum = api->find_batch_norm("bn_sample_sums", static_cast<int>(spec.inputs[0].dtype));
  if (sum == nullptr) return NoCudaKernel(spec);
  const bool makes_sums = api->convolution_makes_sums(plan.get());
  const CudaBatchNorm parts = SamplesOf(PartSumsOf(spec));
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    CudaOperands operands = OperandsOf(args);
    const CudaError error = api->convolution(plan.get(), &operands, stream);
    if (error != 0 || makes_sums) return error;
    const void* const y = args.outputs[0];
    operands.in = &y;
    operands.out = args.outputs + 1;
    return sum(&parts, &operands, stream);
  });
}

// ---- Pooling ----

// The operands of the spec that are an image and a result of its windows.
KernelOr MakePool(const CudaApi* api, const KernelSpec& spec, const Shape& image,
                  const Shape& result) {
  CudaPool pool = {};
  pool.n = image.at(0);
  pool.h = image.at(1);
  pool.w = image.at(2);
  pool.c = image.at(3);
  pool.p = result.at(1);
  pool.q = result.at(2);
  SetPair(spec, "kernel", pool.kernel);
  SetPair(spec, "stride", pool.stride);
  SetPair(spec, "padding", pool.padding);
  return CudaKernelOf(
      api, spec, api->find_pool(spec.op.c_str(), static_cast<int>(spec.inputs.at(0).dtype)), pool);
}
KernelOr MakePoolForward(const CudaApi* api, const KernelSpec& spec) {
  return MakePool(api, spec, spec.inputs.at(0).shape, spec.outputs.at(0).shape);
}
KernelOr MakeMaxPoolGrad(const CudaApi* api, const KernelSpec& spec) {
  return MakePool(api, spec, spec.inputs.at(0).shape, spec.inputs.at(1).shape);
}
KernelOr MakeAvgPoolGrad(const CudaApi* api, const KernelSpec& spec) {
  return MakePool(api, spec, spec.outputs.at(0).shape, spec.inputs.at(0).shape);
}

}  // namespace

std::vector<CudaRow> CudaImageRows() {
  return {
      {"conv2d", DescribeConvolution, MakeConvolution},
      {"conv2d_sums", DescribeConvolutionSums, MakeConvolutionSums},
      {"conv2d_grad_input", DescribeConvolution, MakeConvolution},
      {"conv2d_grad_weight", DescribeConvolution, MakeConvolution},
      {"max_pool2d", NeedsNothing, MakePoolForward},
      {"max_pool2d_grad", NeedsNothing, MakeMaxPoolGrad},
      {"avg_pool2d", NeedsNothing, MakePoolForward},
      {"avg_pool2d_grad", NeedsNothing, MakeAvgPoolGrad},
  };
}

}  // namespace oneflow::kernels
