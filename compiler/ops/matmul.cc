// matmul: the op that tensor parallelism is about; and what a product does beside: linear, which adds a bias before it
// rounds, linear_gelu and matmul_gelu_grad, with the activation behind it or its gradient, and matmul_sums, which sums
// one of the operands too.
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "compiler/ops/cost.h"
#include "compiler/ops/families.h"
#include "compiler/ops/gradient.h"
#include "compiler/ops/shape_functions.h"

namespace oneflow {
namespace {

// The leading dims of a matmul operand as a tensor type, for broadcasting and messages.
TensorType BatchOf(const TensorType& type) {
  return {type.dtype, Shape(type.shape.begin(), type.shape.end() - 2)};
}

absl::StatusOr<Shapes> MatmulShape(const OpContext& op) {
  const TensorType& a = op.inputs[0];
  const TensorType& b = op.inputs[1];
  for (int i = 0; i < 2; ++i) {
    if (op.inputs[i].shape.size() < 2) {
      return MakeError(ErrorKind::kShape,
                       absl::StrCat("matmul: ", i == 0 ? "a" : "b", " is ", op.inputs[i].ToString(),
                                    " but must have at least 2 dims: unsqueeze a vector into a "
                                    "row or a column first"));
    }
  }
  const bool transpose_a = op.attrs.Bool("transpose_a");
  const bool transpose_b = op.attrs.Bool("transpose_b");
  const size_t a_rank = a.shape.size();
  const size_t b_rank = b.shape.size();
  const int64_t m = a.shape[a_rank - (transpose_a ? 1 : 2)];
  const int64_t a_inner = a.shape[a_rank - (transpose_a ? 2 : 1)];
  const int64_t b_inner = b.shape[b_rank - (transpose_b ? 1 : 2)];
  const int64_t n = b.shape[b_rank - (transpose_b ? 2 : 1)];
  if (a_inner != b_inner) {
    return MakeError(
        ErrorKind::kShape,
        absl::StrCat("matmul: a is ", a.ToString(), transpose_a ? " transposed" : "", " and b is ",
                     b.ToString(), transpose_b ? " transposed" : "", ": a has ", a_inner,
                     " columns and b has ", b_inner,
                     " rows, which must be equal. In a Linear layer in_features must be the last "
                     "extent of its input; elsewhere transpose one operand"));
  }
  OF_ASSIGN_OR_RETURN(Shape shape, BroadcastShapes("matmul", "the batch of a", BatchOf(a),
                                                   "the batch of b", BatchOf(b)));
  shape.push_back(m);
  shape.push_back(n);
  return Shapes{std::move(shape)};
}

std::string MatmulRule(const OpContext& op) {
  const bool batched_a = op.inputs[0].shape.size() > 2;
  const bool batched_b = op.inputs[1].shape.size() > 2;
  return absl::StrCat(batched_a ? "... " : "", op.attrs.Bool("transpose_a") ? "k m" : "m k", ", ",
                      batched_b ? "... " : "", op.attrs.Bool("transpose_b") ? "n k" : "k n", " -> ",
                      batched_a || batched_b ? "... " : "", "m n ; sum k ; multilinear");
}

// A bias is added once, so the inner dim may not be split.
std::string LinearRule(const OpContext& op) {
  const std::string product = MatmulRule(op);
  const size_t inputs = product.find(" -> ");
  const size_t end = product.find(" ; ");
  return absl::StrCat(product.substr(0, inputs), ", n", product.substr(inputs, end - inputs),
                      " ; whole k");
}

// An activation is of whole sums. What it is of lies as the result does.
std::string LinearGeluRule(const OpContext& op) {
  std::string rule = LinearRule(op);
  if (!op.attrs.Bool("saves")) return rule;
  const size_t result = rule.find(" -> ") + 4, end = rule.find(" ; ");
  return rule.insert(end, absl::StrCat(", ", rule.substr(result, end - result)));
}

std::string MatmulGeluGradRule(const OpContext& op) {
  const std::string product = MatmulRule(op);
  const size_t inputs = product.find(" -> ");
  const std::string result = product.substr(inputs + 4, product.find(" ; ") - inputs - 4);
  return absl::StrCat(product.substr(0, inputs), ", ", result, " -> ", result, " ; whole k");
}

// The sums of an operand have its other dim, and are linear in it alone.
std::string MatmulSumsRule(const OpContext& op) {
  const bool of_a = op.attrs.String("of") == "a";
  const std::string product = MatmulRule(op);
  return absl::StrCat(product.substr(0, product.find(" ; ")), of_a ? ", m" : ", n",
                      " ; sum k ; linear ", of_a ? 0 : 1);
}

ValueId Product(GradBuilder& g, ValueId a, ValueId b, bool transpose_a, bool transpose_b) {
  return g.Op("matmul", {a, b}, {{"transpose_a", transpose_a}, {"transpose_b", transpose_b}});
}

ValueId GradOfA(GradBuilder& g) {
  const bool transpose_b = g.attrs().Bool("transpose_b");
  if (g.attrs().Bool("transpose_a")) return Product(g, g.in(1), g.dout(0), transpose_b, true);
  return Product(g, g.dout(0), g.in(1), false, !transpose_b);
}

// [b.., m, k] as [b.. * m, k]: no bytes move.
ValueId AsMatrix(GradBuilder& g, ValueId value) {
  const Shape& shape = g.type(value).shape;
  if (shape.size() == 2) return value;
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  const int64_t columns = shape.back();
  return g.Op("reshape", {value}, {{"shape", Shape{rows, columns}}});
}

ValueId GradOfB(GradBuilder& g) {
  const bool transpose_a = g.attrs().Bool("transpose_a");
  const bool transpose_b = g.attrs().Bool("transpose_b");
  ValueId a = g.in(0);
  ValueId dy = g.dout(0);
  // A matrix b shared by the whole batch (a Linear layer): one product over all rows, instead of
  // one for each batch entry and a sum.
  if (g.type(g.in(1)).shape.size() == 2 && !transpose_a) {
    a = AsMatrix(g, a);
    dy = AsMatrix(g, dy);
  }
  return transpose_b ? Product(g, dy, a, true, transpose_a)
                     : Product(g, a, dy, !transpose_a, false);
}

int64_t ProductFlops(const OpContext& op) {
  const Shape& a = op.inputs[0].shape;
  const int64_t inner = a[a.size() - (op.attrs.Bool("transpose_a") ? 2 : 1)];
  return 2 * NumElements(op.outputs[0].shape) * inner;
}

// The product, and so many operations for each element of its result.
CostFn ProductCost(int64_t beside) {
  return [beside](const OpContext& op) {
    return OpCost{ProductFlops(op) + beside * NumElements(op.outputs[0].shape), BytesOf(op)};
  };
}

// What all ops of a product have.
OpDef ProductDef(const char* name, const char* doc) {
  return OpDef(name)
      .Doc(doc)
      .Type("T", AnyFloat())
      .In("a", "T", "[..., m, k], or [..., k, m] with transpose_a")
      .In("b", "T", "[..., k, n], or [..., n, k] with transpose_b")
      .Attr("transpose_a", "bool", false, "a's last two dims are swapped")
      .Attr("transpose_b", "bool", false, "b's last two dims are swapped");
}

// Of those that the compiler makes.
OpDef MadeProductDef(const char* name, const char* doc) {
  return ProductDef(name, doc).NotDifferentiable("it is made behind the gradients").Internal();
}

absl::StatusOr<Shapes> BiasedShape(const char* name, const OpContext& op) {
  OF_ASSIGN_OR_RETURN(Shapes shapes, MatmulShape(op));
  OF_RETURN_IF_ERROR(CheckShape(name, "bias", op.inputs[2], {shapes[0].back()},
                                "one number for each column of the product"));
  return shapes;
}

OpDef Matmul() {
  return ProductDef("matmul",
                    "Matrix product over the last two dims; leading dims are a batch and "
                    "broadcast. Accumulates in float32.")
      .Out("y", "T", "[..., m, n]")
      .Shape(MatmulShape)
      .Sharding(MatmulRule)
      .Grad(Grads({GradOfA, GradOfB}))
      .Cost(ProductCost(0));
}

OpDef Linear() {
  return MadeProductDef("linear",
                        "A product and a bias, rounded once: y = a . b + bias. Made by the "
                        "compiler of a matmul and the add behind it.")
      .In("bias", "T", "[n]")
      .Out("y", "T", "[..., m, n]")
      .Shape([](const OpContext& op) { return BiasedShape("linear", op); })
      .Sharding(LinearRule)
      .Cost(ProductCost(1));
}

OpDef LinearGelu() {
  return MadeProductDef("linear_gelu",
                        "A product with a bias, and gelu_tanh of it: y = gelu_tanh(x) of x = a . b "
                        "+ bias, which the gradient reads. Made by the compiler of a linear and "
                        "the gelu_tanh behind it.")
      .In("bias", "T", "[n]")
      .Out("y", "T", "[..., m, n]")
      .Out("x", "T", "as y, if it is saved")
      .Attr("saves", "bool", false, "x is a result too")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_ASSIGN_OR_RETURN(const Shapes shapes, BiasedShape("linear_gelu", op));
        return Shapes(op.attrs.Bool("saves") ? 2 : 1, shapes[0]);
      })
      .Sharding(LinearGeluRule)
      .Cost(ProductCost(1 + kGeluTanhFlops));
}

OpDef MatmulGeluGrad() {
  return MadeProductDef("matmul_gelu_grad",
                        "A gradient that a product makes, through gelu_tanh: d = gelu_tanh_grad(x, "
                        "a . b). Made by the compiler of a matmul and the gelu_tanh_grad behind "
                        "it.")
      .In("x", "T", "what gelu_tanh was of, [..., m, n]")
      .Out("d", "T", "[..., m, n]")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_ASSIGN_OR_RETURN(const Shapes shapes, MatmulShape(op));
        OF_RETURN_IF_ERROR(
            CheckShape("matmul_gelu_grad", "x", op.inputs[2], shapes[0], "that of the product"));
        return shapes;
      })
      .Sharding(MatmulGeluGradRule)
      .Cost(ProductCost(kActivationGradFlops));
}

OpDef MatmulSums() {
  return MadeProductDef("matmul_sums",
                        "A product of two matrices and the sums of one of them over k: a layer's "
                        "gradients of weight and bias. Made by the compiler of a matmul and a "
                        "sum.")
      .Out("y", "T", "[m, n]")
      .Out("sums", "T", "[m] of a, [n] of b")
      .Enum("of", {"a", "b"}, std::nullopt, "the operand that is summed")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_ASSIGN_OR_RETURN(Shapes shapes, MatmulShape(op));
        if (op.inputs[0].shape.size() != 2 || op.inputs[1].shape.size() != 2) {
          return MakeError(ErrorKind::kShape, "matmul_sums takes two matrices");
        }
        shapes.push_back({shapes[0][op.attrs.String("of") == "a" ? 0 : 1]});
        return shapes;
      })
      .Sharding(MatmulSumsRule)
      .Cost([](const OpContext& op) {
        const size_t of = op.attrs.String("of") == "a" ? 0 : 1;
        return OpCost{ProductFlops(op) + NumElements(op.inputs[of].shape), BytesOf(op)};
      });
}

}  // namespace

std::vector<OpDef> MatmulOps() {
  return {Matmul(), Linear(), LinearGelu(), MatmulGeluGrad(), MatmulSums()};
}

}  // namespace oneflow
