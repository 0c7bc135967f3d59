// matmul: out[..., m, n] = a[..., m, k] . b[..., k, n], f32, leading dims broadcast; transpose_a
// and transpose_b read their operand's last two dims exchanged, through strides: nothing is copied.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/cpu/definition.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/onednn.h"

namespace oneflow::kernels {
namespace {

// The operand as seen by the product: last two dims in the order of the formula, leading ones
// filled up to `rank` with extent 1.
StridedOperand Seen(const Operand& operand, bool transpose, size_t rank) {
  StridedOperand seen{operand.shape, StridesOf(operand.shape)};
  const size_t last = operand.shape.size() - 1;
  if (transpose) {
    std::swap(seen.shape[last], seen.shape[last - 1]);
    std::swap(seen.strides[last], seen.strides[last - 1]);
  }
  const int64_t whole = NumElements(operand.shape);
  while (seen.shape.size() < rank) {
    seen.shape.insert(seen.shape.begin(), 1);
    seen.strides.insert(seen.strides.begin(), whole);
  }
  return seen;
}

bool BoolAttr(const Attrs& attrs, const std::string& name) {
  return attrs.Has(name) && attrs.Bool(name);
}

// The problem after merging what is one matrix: [b, m, k] . [k, n] is [b * m, k] . [k, n].
struct Product {
  StridedOperand a;
  StridedOperand b;
  StridedOperand out;
  int64_t k = 0;
};

absl::StatusOr<Product> ProductOf(const KernelSpec& spec) {
  for (const Operand& in : spec.inputs) {
    if (in.dtype != DType::kF32) return UnsupportedDType(spec, in.dtype);
  }
  Operand a = spec.inputs.at(0);
  const Operand& b = spec.inputs.at(1);
  Operand out = spec.outputs.at(0);
  const bool transpose_a = BoolAttr(spec.attrs, "transpose_a");
  const bool transpose_b = BoolAttr(spec.attrs, "transpose_b");
  if (a.shape.size() < 2 || b.shape.size() < 2) {
    return MakeError(ErrorKind::kShape, "matmul takes tensors of rank >= 2");
  }
  if (b.shape.size() == 2 && a.shape.size() > 2 && !transpose_a) {
    const int64_t k = a.shape.back();
    const int64_t n = out.shape.back();
    int64_t rows = 1;
    for (size_t d = 0; d + 1 < a.shape.size(); ++d) rows *= a.shape[d];
    a.shape = {rows, k};
    out.shape = {rows, n};
  }
  const size_t rank = std::max({a.shape.size(), b.shape.size(), out.shape.size()});
  Product product{Seen(a, transpose_a, rank), Seen(b, transpose_b, rank), Seen(out, false, rank),
                  0};
  product.k = product.a.shape[rank - 1];
  return product;
}

absl::StatusOr<Needs> DescribeMatmul(const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const Product product, ProductOf(spec));
  if (product.k == 0 || NumElements(product.out.shape) == 0) return Needs{};
  OF_ASSIGN_OR_RETURN(const auto primitive,
                      MakeOnednnMatmul(product.a, product.b, product.out, spec.threads));
  return Needs{primitive->workspace_bytes(), false};
}

KernelOr MakeMatmul(const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const Product product, ProductOf(spec));
  const int64_t bytes = NumElements(product.out.shape) * SizeOf(DType::kF32);
  if (product.k == 0 || bytes == 0) {  // an empty shard: the sum over nothing
    return KernelOf([bytes](const KernelArgs& args) {
      if (bytes > 0) std::memset(args.outputs[0], 0, bytes);
    });
  }
  OF_ASSIGN_OR_RETURN(std::shared_ptr<const OnednnPrimitive> primitive,
                      MakeOnednnMatmul(product.a, product.b, product.out, spec.threads));
  return KernelOf([primitive](const KernelArgs& args) {
    primitive->Run(args.inputs[0], args.inputs[1], args.outputs[0], args.workspace);
  });
}

}  // namespace

std::vector<KernelDef> MatmulKernels() { return {{"matmul", DescribeMatmul, MakeMatmul}}; }

}  // namespace oneflow::kernels
