// Rows of the CUDA table: attention and its gradient.
#include <cstdint>

#include "base/dtype.h"
#include "kernels/cpu/attention_problem.h"
#include "kernels/cuda/attention_problem.h"
#include "kernels/cuda/attention_tensor.h"
#include "kernels/cuda/definition.h"

namespace oneflow::kernels {
namespace {

template <AttentionPass kPass>
KernelOr MakeAttention(const CudaApi* api, const KernelSpec& spec) {
  const auto run = api->find_attention(spec.op.c_str(), static_cast<int>(spec.inputs.at(0).dtype));
  if (run == nullptr) return NoCudaKernel(spec);
  const AttentionProblem problem = AttentionProblem::Of(spec, kPass);
  CudaAttention a = {};
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
  a.philox_key = problem.dropout.key;
  a.threshold = problem.dropout.threshold;
  a.keep = problem.dropout.scale;
  a.step_input = problem.step_input;
  a.mask_input = problem.mask_input;
  a.dlse_input = problem.dlse_input;
  a.mask_dtype = static_cast<int32_t>(problem.mask_dtype);
  for (size_t d = 0; d < 4; ++d) a.mask_stride[d] = problem.mask_stride[d];
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
    return run(&now, &operands, stream);
  });
}

// Sums of rows and of dq; none in f64.
absl::StatusOr<Needs> DescribeBackward(const KernelSpec& spec) {
  const DType dtype = spec.inputs.at(0).dtype;
  if (dtype == DType::kF64) return Needs{};
  const AttentionProblem problem = AttentionProblem::Of(spec, AttentionPass::kBackward);
  return Needs{
      AttentionGradBytes(problem.batch, problem.heads, problem.queries, problem.key_heads,
                         problem.keys, problem.width, problem.value_width, dtype != DType::kF32),
      {}};
}

}  // namespace

std::vector<CudaRow> CudaAttentionRows() {
  return {
      {"attention", NeedsNothing, MakeAttention<AttentionPass::kForward>},
      {"attention_grad", DescribeBackward, MakeAttention<AttentionPass::kBackward>},
  };
}

}  // namespace oneflow::kernels
