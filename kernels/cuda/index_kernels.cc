// Rows of the CUDA table: embedding, gather, scatter_add, cumsum, sort.
#include <algorithm>
#include <cstdint>

#include "base/dtype.h"
#include "kernels/cpu/index_operands.h"
#include "kernels/cpu/lines.h"
#include "kernels/cuda/definition.h"
#include "kernels/cuda/shares.h"

namespace oneflow::kernels {
namespace {

CudaEmbedding EmbeddingOf(const KernelSpec& spec, const Operand& table) {
  const TableRows rows = TableRowsOf(table);
  CudaEmbedding e = {};
  e.begin = rows.begin;
  e.count = rows.count;
  e.all = rows.all;
  e.features = rows.features;
  e.row_bytes = rows.features * SizeOf(table.dtype);
  e.indices = NumElements(spec.inputs.at(1).shape);
  e.padding = spec.attrs.Has("padding_idx") ? spec.attrs.Int("padding_idx") : -1;
  e.splits = SharesByThread(rows.count * rows.features, e.indices);
  e.wide = IsWide(spec.inputs[1]);
  return e;
}

KernelOr MakeEmbedding(const CudaApi* api, const KernelSpec& spec) {
  return CudaKernelOf(api, spec, api->embedding, EmbeddingOf(spec, spec.inputs.at(0)));
}

KernelOr MakeEmbeddingGrad(const CudaApi* api, const KernelSpec& spec) {
  const Operand& table = spec.outputs.at(0);
  return CudaKernelOf(api, spec, api->find_embedding_grad(static_cast<int>(table.dtype)),
                      EmbeddingOf(spec, table));
}
// The shares' tables; narrow types are added in f32.
absl::StatusOr<Needs> DescribeEmbeddingGrad(const KernelSpec& spec) {
  const Operand& table = spec.outputs.at(0);
  const CudaEmbedding e = EmbeddingOf(spec, table);
  if (e.splits == 1 && SizeOf(table.dtype) > 2) return Needs{};
  return Needs{e.splits * NumElements(table.shape) * std::max<int64_t>(4, SizeOf(table.dtype)), {}};
}

KernelOr MakeGather(const CudaApi* api, const KernelSpec& spec) {
  const Shape& x = spec.inputs.at(0).shape;
  const Shape& index = spec.inputs.at(1).shape;
  const size_t dim = static_cast<size_t>(WrapDim(spec.attrs.Int("dim"), x.size()));
  Shape x_strides = StridesOf(x);
  CudaGather gather = {};
  gather.bound = x[dim];
  gather.x_stride = x_strides[dim];
  gather.wide = IsWide(spec.inputs[1]);
  x_strides[dim] = 0;
  gather.nest = NestOf(LoopNest<2>(index, {StridesOf(index), x_strides}));
  return CudaKernelOf(api, spec, api->find_gather(static_cast<int>(SizeOf(spec.inputs[0].dtype))),
                      gather);
}

// Threads that are enough, and parts of a line that are not too many for all its indices to be read
// by each.
constexpr int64_t kScatterThreads = 16 << 10;
constexpr int64_t kMostParts = 1024;

KernelOr MakeScatterAdd(const CudaApi* api, const KernelSpec& spec) {
  const GatherLines lines = GatherLinesOf(spec);
  CudaScatter scatter = {};
  scatter.lines = NestOf(lines.nest);
  scatter.length = lines.length;
  scatter.bound = lines.bound;
  scatter.index_stride = lines.index_stride;
  scatter.x_stride = lines.x_stride;
  scatter.elements = NumElements(spec.outputs.at(0).shape);
  scatter.wide = IsWide(spec.inputs[1]);
  const int64_t wanted = kScatterThreads / std::max<int64_t>(1, scatter.lines.elements);
  scatter.splits =
      static_cast<int32_t>(std::max<int64_t>(1, std::min({wanted, scatter.bound, kMostParts})));
  return CudaKernelOf(api, spec, api->find_scatter_add(static_cast<int>(spec.inputs[0].dtype)),
                      scatter);
}
// Over x in place.
absl::StatusOr<Needs> DescribeScatterAdd(const KernelSpec&) { return Needs{0, {{0, 0}}}; }

bool BoolOr(const Attrs& attrs, const std::string& name) {
  return attrs.Has(name) && attrs.Bool(name);
}

KernelOr MakeCumsum(const CudaApi* api, const KernelSpec& spec) {
  const CudaCumsum cumsum = {RowsAlong(spec.inputs.at(0).shape, spec.attrs.Int("dim")),
                             BoolOr(spec.attrs, "reverse")};
  return CudaKernelOf(api, spec, api->find_cumsum(static_cast<int>(spec.inputs[0].dtype)), cumsum);
}

KernelOr MakeSort(const CudaApi* api, const KernelSpec& spec) {
  const CudaSort sort = {RowsAlong(spec.inputs.at(0).shape, spec.attrs.Int("dim")),
                         BoolOr(spec.attrs, "descending")};
  return CudaKernelOf(api, spec, api->find_sort(static_cast<int>(spec.inputs[0].dtype)), sort);
}
absl::StatusOr<Needs> DescribeSort(const KernelSpec& spec) {
  return Needs{NumElements(spec.inputs.at(0).shape) * int64_t{sizeof(int64_t)}, {}};
}

}  // namespace

std::vector<CudaRow> CudaIndexRows() {
  return {
      {"embedding", NeedsNothing, MakeEmbedding},
      {"embedding_grad", DescribeEmbeddingGrad, MakeEmbeddingGrad},
      {"gather", NeedsNothing, MakeGather},
      {"scatter_add", DescribeScatterAdd, MakeScatterAdd},
      {"cumsum", Elementwise, MakeCumsum},
      {"sort", DescribeSort, MakeSort},
  };
}

}  // namespace oneflow::kernels
