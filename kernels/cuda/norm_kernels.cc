// Rows of the CUDA table: layer_norm, rms_norm, batch norm.
#include <cstdint>

#include "kernels/cpu/batch_groups.h"
#include "kernels/cuda/definition.h"
#include "kernels/cuda/sample_sums.h"
#include "kernels/cuda/shares.h"

namespace oneflow::kernels {
namespace {

// ---- layer_norm, rms_norm ----

// Of rows of n.
bool IsOnePass(const KernelSpec& spec, int64_t n) {
  return spec.op == "layer_norm_grads" && GradsInOnePass(n, SizeOf(spec.inputs.at(0).dtype));
}

CudaNorm NormOf(const KernelSpec& spec) {
  const Shape& shape = spec.inputs.at(0).shape;
  const size_t lead = shape.size() - static_cast<size_t>(spec.attrs.Int("dims"));
  CudaNorm norm = {};
  norm.rows = norm.n = 1;
  for (size_t d = 0; d < shape.size(); ++d) (d < lead ? norm.rows : norm.n) *= shape[d];
  norm.eps = spec.attrs.Has("eps") ? NumberAttr(spec.attrs, "eps") : 1e-5;
  norm.splits = SharesOfRows(1, norm.rows, norm.n * SizeOf(spec.inputs[0].dtype));
  if (IsOnePass(spec, norm.n)) norm.splits = SharesOfGrads(norm.rows);
  return norm;
}

// `tensors`: the operands before weight and bias.
template <size_t kTensors>
KernelOr MakeNorm(const CudaApi* api, const KernelSpec& spec) {
  CudaNorm norm = NormOf(spec);
  norm.has_weight = spec.inputs.size() > kTensors;
  norm.has_bias = spec.inputs.size() > kTensors + 1;
  return CudaKernelOf(
      api, spec, api->find_norm(spec.op.c_str(), static_cast<int>(spec.inputs[0].dtype)), norm);
}

absl::StatusOr<Needs> DescribeWeightGrad(const KernelSpec& spec) {
  const CudaNorm norm = NormOf(spec);
  const int64_t sums = static_cast<int64_t>(spec.outputs.size());
  return Needs{norm.splits == 1 ? 0 : norm.splits * sums * norm.n * 8, {}};
}

absl::StatusOr<Needs> DescribeGrads(const KernelSpec& spec) {
  const CudaNorm norm = NormOf(spec);
  // The one pass joins its shares even where it has one.
  const bool shared = norm.splits > 1 || IsOnePass(spec, norm.n);
  return Needs{shared ? norm.splits * 2 * norm.n * 8 : 0, {}};
}

// ---- Batch norm ----

// The groups of a spec, whose statistics are described by `stats`, and a problem for each.
struct GroupedProblem {
  BatchGroups groups;
  CudaBatchNorm problem = {};

  GroupedProblem(const KernelSpec& spec, const Operand& stats) : groups(spec.inputs[0], stats) {
    problem.c = spec.inputs[0].shape.back();
    problem.splits = SharesOfRows(1, groups.rows(), problem.c * SizeOf(spec.inputs[0].dtype));
    if (spec.op == "bn_grad_input" || spec.op == "bn_join_squares") {  // that have the attribute
      const double count = NumberAttr(spec.attrs, "count");
      problem.per_count = count > 0 ? 1.0 / count : 0;
    }
  }
  CudaBatchNorm Of(int64_t group, uint32_t micro) const {
    const BatchGroups::Rows rows = groups.RowsOf(group, micro);
    CudaBatchNorm now = problem;
    now.group = group;
    now.begin = rows.begin;
    now.end = rows.end;
    return now;
  }
};

KernelOr MakeGrouped(const CudaApi* api, const KernelSpec& spec, const Operand& stats) {
  const auto run = api->find_batch_norm(spec.op.c_str(), static_cast<int>(spec.inputs.at(0).dtype));
  if (run == nullptr) return NoCudaKernel(spec);
  const GroupedProblem grouped(spec, stats);
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    const CudaOperands operands = OperandsOf(args);
    CudaError error = 0;
    for (int64_t group = 0; error == 0 && group < grouped.groups.count(); ++group) {
      const CudaBatchNorm problem = grouped.Of(group, args.micro);
      error = run(&problem, &operands, stream);
    }
    return error;
  });
}

KernelOr MakeSums(const CudaApi* api, const KernelSpec& spec) {
  return MakeGrouped(api, spec, spec.outputs.at(0));
}
absl::StatusOr<Needs> DescribeSums(const KernelSpec& spec) {
  const CudaBatchNorm problem = GroupedProblem(spec, spec.outputs.at(0)).problem;
  const int64_t sums = static_cast<int64_t>(spec.outputs.size());
  return Needs{problem.splits == 1 ? 0 : problem.splits * sums * problem.c * 8, {}};
}

KernelOr MakeSampleSums(const CudaApi* api, const KernelSpec& spec) {
  return CudaKernelOf(api, spec,
                      api->find_batch_norm(spec.op.c_str(), static_cast<int>(spec.inputs[0].dtype)),
                      SamplesOf(spec));
}
absl::StatusOr<Needs> DescribeSampleSums(const KernelSpec& spec) {
  return Needs{SampleSumsWorkspace(SamplesOf(spec)), {}};
}

KernelOr MakeApply(const CudaApi* api, const KernelSpec& spec) {
  return MakeGrouped(api, spec, spec.inputs.at(1));
}
absl::StatusOr<Needs> DescribeApply(const KernelSpec&) { return Needs{0, {{0, 0}}}; }

KernelOr MakeGradInput(const CudaApi* api, const KernelSpec& spec) {
  return MakeGrouped(api, spec, spec.inputs.at(2));
}
absl::StatusOr<Needs> DescribeGradInput(const KernelSpec&) { return Needs{0, {{0, 0}, {0, 1}}}; }

KernelOr MakeRunningUpdate(const CudaApi* api, const KernelSpec& spec) {
  const CudaRunningUpdate update = {spec.inputs.at(0).shape.at(0), spec.inputs.at(1).shape.at(0),
                                    NumberAttr(spec.attrs, "momentum")};
  return CudaKernelOf(api, spec, api->find_running_update(static_cast<int>(spec.inputs[0].dtype)),
                      update);
}

}  // namespace

std::vector<CudaRow> CudaNormRows() {
  return {
      {"layer_norm", NeedsNothing, MakeNorm<1>},
      {"layer_norm_grad", NeedsNothing, MakeNorm<4>},
      {"layer_norm_weight_grad", DescribeWeightGrad, MakeNorm<4>},
      {"layer_norm_grads", DescribeGrads, MakeNorm<4>},
      {"rms_norm", NeedsNothing, MakeNorm<1>},
      {"rms_norm_grad", NeedsNothing, MakeNorm<3>},
      {"rms_norm_weight_grad", DescribeWeightGrad, MakeNorm<3>},
      {"bn_sum", DescribeSums, MakeSums},
      {"bn_sq_sum", DescribeSums, MakeSums},
      {"bn_grad_sums", DescribeSums, MakeSums},
      {"bn_sample_sums", DescribeSampleSums, MakeSampleSums},
      {"bn_join_squares", DescribeSums, MakeSums},
      {"bn_apply", DescribeApply, MakeApply},
      {"bn_grad_input", DescribeGradInput, MakeGradInput},
      {"running_update", Elementwise, MakeRunningUpdate},
  };
}

}  // namespace oneflow::kernels
