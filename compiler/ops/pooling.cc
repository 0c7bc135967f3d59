// Pooling of channels-last images and its gradients.
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "compiler/ops/cost.h"
#include "compiler/ops/families.h"
#include "compiler/ops/gradient.h"
#include "compiler/ops/shape_functions.h"
#include "compiler/ops/window.h"

namespace oneflow {
namespace {

constexpr char kImage[] = "[n, h, w, c]";

OpDef& WindowAttrs(OpDef& def) {
  return def.Attr("kernel", "ints", std::nullopt, "[height, width], >= 1")
      .Attr("stride", "ints", std::nullopt, "[height, width], >= 1")
      .Attr("padding", "ints", std::vector<int64_t>{0, 0},
            "on each side, [height, width], at most half the kernel");
}

// Shape of the pooled image.
absl::StatusOr<TensorType> Pooled(const std::string& name, const Attrs& attrs,
                                  const TensorType& x) {
  OF_RETURN_IF_ERROR(CheckRank(name, "x", x, 4, kImage));
  OF_ASSIGN_OR_RETURN(Window window, WindowFromAttrs(name, attrs, attrs.Ints("kernel")));
  for (size_t i = 0; i < 2; ++i) {
    if (2 * window.padding[i] > window.kernel[i]) {
      return MakeError(ErrorKind::kShape,
                       absl::StrCat(name, ": padding ", ToString(window.padding),
                                    " is more than half of the kernel ", ToString(window.kernel),
                                    ": windows would lie outside of the image"));
    }
  }
  OF_ASSIGN_OR_RETURN(std::vector<int64_t> extents, WindowExtents(name, window, x));
  return TensorType{x.dtype, {x.shape[0], extents[0], extents[1], x.shape[3]}};
}

ShapeFn PoolShape(const std::string& name) {
  return [name](const OpContext& op) -> absl::StatusOr<Shapes> {
    OF_ASSIGN_OR_RETURN(TensorType y, Pooled(name, op.attrs, op.inputs[0]));
    return Shapes{std::move(y.shape)};
  };
}

// Each element of the result reads one window.
OpCost PoolCost(const OpContext& op, const TensorType& pooled) {
  const std::vector<int64_t>& kernel = op.attrs.Ints("kernel");
  return {NumElements(pooled.shape) * kernel[0] * kernel[1], BytesOf(op)};
}

OpDef MaxPool() {
  OpDef def("max_pool2d");
  def.Doc("Largest element of each window; padding counts as -inf.")
      .Type("T", AnyFloat())
      .In("x", "T", "images [n, h, w, c]")
      .Out("y", "T", "[n, p, q, c] with p = (h + 2 padding - kernel) / stride + 1");
  WindowAttrs(def)
      .Shape(PoolShape("max_pool2d"))
      .Sharding("n h w c -> n p q c ; whole h w p q")
      .Grad(Grads({[](GradBuilder& g) {
        return g.Op("max_pool2d_grad", {g.in(0), g.out(0), g.dout(0)}, g.attrs());
      }}))
      .Cost([](const OpContext& op) { return PoolCost(op, op.outputs[0]); });
  return def;
}

OpDef MaxPoolGrad() {
  OpDef def("max_pool2d_grad");
  def.Doc("Gradient of max_pool2d: dy goes to the first largest element of its window, row by row.")
      .Type("T", AnyFloat())
      .In("x", "T", "images [n, h, w, c]")
      .In("y", "T", "the pooled images [n, p, q, c]")
      .In("dy", "T", "gradient of y")
      .Out("dx", "T", "as x");
  WindowAttrs(def)
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        const std::string name = "max_pool2d_grad";
        OF_ASSIGN_OR_RETURN(TensorType y, Pooled(name, op.attrs, op.inputs[0]));
        OF_RETURN_IF_ERROR(CheckShape(name, "y", op.inputs[1], y.shape, "that of the pooled x"));
        OF_RETURN_IF_ERROR(CheckShape(name, "dy", op.inputs[2], y.shape, "that of y"));
        return Shapes{op.inputs[0].shape};
      })
      .Sharding("n h w c, n p q c, n p q c -> n h w c ; whole h w p q ; linear 2")
      .NotDifferentiable("it is a gradient itself: second derivatives are not supported")
      .Cost([](const OpContext& op) { return PoolCost(op, op.inputs[1]); });
  return def;
}

OpDef AvgPool() {
  OpDef def("avg_pool2d");
  def.Doc(
         "Mean of each window; padding counts as zeros that are part of the mean, as PyTorch's "
         "count_include_pad=True has it.")
      .Type("T", AnyFloat())
      .In("x", "T", "images [n, h, w, c]")
      .Out("y", "T", "[n, p, q, c] with p = (h + 2 padding - kernel) / stride + 1");
  WindowAttrs(def)
      .Shape(PoolShape("avg_pool2d"))
      .Sharding("n h w c -> n p q c ; whole h w p q ; linear")
      .Grad(Grads({[](GradBuilder& g) {
        Attrs attrs = g.attrs();
        const Shape& x = g.type(g.in(0)).shape;
        attrs.Set("h", x[1]);
        attrs.Set("w", x[2]);
        return g.Op("avg_pool2d_grad", {g.dout(0)}, attrs);
      }}))
      .Cost([](const OpContext& op) { return PoolCost(op, op.outputs[0]); });
  return def;
}

OpDef AvgPoolGrad() {
  OpDef def("avg_pool2d_grad");
  def.Doc("Gradient of avg_pool2d: each element of dy is dealt out evenly over its window.")
      .Type("T", AnyFloat())
      .In("dy", "T", "gradient of the pooled images [n, p, q, c]")
      .Out("dx", "T", "[n, h, w, c]");
  WindowAttrs(def)
      .Attr("h", "int", std::nullopt, "height of the images")
      .Attr("w", "int", std::nullopt, "width of the images")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        const std::string name = "avg_pool2d_grad";
        const TensorType& dy = op.inputs[0];
        OF_RETURN_IF_ERROR(CheckRank(name, "dy", dy, 4, kImage));
        const int64_t h = op.attrs.Int("h");
        const int64_t w = op.attrs.Int("w");
        constexpr int64_t kMost = int64_t{1} << 40;
        if (h < 0 || w < 0 || h > kMost || w > kMost) {
          return MakeError(ErrorKind::kShape, absl::StrCat(name, ": bad image size ", h, " x ", w));
        }
        TensorType dx{dy.dtype, {dy.shape[0], h, w, dy.shape[3]}};
        OF_ASSIGN_OR_RETURN(TensorType y, Pooled(name, op.attrs, dx));
        OF_RETURN_IF_ERROR(CheckShape(name, "dy", dy, y.shape, "that of the pooled images"));
        return Shapes{std::move(dx.shape)};
      })
      .Sharding("n p q c -> n h w c ; whole h w p q ; linear")
      .Grad(Grads({[](GradBuilder& g) {
        Attrs attrs = g.attrs();
        attrs.Remove("h");
        attrs.Remove("w");
        return g.Op("avg_pool2d", {g.dout(0)}, attrs);
      }}))
      .Cost([](const OpContext& op) { return PoolCost(op, op.inputs[0]); });
  return def;
}

}  // namespace

std::vector<OpDef> PoolingOps() { return {MaxPool(), MaxPoolGrad(), AvgPool(), AvgPoolGrad()}; }

}  // namespace oneflow
