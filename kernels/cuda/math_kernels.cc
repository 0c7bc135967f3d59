// Rows of the CUDA table: reductions, softmax and losses, dropout and draws, optimizers, products.
// How many shares a reduction has and what workspace a product gets is decided here, from shapes
// alone: the compiler plans memory on machines that have no GPU.
#include <algorithm>
#include <functional>
#include <memory>
#include <optional>

#include "base/dtype.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/ctc.h"
#include "kernels/cpu/dropout_mask.h"
#include "kernels/cpu/lines.h"
#include "kernels/cpu/operand_sum.h"
#include "kernels/cuda/definition.h"
#include "kernels/cuda/draw_problem.h"
#include "kernels/cuda/labelled_rows.h"
#include "kernels/cuda/matmul_copies.h"
#include "kernels/cuda/matmul_problem.h"
#include "kernels/cuda/product_algorithms.h"
#include "kernels/cuda/shares.h"
#include "kernels/cuda/updates_problem.h"

namespace oneflow::kernels {
namespace {

// ---- Reductions ----

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
  problem.splits =
      problem.columns ? SharesByThread(results, joined) : SharesByBlock(results, joined);
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
  const auto run = api->find_row_map(spec.op.c_str(), static_cast<int>(spec.inputs.at(0).dtype));
  return CudaKernelOf(api, spec, run, RowsAlong(spec.inputs[0].shape, spec.attrs.Int("dim")));
}

KernelOr MakeLabelled(const CudaApi* api, const KernelSpec& spec) {
  const Shape& shape = spec.inputs.at(0).shape;
  const int64_t classes = spec.attrs.Has("classes") ? spec.attrs.Int("classes") : 0;
  const CudaLabelled labelled = {shape.at(0), shape.at(1), classes == 0 ? shape.at(1) : classes,
                                 IsWide(spec.inputs.at(1)), spec.inputs.size() > 4};
  return CudaKernelOf(
      api, spec, api->find_cross_entropy(spec.op.c_str(), static_cast<int>(spec.inputs[0].dtype)),
      labelled);
}
// Scores of a vocabulary are the largest value of a model: one buffer holds them and their gradient.
absl::StatusOr<Needs> DescribeCrossEntropyGrad(const KernelSpec&) { return Needs{0, {{0, 0}}}; }

KernelOr MakeCtc(const CudaApi* api, const KernelSpec& spec) {
  return CudaKernelOf(api, spec,
                      api->find_ctc(spec.op.c_str(), static_cast<int>(spec.inputs.at(0).dtype)),
                      CtcProblemOf(spec));
}
absl::StatusOr<Needs> DescribeCtcGrad(const KernelSpec& spec) {
  const CtcProblem problem = CtcProblemOf(spec);
  return Needs{3 * problem.samples * problem.states() * SizeOf(spec.inputs.at(0).dtype), {}};
}

// ---- Dropout and draws ----

KernelOr MakeDraw(const CudaApi* api, const KernelSpec& spec) {
  const auto run = api->find_draw(spec.op.c_str(), static_cast<int>(spec.inputs.at(0).dtype));
  if (run == nullptr) return NoCudaKernel(spec);
  const CudaDraw draw = DrawOf(spec);
  const int64_t micro_stride = DrawMicroStride(spec);
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    CudaDraw now = draw;
    now.base += micro_stride * args.micro;
    const CudaOperands operands = OperandsOf(args);
    return run(&now, &operands, stream);
  });
}

KernelOr MakeDropout(const CudaApi* api, const KernelSpec& spec) {
  const Operand& x = spec.inputs.at(0);
  const auto run = api->find_dropout(static_cast<int>(x.dtype));
  if (run == nullptr) return NoCudaKernel(spec);
  const DropoutMask mask = DropoutMask::Of(spec.attrs);
  if (mask.drops_all()) {
    const int64_t bytes = NumElements(x.shape) * SizeOf(x.dtype);
    return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
      return bytes == 0 ? 0 : api->zero(args.outputs[0], bytes, stream);
    });
  }
  const CudaDropout problem = {DrawOf(spec), mask.threshold, mask.scale};
  const int64_t micro_stride = DrawMicroStride(spec);
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    CudaDropout now = problem;
    now.draw.base += micro_stride * args.micro;
    const CudaOperands operands = OperandsOf(args);
    return run(&now, &operands, stream);
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
  c.g_dtype = static_cast<int32_t>(spec.inputs.at(1).dtype);
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    CudaSgd now = c;
    now.gate = GateOf(args);
    return api->sgd(&now, In<float>(args, 0), args.inputs[1], In<float>(args, 2),
                    In<int64_t>(args, 3), c.has_momentum ? In<float>(args, 4) : nullptr,
                    Out<float>(args, 0), c.has_momentum ? Out<float>(args, 1) : nullptr, stream);
  });
}

CudaAdamW RatesOf(const Attrs& attrs) {
  CudaAdamW c = {};
  c.beta1 = NumberOr(attrs, "beta1", 0.9);
  c.beta2 = NumberOr(attrs, "beta2", 0.999);
  c.eps = NumberOr(attrs, "eps", 1e-8);
  c.weight_decay = NumberOr(attrs, "weight_decay", 0.01);
  return c;
}

KernelOr MakeAdamW(const CudaApi* api, const KernelSpec& spec) {
  if (spec.inputs.at(0).dtype != DType::kF32) return NoCudaKernel(spec);
  CudaAdamW c = RatesOf(spec.attrs);
  c.n = NumElements(spec.inputs[0].shape);
  c.g_dtype = static_cast<int32_t>(spec.inputs.at(1).dtype);
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    CudaAdamW now = c;
    now.gate = GateOf(args);
    return api->adamw(&now, In<float>(args, 0), args.inputs[1], In<float>(args, 2),
                      In<float>(args, 3), In<float>(args, 4), In<int64_t>(args, 5),
                      Out<float>(args, 0), Out<float>(args, 1), Out<float>(args, 2), stream);
  });
}

KernelOr MakeAdamWs(const CudaApi* api, const KernelSpec& spec) {
  std::vector<int64_t> n;
  std::vector<int32_t> g_dtype;
  for (size_t i = 2; i + 3 < spec.inputs.size(); i += 4) {
    n.push_back(NumElements(spec.inputs[i].shape));
    g_dtype.push_back(static_cast<int32_t>(spec.inputs[i + 1].dtype));
  }
  return CudaKernelOf(
      api, spec, [=, rates = RatesOf(spec.attrs)](const KernelArgs& args, CudaStreamHandle stream) {
        CudaAdamWs now = {rates, static_cast<int32_t>(n.size()), n.data(), g_dtype.data()};
        now.rates.gate = GateOf(args);
        const CudaOperands operands = OperandsOf(args);
        return api->adamws(&now, &operands, stream);
      });
}

// Parameter and slots in place, as on a CPU.
absl::StatusOr<Needs> DescribeUpdate(const KernelSpec& spec) { return CpuKernels().Describe(spec); }

// ---- Products ----

// What cuBLASLt asks for on Hopper.
constexpr int64_t kMatmulWorkspace = 32 << 20;
// Tensor cores are fed in 16 bytes: where rows begin elsewhere, as those of a vocabulary of 50257 words do, the
// library's kernels reach a fifth of their rate (H100). Such operands pass through copies in which the dims that
// lie together are rounded up. A copy moves an element twice; it pays from about 100 products for each on.
constexpr int64_t kRowElements = 8;
constexpr int64_t kLeastCopied = 128;

bool BoolAttr(const Attrs& attrs, const std::string& name) {
  return attrs.Has(name) && attrs.Bool(name);
}

// The product, and the batches that one call cannot stride over. These are counted and not listed: a plan
// may name any number of them, above all where a product is of nothing.
struct Product {
  CudaMatmul matmul = {};
  LoopNest<2> batches;  // of a and b
  int64_t calls = 0;
};

std::optional<CudaMath> MathOf(DType dtype) {
  if (dtype == DType::kF32) return CudaMath::kF32;
  if (dtype == DType::kBF16) return CudaMath::kBF16;
  if (dtype == DType::kF16) return CudaMath::kF16;
  if (dtype == DType::kF64) return CudaMath::kF64;
  return std::nullopt;
}

CudaEpilogue EpilogueOf(const KernelSpec& spec) {
  if (spec.op == "linear") return CudaEpilogue::kBias;
  if (spec.op == "linear_gelu") {
    return spec.outputs.size() > 1 ? CudaEpilogue::kBiasGeluX : CudaEpilogue::kBiasGelu;
  }
  if (spec.op == "matmul_gelu_grad") return CudaEpilogue::kGeluGrad;
  if (spec.op == "matmul_sums") {
    return SummedOperand(spec) == 0 ? CudaEpilogue::kSumsOfA : CudaEpilogue::kSumsOfB;
  }
  return CudaEpilogue::kNone;
}

absl::StatusOr<Product> ProductOf(const KernelSpec& spec) {
  const std::optional<CudaMath> math = MathOf(spec.inputs.at(0).dtype);
  if (!math.has_value()) return NoCudaKernel(spec);
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
  g.epilogue = EpilogueOf(spec);
  g.k = g.transpose_a ? a[a.size() - 2] : a.back();
  g.batches = 1;
  g.stride_d = g.m * g.n;
  g.math = *math;
  g.workspace_bytes = kMatmulWorkspace;
  const Shape batch(out.begin(), out.end() - 2);
  Shape a_strides = BroadcastStrides(Shape(a.begin(), a.end() - 2), batch);
  Shape b_strides = BroadcastStrides(Shape(b.begin(), b.end() - 2), batch);
  for (int64_t& stride : a_strides) stride *= g.m * g.k;
  for (int64_t& stride : b_strides) stride *= g.k * g.n;
  const LoopNest<2> nest(batch, {a_strides, b_strides});
  product.calls = nest.elements();
  if (nest.rank() == 1) {
    g.batches = std::max<int64_t>(1, nest.extent(0));
    g.stride_a = nest.stride(0, 0);
    g.stride_b = nest.stride(1, 0);
    product.calls = nest.extent(0) == 0 ? 0 : 1;
  }
  product.batches = nest;
  if (product.calls == 1 && g.batches == 1 && SizeOf(spec.inputs[0].dtype) == 2 &&
      std::min({g.m, g.n, g.k}) >= kLeastCopied) {
    const auto padded = [](int64_t dim) {
      return dim % kRowElements == 0 ? 0 : (dim / kRowElements + 1) * kRowElements;
    };
    g.padded_n = padded(g.n);
    if (g.transpose_a) g.padded_m = padded(g.m);
    if (!g.transpose_a || g.transpose_b) g.padded_k = padded(g.k);
  }
  // Buffers of a plan lie on 64 bytes; what is strided over call by call on its elements.
  g.alignment = product.calls > 1 ? static_cast<int32_t>(SizeOf(spec.inputs[0].dtype)) : 64;
  return product;
}

// Nothing to do, or zeros.
bool IsEmpty(const CudaMatmul& g) {
  return g.m == 0 || g.n == 0 || (g.k == 0 && !HasBias(g.epilogue));
}

absl::StatusOr<Needs> DescribeMatmul(const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const Product product, ProductOf(spec));
  const CudaMatmul& g = product.matmul;
  if (IsEmpty(g)) return Needs{};
  return Needs{g.workspace_bytes + MatmulCopies(g).bytes() + kLibraryAlignment, {}};
}

// nullptr: no product does what the epilogue asks for.
absl::StatusOr<std::shared_ptr<void>> PlanOf(const CudaApi* api, const CudaMatmul& problem) {
  void* made = nullptr;
  OF_RETURN_IF_ERROR(CudaStatus(*api, api->matmul_plan(&problem, &made), "planning a matmul"));
  if (made == nullptr) return std::shared_ptr<void>();
  std::shared_ptr<void> plan(made, api->matmul_release);
  OF_RETURN_IF_ERROR(ChooseProductAlgorithm(api, problem, plan, &AlgorithmChoices::OfProcess()));
  return plan;
}

// Enqueues the products of a spec, and no more than their bias, into d.
using Multiply = std::function<CudaError(const KernelArgs& args, void* d, CudaStreamHandle stream)>;
absl::StatusOr<Multiply> MultiplyOf(const CudaApi* api, const KernelSpec& spec, Product product) {
  CudaMatmul& g = product.matmul;
  g.epilogue = HasBias(g.epilogue) ? CudaEpilogue::kBias : CudaEpilogue::kNone;
  if (IsEmpty(g) || product.calls == 0) {  // the sum over nothing
    const int64_t bytes = NumElements(spec.outputs[0].shape) * SizeOf(spec.outputs[0].dtype);
    return [=](const KernelArgs&, void* d, CudaStreamHandle stream) {
      return bytes == 0 ? 0 : api->zero(d, bytes, stream);
    };
  }
  OF_ASSIGN_OR_RETURN(const std::shared_ptr<void> plan, PlanOf(api, g));
  const int64_t element = SizeOf(spec.inputs[0].dtype);
  return [=](const KernelArgs& args, void* out, CudaStreamHandle stream) {
    char* d = static_cast<char*>(out);
    for (int64_t i = 0; i < product.calls; ++i) {
      const CudaMatmulOperands operands = {
          In<char>(args, 0) + product.batches.OffsetOf(i, 0) * element,
          In<char>(args, 1) + product.batches.OffsetOf(i, 1) * element,
          HasBias(product.matmul.epilogue) ? args.inputs[2] : nullptr,
          d,
          nullptr,
          nullptr};
      const CudaError error =
          api->matmul(plan.get(), &operands, AlignedSpace(args.workspace), stream);
      if (error != 0) return error;
      d += product.matmul.stride_d * element;
    }
    return 0;
  };
}

KernelOr MakeMatmul(const CudaApi* api, const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const Product product, ProductOf(spec));
  OF_ASSIGN_OR_RETURN(const Multiply multiply, MultiplyOf(api, spec, product));
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    return multiply(args, args.outputs[0], stream);
  });
}

// ---- A product and an activation ----

// The plan of one product that does it all; nullptr: none does.
absl::StatusOr<std::shared_ptr<void>> JoinedPlanOf(const CudaApi* api, const Product& product) {
  if (IsEmpty(product.matmul) || product.calls != 1) return std::shared_ptr<void>();
  return PlanOf(api, product.matmul);
}

KernelOr MakeLinearGelu(const CudaApi* api, const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const Product product, ProductOf(spec));
  const bool saves = HasX(product.matmul.epilogue);
  OF_ASSIGN_OR_RETURN(const std::shared_ptr<void> joined, JoinedPlanOf(api, product));
  if (joined != nullptr) {
    return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
      const CudaMatmulOperands operands = {args.inputs[0], args.inputs[1],
                                           args.inputs[2], args.outputs[0],
                                           nullptr,        saves ? args.outputs[1] : nullptr};
      return api->matmul(joined.get(), &operands, AlignedSpace(args.workspace), stream);
    });
  }
  OF_ASSIGN_OR_RETURN(const Multiply multiply, MultiplyOf(api, spec, product));
  const CudaUnary gelu = api->find_unary("gelu_tanh", static_cast<int>(spec.outputs[0].dtype));
  if (gelu == nullptr) return NoCudaKernel(spec);
  const int64_t n = NumElements(spec.outputs[0].shape);
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    void* const x = args.outputs[saves ? 1 : 0];
    const CudaError error = multiply(args, x, stream);
    return error != 0 ? error : gelu(x, args.outputs[0], 0, n, stream);
  });
}

KernelOr MakeMatmulGeluGrad(const CudaApi* api, const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const Product product, ProductOf(spec));
  OF_ASSIGN_OR_RETURN(const std::shared_ptr<void> joined, JoinedPlanOf(api, product));
  if (joined != nullptr) {
    return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
      // It is read alone.
      const CudaMatmulOperands operands = {args.inputs[0], args.inputs[1],
                                           nullptr,        args.outputs[0],
                                           nullptr,        const_cast<void*>(args.inputs[2])};
      return api->matmul(joined.get(), &operands, AlignedSpace(args.workspace), stream);
    });
  }
  OF_ASSIGN_OR_RETURN(const Multiply multiply, MultiplyOf(api, spec, product));
  const CudaBinary grad =
      api->find_binary("gelu_tanh_grad", static_cast<int>(spec.outputs[0].dtype));
  if (grad == nullptr) return NoCudaKernel(spec);
  const Shape& shape = spec.outputs[0].shape;
  const Shape strides = StridesOf(shape);
  const CudaNest<3> nest = NestOf(LoopNest<3>(shape, {strides, strides, strides}));
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    void* const d = args.outputs[0];
    const CudaError error = multiply(args, d, stream);
    return error != 0 ? error : grad(&nest, args.inputs[2], d, d, 0, stream);
  });
}

// ---- A product and the sums of an operand ----

// One after the other, if the product makes no sums: they have the same space.
absl::StatusOr<Needs> DescribeMatmulSums(const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(Needs needs, DescribeMatmul(spec));
  OF_ASSIGN_OR_RETURN(const Needs sum, DescribeReduction(OperandSumOf(spec)));
  needs.workspace_bytes = std::max(needs.workspace_bytes, sum.workspace_bytes);
  return needs;
}

KernelOr MakeMatmulSums(const CudaApi* api, const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(Product product, ProductOf(spec));
  CudaMatmul& g = product.matmul;
  const int summed = SummedOperand(spec);
  const DType dtype = spec.outputs.at(1).dtype;
  const CudaReduce run = api->find_reduce("sum", static_cast<int>(dtype), static_cast<int>(dtype));
  if (run == nullptr) return NoCudaKernel(spec);
  const CudaReduction reduction = ReductionOf(OperandSumOf(spec));
  std::shared_ptr<void> plan;
  bool sums = false;  // the product makes them
  if (!IsEmpty(g)) {
    OF_ASSIGN_OR_RETURN(plan, PlanOf(api, g));
    sums = plan != nullptr;
    g.epilogue = CudaEpilogue::kNone;
    if (!sums) {
      OF_ASSIGN_OR_RETURN(plan, PlanOf(api, g));
    }
  }
  const int64_t bytes = NumElements(spec.outputs[0].shape) * SizeOf(dtype);
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    CudaError error = 0;
    if (plan != nullptr) {
      const CudaMatmulOperands operands = {args.inputs[0],
                                           args.inputs[1],
                                           nullptr,
                                           args.outputs[0],
                                           sums ? args.outputs[1] : nullptr,
                                           nullptr};
      error = api->matmul(plan.get(), &operands, AlignedSpace(args.workspace), stream);
    } else if (bytes > 0) {
      error = api->zero(args.outputs[0], bytes, stream);
    }
    if (error != 0 || sums) return error;
    return run(&reduction, args.inputs[summed], args.outputs[1], args.workspace, stream);
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
      {"cross_entropy", NeedsNothing, MakeLabelled},
      {"cross_entropy_grad", DescribeCrossEntropyGrad, MakeLabelled},
      {"ctc_loss", NeedsNothing, MakeCtc},
      {"ctc_loss_grad", DescribeCtcGrad, MakeCtc},
      {"dropout", Elementwise, MakeDropout},
      {"dropout_grad", Elementwise, MakeDropout},
      {"uniform", Elementwise, MakeDraw},
      {"normal", Elementwise, MakeDraw},
      {"sgd_update", DescribeUpdate, MakeSgd},
      {"adamw_update", DescribeUpdate, MakeAdamW},
      {"adamw_updates", DescribeUpdate, MakeAdamWs},
      {"matmul", DescribeMatmul, MakeMatmul},
      {"linear", DescribeMatmul, MakeMatmul},
      {"linear_gelu", DescribeMatmul, MakeLinearGelu},
      {"matmul_gelu_grad", DescribeMatmul, MakeMatmulGeluGrad},
      {"matmul_sums", DescribeMatmulSums, MakeMatmulSums},
  };
}

}  // namespace oneflow::kernels
