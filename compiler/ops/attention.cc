// Attention as one op: scores of a block of queries and a block of keys live in a cache and never in
// memory. Operands lie as a linear layer's reshape gives them, [batch, tokens, heads, width], so that
// no permute stands around the op, or, `packed`, all three as one layer for them gives them.
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "compiler/ops/cost.h"
#include "compiler/ops/families.h"
#include "compiler/ops/gradient.h"
#include "compiler/ops/shape_functions.h"
#include "plan/packed_heads.h"

namespace oneflow {
namespace {

// The sums over keys are kept in f32, those of f64 in f64.
DType SumType(DType dtype) { return dtype == DType::kF64 ? DType::kF64 : DType::kF32; }

// Places of the optional inputs: attention, and attention_grad behind out, lse and dout.
struct Places {
  size_t step, mask, dlse;
};
constexpr Places kForward = {3, 4, 5};
constexpr Places kBackward = {6, 7, 8};

struct Extents {
  int64_t batch, queries, keys, heads, key_heads, width, value_width;
};
Extents ExtentsOf(const OpContext& op) {
  const Shape& q = op.inputs[0].shape;
  const Shape& k = op.inputs[1].shape;
  if (const std::optional<PackedHeads> packed = PackedHeadsOf(op.attrs)) {
    return {q[0], q[1], q[1], packed->heads, packed->key_heads, q[3], q[3]};
  }
  return {q[0], q[1], k[1], q[2], k[2], q[3], op.inputs[2].shape[3]};
}

absl::Status CheckOptional(const std::string& name, const OpContext& op, const Places& at) {
  const Extents n = ExtentsOf(op);
  const double p = op.attrs.Float("p");
  if (!(p >= 0.0 && p <= 1.0)) {
    return MakeError(ErrorKind::kError,
                     absl::StrCat(name, ": p is ", p, " but must be a probability from 0 to 1"));
  }
  if (op.inputs.size() > at.step) {
    OF_RETURN_IF_ERROR(CheckRank(name, "step", op.inputs[at.step], 0, "a single number"));
  } else if (p > 0) {
    return MakeError(ErrorKind::kError,
                     absl::StrCat(name, ": dropout with p = ", p,
                                  " draws another mask each step: pass the number of the step"));
  }
  if (op.inputs.size() > at.mask) {
    const TensorType& mask = op.inputs[at.mask];
    OF_RETURN_IF_ERROR(CheckRank(name, "mask", mask, 4, "[batch, heads, queries, keys]"));
    const Shape scores = {n.batch, n.heads, n.queries, n.keys};
    for (size_t d = 0; d < 4; ++d) {
      if (mask.shape[d] == scores[d] || mask.shape[d] == 1) continue;
      return MakeError(ErrorKind::kShape,
                       absl::StrCat(name, ": mask is ", mask.ToString(), " but the scores are ",
                                    ToString(scores),
                                    ": each extent of the mask must be that of the scores or 1"));
    }
  }
  if (op.inputs.size() > at.dlse) {
    OF_RETURN_IF_ERROR(
        CheckShape(name, "dlse", op.inputs[at.dlse], {n.batch, n.heads, n.queries}, "that of lse"));
  }
  return absl::OkStatus();
}

std::string TypesOf(const std::string& name, const OpContext& op) {
  return absl::StrCat(name, ": q is ", op.inputs[0].ToString(), ", k is ", op.inputs[1].ToString(),
                      " and v is ", op.inputs[2].ToString(), ": ");
}

absl::Status CheckPacked(const std::string& name, const OpContext& op) {
  const Shape& all = op.inputs[0].shape;
  const std::optional<PackedHeads> packed = PackedHeadsOf(op.attrs);
  if (packed.has_value() && all[2] == packed->all() && op.inputs[1].shape == all &&
      op.inputs[2].shape == all) {
    return absl::OkStatus();
  }
  return MakeError(ErrorKind::kShape,
                   absl::StrCat(TypesOf(name, op),
                                "`packed` must be where the heads of q, k and v begin in a tensor "
                                "that is all three, and how many q and k have: they must fill it"));
}

absl::Status CheckApart(const std::string& name, const OpContext& op) {
  const Extents n = ExtentsOf(op);
  const auto types = [&] { return TypesOf(name, op); };
  if (op.inputs[1].shape[0] != n.batch || op.inputs[1].shape[3] != n.width) {
    return MakeError(ErrorKind::kShape,
                     absl::StrCat(types(), "q and k must have one batch and one width"));
  }
  if (op.inputs[2].shape[0] != n.batch || op.inputs[2].shape[1] != n.keys ||
      op.inputs[2].shape[2] != n.key_heads) {
    return MakeError(ErrorKind::kShape,
                     absl::StrCat(types(), "v must have the batch, tokens and heads of k"));
  }
  return absl::OkStatus();
}

absl::Status CheckOperands(const std::string& name, const OpContext& op) {
  const char* const layout = "[batch, tokens, heads, width]";
  const char* const names[] = {"q", "k", "v"};
  for (size_t i = 0; i < 3; ++i) {
    OF_RETURN_IF_ERROR(CheckRank(name, names[i], op.inputs[i], 4, layout));
  }
  OF_RETURN_IF_ERROR(IsPacked(op.attrs) ? CheckPacked(name, op) : CheckApart(name, op));
  const Extents n = ExtentsOf(op);
  const auto types = [&] { return TypesOf(name, op); };
  if (n.key_heads == 0 ? n.heads != 0 : n.heads % n.key_heads != 0) {
    return MakeError(ErrorKind::kShape,
                     absl::StrCat(types(), "the heads of k must divide those of q"));
  }
  if (n.width < 1 || n.value_width < 1) {
    return MakeError(ErrorKind::kShape, absl::StrCat(types(), "a head has at least one column"));
  }
  return absl::OkStatus();
}

// How rules name the heads of q: those of a packed call are whole, and no group of them is split.
const char* HeadsOf(const OpContext& op) { return IsPacked(op.attrs) ? "h" : "(g r)"; }

// A mask has the factors of the scores in the dims in which it is not broadcast.
std::string MaskDims(const OpContext& op, const TensorType& mask) {
  const char* const factors[] = {"b", HeadsOf(op), "s", "t"};
  std::string dims;
  for (size_t d = 0; d < 4; ++d) {
    absl::StrAppend(&dims, d == 0 ? "" : " ", mask.shape[d] == 1 ? "1" : factors[d]);
  }
  return dims;
}

std::string OptionalDims(const OpContext& op, const Places& at) {
  std::string rule;
  if (op.inputs.size() > at.step) absl::StrAppend(&rule, ", .");
  if (op.inputs.size() > at.mask) absl::StrAppend(&rule, ", ", MaskDims(op, op.inputs[at.mask]));
  if (op.inputs.size() > at.dlse) absl::StrAppend(&rule, ", b ", HeadsOf(op), " s");
  return rule;
}

// A group of r heads of q shares a head of k and v.
std::string ForwardRule(const OpContext& op) {
  if (IsPacked(op.attrs)) {
    return absl::StrCat("b s p d, b t p d, b t p d", OptionalDims(op, kForward),
                        " -> b s h d, b h s ; whole s t p d h");
  }
  return absl::StrCat("b s (g r) d, b t g d, b t g e", OptionalDims(op, kForward),
                      " -> b s (g r) e, b (g r) s ; whole t d e");
}
std::string BackwardRule(const OpContext& op) {
  const char* const dlse = op.inputs.size() > kBackward.dlse ? " 8" : "";
  if (IsPacked(op.attrs)) {
    return absl::StrCat("b s p d, b t p d, b t p d, b s h d, b h s, b s h d",
                        OptionalDims(op, kBackward), " -> b s p d ; whole s t p d h ; linear 5",
                        dlse);
  }
  return absl::StrCat("b s (g r) d, b t g d, b t g e, b s (g r) e, b (g r) s, b s (g r) e",
                      OptionalDims(op, kBackward),
                      " -> b s (g r) d, b t g d, b t g e ; sum s r ; whole t d e ; linear 5", dlse);
}

// `width` and `value_width`: products over them for each pair of a query and a key.
CostFn Products(int64_t widths, int64_t value_widths) {
  return [=](const OpContext& op) {
    const Extents n = ExtentsOf(op);
    const int64_t pairs =
        n.batch * n.heads * n.queries * n.keys / (op.attrs.Bool("causal") ? 2 : 1);
    const int64_t twice = IsPacked(op.attrs) ? 2 * op.inputs[0].bytes() : 0;  // of one tensor
    return OpCost{pairs * (2 * (widths * n.width + value_widths * n.value_width) + 20),
                  BytesOf(op) - twice};
  };
}

// The gradient of a mask that is added: dscores = p * (dp - sum(dout * out) + dlse), composed, for a
// mask has as many elements as the scores it is for. [b, g, r, ..] are the dims of the parts.
class MaskGradient {
 public:
  explicit MaskGradient(GradBuilder& g) : g_(g) {
    const Shape& q = g.type(g.in(0)).shape;
    const Shape& k = g.type(g.in(1)).shape;
    batch_ = q[0], queries_ = q[1], heads_ = q[2], groups_ = k[2], keys_ = k[1];
    dtype_ = std::string(NameOf(g.type(g.out(1)).dtype));
  }

  ValueId Make() {
    const ValueId mask = g_.in(static_cast<int>(kForward.mask));
    ValueId scores =
        Scalar("mul_scalar", Wide(Pairs(g_.in(0), g_.in(1))), g_.attrs().Float("scale"));
    scores = g_.Op("add", {scores, Wide(mask)});
    // A row that sees nothing has -inf, and -inf less itself would be nan.
    const ValueId lowest = ConstantLike(g_, std::numeric_limits<float>::lowest(), g_.out(1));
    const ValueId lse = g_.Op("maximum", {g_.out(1), lowest});
    const ValueId weights = g_.Op("exp", {g_.Op("sub", {scores, PerRow(lse)})});
    ValueId slope = -1;
    if (g_.dout(0) >= 0) {
      slope = Wide(Pairs(g_.dout(0), g_.in(2)));
      if (const double p = g_.attrs().Float("p"); p > 0) {
        slope = g_.Op("dropout_grad", {slope, g_.in(static_cast<int>(kForward.step))},
                      {{"p", p}, {"seed", g_.attrs().Int("seed")}, {"key", g_.attrs().Int("key")}});
      }
      const ValueId both = g_.Op("mul", {Wide(g_.dout(0)), Wide(g_.out(0))});
      const ValueId sums =
          g_.Op("sum", {both}, {{"dims", std::vector<int64_t>{3}}, {"keepdim", false}});
      slope = g_.Op("sub", {slope, PerRow(Permute(sums, {0, 2, 1}))});
    }
    if (g_.dout(1) >= 0) {
      const ValueId part = PerRow(g_.dout(1));
      slope = slope < 0 ? part : g_.Op("add", {slope, part});
    }
    const ValueId gradient = ReduceToShape(g_, g_.Op("mul", {weights, slope}), g_.type(mask).shape);
    const DType dtype = g_.type(mask).dtype;
    if (g_.type(gradient).dtype == dtype) return gradient;
    return g_.Op("cast", {gradient}, {{"dtype", std::string(NameOf(dtype))}});
  }

 private:
  ValueId Scalar(const std::string& op, ValueId x, double value) {
    return g_.Op(op, {x}, {{"value", value}});
  }
  ValueId Permute(ValueId x, std::vector<int64_t> dims) {
    return g_.Op("permute", {x}, {{"dims", std::move(dims)}});
  }
  ValueId Reshape(ValueId x, Shape shape) {
    return g_.Op("reshape", {x}, {{"shape", std::move(shape)}});
  }
  ValueId Wide(ValueId x) {
    return std::string(NameOf(g_.type(x).dtype)) == dtype_
               ? x
               : g_.Op("cast", {x}, {{"dtype", dtype_}});
  }
  // [b, h, s] beside the scores.
  ValueId PerRow(ValueId x) { return Reshape(x, {batch_, heads_, queries_, 1}); }
  // x [b, s, h, c] . y [b, t, g, c]' -> [b, h, s, t].
  ValueId Pairs(ValueId x, ValueId y) {
    const int64_t width = g_.type(x).shape[3];
    x = Permute(Reshape(x, {batch_, queries_, groups_, heads_ / groups_, width}), {0, 2, 3, 1, 4});
    y = Reshape(Permute(y, {0, 2, 1, 3}), {batch_, groups_, 1, keys_, width});
    const ValueId pairs = g_.Op("matmul", {x, y}, {{"transpose_a", false}, {"transpose_b", true}});
    return Reshape(pairs, {batch_, heads_, queries_, keys_});
  }

  GradBuilder& g_;
  int64_t batch_, queries_, heads_, groups_, keys_;
  std::string dtype_;  // of sums
};

absl::Status Gradient(GradBuilder& g) {
  const bool masked = g.input_count() > static_cast<int>(kForward.mask);
  if (masked && g.NeedsGrad(static_cast<int>(kForward.mask))) {
    if (IsPacked(g.attrs())) {
      return MakeError(ErrorKind::kError,
                       "attention: a mask that needs a gradient cannot stand beside `packed`: "
                       "slice q, k and v");
    }
    if (g.attrs().Bool("causal")) {
      return MakeError(ErrorKind::kError,
                       "attention: a mask that needs a gradient cannot stand beside causal=True: "
                       "put -inf into the mask for what is behind a query");
    }
    g.SetGrad(static_cast<int>(kForward.mask), MaskGradient(g).Make());
  }
  if (!g.NeedsGrad(0) && !g.NeedsGrad(1) && !g.NeedsGrad(2)) return absl::OkStatus();
  const Shape out = g.type(g.out(0)).shape;
  std::vector<ValueId> inputs = {g.in(0), g.in(1), g.in(2), g.out(0), g.out(1)};
  inputs.push_back(g.dout(0) >= 0 ? g.dout(0) : ConstantLike(g, 0.0, g.out(0), out));
  for (int i = static_cast<int>(kForward.step); i < g.input_count(); ++i) inputs.push_back(g.in(i));
  if (g.dout(1) >= 0) {
    // The last of the optional inputs: the ones before it must be there.
    if (inputs.size() == kBackward.step) {
      inputs.push_back(g.Op("constant", {},
                            {{"value", 0.0}, {"dtype", std::string("i64")}, {"shape", Shape{}}}));
    }
    if (inputs.size() == kBackward.mask) {
      inputs.push_back(ConstantLike(g, 0.0, g.out(0), {1, 1, 1, 1}));
    }
    inputs.push_back(g.dout(1));
  }
  const std::vector<ValueId> gradients = g.OpN("attention_grad", std::move(inputs), g.attrs());
  if (const std::optional<PackedHeads> packed = PackedHeadsOf(g.attrs())) {
    // Of each operand but its heads nothing is read.
    for (int i = 0; i < 3; ++i) {
      if (!g.NeedsGrad(i)) continue;
      const int64_t start = packed->first[static_cast<size_t>(i)];
      Attrs part = {{"dim", AttrValue(int64_t{2})},
                    {"start", AttrValue(start)},
                    {"stop", AttrValue(start + (i == 0 ? packed->heads : packed->key_heads))},
                    {"step", AttrValue(int64_t{1})}};
      const ValueId own = g.Op("slice", {gradients[0]}, part);
      part.Set("extent", packed->all());
      g.SetGrad(i, g.Op("slice_grad", {own}, part));
    }
    return absl::OkStatus();
  }
  for (int i = 0; i < 3; ++i) {
    if (g.NeedsGrad(i)) g.SetGrad(i, gradients[static_cast<size_t>(i)]);
  }
  return absl::OkStatus();
}

DTypeSet MaskTypes() {
  DTypeSet types = AnyFloat();
  types.push_back(DType::kBool);
  return types;
}

void AddOptional(OpDef* def) {
  def->OptionalIn("step", DType::kI64,
                  "0-d, number of the step: another dropout mask each step; unused where p is 0");
  def->OptionalIn(
      "mask", MaskTypes(),
      "[batch or 1, heads or 1, s or 1, t or 1]; bool: True takes part; float: is added "
      "to the scores");
}

void AddAttrs(OpDef* def) {
  def->Attr("causal", "bool", false, "query i sees keys 0 .. i alone")
      .Attr("scale", "float", 1.0, "of the products of queries and keys")
      .Attr("p", "float", 0.0, "probability that dropout zeroes a weight, 0 <= p <= 1")
      .Attr("seed", "int", int64_t{0}, "seed of the run")
      .Attr("key", "int", int64_t{0}, "names the call site: module path and occurrence, hashed")
      .Attr("packed", "ints", std::vector<int64_t>{},
            "[] or, made by the compiler, [q, k, v, heads, key_heads]: q, k and v are one tensor, "
            "[batch, s, heads + 2 key_heads, d], in which the heads of each begin there")
      .NeedsSlice();
}

OpDef Attention() {
  OpDef def("attention");
  def.Doc(
         "out = dropout(softmax(scale * q k' + mask)) v for each head, and the logarithm of the "
         "softmax's denominator. A group of heads of q shares a head of k and v. A query that sees "
         "no key gets 0. The dropout mask is that of `dropout` over [batch, heads, s, t].")
      .Type("T", AnyFloat())
      .Type("S", "T", SumType)
      .In("q", "T", "[batch, s, heads, d]")
      .In("k", "T", "[batch, t, key_heads, d], key_heads divides heads")
      .In("v", "T", "[batch, t, key_heads, e]");
  AddOptional(&def);
  def.Out("out", "T", "[batch, s, heads, e]")
      .Out("lse", "S",
           "[batch, heads, s], log of the sum of exp of the scores: kept for the gradient");
  AddAttrs(&def);
  def.Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
       OF_RETURN_IF_ERROR(CheckOperands("attention", op));
       OF_RETURN_IF_ERROR(CheckOptional("attention", op, kForward));
       const Extents n = ExtentsOf(op);
       return Shapes{{n.batch, n.queries, n.heads, n.value_width}, {n.batch, n.heads, n.queries}};
     })
      .Sharding(ForwardRule)
      .Grad(Gradient)
      .Cost(Products(1, 1));
  return def;
}

OpDef AttentionGrad() {
  OpDef def("attention_grad");
  def.Doc("Gradients of attention. The scores are computed again, block by block.")
      .Type("T", AnyFloat())
      .Type("S", "T", SumType)
      .In("q", "T", "[batch, s, heads, d]")
      .In("k", "T", "[batch, t, key_heads, d]")
      .In("v", "T", "[batch, t, key_heads, e]")
      .In("out", "T", "the forward op's result")
      .In("lse", "S", "its second result")
      .In("dout", "T", "gradient of out");
  AddOptional(&def);
  def.OptionalIn("dlse", "S", "gradient of lse; absent: 0")
      .Out("dq", "T", "as q; packed: the gradient of all three")
      .Out("dk", "T", "as k, if not packed")
      .Out("dv", "T", "as v, if not packed");
  AddAttrs(&def);
  def.Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
       const std::string name = "attention_grad";
       OF_RETURN_IF_ERROR(CheckOperands(name, op));
       OF_RETURN_IF_ERROR(CheckOptional(name, op, kBackward));
       const Extents n = ExtentsOf(op);
       const Shape out = {n.batch, n.queries, n.heads, n.value_width};
       OF_RETURN_IF_ERROR(CheckShape(name, "out", op.inputs[3], out, "that of the forward op"));
       OF_RETURN_IF_ERROR(CheckShape(name, "lse", op.inputs[4], {n.batch, n.heads, n.queries},
                                     "that of the forward op"));
       OF_RETURN_IF_ERROR(CheckShape(name, "dout", op.inputs[5], out, "that of out"));
       if (IsPacked(op.attrs)) return Shapes{op.inputs[0].shape};
       return Shapes{op.inputs[0].shape, op.inputs[1].shape, op.inputs[2].shape};
     })
      .Sharding(BackwardRule)
      .NotDifferentiable("it is a gradient itself: second derivatives are not supported")
      .Cost(Products(3, 2));
  return def;
}

}  // namespace

std::vector<OpDef> AttentionOps() { return {Attention(), AttentionGrad()}; }

}  // namespace oneflow
