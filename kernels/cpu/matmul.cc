// matmul: out[..., m, n] = a[..., m, k] . b[..., k, n], f32, leading dims broadcast; transpose_a
// and transpose_b read their operand's last two dims exchanged, through strides: nothing is copied.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/cpu/definition.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/loop_nest.h"

namespace oneflow::kernels {
namespace {

// The operand as seen by the product: last two dims in the order of the formula.
struct Seen {
  Shape batch;
  int64_t rows, columns, row_stride, column_stride;
};
Seen SeenAs(const Shape& shape, bool transpose) {
  const size_t last = shape.size() - 1;
  Seen seen{Shape(shape.begin(), shape.end() - 2), shape[last - 1], shape[last], shape[last], 1};
  if (transpose) {
    std::swap(seen.rows, seen.columns);
    std::swap(seen.row_stride, seen.column_stride);
  }
  return seen;
}

bool BoolAttr(const Attrs& attrs, const std::string& name) {
  return attrs.Has(name) && attrs.Bool(name);
}

absl::Status CheckMatmul(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(2).Outputs(1).AllF32();
  for (const Operand* operand : {&check.in(0), &check.in(1), &check.out(0)}) {
    check.Rank(*operand, 2, kMaxRank);
  }
  const bool transpose_a = check.BoolOr("transpose_a", false);
  const bool transpose_b = check.BoolOr("transpose_b", false);
  if (!check.ok()) return check.status();
  const Seen a = SeenAs(spec.inputs[0].shape, transpose_a);
  const Seen b = SeenAs(spec.inputs[1].shape, transpose_b);
  const Seen out = SeenAs(spec.outputs[0].shape, false);
  check.Require(a.columns == b.rows, "the inner extents are equal");
  check.Require(out.rows == a.rows && out.columns == b.columns, "the result is rows by columns");
  check.Require(!b.batch.empty() || a.batch == out.batch, "the result has the leading dims");
  return check.Broadcasts(a.batch, out.batch).Broadcasts(b.batch, out.batch).status();
}

// One product for each index of the leading dims.
struct Batches {
  GemmProblem product;
  LoopNest<2> nest;   // operands a and b, in elements; the result is dense
  bool share = true;  // the team shares each product; else products are dealt out
};

Batches BatchesOf(const KernelSpec& spec) {
  Shape a = spec.inputs.at(0).shape;
  const Shape& b = spec.inputs.at(1).shape;
  Shape out = spec.outputs.at(0).shape;
  const bool transpose_a = BoolAttr(spec.attrs, "transpose_a");
  const bool transpose_b = BoolAttr(spec.attrs, "transpose_b");
  if (b.size() == 2 && a.size() > 2 && !transpose_a) {
    // [.., m, k] . [k, n] is one product with all leading rows.
    const int64_t k = a.back();
    const int64_t n = out.back();
    int64_t rows = 1;
    for (size_t d = 0; d + 1 < a.size(); ++d) rows *= a[d];
    a = {rows, k};
    out = {rows, n};
  }
  const Seen left = SeenAs(a, transpose_a);
  const Seen right = SeenAs(b, transpose_b);
  Batches batches;
  GemmProblem& g = batches.product;
  g = {left.rows,          right.columns,    left.columns,        left.row_stride,
       left.column_stride, right.row_stride, right.column_stride, right.columns};
  const Shape batch(out.begin(), out.end() - 2);
  Shape a_strides = BroadcastStrides(left.batch, batch);
  Shape b_strides = BroadcastStrides(right.batch, batch);
  for (int64_t& stride : a_strides) stride *= left.rows * left.columns;
  for (int64_t& stride : b_strides) stride *= right.rows * right.columns;
  batches.nest = LoopNest<2>(batch, {a_strides, b_strides});
  batches.share = batches.nest.elements() < 2 * spec.threads;
  return batches;
}

// Nothing to multiply: an empty shard.
bool IsEmpty(const Batches& batches) {
  const GemmProblem& g = batches.product;
  return g.m == 0 || g.n == 0 || g.k == 0 || batches.nest.elements() == 0;
}

absl::StatusOr<Needs> DescribeMatmul(const KernelSpec& spec) {
  const Batches batches = BatchesOf(spec);
  if (IsEmpty(batches)) return Needs{};
  const Gemm gemm(batches.product, HostMicroKernels(), batches.share ? spec.threads : 1);
  return Needs{gemm.workspace_bytes() * (batches.share ? 1 : spec.threads), {}};
}

KernelOr MakeMatmul(const KernelSpec& spec) {
  const Batches batches = BatchesOf(spec);
  if (IsEmpty(batches)) {  // the sum over nothing
    const int64_t bytes = NumElements(spec.outputs[0].shape) * SizeOf(DType::kF32);
    return KernelOf([bytes](const KernelArgs& args) {
      if (bytes > 0) std::memset(args.outputs[0], 0, bytes);
    });
  }
  const Gemm gemm(batches.product, HostMicroKernels(), batches.share ? spec.threads : 1);
  const int64_t result = batches.product.m * batches.product.n;
  return KernelOf([batches, gemm, result, threads = spec.threads](const KernelArgs& args) {
    const int64_t count = batches.nest.elements();
    ForEachPart(batches.share ? 1 : threads, count, [&](int part, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        gemm.Run(In<float>(args, 0) + batches.nest.OffsetOf(i, 0),
                 In<float>(args, 1) + batches.nest.OffsetOf(i, 1), Out<float>(args, 0) + i * result,
                 static_cast<char*>(args.workspace) + part * gemm.workspace_bytes());
      }
    });
  });
}

}  // namespace

std::vector<KernelDef> MatmulKernels() {
  return {{"matmul", CheckMatmul, DescribeMatmul, MakeMatmul}};
}

}  // namespace oneflow::kernels
