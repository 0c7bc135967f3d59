#include "kernels/cpu/attention_problem.h"

#include <algorithm>

#include "kernels/cpu/definition.h"

namespace oneflow::kernels {
namespace {

constexpr int64_t kMostColumns = 1 << 16;  // a kernel keeps a list of strips of them

size_t StepInput(AttentionPass pass) { return pass == AttentionPass::kForward ? 3 : 6; }

// Extents of a spec whose first three inputs have rank 4.
struct Extents {
  int64_t batch, queries, heads, width, keys, key_heads, value_width;
};
Extents ExtentsOf(const KernelSpec& spec) {
  const Shape& q = spec.inputs[0].shape;
  const Shape& k = spec.inputs[1].shape;
  if (const std::optional<PackedHeads> packed = PackedHeadsOf(spec.attrs)) {
    return {q[0], q[1], packed->heads, q[3], q[1], packed->key_heads, q[3]};
  }
  return {q[0], q[1], q[2], q[3], k[1], k[2], spec.inputs[2].shape[3]};
}

}  // namespace

absl::Status CheckAttention(const KernelSpec& spec, AttentionPass pass) {
  const bool forward = pass == AttentionPass::kForward;
  const size_t step = StepInput(pass);
  SpecCheck check(spec);
  const bool packed = IsPacked(spec.attrs);
  check.Inputs(step, step + (forward ? 2 : 3)).Outputs(forward ? 2 : packed ? 1 : 3);
  const Operand& q = check.in(0);
  check.Takes(q, {DType::kF32, DType::kF64, DType::kBF16, DType::kF16}).Placed(q);
  const DType sums = q.dtype == DType::kF64 ? DType::kF64 : DType::kF32;
  for (size_t i = 0; i < 3; ++i) check.Rank(check.in(i), 4, 4).Takes(check.in(i), {q.dtype});
  if (packed) {
    const std::optional<PackedHeads> parts = PackedHeadsOf(spec.attrs);
    check.Require(parts.has_value(), "packed heads fill their tensor");
    if (check.ok()) check.Require(q.shape[2] == parts->all(), "packed heads are those there are");
    check.Same(check.in(1), q).Same(check.in(2), q);
  }
  if (!check.ok()) return check.status();
  const auto [batch, queries, heads, width, keys, key_heads, value_width] = ExtentsOf(spec);
  const Shape out = {batch, queries, heads, value_width};
  const Shape per_row = {batch, heads, queries};
  if (!packed) {
    check.HasShape(check.in(1), {batch, keys, key_heads, width});
    check.HasShape(check.in(2), {batch, keys, key_heads, value_width});
  }
  check.Require(width >= 1 && value_width >= 1 && std::max(width, value_width) <= kMostColumns,
                "a head has 1 to 65536 columns");
  check.Require(key_heads == 0 ? heads == 0 : heads % key_heads == 0,
                "the heads of k divide those of q");
  const auto is = [&](const Operand& operand, DType dtype, const Shape& shape) {
    check.Takes(operand, {dtype}).HasShape(operand, shape);
  };
  if (forward) {
    is(check.out(0), q.dtype, out);
    is(check.out(1), sums, per_row);
  } else {
    is(check.in(3), q.dtype, out);
    is(check.in(4), sums, per_row);
    is(check.in(5), q.dtype, out);
    for (size_t i = 0; i < spec.outputs.size(); ++i) check.Same(check.out(i), check.in(i));
  }
  if (spec.inputs.size() > step) check.Scalar(check.in(step), DType::kI64);
  if (spec.inputs.size() > step + 1) {
    const Operand& mask = check.in(step + 1);
    check.Takes(mask, {DType::kBool, DType::kF32, DType::kF64, DType::kBF16, DType::kF16});
    check.Rank(mask, 4, 4).Broadcasts(mask.shape, {batch, heads, queries, keys});
  }
  if (spec.inputs.size() > step + 2) is(check.in(step + 2), sums, per_row);
  check.BoolOr("causal", false);
  check.NumberOr("scale", 1.0);
  if (check.NumberOr("p", 0.0) != 0) {
    CheckDropoutAttrs(&check).Require(spec.inputs.size() > step, "dropout is told the step");
  }
  return check.status();
}

AttentionProblem AttentionProblem::Of(const KernelSpec& spec, AttentionPass pass) {
  const Operand& q = spec.inputs[0];
  const Extents n = ExtentsOf(spec);
  AttentionProblem a;
  a.batch = n.batch, a.queries = n.queries, a.heads = n.heads, a.width = n.width;
  a.keys = n.keys, a.key_heads = n.key_heads, a.value_width = n.value_width;
  a.packed = PackedHeadsOf(spec.attrs);
  a.element_bytes = SizeOf(q.dtype);
  a.causal = spec.attrs.Has("causal") && spec.attrs.Bool("causal");
  if (spec.attrs.Has("scale")) a.scale = NumberAttr(spec.attrs, "scale");
  if (spec.attrs.Has("p") && NumberAttr(spec.attrs, "p") != 0) {
    a.drops = true;
    a.dropout = DropoutMask::Of(spec.attrs);
  }
  const int step = static_cast<int>(StepInput(pass));
  const int count = static_cast<int>(spec.inputs.size());
  if (count > step) a.step_input = step;
  if (count > step + 1) {
    a.mask_input = step + 1;
    const Operand& mask = spec.inputs[static_cast<size_t>(step) + 1];
    a.mask_dtype = mask.dtype;
    int64_t stride = 1;
    for (size_t d = 4; d-- > 0; stride *= mask.shape[d]) {
      a.mask_stride[d] = mask.shape[d] == 1 ? 0 : stride;
    }
  }
  if (count > step + 2) a.dlse_input = step + 2;
  for (size_t d = 0; d < 4; ++d) {
    a.logical_[d] = static_cast<uint64_t>(q.logical_shape[d]);
    a.begin_[d] = static_cast<uint64_t>(q.begin[d]);
  }
  if (a.packed.has_value()) {  // of q's heads, which are whole
    a.logical_[2] = static_cast<uint64_t>(a.heads);
    a.begin_[2] = 0;
  }
  a.micro_dim_ = q.micro_dim;
  a.micro_stride_ = static_cast<uint64_t>(q.micro_stride);
  return a;
}

AttentionArgs::AttentionArgs(const AttentionProblem& problem, AttentionPass pass,
                             const KernelArgs& args)
    : args_(args) {
  if (!problem.packed.has_value()) return;
  const int last = std::max({problem.step_input, problem.mask_input, problem.dlse_input,
                             pass == AttentionPass::kForward ? 2 : 5});
  for (int i = 0; i <= last; ++i) inputs_[static_cast<size_t>(i)] = args.inputs[i];
  args_.inputs = inputs_.data();
  const bool backward = pass == AttentionPass::kBackward;
  for (size_t i = 0; i < 3; ++i) {
    const int64_t begin = problem.packed->first[i] * problem.width * problem.element_bytes;
    inputs_[i] = static_cast<const char*>(inputs_[i]) + begin;
    if (backward) outputs_[i] = static_cast<char*>(args.outputs[0]) + begin;
  }
  if (backward) args_.outputs = outputs_.data();
}

int64_t AttentionProblem::FirstQuery(uint32_t micro) const {
  return static_cast<int64_t>(std::min(Begin(1, micro), static_cast<uint64_t>(keys)));
}

uint64_t AttentionProblem::WeightIndex(uint32_t micro, int64_t b, int64_t h, int64_t query,
                                       int64_t key) const {
  const uint64_t row = (Begin(0, micro) + static_cast<uint64_t>(b)) * logical_[2] +
                       Begin(2, micro) + static_cast<uint64_t>(h);
  return (row * logical_[1] + Begin(1, micro) + static_cast<uint64_t>(query)) *
             static_cast<uint64_t>(keys) +
         static_cast<uint64_t>(key);
}

}  // namespace oneflow::kernels
