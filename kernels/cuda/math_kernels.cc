// Rows of the CUDA table: reductions, softmax and losses, dropout, optimizers, products. How many
// shares a reduction has and what workspace a product gets is decided here, from shapes alone: the
// compiler plans memory on machines that have no GPU.
#include <algorithm>
#include <cmath>
#include <memory>

#include "base/dtype.h"
#include "base/hash.h"
#include "base/philox.h"
#include "kernels/cuda/definition.h"

namespace oneflow::kernels {
namespace {

// ---- Reductions ----

// Threads and blocks that fill a large GPU, and what is worth a share of its own.
constexpr int64_t kFillingThreads = 128 << 10;
constexpr int64_t kFillingBlocks = 512;
constexpr int64_t kShareByThread = 64;
constexpr int64_t kShareByBlock = 4096;
constexpr int64_t kShortRow = 32;

CudaReduction ReductionOf(const KernelSpec& spec) {
  const Shape& shape = spec.inputs.at(0).shape;
  std::vector<bool> is_reduced(shape.size(), false);
  for (int64_t dim : spec.attrs.Ints("dims")) is_reduced.at(WrapDim(dim, shape.size())) = true;
  const Shape strides = StridesOf(shape);
  Shape kept, kept_strides, reduced, reduced_strides;
  for (size_t d = 0; d < shape.size(); ++d) {
    (is_reduced[d] ? reduced : kept).push_back(shape[d]);
    (is_reduced[d] ? reduced_strides : kept_strides).push_back(strides[d]);
  }
  CudaReduction problem = {};
  problem.kept = NestOf(LoopNest<1>(kept, {kept_strides}));
  problem.reduced = NestOf(LoopNest<1>(reduced, {reduced_strides}));
  const int64_t results = std::max<int64_t>(1, problem.kept.elements);
  const int64_t joined = problem.reduced.elements;
  const bool neighbours = problem.kept.extent[problem.kept.rank - 1] > 1 &&
                          problem.kept.stride[0][problem.kept.rank - 1] == 1;
  problem.columns = neighbours || joined <= kShortRow;
  const int64_t wanted = (problem.columns ? kFillingThreads : kFillingBlocks) / results;
  const int64_t worth = joined / (problem.columns ? kShareByThread : kShareByBlock);
  problem.splits = static_cast<int32_t>(std::max<int64_t>(1, std::min(wanted, worth)));
  return problem;
}

absl::StatusOr<Needs> DescribeReduction(const KernelSpec& spec) {
  const CudaReduction problem = ReductionOf(spec);
  return Needs{problem.splits == 1 ? 0 : problem.splits * problem.kept.elements * 8, {}};
}

KernelOr MakeReduction(const CudaApi* api, const KernelSpec& spec) {
  const CudaReduce run =
      api->find_reduce(spec.op.c_str(), static_cast<int>(spec.inputs.at(0).dtype),
                       static_cast<int>(spec.outputs.at(0).dtype));
  if (run == nullptr) return NoCudaKernel(spec);
  const CudaReduction problem = ReductionOf(spec);
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    return run(&problem, args.inputs[0], args.outputs[0], args.workspace, stream);
  });
}

CudaRows RowsAlong(const Shape& shape, int64_t attr_dim) {
  if (shape.empty()) return {1, 1, 1};
  const int64_t dim = WrapDim(attr_dim, shape.size());
  CudaRows rows = {1, shape.at(dim), 1};
  for (size_t d = dim + 1; d < shape.size(); ++d) rows.inner *= shape[d];
  rows.rows = rows.inner;
  for (int64_t d = 0; d < dim; ++d) rows.rows *= shape[d];
  return rows;
}

KernelOr MakeArgmax(const CudaApi* api, const KernelSpec& spec) {
  const CudaArgmax run = api->find_argmax(static_cast<int>(spec.inputs.at(0).dtype));
  if (run == nullptr) return NoCudaKernel(spec);
  const CudaRows rows = RowsAlong(spec.inputs[0].shape, spec.attrs.Int("dim"));
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    return run(&rows, args.inputs[0], Out<int64_t>(args, 0), stream);
  });
}

// ---- Softmax and losses ----

KernelOr MakeRowMap(const CudaApi* api, const KernelSpec& spec) {
  const CudaRowMap run = api->find_row_map(spec.op.c_str());
  if (run == nullptr || spec.inputs.at(0).dtype != DType::kF32) return NoCudaKernel(spec);
  const CudaRows rows = RowsAlong(spec.inputs[0].shape, spec.attrs.Int("dim"));
  const bool two = spec.inputs.size() > 1;
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    return run(&rows, In<float>(args, 0), two ? In<float>(args, 1) : nullptr, Out<float>(args, 0),
               stream);
  });
}

bool TakesLabels(const KernelSpec& spec) {
  const DType labels = spec.inputs.at(1).dtype;
  return spec.inputs[0].dtype == DType::kF32 && (labels == DType::kI64 || labels == DType::kI32);
}

KernelOr MakeCrossEntropy(const CudaApi* api, const KernelSpec& spec) {
  if (!TakesLabels(spec)) return NoCudaKernel(spec);
  const CudaRows rows = {spec.inputs[0].shape.at(0), spec.inputs[0].shape.at(1), 1};
  const bool wide = spec.inputs[1].dtype == DType::kI64;
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    return api->cross_entropy(&rows, In<float>(args, 0), args.inputs[1], wide, Out<float>(args, 0),
                              Out<float>(args, 1), stream);
  });
}

KernelOr MakeCrossEntropyGrad(const CudaApi* api, const KernelSpec& spec) {
  if (!TakesLabels(spec)) return NoCudaKernel(spec);
  const CudaRows rows = {spec.inputs[0].shape.at(0), spec.inputs[0].shape.at(1), 1};
  const bool wide = spec.inputs[1].dtype == DType::kI64;
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    return api->cross_entropy_grad(&rows, In<float>(args, 0), args.inputs[1], wide,
                                   In<float>(args, 2), Out<float>(args, 0), stream);
  });
}

// ---- Dropout ----

uint64_t KeyAttr(const Attrs& attrs, const std::string& name) {
  const auto it = attrs.values().find(name);
  if (it != attrs.values().end() && std::holds_alternative<std::string>(it->second)) {
    return HashBytes(std::get<std::string>(it->second));
  }
  return static_cast<uint64_t>(attrs.Int(name));
}

KernelOr MakeDropout(const CudaApi* api, const KernelSpec& spec) {
  const Operand& x = spec.inputs.at(0);
  if (x.dtype != DType::kF32) return NoCudaKernel(spec);
  const double p = NumberAttr(spec.attrs, "p");
  if (p >= 1) {
    const int64_t bytes = NumElements(x.shape) * SizeOf(x.dtype);
    return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
      return bytes == 0 ? 0 : api->zero(args.outputs[0], bytes, stream);
    });
  }
  CudaDropout problem = {};
  const Shape logical = StridesOf(x.logical_shape);
  problem.nest = NestOf(LoopNest<2>(x.shape, {StridesOf(x.shape), logical}));
  for (size_t d = 0; d < x.shape.size(); ++d) problem.base += x.begin[d] * logical[d];
  const double threshold = std::nearbyint(std::clamp(p, 0.0, 1.0) * 4294967296.0);
  problem.threshold = static_cast<uint32_t>(std::min(threshold, 4294967295.0));
  problem.scale = static_cast<float>(1.0 / (1.0 - p));
  problem.key = PhiloxKey(KeyAttr(spec.attrs, "seed"), KeyAttr(spec.attrs, "key"));
  const int64_t micro_stride = x.shape.empty() ? 0 : x.micro_stride * logical.at(x.micro_dim);
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    CudaDropout now = problem;
    now.base += micro_stride * args.micro;
    return api->dropout(&now, In<float>(args, 0), In<int64_t>(args, 1), Out<float>(args, 0),
                        stream);
  });
}

// ---- Optimizers ----

double NumberOr(const Attrs& attrs, const std::string& name, double otherwise) {
  return attrs.Has(name) ? NumberAttr(attrs, name) : otherwise;
}

KernelOr MakeSgd(const CudaApi* api, const KernelSpec& spec) {
  if (spec.inputs.at(0).dtype != DType::kF32) return NoCudaKernel(spec);
  const Attrs& attrs = spec.attrs;
  CudaSgd c = {};
  c.n = NumElements(spec.inputs[0].shape);
  c.momentum = static_cast<float>(NumberOr(attrs, "momentum", 0));
  c.weight_decay = static_cast<float>(NumberOr(attrs, "weight_decay", 0));
  c.keep = static_cast<float>(1 - NumberOr(attrs, "dampening", 0));
  c.nesterov = attrs.Has("nesterov") && attrs.Bool("nesterov");
  c.has_momentum = spec.inputs.size() > 4 && spec.outputs.size() > 1;
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    return api->sgd(&c, In<float>(args, 0), In<float>(args, 1), In<float>(args, 2),
                    In<int64_t>(args, 3), c.has_momentum ? In<float>(args, 4) : nullptr,
                    Out<float>(args, 0), c.has_momentum ? Out<float>(args, 1) : nullptr, stream);
  });
}

KernelOr MakeAdamW(const CudaApi* api, const KernelSpec& spec) {
  if (spec.inputs.at(0).dtype != DType::kF32) return NoCudaKernel(spec);
  const Attrs& attrs = spec.attrs;
  const CudaAdamW c = {NumElements(spec.inputs[0].shape), NumberOr(attrs, "beta1", 0.9),
                       NumberOr(attrs, "beta2", 0.999), NumberOr(attrs, "eps", 1e-8),
                       NumberOr(attrs, "weight_decay", 0.01)};
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    return api->adamw(&c, In<float>(args, 0), In<float>(args, 1), In<float>(args, 2),
                      In<float>(args, 3), In<float>(args, 4), In<int64_t>(args, 5),
                      Out<float>(args, 0), Out<float>(args, 1), Out<float>(args, 2), stream);
  });
}

// Parameter and slots in place.
absl::StatusOr<Needs> DescribeSgd(const KernelSpec& spec) {
  if (spec.outputs.size() < 2) return Needs{0, {{0, 0}}};
  return Needs{0, {{0, 0}, {1, 4}}};
}
absl::StatusOr<Needs> DescribeAdamW(const KernelSpec&) {
  return Needs{0, {{0, 0}, {1, 2}, {2, 3}}};
}

// ---- Products ----

// What cuBLASLt asks for on Hopper, and where it wants it: buffers of a plan lie on 64 bytes.
constexpr int64_t kMatmulWorkspace = 32 << 20;
constexpr uintptr_t kMatmulAlignment = 256;

void* Aligned(void* workspace) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(workspace);
  return reinterpret_cast<void*>((at + kMatmulAlignment - 1) / kMatmulAlignment * kMatmulAlignment);
}

bool BoolAttr(const Attrs& attrs, const std::string& name) {
  return attrs.Has(name) && attrs.Bool(name);
}

// The product, and the batches that one call cannot stride over.
struct Product {
  CudaMatmul matmul = {};
  std::vector<std::pair<int64_t, int64_t>> offsets;  // of a and b, for each call
};

absl::StatusOr<Product> ProductOf(const KernelSpec& spec) {
  for (const Operand& in : spec.inputs) {
    if (in.dtype != DType::kF32) return NoCudaKernel(spec);
  }
  Shape a = spec.inputs.at(0).shape;
  const Shape& b = spec.inputs.at(1).shape;
  Shape out = spec.outputs.at(0).shape;
  if (a.size() < 2 || b.size() < 2 || out.size() < 2) {
    return MakeError(ErrorKind::kShape, "matmul takes tensors of rank >= 2");
  }
  Product product;
  CudaMatmul& g = product.matmul;
  g.transpose_a = BoolAttr(spec.attrs, "transpose_a");
  g.transpose_b = BoolAttr(spec.attrs, "transpose_b");
  if (b.size() == 2 && a.size() > 2 && !g.transpose_a) {
    // [.., m, k] . [k, n] is one product with all leading rows.
    int64_t rows = 1;
    for (size_t d = 0; d + 1 < a.size(); ++d) rows *= a[d];
    out = {rows, out.back()};
    a = {rows, a.back()};
  }
  g.m = out[out.size() - 2];
  g.n = out.back();
  g.k = g.transpose_a ? a[a.size() - 2] : a.back();
  g.batches = 1;
  g.stride_d = g.m * g.n;
  g.math = CudaMath::kF32;
  g.workspace_bytes = kMatmulWorkspace;
  const Shape batch(out.begin(), out.end() - 2);
  Shape a_strides = BroadcastStrides(Shape(a.begin(), a.end() - 2), batch);
  Shape b_strides = BroadcastStrides(Shape(b.begin(), b.end() - 2), batch);
  for (int64_t& stride : a_strides) stride *= g.m * g.k;
  for (int64_t& stride : b_strides) stride *= g.k * g.n;
  const LoopNest<2> nest(batch, {a_strides, b_strides});
  int64_t calls = nest.elements();
  if (nest.rank() == 1) {
    g.batches = std::max<int64_t>(1, nest.extent(0));
    g.stride_a = nest.stride(0, 0);
    g.stride_b = nest.stride(1, 0);
    calls = nest.extent(0) == 0 ? 0 : 1;
  }
  for (int64_t i = 0; i < calls; ++i) {
    product.offsets.emplace_back(nest.OffsetOf(i, 0), nest.OffsetOf(i, 1));
  }
  // Buffers of a plan lie on 64 bytes; what is strided over call by call on its elements.
  g.alignment = calls > 1 ? static_cast<int32_t>(SizeOf(DType::kF32)) : 64;
  return product;
}

bool IsEmpty(const CudaMatmul& g) { return g.m == 0 || g.n == 0 || g.k == 0; }

absl::StatusOr<Needs> DescribeMatmul(const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const Product product, ProductOf(spec));
  const int64_t bytes = kMatmulWorkspace + static_cast<int64_t>(kMatmulAlignment);
  return Needs{IsEmpty(product.matmul) ? 0 : bytes, {}};
}

KernelOr MakeMatmul(const CudaApi* api, const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const Product product, ProductOf(spec));
  if (IsEmpty(product.matmul) || product.offsets.empty()) {  // the sum over nothing
    const int64_t bytes = NumElements(spec.outputs[0].shape) * SizeOf(DType::kF32);
    return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
      return bytes == 0 ? 0 : api->zero(args.outputs[0], bytes, stream);
    });
  }
  void* made = nullptr;
  OF_RETURN_IF_ERROR(
      CudaStatus(*api, api->matmul_plan(&product.matmul, &made), "planning a matmul"));
  const std::shared_ptr<void> plan(made, api->matmul_release);
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    float* d = Out<float>(args, 0);
    for (const auto& [at_a, at_b] : product.offsets) {
      const CudaError error =
          api->matmul(plan.get(), In<float>(args, 0) + at_a, In<float>(args, 1) + at_b, d,
                      Aligned(args.workspace), stream);
      if (error != 0) return error;
      d += product.matmul.stride_d;
    }
    return 0;
  });
}

}  // namespace

std::vector<CudaRow> CudaMathRows() {
  return {
      {"sum", DescribeReduction, MakeReduction},
      {"amax", DescribeReduction, MakeReduction},
      {"argmax", NeedsNothing, MakeArgmax},
      {"softmax", NeedsNothing, MakeRowMap},
      {"log_softmax", NeedsNothing, MakeRowMap},
      {"softmax_grad", NeedsNothing, MakeRowMap},
      {"log_softmax_grad", NeedsNothing, MakeRowMap},
      {"cross_entropy", NeedsNothing, MakeCrossEntropy},
      {"cross_entropy_grad", NeedsNothing, MakeCrossEntropyGrad},
      {"dropout", Elementwise, MakeDropout},
      {"dropout_grad", Elementwise, MakeDropout},
      {"sgd_update", DescribeSgd, MakeSgd},
      {"adamw_update", DescribeAdamW, MakeAdamW},
      {"matmul", DescribeMatmul, MakeMatmul},
  };
}

}  // namespace oneflow::kernels
