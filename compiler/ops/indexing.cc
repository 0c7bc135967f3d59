// Ops that read or write where integers say: embedding, gather, scatter_add; running sums; sort.
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "compiler/ops/cost.h"
#include "compiler/ops/families.h"
#include "compiler/ops/gradient.h"
#include "compiler/ops/shape_functions.h"

namespace oneflow {
namespace {

// No index is this one.
constexpr int64_t kNoPadding = -1;

DTypeSet Indices() { return {DType::kI64, DType::kI32}; }

// The dims of indices as factors, and the dim of features behind them.
std::string IndexNames(const Shape& index) { return FactorNames(index.size(), 2); }
std::string RowNames(const Shape& index) {
  return index.empty() ? "b" : absl::StrCat(IndexNames(index), " b");
}

OpDef Embedding() {
  return OpDef("embedding")
      .Doc(
          "y[i..] = weight[index[i..]]: rows of a table. An index outside of 0 .. rows - 1 is a "
          "DataError. Of a table that is cut by rows each device gives its own, zeros elsewhere.")
      .MayFail()
      .NeedsSlice()
      .Type("T", AnyFloat())
      .In("weight", "T", "[rows, features]")
      .In("index", Indices(), "any shape")
      .Out("y", "T", "the shape of index with features behind it")
      .Attr("padding_idx", "int", kNoPadding, "the row that gets no gradient; -1: every row does")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_RETURN_IF_ERROR(CheckRank("embedding", "weight", op.inputs[0], 2, "[rows, features]"));
        Shape shape = op.inputs[1].shape;
        shape.push_back(op.inputs[0].shape[1]);
        return Shapes{std::move(shape)};
      })
      .Sharding([](const OpContext& op) {
        const Shape& index = op.inputs[1].shape;
        return absl::StrCat("a b, ", IndexNames(index), " -> ", RowNames(index), " ; sum a");
      })
      .Grad(Grads({[](GradBuilder& g) {
        return g.Op(
            "embedding_grad", {g.dout(0), g.in(1)},
            {{"rows", g.type(g.in(0)).shape[0]}, {"padding_idx", g.attrs().Int("padding_idx")}});
      }}))
      .Cost([](const OpContext& op) {
        // Only the rows that are named are read.
        return OpCost{0, 2 * op.outputs[0].bytes() + op.inputs[1].bytes()};
      });
}

OpDef EmbeddingGrad() {
  return OpDef("embedding_grad")
      .Doc(
          "dweight[r] = sum of dy[i..] over all i.. with index[i..] == r, in order of i..; 0 for "
          "padding_idx.")
      .NeedsSlice()
      .Type("T", AnyFloat())
      .In("dy", "T", "the shape of index with features behind it")
      .In("index", Indices(), "any shape")
      .Out("dweight", "T", "[rows, features]")
      .Attr("rows", "int", std::nullopt, "rows of the table")
      .Attr("padding_idx", "int", kNoPadding, "the row that gets no gradient")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        Shape rows = op.inputs[1].shape;
        const TensorType& dy = op.inputs[0];
        OF_RETURN_IF_ERROR(CheckRank("embedding_grad", "dy", dy, rows.size() + 1,
                                     "the shape of index with features behind it"));
        rows.push_back(dy.shape.back());
        OF_RETURN_IF_ERROR(CheckShape("embedding_grad", "dy", dy, rows, "that of index"));
        return Shapes{{op.attrs.Int("rows"), dy.shape.back()}};
      })
      .Sharding([](const OpContext& op) {
        const Shape& index = op.inputs[1].shape;
        std::string rule =
            absl::StrCat(RowNames(index), ", ", IndexNames(index), " -> a b ; linear 0");
        if (!index.empty()) absl::StrAppend(&rule, " ; sum ", IndexNames(index));
        return rule;
      })
      .Localize([](const Attrs& attrs, const std::vector<TensorType>&,
                   const std::vector<TensorType>& outputs) {
        Attrs local = attrs;
        local.Set("rows", outputs[0].shape[0]);
        return local;
      })
      .NotDifferentiable("it is a gradient itself: second derivatives are not supported")
      .Cost([](const OpContext& op) {
        return OpCost{NumElements(op.inputs[0].shape), BytesOf(op)};
      });
}

// x and index of one rank; index is nowhere longer than x, but along dim.
absl::Status CheckGathered(const std::string& name, const std::string& x_name, const TensorType& x,
                           const TensorType& index, int64_t dim) {
  OF_RETURN_IF_ERROR(CheckDim(name, x_name, x, dim));
  OF_RETURN_IF_ERROR(CheckRank(name, "index", index, x.shape.size(), "the rank of " + x_name));
  for (size_t d = 0; d < x.shape.size(); ++d) {
    if (static_cast<int64_t>(d) == dim || index.shape[d] <= x.shape[d]) continue;
    return MakeError(ErrorKind::kShape,
                     absl::StrCat(name, ": ", x_name, " is ", x.ToString(), " and index is ",
                                  index.ToString(), ": in dim ", d, " index is longer"));
  }
  return absl::OkStatus();
}

// "a b c" for x and "a d c" for index with dim 1; a dim in which index is shorter has two names and
// stays whole.
struct GatherNames {
  std::string x, index, whole;
};
GatherNames GatherNamesOf(const Shape& x, const Shape& index, int64_t dim) {
  std::vector<std::string> x_names, index_names, whole;
  for (size_t d = 0; d < x.size(); ++d) {
    x_names.push_back(FactorName(d));
    const bool same = static_cast<int64_t>(d) != dim && x[d] == index[d];
    index_names.push_back(same ? FactorName(d) : FactorName(d + x.size()));
    if (same) continue;
    whole.push_back(x_names.back());
    // Along dim itself results may be made in shares.
    if (static_cast<int64_t>(d) != dim) whole.push_back(index_names.back());
  }
  return {JoinDims(x_names), JoinDims(index_names), JoinDims(whole)};
}

OpDef Gather() {
  return OpDef("gather")
      .Doc("y[i][j][k] = x[i][index[i][j][k]][k] for dim 1. An index outside of x is a DataError.")
      .MayFail()
      .Type("T", AnyDType())
      .In("x", "T", "any shape of rank >= 1")
      .In("index", Indices(), "of x's rank, nowhere longer but along dim")
      .Out("y", "T", "the shape of index")
      .Attr("dim", "int", std::nullopt, "the dim that index points into")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_RETURN_IF_ERROR(
            CheckGathered("gather", "x", op.inputs[0], op.inputs[1], op.attrs.Int("dim")));
        return Shapes{op.inputs[1].shape};
      })
      .Sharding([](const OpContext& op) {
        const GatherNames n =
            GatherNamesOf(op.inputs[0].shape, op.inputs[1].shape, op.attrs.Int("dim"));
        return absl::StrCat(n.x, ", ", n.index, " -> ", n.index, " ; whole ", n.whole,
                            " ; linear 0");
      })
      .Grad(Grads({[](GradBuilder& g) {
        const TensorType& x = g.type(g.in(0));
        const ValueId zeros = ConstantLike(g, 0.0, g.dout(0), x.shape);
        return g.Op("scatter_add", {zeros, g.in(1), g.dout(0)}, {{"dim", g.attrs().Int("dim")}});
      }}))
      .Cost(FlopsPerElement(1));
}

OpDef ScatterAdd() {
  return OpDef("scatter_add")
      .Doc(
          "y is x; then y[i][index[i][j][k]][k] += src[i][j][k] for dim 1, in order of j. An index "
          "outside of x is a DataError.")
      .MayFail()
      .Type("T", AnyNumber())
      .In("x", "T", "any shape of rank >= 1")
      .In("index", Indices(), "of x's rank, nowhere longer but along dim")
      .In("src", "T", "the shape of index")
      .Out("y", "T", "as x")
      .Attr("dim", "int", std::nullopt, "the dim that index points into")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_RETURN_IF_ERROR(
            CheckGathered("scatter_add", "x", op.inputs[0], op.inputs[1], op.attrs.Int("dim")));
        OF_RETURN_IF_ERROR(
            CheckShape("scatter_add", "src", op.inputs[2], op.inputs[1].shape, "that of index"));
        return Shapes{op.inputs[0].shape};
      })
      .Sharding([](const OpContext& op) {
        const GatherNames n =
            GatherNamesOf(op.inputs[0].shape, op.inputs[1].shape, op.attrs.Int("dim"));
        // A share of the terms alone would add x once for each share.
        const std::string along =
            FactorName(static_cast<size_t>(op.attrs.Int("dim")) + op.inputs[0].shape.size());
        return absl::StrCat(n.x, ", ", n.index, ", ", n.index, " -> ", n.x, " ; whole ", n.whole,
                            " ", along, " ; linear 0 2");
      })
      .Grad(Grads({PassGradient, nullptr,
                   [](GradBuilder& g) {
                     return g.Op("gather", {g.dout(0), g.in(1)}, {{"dim", g.attrs().Int("dim")}});
                   }}))
      .Cost(FlopsPerElement(1));
}

OpDef Cumsum() {
  return OpDef("cumsum")
      .Doc("y[i] = x[0] + .. + x[i] along dim, or x[i] + .. + x[last] if reverse.")
      .Type("T", AnyNumber())
      .In("x", "T", "any shape of rank >= 1")
      .Out("y", "T", "as x")
      .Attr("dim", "int", std::nullopt, "the dim along which elements are added")
      .Attr("reverse", "bool", false, "add from the end")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_RETURN_IF_ERROR(CheckDim("cumsum", "x", op.inputs[0], op.attrs.Int("dim")));
        return Shapes{op.inputs[0].shape};
      })
      .Sharding([](const OpContext& op) {
        const std::string names = FactorNames(op.inputs[0].shape.size());
        return absl::StrCat(names, " -> ", names, " ; whole ",
                            FactorName(static_cast<size_t>(op.attrs.Int("dim"))), " ; linear");
      })
      .Grad(Grads({[](GradBuilder& g) {
        return g.Op("cumsum", {g.dout(0)},
                    {{"dim", g.attrs().Int("dim")}, {"reverse", !g.attrs().Bool("reverse")}});
      }}))
      .Cost(FlopsPerElement(1));
}

OpDef Sort() {
  return OpDef("sort")
      .Doc(
          "Elements along dim in ascending or descending order, and where each stood; equal ones "
          "keep their order, nan counts as the greatest.")
      .Type("T", AnyNumber())
      .In("x", "T", "any shape of rank >= 1")
      .Out("values", "T", "as x")
      .Out("indices", DType::kI64, "the shape of x")
      .Attr("dim", "int", std::nullopt, "the dim along which elements are ordered")
      .Attr("descending", "bool", false, "the greatest first")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_RETURN_IF_ERROR(CheckDim("sort", "x", op.inputs[0], op.attrs.Int("dim")));
        return Shapes(2, op.inputs[0].shape);
      })
      .Sharding([](const OpContext& op) {
        const std::string names = FactorNames(op.inputs[0].shape.size());
        return absl::StrCat(names, " -> ", names, ", ", names, " ; whole ",
                            FactorName(static_cast<size_t>(op.attrs.Int("dim"))));
      })
      .Grad(Grads({[](GradBuilder& g) {
        const ValueId zeros = ConstantLike(g, 0.0, g.dout(0), g.type(g.in(0)).shape);
        return g.Op("scatter_add", {zeros, g.out(1), g.dout(0)}, {{"dim", g.attrs().Int("dim")}});
      }}))
      .Cost(FlopsPerElement(20));
}

}  // namespace

std::vector<OpDef> IndexingOps() {
  return {Embedding(), EmbeddingGrad(), Gather(), ScatterAdd(), Cumsum(), Sort()};
}

}  // namespace oneflow
