// matmul: out[..., m, n] = a[..., m, k] . b[..., k, n], leading dims broadcast; transpose_a and
// transpose_b read their operand's last two dims exchanged, through strides: nothing is copied.
//
// f32 by the micro-kernels of this machine, bf16 by its instructions for bf16. Where it has none, and
// in f16, operands are widened to f32 as a whole and the result is narrowed: sums are f32 always. f64,
// which is for references, row by row. linear adds bias[n] to each row before it rounds: so its narrow types
// are multiplied widened on every machine. What else stands beside a product is done by the kernels of the ops that
// it is made of, one behind the other: matmul_sums is matmul and sum, linear_gelu linear and gelu_tanh,
// matmul_gelu_grad matmul and gelu_tanh_grad.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/cpu/bf16_gemm.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/loop_nest.h"
#include "kernels/cpu/operand_sum.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/widened.h"

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

bool IsBiased(const KernelSpec& spec) { return spec.op == "linear" || spec.op == "linear_gelu"; }
bool IsGeluGrad(const KernelSpec& spec) { return spec.op == "matmul_gelu_grad"; }
bool HasSums(const KernelSpec& spec) { return spec.op == "matmul_sums"; }

absl::Status CheckMatmul(const KernelSpec& spec) {
  SpecCheck check(spec);
  const bool biased = IsBiased(spec);
  const bool saves = spec.op == "linear_gelu" && check.BoolOr("saves", false);
  check.Inputs(biased || IsGeluGrad(spec) ? 3 : 2).Outputs(HasSums(spec) || saves ? 2 : 1);
  check.SameDType();
  check.Takes(check.in(0), {DType::kF32, DType::kF64, DType::kBF16, DType::kF16});
  for (const Operand* operand : {&check.in(0), &check.in(1), &check.out(0)}) {
    check.Rank(*operand, 2, HasSums(spec) ? 2 : kMaxRank);
  }
  const bool transpose_a = check.BoolOr("transpose_a", false);
  const bool transpose_b = check.BoolOr("transpose_b", false);
  if (biased) check.Rank(check.in(2), 1, 1);
  if (HasSums(spec)) {
    const std::string of = check.Text("of");
    check.Require(of == "a" || of == "b", "the sums are of a or b");
    check.Rank(check.out(1), 1, 1);
    if (!check.ok()) return check.status();
    check.HasShape(check.out(1), {check.out(0).shape[of == "a" ? 0 : 1]});
  }
  if (saves) check.Same(check.out(1), check.out(0));
  if (IsGeluGrad(spec)) check.Same(check.in(2), check.out(0));
  if (!check.ok()) return check.status();
  if (biased) check.Require(spec.inputs[2].shape[0] == spec.outputs[0].shape.back(), "bias is [n]");
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

Gemm GemmOf(const Batches& batches, int threads) {
  return Gemm(batches.product, HostMicroKernels(), batches.share ? threads : 1);
}

// REQUIRES: the machine multiplies bf16.
Bf16Gemm Bf16GemmOf(const Batches& batches, int threads) {
  return Bf16Gemm(batches.product, *HostBf16Tiles(), HostMicroKernels(),
                  batches.share ? threads : 1);
}

bool MultipliesAsItIs(DType dtype) { return dtype == DType::kBF16 && HostBf16Tiles() != nullptr; }

// `AnyGemm` is Gemm or Bf16Gemm.
template <typename AnyGemm>
int64_t GemmBytes(const Batches& batches, const AnyGemm& gemm, int threads) {
  return gemm.workspace_bytes() * (batches.share ? 1 : threads);
}

// All products of operands in the product's own type.
template <typename AnyGemm, typename T>
void RunProducts(const Batches& batches, const AnyGemm& gemm, int threads, const T* a, const T* b,
                 T* out, void* workspace) {
  const int64_t result = batches.product.m * batches.product.n;
  ForEachPart(batches.share ? 1 : threads, batches.nest.elements(),
              [&](int part, int64_t begin, int64_t end) {
                for (int64_t i = begin; i < end; ++i) {
                  gemm.Run(a + batches.nest.OffsetOf(i, 0), b + batches.nest.OffsetOf(i, 1),
                           out + i * result,
                           static_cast<char*>(workspace) + part * gemm.workspace_bytes());
                }
              });
}

// out[row, j] += bias[j].
template <typename T, typename C>
void AddBias(int threads, const T* bias, C* out, int64_t rows, int64_t n) {
  using Sum = std::conditional_t<std::is_same_v<C, double>, double, float>;
  ForEachPart(threads, rows, [&](int, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      C* const line = out + row * n;
      for (int64_t j = 0; j < n; ++j) line[j] = C(Sum(line[j]) + Sum(bias[j]));
    }
  });
}

// A product in its own type and the bias behind it.
template <typename T>
KernelOr WithBias(const KernelSpec& spec, std::unique_ptr<Kernel> product) {
  const int64_t n = spec.outputs.at(0).shape.back();
  const int64_t rows = n == 0 ? 0 : NumElements(spec.outputs[0].shape) / n;
  return KernelOf([n, rows, threads = spec.threads,
                   product = std::shared_ptr<Kernel>(std::move(product))](const KernelArgs& args) {
    absl::Status status = product->Run(args, nullptr);
    AddBias(threads, In<T>(args, 2), Out<T>(args, 0), rows, n);
    return status;
  });
}

absl::StatusOr<Needs> DescribeMatmul(const KernelSpec& spec) {
  const Batches batches = BatchesOf(spec);
  const DType dtype = spec.inputs.at(0).dtype;
  if (IsEmpty(batches) || dtype == DType::kF64) return Needs{};
  if (MultipliesAsItIs(dtype) && !IsBiased(spec)) {
    return Needs{GemmBytes(batches, Bf16GemmOf(batches, spec.threads), spec.threads), {}};
  }
  const int64_t bytes = GemmBytes(batches, GemmOf(batches, spec.threads), spec.threads);
  return Needs{(NarrowOf(dtype) ? Widened(spec).bytes() : 0) + bytes, {}};
}

KernelOr MakeNarrow(const KernelSpec& spec, const Batches& batches) {
  const DType biased = IsBiased(spec) ? spec.inputs[2].dtype : DType::kInvalid;
  return KernelOf([batches, biased, widened = Widened(spec), gemm = GemmOf(batches, spec.threads),
                   threads = spec.threads](const KernelArgs& args) {
    widened.Run(args, [&](const float* a, const float* b, float* out, void* workspace) {
      RunProducts(batches, gemm, threads, a, b, out, workspace);
      const int64_t rows = batches.nest.elements() * batches.product.m;
      if (biased == DType::kBF16) AddBias(threads, In<BF16>(args, 2), out, rows, batches.product.n);
      if (biased == DType::kF16) AddBias(threads, In<F16>(args, 2), out, rows, batches.product.n);
    });
  });
}

struct AddRowLoop {
  // c[j] += a * b[j * stride].
  OF_LOOP static void Run(double a, const double* b, int64_t stride, double* c, int64_t n) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) c[j] += a * b[j * stride];
  }
};

KernelOr MakeDouble(const KernelSpec& spec, const Batches& batches) {
  const auto add_row = Vectorised<AddRowLoop>();
  return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
    const GemmProblem& g = batches.product;
    const int64_t rows = batches.nest.elements() * g.m;
    ForEachPart(threads, rows, [&](int, int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const double* a = In<double>(args, 0) + batches.nest.OffsetOf(row / g.m, 0);
        const double* b = In<double>(args, 1) + batches.nest.OffsetOf(row / g.m, 1);
        double* c = Out<double>(args, 0) + row * g.n;
        std::fill_n(c, g.n, 0.0);
        for (int64_t p = 0; p < g.k; ++p) {
          add_row(a[row % g.m * g.a_row + p * g.a_column], b + p * g.b_row, g.b_column, c, g.n);
        }
      }
    });
  });
}

KernelOr MakeMatmul(const KernelSpec& spec) {
  const Batches batches = BatchesOf(spec);
  const DType dtype = spec.inputs.at(0).dtype;
  if (IsEmpty(batches)) {  // the sum over nothing
    const int64_t bytes = NumElements(spec.outputs[0].shape) * SizeOf(dtype);
    return KernelOf([bytes](const KernelArgs& args) {
      if (bytes > 0) std::memset(args.outputs[0], 0, bytes);
    });
  }
  if (dtype == DType::kF64) return MakeDouble(spec, batches);
  if (MultipliesAsItIs(dtype) && !IsBiased(spec)) {
    return KernelOf([batches, gemm = Bf16GemmOf(batches, spec.threads),
                     threads = spec.threads](const KernelArgs& args) {
      RunProducts(batches, gemm, threads, In<BF16>(args, 0), In<BF16>(args, 1), Out<BF16>(args, 0),
                  args.workspace);
    });
  }
  if (dtype != DType::kF32) return MakeNarrow(spec, batches);
  return KernelOf([batches, gemm = GemmOf(batches, spec.threads),
                   threads = spec.threads](const KernelArgs& args) {
    RunProducts(batches, gemm, threads, In<float>(args, 0), In<float>(args, 1), Out<float>(args, 0),
                args.workspace);
  });
}

// An empty product's bytes are zeros in every type.
KernelOr MakeLinear(const KernelSpec& spec) {
  const DType dtype = spec.inputs.at(0).dtype;
  if (NarrowOf(dtype) && !IsEmpty(BatchesOf(spec))) return MakeMatmul(spec);
  OF_ASSIGN_OR_RETURN(std::unique_ptr<Kernel> product, MakeMatmul(spec));
  if (dtype == DType::kBF16) return WithBias<BF16>(spec, std::move(product));
  if (dtype == DType::kF16) return WithBias<F16>(spec, std::move(product));
  if (dtype == DType::kF64) return WithBias<double>(spec, std::move(product));
  return WithBias<float>(spec, std::move(product));
}

// The product of one that does something beside, with its bias.
KernelSpec ProductOf(const KernelSpec& spec) {
  KernelSpec product = spec;
  product.op = IsBiased(spec) ? "linear" : "matmul";
  product.inputs.resize(IsBiased(spec) ? 3 : 2);
  product.outputs.resize(1);
  return product;
}
KernelDef RowOf(const char* op, std::vector<KernelDef> rows) {
  for (KernelDef& def : rows) {
    if (def.op == op) return std::move(def);
  }
  return {};
}
KernelDef SumKernel() { return RowOf("sum", ReductionKernels()); }

// The activation alone, which works in place.
KernelSpec GeluOf(const KernelSpec& spec) {
  KernelSpec gelu;
  gelu.op = IsGeluGrad(spec) ? "gelu_tanh_grad" : "gelu_tanh";
  gelu.inputs.assign(IsGeluGrad(spec) ? 2 : 1, spec.outputs.at(0));
  gelu.outputs = {spec.outputs[0]};
  gelu.threads = spec.threads;
  return gelu;
}

absl::StatusOr<Needs> DescribeMatmulGelu(const KernelSpec& spec) {
  return DescribeMatmul(ProductOf(spec));
}

KernelOr MakeLinearGelu(const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(std::unique_ptr<Kernel> product, MakeLinear(ProductOf(spec)));
  OF_ASSIGN_OR_RETURN(std::unique_ptr<Kernel> gelu,
                      RowOf("gelu_tanh", UnaryKernels()).make(GeluOf(spec)));
  return KernelOf([saves = spec.outputs.size() > 1,
                   product = std::shared_ptr<Kernel>(std::move(product)),
                   gelu = std::shared_ptr<Kernel>(std::move(gelu))](const KernelArgs& args) {
    KernelArgs part = args;
    part.outputs = args.outputs + (saves ? 1 : 0);
    absl::Status status = product->Run(part, nullptr);
    const void* const x = part.outputs[0];
    part = args;
    part.inputs = &x;
    status.Update(gelu->Run(part, nullptr));
    return status;
  });
}

KernelOr MakeMatmulGeluGrad(const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(std::unique_ptr<Kernel> product, MakeMatmul(ProductOf(spec)));
  OF_ASSIGN_OR_RETURN(std::unique_ptr<Kernel> grad,
                      RowOf("gelu_tanh_grad", GradientKernels()).make(GeluOf(spec)));
  return KernelOf([product = std::shared_ptr<Kernel>(std::move(product)),
                   grad = std::shared_ptr<Kernel>(std::move(grad))](const KernelArgs& args) {
    absl::Status status = product->Run(args, nullptr);
    const void* const inputs[] = {args.inputs[2], args.outputs[0]};
    KernelArgs of_grad = args;
    of_grad.inputs = inputs;
    status.Update(grad->Run(of_grad, nullptr));
    return status;
  });
}

absl::StatusOr<Needs> DescribeMatmulSums(const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const Needs product, DescribeMatmul(ProductOf(spec)));
  OF_ASSIGN_OR_RETURN(const Needs sum, SumKernel().describe(OperandSumOf(spec)));
  return Needs{std::max(product.workspace_bytes, sum.workspace_bytes), {}};
}

KernelOr MakeMatmulSums(const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(std::unique_ptr<Kernel> product, MakeMatmul(ProductOf(spec)));
  OF_ASSIGN_OR_RETURN(std::unique_ptr<Kernel> sum, SumKernel().make(OperandSumOf(spec)));
  return KernelOf([of = SummedOperand(spec), product = std::shared_ptr<Kernel>(std::move(product)),
                   sum = std::shared_ptr<Kernel>(std::move(sum))](const KernelArgs& args) {
    absl::Status status = product->Run(args, nullptr);
    KernelArgs of_sum = args;
    of_sum.inputs = args.inputs + of;
    of_sum.outputs = args.outputs + 1;
    status.Update(sum->Run(of_sum, nullptr));
    return status;
  });
}

}  // namespace

std::vector<KernelDef> MatmulKernels() {
  return {{"matmul", CheckMatmul, DescribeMatmul, MakeMatmul},
          {"linear", CheckMatmul, DescribeMatmul, MakeLinear},
          {"linear_gelu", CheckMatmul, DescribeMatmulGelu, MakeLinearGelu},
          {"matmul_gelu_grad", CheckMatmul, DescribeMatmulGelu, MakeMatmulGeluGrad},
          {"matmul_sums", CheckMatmul, DescribeMatmulSums, MakeMatmulSums}};
}

}  // namespace oneflow::kernels
