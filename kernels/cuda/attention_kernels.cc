// Rows of the CUDA table: attention and its gradient.
#include <cstdint>
#include <memory>

#include "base/dtype.h"
#include "kernels/cpu/attention_problem.h"
#include "kernels/cuda/attention_algorithms.h"
#include "kernels/cuda/attention_problem.h"
#include "kernels/cuda/attention_space.h"
#include "kernels/cuda/attention_spec.h"
#include "kernels/cuda/attention_tensor.h"
#include "kernels/cuda/definition.h"

namespace oneflow::kernels {

CudaAttention AttentionOf(const KernelSpec& spec) {
  const bool backward = spec.op == "attention_grad";
  const AttentionProblem problem =
      AttentionProblem::Of(spec, backward ? AttentionPass::kBackward : AttentionPass::kForward);
  const DType dtype = spec.inputs.at(0).dtype;
  CudaAttention a = {};
  a.backward = backward;
  a.dtype = static_cast<int32_t>(dtype);
  a.batch = problem.batch;
  a.queries = problem.queries;
  a.keys = problem.keys;
  a.heads = problem.heads;
  a.key_heads = problem.key_heads;
  a.width = problem.width;
  a.value_width = problem.value_width;
  a.q_pitch = problem.q_row();
  a.k_pitch = problem.k_row();
  a.v_pitch = problem.v_row();
  a.scale = problem.scale;
  a.causal = problem.causal;
  a.drops = problem.drops;
  a.first_query = problem.FirstQuery(0);
  a.philox_key = problem.dropout.key;
  a.threshold = problem.dropout.threshold;
  a.keep = problem.dropout.scale;
  a.step_input = problem.step_input;
  a.mask_input = problem.mask_input;
  a.dlse_input = problem.dlse_input;
  a.mask_dtype = static_cast<int32_t>(problem.mask_dtype);
  for (size_t d = 0; d < 4; ++d) a.mask_stride[d] = problem.mask_stride[d];
  // Of the own kernels, sums of rows and of dq; none in f64.
  const int64_t own = backward && dtype != DType::kF64
                          ? AttentionGradBytes(a.batch, a.heads, a.queries, a.key_heads, a.keys,
                                               a.width, a.value_width, dtype != DType::kF32)
                          : 0;
  a.workspace_bytes = own + EngineExtraBytes(a);
  return a;
}

namespace {

template <AttentionPass kPass>
KernelOr MakeAttention(const CudaApi* api, const KernelSpec& spec) {
  const CudaAttention a = AttentionOf(spec);
  void* made = nullptr;
  OF_RETURN_IF_ERROR(CudaStatus(*api, api->attention_plan(&a, &made), "planning attention"));
  if (made == nullptr) return NoCudaKernel(spec);
  const std::shared_ptr<void> plan(made, api->attention_release);
  OF_RETURN_IF_ERROR(ChooseAttentionAlgorithm(api, a, plan, &AlgorithmChoices::OfProcess()));
  const AttentionProblem problem = AttentionProblem::Of(spec, kPass);
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    CudaAttention now = a;
    now.first_query = problem.FirstQuery(args.micro);
    // The index of a weight is a sum over its place.
    now.index = problem.WeightIndex(args.micro, 0, 0, 0, 0);
    now.index_stride[0] = problem.WeightIndex(args.micro, 1, 0, 0, 0) - now.index;
    now.index_stride[1] = problem.WeightIndex(args.micro, 0, 1, 0, 0) - now.index;
    now.index_stride[2] = problem.WeightIndex(args.micro, 0, 0, 1, 0) - now.index;
    const AttentionArgs placed(problem, kPass, args);
    const CudaOperands operands = OperandsOf(placed.get());
    return api->attention(plan.get(), &now, &operands, stream);
  });
}

absl::StatusOr<Needs> DescribeAttention(const KernelSpec& spec) {
  return Needs{AttentionOf(spec).workspace_bytes, {}};
}

}  // namespace

std::vector<CudaRow> CudaAttentionRows() {
  return {
      {"attention", DescribeAttention, MakeAttention<AttentionPass::kForward>},
      {"attention_grad", DescribeAttention, MakeAttention<AttentionPass::kBackward>},
  };
}

}  // namespace oneflow::kernels
