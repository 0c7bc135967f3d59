// The row of the CUDA table for chains of elementwise ops.
#include <algorithm>
#include <iterator>
#include <string_view>

#include "base/check.h"
#include "base/dtype.h"
#include "kernels/cpu/batch_groups.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cuda/definition.h"
#include "kernels/cuda/draw_problem.h"
#include "kernels/cuda/fused_problem.h"
#include "kernels/scalar/fused_functions.h"
#include "plan/fused.h"

namespace oneflow::kernels {
namespace {

static_assert(kCudaFusedSteps == kMaxFusedSteps && kCudaFusedInputs == kMaxFusedInputs);

// The number of a name in a list; -1 if it is not there.
template <size_t kCount>
int32_t NumberOf(const std::string_view (&names)[kCount], std::string_view op) {
  const auto* found = std::find(std::begin(names), std::end(names), op);
  return found == std::end(names) ? -1 : static_cast<int32_t>(found - std::begin(names));
}

CudaFusedStep StepOf(const KernelSpec& spec, const FusedStep& step) {
  CudaFusedStep out = {};
  out.input = step.read;
  out.dtype = static_cast<int32_t>(step.dtype);
  out.reversed = step.reversed;
  out.value = static_cast<float>(step.value);
  switch (step.role) {
    case FusedRole::kUnary:
      out.kind = CudaFusedKind::kUnary;
      out.function = NumberOf(kFusedUnary, step.op);
      break;
    case FusedRole::kCast:
      out.kind = CudaFusedKind::kCast;
      break;
    case FusedRole::kBinary: {
      constexpr std::string_view kGrad = "_grad";
      const bool gradient = step.op.ends_with(kGrad);
      const std::string_view op = step.op;
      out.kind = gradient ? CudaFusedKind::kGradient : CudaFusedKind::kBinary;
      out.function = gradient ? NumberOf(kFusedUnary, op.substr(0, op.size() - kGrad.size()))
                              : NumberOf(kFusedBinary, op);
      out.repeated = NumElements(spec.inputs.at(static_cast<size_t>(step.read)).shape) == 1;
      break;
    }
    case FusedRole::kDropout:
      out.kind = CudaFusedKind::kDropout;
      break;
    case FusedRole::kBatchNorm:
      out.kind = CudaFusedKind::kBatchNorm;
      break;
  }
  OF_CHECK(out.function >= 0) << step.op << " has no number in the lists of fused functions";
  return out;
}

absl::StatusOr<Needs> DescribeFused(const KernelSpec& spec) {
  Needs needs = CpuKernels().Describe(spec).value();
  needs.workspace_bytes = 0;
  return needs;
}

KernelOr MakeFused(const CudaApi* api, const KernelSpec& spec) {
  const std::vector<FusedStep> steps = FusedSteps(spec.attrs).value();
  CudaFused problem = {};
  problem.end = NumElements(spec.outputs.at(0).shape);
  problem.dtype = static_cast<int32_t>(spec.inputs.at(0).dtype);
  problem.out_dtype = static_cast<int32_t>(spec.outputs[0].dtype);
  problem.inputs = static_cast<int32_t>(spec.inputs.size());
  int64_t micro_stride = 0;
  std::optional<BatchGroups> groups;
  for (const FusedStep& step : steps) {
    problem.step[problem.steps++] = StepOf(spec, step);
    if (step.role == FusedRole::kDropout) {
      const DropoutMask mask = DropoutMask::Of(spec.attrs);
      problem.dropout = {DrawOf(spec), mask.threshold, mask.scale};
      micro_stride = DrawMicroStride(spec);
    }
    if (step.role == FusedRole::kBatchNorm) {
      groups.emplace(spec.inputs[0], spec.inputs.at(static_cast<size_t>(step.read)));
      problem.c = spec.inputs[0].shape.back();
    }
  }
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    const CudaOperands operands = OperandsOf(args);
    CudaFused now = problem;
    now.dropout.draw.base += micro_stride * args.micro;
    if (!groups.has_value()) return api->fused(&now, &operands, stream);
    CudaError error = 0;
    for (int64_t group = 0; error == 0 && group < groups->count(); ++group) {
      const BatchGroups::Rows rows = groups->RowsOf(group, args.micro);
      now.group = group;
      now.begin = rows.begin * now.c;
      now.end = rows.end * now.c;
      error = api->fused(&now, &operands, stream);
    }
    return error;
  });
}

}  // namespace

std::vector<CudaRow> CudaFusedRows() { return {{"fused", DescribeFused, MakeFused}}; }

}  // namespace oneflow::kernels
