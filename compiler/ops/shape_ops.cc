// Ops that move elements without computing: reshape, permute, broadcast_to, cat, slice.
#include <algorithm>
#include <numeric>
#include <string>
#include <utility>
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

// One side of a reshape's rule while it is built: the factors of each dim, and what is left of the
// dim that is being read.
struct ReshapeSide {
  explicit ReshapeSide(const Shape& shape) : extents(shape), dims(shape.size()) { Skip(); }
  void Skip() {
    while (dim < extents.size() && left == 0) {
      left = extents[dim];
      if (left == 1) {
        left = 0;
        ++dim;
      }
    }
  }
  // Moves the next `extent` of the dim into a factor. In "(a b)" extents do not follow from the
  // shape, so they are written.
  void Take(const std::string& factor, int64_t extent) {
    const bool alone = extent == extents[dim];
    dims[dim].push_back(alone ? factor : absl::StrCat(factor, ":", extent));
    left /= extent;
    if (left == 1) {
      left = 0;
      ++dim;
      Skip();
    }
  }
  std::string ToString() const {
    std::vector<std::string> text;
    for (const std::vector<std::string>& factors : dims) {
      text.push_back(factors.empty()       ? "1"
                     : factors.size() == 1 ? factors[0]
                                           : absl::StrCat("(", absl::StrJoin(factors, " "), ")"));
    }
    return JoinDims(text);
  }

  Shape extents;
  std::vector<std::vector<std::string>> dims;
  size_t dim = 0;
  int64_t left = 0;  // extent of `dim` without the factors taken; 0: not begun
};

// The common factors of two shapes of equal size, major first: [6,4] -> [24] is "a b -> (a b)" and
// [12,2] -> [3,8] is "(a b) c -> a (b c)". Where the rest of two dims have no common factor ([6,4]
// -> [4,6] after the 2), what remains until their ends meet again is whole on both sides.
std::string ReshapeRule(const Shape& from, const Shape& to) {
  if (NumElements(from) == 0) {
    const std::string in = FactorNames(from.size());
    const std::string out = FactorNames(to.size(), from.size());
    return absl::StrCat(in, " -> ", out, " ; whole ", FactorNames(from.size() + to.size()));
  }
  ReshapeSide in(from);
  ReshapeSide out(to);
  std::vector<std::string> whole;
  size_t count = 0;
  while (in.dim < from.size() && out.dim < to.size()) {
    const int64_t common = std::gcd(in.left, out.left);
    if (common > 1) {
      const std::string name = FactorName(count++);
      in.Take(name, common);
      out.Take(name, common);
      continue;
    }
    // Read both sides on until their products agree.
    int64_t in_product = 1;
    int64_t out_product = 1;
    do {
      ReshapeSide& behind = in_product <= out_product ? in : out;
      (in_product <= out_product ? in_product : out_product) *= behind.left;
      whole.push_back(FactorName(count++));
      behind.Take(whole.back(), behind.left);
    } while (in_product != out_product);
  }
  std::string rule = absl::StrCat(in.ToString(), " -> ", out.ToString());
  if (!whole.empty()) absl::StrAppend(&rule, " ; whole ", absl::StrJoin(whole, " "));
  return rule + " ; linear";
}

OpDef Reshape() {
  return OpDef("reshape")
      .Doc("The same elements in row-major order under another shape. Moves no bytes.")
      .Type("T", AnyDType())
      .In("x", "T", "any shape")
      .Out("y", "T", "shape as the attribute says")
      .Attr("shape", "ints", std::nullopt,
            "the new shape; its product is the number of elements of x")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        const TensorType& x = op.inputs[0];
        const Shape& shape = op.attrs.Ints("shape");
        const std::optional<int64_t> elements = CheckedNumElements(shape);
        if (!elements.has_value() || *elements != NumElements(x.shape)) {
          return MakeError(
              ErrorKind::kShape,
              absl::StrCat("reshape: x is ", x.ToString(), " with ", NumElements(x.shape),
                           " elements and cannot become ", ToString(shape),
                           elements.has_value() ? absl::StrCat(" with ", *elements) : "",
                           ": the product of the extents must stay; one extent may be -1"));
        }
        return Shapes{shape};
      })
      .Sharding(
          [](const OpContext& op) { return ReshapeRule(op.inputs[0].shape, op.outputs[0].shape); })
      .Grad(Grads({[](GradBuilder& g) {
        return g.Op("reshape", {g.dout(0)}, {{"shape", g.type(g.in(0)).shape}});
      }}))
      .Cost(NoCost())
      .Localize(LocalShapeOfOutput())
      .View();
}

absl::StatusOr<Shapes> PermuteShape(const OpContext& op) {
  const TensorType& x = op.inputs[0];
  const std::vector<int64_t>& dims = op.attrs.Ints("dims");
  std::vector<int64_t> sorted = dims;
  std::sort(sorted.begin(), sorted.end());
  std::vector<int64_t> expected(x.shape.size());
  std::iota(expected.begin(), expected.end(), 0);
  if (sorted != expected) {
    return MakeError(ErrorKind::kShape,
                     absl::StrCat("permute: x is ", x.ToString(), " and dims are ", ToString(dims),
                                  ": name each of its ", x.shape.size(), " dims once"));
  }
  Shape y;
  for (const int64_t dim : dims) y.push_back(x.shape[dim]);
  return Shapes{y};
}

OpDef Permute() {
  return OpDef("permute")
      .Doc("Dims in another order: dim i of y is dim dims[i] of x.")
      .Type("T", AnyDType())
      .In("x", "T", "any shape")
      .Out("y", "T", "y.shape[i] = x.shape[dims[i]]")
      .Attr("dims", "ints", std::nullopt, "a permutation of 0 .. rank - 1")
      .Shape(PermuteShape)
      .Sharding([](const OpContext& op) {
        std::vector<std::string> out;
        for (int64_t dim : op.attrs.Ints("dims")) out.push_back(FactorName(dim));
        return absl::StrCat(FactorNames(op.inputs[0].shape.size()), " -> ", JoinDims(out),
                            " ; linear");
      })
      .Grad(Grads({[](GradBuilder& g) {
        const std::vector<int64_t>& dims = g.attrs().Ints("dims");
        std::vector<int64_t> inverse(dims.size());
        for (size_t i = 0; i < dims.size(); ++i) inverse[dims[i]] = static_cast<int64_t>(i);
        return g.Op("permute", {g.dout(0)}, {{"dims", inverse}});
      }}))
      .Cost(FlopsPerElement(0));
}

OpDef BroadcastTo() {
  return OpDef("broadcast_to")
      .Doc("x repeated along new leading dims and along dims of extent 1.")
      .Type("T", AnyDType())
      .In("x", "T", "a shape that broadcasts to `shape`, dims aligned from the right")
      .Out("y", "T", "shape as the attribute says")
      .Attr("shape", "ints", std::nullopt, "the target shape")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        const TensorType& x = op.inputs[0];
        const Shape& shape = op.attrs.Ints("shape");
        bool fits = x.shape.size() <= shape.size();
        for (size_t i = 1; fits && i <= x.shape.size(); ++i) {
          const int64_t extent = x.shape[x.shape.size() - i];
          fits = extent == 1 || extent == shape[shape.size() - i];
        }
        if (!fits || !CheckedNumElements(shape).has_value()) {
          return MakeError(ErrorKind::kShape,
                           absl::StrCat("broadcast_to: x is ", x.ToString(), " and cannot become ",
                                        ToString(shape),
                                        ": from the right, each extent of x must "
                                        "be 1 or that of the target"));
        }
        return Shapes{shape};
      })
      .Sharding([](const OpContext& op) {
        const Shape& x = op.inputs[0].shape;
        const Shape& y = op.outputs[0].shape;
        const size_t leading = y.size() - x.size();
        std::vector<std::string> in;
        for (size_t i = 0; i < x.size(); ++i) {
          in.push_back(x[i] == y[leading + i] ? FactorName(leading + i) : "1");
        }
        return absl::StrCat(JoinDims(in), " -> ", FactorNames(y.size()), " ; linear");
      })
      .Grad(Grads({PassGradient}))
      .Cost(FlopsPerElement(0))
      .Localize(LocalShapeOfOutput());
}

absl::Status CatGrad(GradBuilder& g) {
  const int64_t dim = g.attrs().Int("dim");
  int64_t start = 0;
  int64_t left = g.type(g.out(0)).shape[dim];
  for (int i = 0; left > 0; ++i) {
    const int64_t extent = g.type(g.in(i)).shape[dim];
    if (extent > 0 && g.NeedsGrad(i)) {
      g.SetGrad(
          i,
          g.Op("slice", {g.dout(0)},
               {{"dim", dim}, {"start", start}, {"stop", start + extent}, {"step", int64_t{1}}}));
    }
    start += extent;
    left -= extent;
  }
  return absl::OkStatus();
}

OpDef Cat() {
  return OpDef("cat")
      .Doc("Tensors one after the other along a dim.")
      .Type("T", AnyDType())
      .VariadicIn("tensors", "T", "one or more; shapes equal except in `dim`")
      .Out("y", "T", "extent of `dim` is the sum, the rest as the inputs")
      .Attr("dim", "int", std::nullopt, "the dim")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        const int64_t dim = op.attrs.Int("dim");
        TensorType result = op.inputs[0];
        OF_RETURN_IF_ERROR(CheckDim("cat", "tensors[0]", result, dim));
        for (size_t i = 1; i < op.inputs.size(); ++i) {
          const std::string name = absl::StrCat("tensors[", i, "]");
          Shape expected = op.inputs[0].shape;
          if (op.inputs[i].shape.size() == expected.size()) {
            expected[dim] = op.inputs[i].shape[dim];
            if (__builtin_add_overflow(result.shape[dim], expected[dim], &result.shape[dim])) {
              result.shape[dim] = -1;
            }
          }
          OF_RETURN_IF_ERROR(CheckShape("cat", name, op.inputs[i], expected,
                                        absl::StrCat("that of tensors[0] in every dim but ", dim)));
        }
        return Shapes{std::move(result.shape)};
      })
      .Sharding([](const OpContext& op) {
        const size_t rank = op.outputs[0].shape.size();
        const size_t dim = static_cast<size_t>(op.attrs.Int("dim"));
        std::vector<std::string> tensors;
        std::string whole = FactorName(dim);
        for (size_t i = 0; i < op.inputs.size(); ++i) {
          std::vector<std::string> dims;
          for (size_t d = 0; d < rank; ++d) dims.push_back(FactorName(d == dim ? rank + i : d));
          absl::StrAppend(&whole, " ", dims[dim]);
          tensors.push_back(JoinDims(dims));
        }
        return absl::StrCat(absl::StrJoin(tensors, ", "), " -> ", FactorNames(rank), " ; whole ",
                            whole, " ; linear");
      })
      .Grad(CatGrad)
      .Cost(FlopsPerElement(0));
}

int64_t SliceExtent(int64_t start, int64_t stop, int64_t step) {
  return (stop - start + step - 1) / step;
}

absl::Status CheckSlice(const std::string& op_name, const Attrs& attrs, int64_t extent) {
  const int64_t start = attrs.Int("start");
  const int64_t stop = attrs.Int("stop");
  const int64_t step = attrs.Int("step");
  if (start >= 0 && start <= stop && stop <= extent && step >= 1 &&
      step <= std::max<int64_t>(extent, 1)) {
    return absl::OkStatus();
  }
  return MakeError(ErrorKind::kShape,
                   absl::StrCat(op_name, ": ", start, ":", stop, ":", step, " of dim ",
                                attrs.Int("dim"), " with extent ", extent,
                                ": needs 0 <= start <= stop <= extent and 1 <= step <= extent"));
}

bool IsFullSlice(const Attrs& attrs, int64_t extent) {
  return attrs.Int("start") == 0 && attrs.Int("stop") == extent && attrs.Int("step") == 1;
}

// The cut dim stays whole, unless nothing is cut off.
std::string SliceRule(const Attrs& attrs, const Shape& in, const Shape& out, int64_t extent) {
  const size_t dim = static_cast<size_t>(attrs.Int("dim"));
  if (IsFullSlice(attrs, extent)) {
    return absl::StrCat(FactorNames(in.size()), " -> ", FactorNames(out.size()), " ; linear");
  }
  std::vector<std::string> to;
  for (size_t i = 0; i < out.size(); ++i) to.push_back(FactorName(i == dim ? in.size() : i));
  return absl::StrCat(FactorNames(in.size()), " -> ", JoinDims(to), " ; whole ", FactorName(dim),
                      " ", to[dim], " ; linear");
}

OpDef SliceOp() {
  return OpDef("slice")
      .Doc("Every step-th element of a dim from start up to stop.")
      .Type("T", AnyDType())
      .In("x", "T", "any shape of rank >= 1")
      .Out("y", "T", "extent of `dim` is ceil((stop - start) / step), the rest as x")
      .Attr("dim", "int", std::nullopt, "the dim that is cut")
      .Attr("start", "int", std::nullopt, "first index, >= 0")
      .Attr("stop", "int", std::nullopt, "end, not included, <= extent")
      .Attr("step", "int", int64_t{1}, ">= 1")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        const int64_t dim = op.attrs.Int("dim");
        TensorType y = op.inputs[0];
        OF_RETURN_IF_ERROR(CheckDim("slice", "x", y, dim));
        OF_RETURN_IF_ERROR(CheckSlice("slice", op.attrs, y.shape[dim]));
        y.shape[dim] =
            SliceExtent(op.attrs.Int("start"), op.attrs.Int("stop"), op.attrs.Int("step"));
        return Shapes{std::move(y.shape)};
      })
      .Sharding([](const OpContext& op) {
        const Shape& x = op.inputs[0].shape;
        return SliceRule(op.attrs, x, op.outputs[0].shape, x[op.attrs.Int("dim")]);
      })
      .Grad(Grads({[](GradBuilder& g) {
        Attrs attrs = g.attrs();
        attrs.Set("extent", g.type(g.in(0)).shape[attrs.Int("dim")]);
        return g.Op("slice_grad", {g.dout(0)}, attrs);
      }}))
      .Cost([](const OpContext& op) {
        return OpCost{0, 2 * op.outputs[0].bytes()};
      })
      // Split along the dim only where the slice is the whole of it: then it stays the whole of the
      // shard.
      .Localize([](const Attrs& attrs, const std::vector<TensorType>& local_inputs,
                   const std::vector<TensorType>& local_outputs) {
        Attrs local = attrs;
        const int64_t dim = attrs.Int("dim");
        const int64_t extent = local_inputs[0].shape[dim];
        const bool whole = attrs.Int("start") == 0 && attrs.Int("step") == 1 &&
                           local_outputs[0].shape[dim] == extent;
        if (whole) local.Set("stop", extent);
        return local;
      });
}

OpDef SliceGrad() {
  return OpDef("slice_grad")
      .Doc("Gradient of slice: dy at the elements that were taken, 0 elsewhere.")
      .Type("T", AnyNumber())
      .In("dy", "T", "gradient of the slice")
      .Out("dx", "T", "extent of `dim` as the attribute says, the rest as dy")
      .Attr("dim", "int", std::nullopt, "the dim that was cut")
      .Attr("start", "int", std::nullopt, "first index, >= 0")
      .Attr("stop", "int", std::nullopt, "end, not included, <= extent")
      .Attr("step", "int", int64_t{1}, ">= 1")
      .Attr("extent", "int", std::nullopt, "extent of the dim before the slice")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        const int64_t dim = op.attrs.Int("dim");
        const int64_t extent = op.attrs.Int("extent");
        TensorType dx = op.inputs[0];
        OF_RETURN_IF_ERROR(CheckDim("slice_grad", "dy", dx, dim));
        OF_RETURN_IF_ERROR(CheckSlice("slice_grad", op.attrs, extent));
        dx.shape[dim] =
            SliceExtent(op.attrs.Int("start"), op.attrs.Int("stop"), op.attrs.Int("step"));
        OF_RETURN_IF_ERROR(
            CheckShape("slice_grad", "dy", op.inputs[0], dx.shape, "that of the slice"));
        dx.shape[dim] = extent;
        return Shapes{std::move(dx.shape)};
      })
      .Sharding([](const OpContext& op) {
        return SliceRule(op.attrs, op.inputs[0].shape, op.outputs[0].shape, op.attrs.Int("extent"));
      })
      .Grad(Grads({[](GradBuilder& g) {
        Attrs attrs = g.attrs();
        attrs.Remove("extent");
        return g.Op("slice", {g.dout(0)}, attrs);
      }}))
      .Cost(FlopsPerElement(0))
      .Localize([](const Attrs& attrs, const std::vector<TensorType>& local_inputs,
                   const std::vector<TensorType>& local_outputs) {
        Attrs local = attrs;
        const int64_t dim = attrs.Int("dim");
        const int64_t extent = local_outputs[0].shape[dim];
        const bool whole = attrs.Int("start") == 0 && attrs.Int("step") == 1 &&
                           local_inputs[0].shape[dim] == extent;
        if (whole) local.Set("stop", extent);
        local.Set("extent", extent);
        return local;
      });
}

}  // namespace

std::vector<OpDef> ShapeOps() {
  return {Reshape(), Permute(), BroadcastTo(), Cat(), SliceOp(), SliceGrad()};
}

}  // namespace oneflow
