// conv2d and its two gradients, on channels-last images: NHWC with weights [out, in / groups, kh,
// kw]; and conv2d_sums, which the compiler makes of conv2d and bn_sample_sums.
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

constexpr char kImage[] = "[n, h, w, channels]";
constexpr char kWeight[] = "[out, in / groups, kh, kw]";

// What convolutions have kernels for.
DTypeSet ProductFloat() { return {DType::kF32, DType::kBF16, DType::kF16}; }

OpDef& GeometryAttrs(OpDef& def) {
  return def.Attr("stride", "ints", std::vector<int64_t>{1, 1}, "[height, width], >= 1")
      .Attr("padding", "ints", std::vector<int64_t>{0, 0}, "zeros on each side, [height, width]")
      .Attr("dilation", "ints", std::vector<int64_t>{1, 1}, "[height, width], >= 1")
      .Attr("groups", "int", int64_t{1}, "channels are cut into so many independent groups");
}

// The attributes that conv2d and its gradients share.
Attrs GeometryOf(const Attrs& attrs) {
  Attrs geometry = attrs;
  for (const char* own : {"h", "w", "kh", "kw"}) geometry.Remove(own);
  return geometry;
}

// Channels and groups fit: image has groups * weight.shape[1] channels, weight a multiple of
// groups.
absl::Status CheckChannels(const std::string& op_name, int64_t groups, int64_t in_channels,
                           int64_t out_channels, int64_t per_group) {
  if (groups >= 1 && in_channels % groups == 0 && out_channels % groups == 0 &&
      in_channels / groups == per_group) {
    return absl::OkStatus();
  }
  return MakeError(
      ErrorKind::kShape,
      absl::StrCat(op_name, ": the image has ", in_channels, " channels, the weight is for ",
                   per_group, " per group and makes ", out_channels, ", with groups = ", groups,
                   ": image channels must be groups times the weight's, and both channel counts "
                   "multiples of groups. Check in_channels and groups of the layer"));
}

absl::StatusOr<Shapes> ConvShape(const OpContext& op) {
  const TensorType& x = op.inputs[0];
  const TensorType& weight = op.inputs[1];
  OF_RETURN_IF_ERROR(CheckRank("conv2d", "x", x, 4, kImage));
  OF_RETURN_IF_ERROR(CheckRank("conv2d", "weight", weight, 4, kWeight));
  OF_RETURN_IF_ERROR(CheckChannels("conv2d", op.attrs.Int("groups"), x.shape[3], weight.shape[0],
                                   weight.shape[1]));
  OF_ASSIGN_OR_RETURN(Window window,
                      WindowFromAttrs("conv2d", op.attrs, {weight.shape[2], weight.shape[3]}));
  OF_ASSIGN_OR_RETURN(std::vector<int64_t> extents, WindowExtents("conv2d", window, x));
  return Shapes{{x.shape[0], extents[0], extents[1], weight.shape[0]}};
}

absl::StatusOr<Shapes> GradInputShape(const OpContext& op) {
  const std::string name = "conv2d_grad_input";
  const TensorType& dy = op.inputs[0];
  const TensorType& weight = op.inputs[1];
  const int64_t groups = op.attrs.Int("groups");
  OF_RETURN_IF_ERROR(CheckRank(name, "dy", dy, 4, kImage));
  OF_RETURN_IF_ERROR(CheckRank(name, "weight", weight, 4, kWeight));
  int64_t channels = 0;
  if (__builtin_mul_overflow(groups, weight.shape[1], &channels)) channels = -1;
  OF_RETURN_IF_ERROR(CheckChannels(name, groups, channels, weight.shape[0], weight.shape[1]));
  const int64_t h = op.attrs.Int("h");
  const int64_t w = op.attrs.Int("w");
  constexpr int64_t kMost = int64_t{1} << 40;
  if (h < 0 || w < 0 || h > kMost || w > kMost) {
    return MakeError(ErrorKind::kShape, absl::StrCat(name, ": bad image size ", h, " x ", w));
  }
  const TensorType x{dy.dtype, {dy.shape[0], h, w, channels}};
  OF_ASSIGN_OR_RETURN(Window window,
                      WindowFromAttrs(name, op.attrs, {weight.shape[2], weight.shape[3]}));
  OF_ASSIGN_OR_RETURN(std::vector<int64_t> extents, WindowExtents(name, window, x));
  OF_RETURN_IF_ERROR(CheckShape(name, "dy", dy,
                                {dy.shape[0], extents[0], extents[1], weight.shape[0]},
                                "that of conv2d's result"));
  return Shapes{x.shape};
}

absl::StatusOr<Shapes> GradWeightShape(const OpContext& op) {
  const std::string name = "conv2d_grad_weight";
  const TensorType& x = op.inputs[0];
  const TensorType& dy = op.inputs[1];
  const int64_t groups = op.attrs.Int("groups");
  OF_RETURN_IF_ERROR(CheckRank(name, "x", x, 4, kImage));
  OF_RETURN_IF_ERROR(CheckRank(name, "dy", dy, 4, kImage));
  const int64_t per_group = groups >= 1 ? x.shape[3] / groups : -1;
  OF_RETURN_IF_ERROR(CheckChannels(name, groups, x.shape[3], dy.shape[3], per_group));
  OF_ASSIGN_OR_RETURN(Window window,
                      WindowFromAttrs(name, op.attrs, {op.attrs.Int("kh"), op.attrs.Int("kw")}));
  OF_ASSIGN_OR_RETURN(std::vector<int64_t> extents, WindowExtents(name, window, x));
  OF_RETURN_IF_ERROR(CheckShape(name, "dy", dy, {x.shape[0], extents[0], extents[1], dy.shape[3]},
                                "that of conv2d's result"));
  return Shapes{{dy.shape[3], per_group, window.kernel[0], window.kernel[1]}};
}

// Image channels c or (g c), output channels k or (g k); only whole groups are split where there
// are any.
std::string ConvRule(int64_t groups, const std::string& format) {
  std::string rule;
  for (char letter : format) {
    if (letter == 'C') {
      rule += groups == 1 ? "c" : "(g c)";
    } else if (letter == 'K') {
      rule += groups == 1 ? "k" : "(g k)";
    } else {
      rule += letter;
    }
  }
  // The weight's second dim alone tells c and k: the number of groups comes from the attribute.
  if (groups != 1) rule.replace(rule.find("(g"), 2, absl::StrCat("(g:", groups));
  return rule + " ; whole h w r s p q ; multilinear";
}

// The samples are parts of m successive ones, of which each lies on one device whole, as do the channels that a
// result is summed over: squares about a mean are no sums of anything less.
std::string ConvSumsRule(const OpContext& op) {
  const bool one = op.attrs.Int("parts") == 1;
  const std::string samples = one ? "m" : "(b m)", part = one ? "1" : "b";
  const std::string format =
      absl::StrCat(samples, " h w C, K c r s -> ", samples, " p q K, ", part, " K, ", part, " K");
  const std::string rule = ConvRule(op.attrs.Int("groups"), format);
  return absl::StrCat(rule.substr(0, rule.find(" ; ")), " ; whole m c h w r s p q");
}

// A shard along the channels holds whole groups: their local number is what the local shapes say.
LocalizeFn LocalGroups(std::function<int64_t(const std::vector<TensorType>& inputs,
                                             const std::vector<TensorType>& outputs)>
                           local_groups) {
  return [local_groups](const Attrs& attrs, const std::vector<TensorType>& local_inputs,
                        const std::vector<TensorType>& local_outputs) {
    Attrs local = attrs;
    local.Set("groups", local_groups(local_inputs, local_outputs));
    return local;
  };
}

int64_t Quotient(int64_t channels, int64_t per_group) {
  return per_group == 0 ? 1 : std::max<int64_t>(channels / per_group, 1);
}

// 2 flops per multiply-add: each element of the weight meets each position of the result.
OpCost ConvCost(const OpContext& op, const TensorType& y, const TensorType& weight) {
  const int64_t per_output = weight.shape[0] == 0 ? 0 : NumElements(weight.shape) / weight.shape[0];
  return {2 * NumElements(y.shape) * per_output, BytesOf(op)};
}

OpDef Conv2d() {
  OpDef def("conv2d");
  def.Doc(
         "2-D convolution (cross-correlation, as everywhere) of channels-last images. Accumulates "
         "in float32. A bias is added by `add`.")
      .Type("T", ProductFloat())
      .In("x", "T", "images [n, h, w, in]")
      .In("weight", "T", "[out, in / groups, kh, kw]")
      .Out("y", "T",
           "[n, p, q, out] with p = (h + 2 padding - dilation (kh - 1) - 1) / stride + 1");
  GeometryAttrs(def)
      .Shape(ConvShape)
      .Sharding([](const OpContext& op) {
        const int64_t groups = op.attrs.Int("groups");
        return ConvRule(groups, "n h w C, K c r s -> n p q K ; sum c");
      })
      .Grad([](GradBuilder& g) {
        if (g.NeedsGrad(0)) {
          Attrs attrs = g.attrs();
          const Shape& x = g.type(g.in(0)).shape;
          attrs.Set("h", x[1]);
          attrs.Set("w", x[2]);
          g.SetGrad(0, g.Op("conv2d_grad_input", {g.dout(0), g.in(1)}, attrs));
        }
        if (g.NeedsGrad(1)) {
          Attrs attrs = g.attrs();
          const Shape& weight = g.type(g.in(1)).shape;
          attrs.Set("kh", weight[2]);
          attrs.Set("kw", weight[3]);
          g.SetGrad(1, g.Op("conv2d_grad_weight", {g.in(0), g.dout(0)}, attrs));
        }
        return absl::OkStatus();
      })
      .Cost([](const OpContext& op) { return ConvCost(op, op.outputs[0], op.inputs[1]); })
      .Localize(LocalGroups([](const auto& inputs, const auto&) {
        return Quotient(inputs[0].shape[3], inputs[1].shape[1]);
      }));
  return def;
}

OpDef Conv2dSums() {
  OpDef def("conv2d_sums");
  def.Doc(
         "conv2d, and of each channel of each part of its result the sum, and the sum of the "
         "squares about its mean: "
         "what bn_sample_sums has of a sample. A part is n / parts successive samples. Made by the "
         "compiler of a "
         "conv2d and the bn_sample_sums behind it.")
      .Type("T", ProductFloat())
      .Type("S", "T", StatsType)
      .In("x", "T", "images [n, h, w, in]")
      .In("weight", "T", "[out, in / groups, kh, kw]")
      .Out("y", "T", "[n, p, q, out], as conv2d's")
      .Out("sums", "S", "[parts, out]")
      .Out("squares", "S", "[parts, out]");
  GeometryAttrs(def)
      .Attr("parts", "int", int64_t{1}, "into which the samples are cut, >= 1")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_ASSIGN_OR_RETURN(Shapes shapes, ConvShape(op));
        const int64_t parts = op.attrs.Int("parts");
        if (parts < 1 || shapes[0][0] % parts != 0) {
          return MakeError(ErrorKind::kShape,
                           absl::StrCat("conv2d_sums: ", shapes[0][0], " samples are no ", parts,
                                        " equal parts"));
        }
        const Shape sums = {parts, shapes[0][3]};
        shapes.push_back(sums);
        shapes.push_back(sums);
        return shapes;
      })
      .Sharding(ConvSumsRule)
      .NotDifferentiable("it is made behind the gradients")
      .Internal()
      .Cost([](const OpContext& op) {
        OpCost cost = ConvCost(op, op.outputs[0], op.inputs[1]);
        cost.flops += 4 * NumElements(op.outputs[0].shape);
        return cost;
      })
      // The parts of a shard are those that its sums say.
      .Localize([](const Attrs& attrs, const std::vector<TensorType>& local_inputs,
                   const std::vector<TensorType>& local_outputs) {
        Attrs local = attrs;
        local.Set("groups", Quotient(local_inputs[0].shape[3], local_inputs[1].shape[1]));
        local.Set("parts", local_outputs[1].shape[0]);
        return local;
      });
  return def;
}

OpDef ConvGradInput() {
  OpDef def("conv2d_grad_input");
  def.Doc("Gradient of conv2d with respect to its images.")
      .Type("T", ProductFloat())
      .In("dy", "T", "gradient of the result [n, p, q, out]")
      .In("weight", "T", "[out, in / groups, kh, kw]")
      .Out("dx", "T", "[n, h, w, in]");
  GeometryAttrs(def)
      .Attr("h", "int", std::nullopt, "height of the images")
      .Attr("w", "int", std::nullopt, "width of the images")
      .Shape(GradInputShape)
      .Sharding([](const OpContext& op) {
        const int64_t groups = op.attrs.Int("groups");
        return ConvRule(groups, "n p q K, K c r s -> n h w C ; sum k");
      })
      // dx is linear in dy and in the weight, as the result is in x and in the weight.
      .Grad([](GradBuilder& g) {
        if (g.NeedsGrad(0)) {
          g.SetGrad(0, g.Op("conv2d", {g.dout(0), g.in(1)}, GeometryOf(g.attrs())));
        }
        if (g.NeedsGrad(1)) {
          Attrs attrs = GeometryOf(g.attrs());
          const Shape& weight = g.type(g.in(1)).shape;
          attrs.Set("kh", weight[2]);
          attrs.Set("kw", weight[3]);
          g.SetGrad(1, g.Op("conv2d_grad_weight", {g.dout(0), g.in(0)}, attrs));
        }
        return absl::OkStatus();
      })
      .Cost([](const OpContext& op) { return ConvCost(op, op.inputs[0], op.inputs[1]); })
      .Localize(LocalGroups([](const auto& inputs, const auto& outputs) {
        return Quotient(outputs[0].shape[3], inputs[1].shape[1]);
      }));
  return def;
}

OpDef ConvGradWeight() {
  OpDef def("conv2d_grad_weight");
  def.Doc("Gradient of conv2d with respect to its weight.")
      .Type("T", ProductFloat())
      .In("x", "T", "images [n, h, w, in]")
      .In("dy", "T", "gradient of the result [n, p, q, out]")
      .Out("dweight", "T", "[out, in / groups, kh, kw]");
  GeometryAttrs(def)
      .Attr("kh", "int", std::nullopt, "height of the kernel")
      .Attr("kw", "int", std::nullopt, "width of the kernel")
      .Shape(GradWeightShape)
      .Sharding([](const OpContext& op) {
        const int64_t groups = op.attrs.Int("groups");
        return ConvRule(groups, "n h w C, n p q K -> K c r s ; sum n");
      })
      // dweight is linear in x and in dy.
      .Grad([](GradBuilder& g) {
        if (g.NeedsGrad(0)) {
          Attrs attrs = GeometryOf(g.attrs());
          const Shape& x = g.type(g.in(0)).shape;
          attrs.Set("h", x[1]);
          attrs.Set("w", x[2]);
          g.SetGrad(0, g.Op("conv2d_grad_input", {g.in(1), g.dout(0)}, attrs));
        }
        if (g.NeedsGrad(1)) {
          g.SetGrad(1, g.Op("conv2d", {g.in(0), g.dout(0)}, GeometryOf(g.attrs())));
        }
        return absl::OkStatus();
      })
      .Cost([](const OpContext& op) { return ConvCost(op, op.inputs[1], op.outputs[0]); })
      .Localize(LocalGroups([](const auto& inputs, const auto& outputs) {
        return Quotient(inputs[0].shape[3], outputs[0].shape[1]);
      }));
  return def;
}

}  // namespace

std::vector<OpDef> ConvolutionOps() {
  return {Conv2d(), Conv2dSums(), ConvGradInput(), ConvGradWeight()};
}

}  // namespace oneflow
