// Reductions. A reduced dim that is split leaves a Partial: the reduction over devices is a
// reshard.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "compiler/ops/cost.h"
#include "compiler/ops/families.h"
#include "compiler/ops/gradient.h"
#include "compiler/ops/shape_functions.h"

namespace oneflow {
namespace {

Shape ReducedShape(const Shape& shape, const std::vector<int64_t>& dims, bool keepdim) {
  Shape result;
  for (size_t i = 0; i < shape.size(); ++i) {
    const bool reduced = std::count(dims.begin(), dims.end(), static_cast<int64_t>(i)) > 0;
    if (!reduced) {
      result.push_back(shape[i]);
    } else if (keepdim) {
      result.push_back(1);
    }
  }
  return result;
}

ShapeFn ReducedOver(const std::string& op_name) {
  return [op_name](const OpContext& op) -> absl::StatusOr<Shapes> {
    const std::vector<int64_t>& dims = op.attrs.Ints("dims");
    for (size_t i = 0; i < dims.size(); ++i) {
      OF_RETURN_IF_ERROR(CheckDim(op_name, "x", op.inputs[0], dims[i]));
      if (std::count(dims.begin(), dims.begin() + static_cast<int64_t>(i), dims[i]) > 0) {
        return MakeError(ErrorKind::kShape, absl::StrCat(op_name, ": dim ", dims[i],
                                                         " is listed twice: name each dim once"));
      }
    }
    return Shapes{ReducedShape(op.inputs[0].shape, dims, op.attrs.Bool("keepdim"))};
  };
}

// "a b c -> a c ; <clause> b"; without reduced dims no clause.
std::string ReductionRule(size_t rank, const std::vector<int64_t>& dims, bool keepdim,
                          const std::string& clause, const std::string& more) {
  std::vector<std::string> kept;
  std::vector<std::string> reduced;
  for (size_t i = 0; i < rank; ++i) {
    if (std::count(dims.begin(), dims.end(), static_cast<int64_t>(i)) == 0) {
      kept.push_back(FactorName(i));
    } else {
      reduced.push_back(FactorName(i));
      if (keepdim) kept.push_back("1");
    }
  }
  std::string rule = absl::StrCat(FactorNames(rank), " -> ", JoinDims(kept));
  if (!reduced.empty()) absl::StrAppend(&rule, " ; ", clause, " ", absl::StrJoin(reduced, " "));
  return rule + more;
}

// The gradient or the result with its reduced dims back as extent 1, so that it broadcasts against
// x. Leading dims need nothing: broadcasting aligns from the right.
ValueId WithKeptDims(GradBuilder& g, ValueId value) {
  if (g.attrs().Bool("keepdim")) return value;
  std::vector<int64_t> dims = g.attrs().Ints("dims");
  std::sort(dims.begin(), dims.end());
  if (dims.empty() || dims.back() + 1 == static_cast<int64_t>(dims.size())) return value;
  const Shape shape = ReducedShape(g.type(g.in(0)).shape, dims, /*keepdim=*/true);
  return g.Op("reshape", {value}, {{"shape", shape}});
}

OpDef Reduction(const std::string& name) {
  return OpDef(name)
      .Type("T", AnyNumber())
      .In("x", "T", "any shape")
      .Out("y", "T", "x without `dims`, or with extent 1 there if keepdim")
      .Attr("dims", "ints", std::nullopt, "dims to reduce, each once")
      .Attr("keepdim", "bool", false, "keep reduced dims as extent 1")
      .Shape(ReducedOver(name))
      .Cost(FlopsPerElement(1));
}

OpDef Sum() {
  return Reduction("sum")
      .Doc("Sum over dims. Floats add in float32, in an order fixed by the shape.")
      .Sharding([](const OpContext& op) {
        return ReductionRule(op.inputs[0].shape.size(), op.attrs.Ints("dims"),
                             op.attrs.Bool("keepdim"), "sum", " ; linear");
      })
      .Grad(Grads({[](GradBuilder& g) {
        const Shape shape = g.type(g.in(0)).shape;
        const ValueId gradient = WithKeptDims(g, g.dout(0));
        if (g.type(gradient).shape == shape) return gradient;
        return g.Op("broadcast_to", {gradient}, {{"shape", shape}});
      }}));
}

OpDef Amax() {
  return Reduction("amax")
      .Doc(
          "Largest element over dims; nan if there is one. Equal maxima share the gradient evenly.")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_ASSIGN_OR_RETURN(Shapes result, ReducedOver("amax")(op));
        for (int64_t dim : op.attrs.Ints("dims")) {
          if (op.inputs[0].shape[dim] == 0) {
            return MakeError(ErrorKind::kShape,
                             absl::StrCat("amax: x is ", op.inputs[0].ToString(), ": dim ", dim,
                                          " is empty and has no largest element"));
          }
        }
        return result;
      })
      .Sharding([](const OpContext& op) {
        return ReductionRule(op.inputs[0].shape.size(), op.attrs.Ints("dims"),
                             op.attrs.Bool("keepdim"), "max", "");
      })
      .Grad(Grads({[](GradBuilder& g) {
        const std::string dtype(NameOf(g.type(g.in(0)).dtype));
        const ValueId is_max =
            g.Op("cast", {g.Op("eq", {g.in(0), WithKeptDims(g, g.out(0))})}, {{"dtype", dtype}});
        const ValueId count =
            g.Op("sum", {is_max}, {{"dims", g.attrs().Ints("dims")}, {"keepdim", true}});
        return g.Op("mul", {is_max, g.Op("div", {WithKeptDims(g, g.dout(0)), count})});
      }}));
}

OpDef Argmax() {
  return OpDef("argmax")
      .Doc("Index of the largest element along a dim; of equal ones the first.")
      .In("x", AnyNumber(), "any shape of rank >= 1")
      .Out("y", DType::kI64, "x without `dim`, or with extent 1 there if keepdim")
      .Attr("dim", "int", std::nullopt, "the dim")
      .Attr("keepdim", "bool", false, "keep the dim as extent 1")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        const int64_t dim = op.attrs.Int("dim");
        const TensorType& x = op.inputs[0];
        OF_RETURN_IF_ERROR(CheckDim("argmax", "x", x, dim));
        if (x.shape[dim] == 0) {
          return MakeError(ErrorKind::kShape,
                           absl::StrCat("argmax: x is ", x.ToString(), ": dim ", dim, " is empty"));
        }
        return Shapes{ReducedShape(x.shape, {dim}, op.attrs.Bool("keepdim"))};
      })
      .Sharding([](const OpContext& op) {
        return ReductionRule(op.inputs[0].shape.size(), {op.attrs.Int("dim")},
                             op.attrs.Bool("keepdim"), "whole", "");
      })
      .NotDifferentiable("its result is an index")
      .Cost(FlopsPerElement(1));
}

}  // namespace

std::vector<OpDef> ReductionOps() { return {Sum(), Amax(), Argmax()}; }

}  // namespace oneflow
