// Batch normalisation in pieces, so that its statistics are sums: split over dp they are Partial
// and one small all-reduce makes any layout equal to one device.
//
// x is [n, ..., c]. The n samples are G groups of n / G successive ones; each group has statistics
// of its own. A training batch_norm with k micro-batches is traced with G = k (statistics over all
// of dp) or G = k * dp (local statistics), so it stays a function of the logical batch:
//
//   count = n / G * (elements between n and c)
//   mean  = mul_scalar(bn_sum(x), 1 / count)
//   rstd  = rsqrt(add_scalar(mul_scalar(bn_sq_sum(x, mean), 1 / count), eps))
//   y     = bn_apply(x, mean, rstd, weight, bias) {groups=G, count=count}
//
// Where samples have many elements each, x is read once for both sums: bn_sample_sums has them for each sample,
// about the sample's own mean, which any layout that keeps samples whole computes alike, and what joins samples
// reads n * c numbers (docs/decisions/0022-statistics-in-one-pass.md):
//
//   sums, squares = bn_sample_sums(x)
//   mean          = mul_scalar(bn_sum(sums), 1 / count)
//   bn_sq_sum     = bn_join_squares(sums, squares, mean) {groups=G, count=elements between n and c}
//
// Statistics and their sums, weight and bias are f32 for narrow x, whose rounding would be seen in a
// mean over many elements; they are f64 for f64.
//
// In a rule the samples are "(g m)": an axis that splits g gives each device whole groups, one that
// splits m (legal once the axes before it have cut g into single groups, or with G = 1) makes the
// sums Partial.
#include <algorithm>
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

absl::Status CheckSamples(const std::string& name, const TensorType& x, int64_t groups) {
  if (x.shape.size() < 2) {
    return MakeError(ErrorKind::kShape,
                     absl::StrCat(name, ": x is ", x.ToString(),
                                  " but must be [n, ..., c] with at least 2 dims"));
  }
  if (groups < 1 || x.shape[0] % groups != 0) {
    return MakeError(ErrorKind::kShape,
                     absl::StrCat(name, ": x is ", x.ToString(), " with ", x.shape[0],
                                  " samples, which cannot be cut into groups = ", groups,
                                  " equal groups of statistics: make the batch a multiple of it"));
  }
  return absl::OkStatus();
}

// Checks the operands after x: "s" a statistic [G, c], "c" a vector [c], "x" one of x's shape.
absl::Status CheckOperands(const std::string& name, const OpContext& op,
                           const std::vector<std::pair<std::string, char>>& operands) {
  const TensorType& x = op.inputs[0];
  const int64_t groups = op.attrs.Int("groups");
  OF_RETURN_IF_ERROR(CheckSamples(name, x, groups));
  const int64_t channels = x.shape.back();
  for (size_t i = 0; i < operands.size(); ++i) {
    const auto& [argument, kind] = operands[i];
    const TensorType& type = op.inputs[i + 1];
    const Shape expected = kind == 'x'   ? x.shape
                           : kind == 's' ? Shape{groups, channels}
                                         : Shape{channels};
    const std::string why = kind == 'x'   ? "that of x"
                            : kind == 's' ? "[groups, channels of x]"
                                          : "one number for each channel, the last dim of x";
    OF_RETURN_IF_ERROR(CheckShape(name, argument, type, expected, why));
  }
  return absl::OkStatus();
}

Shape StatisticOf(const OpContext& op) {
  return {op.attrs.Int("groups"), op.inputs[0].shape.back()};
}

// Fills a rule: X is x's dims "(g m) d0 d1 c", G the group dim; `sums` adds the clause of the sums.
std::string Rule(const OpContext& op, const std::string& format, bool sums) {
  const bool one_group = op.attrs.Int("groups") == 1;
  std::string middle;
  for (size_t i = 2; i < op.inputs[0].shape.size(); ++i) absl::StrAppend(&middle, " d", i - 2);
  std::string rule;
  for (char letter : format) {
    if (letter == 'X') {
      absl::StrAppend(&rule, one_group ? "m" : "(g m)", middle, " c");
    } else if (letter == 'G') {
      rule += one_group ? "1" : "g";
    } else {
      rule += letter;
    }
  }
  if (sums) absl::StrAppend(&rule, " ; sum m", middle);
  return rule;
}

RuleFn RuleOf(const std::string& format, bool sums, const std::string& more = "") {
  return [format, sums, more](const OpContext& op) { return Rule(op, format, sums) + more; };
}

// A shard holds whole groups, or a part of one: the local statistics say how many.
LocalizeFn LocalGroups(bool from_output) {
  return [from_output](const Attrs& attrs, const std::vector<TensorType>& local_inputs,
                       const std::vector<TensorType>& local_outputs) {
    Attrs local = attrs;
    local.Set("groups", (from_output ? local_outputs[0] : local_inputs[1]).shape[0]);
    return local;
  };
}

OpDef& GroupsAttr(OpDef& def) {
  return def.Attr("groups", "int", int64_t{1},
                  "G: groups of successive samples with statistics of their own");
}

// Elements of x that make up one statistic.
int64_t CountOf(const Shape& x, int64_t groups) {
  const int64_t statistics = groups * x.back();
  return statistics == 0 ? 0 : NumElements(x) / statistics;
}

// d[groups, c] as a tensor of x's shape and dtype.
ValueId SpreadOverSamples(GradBuilder& g, ValueId statistic, const TensorType& type,
                          int64_t groups) {
  const Shape& x = type.shape;
  if (g.type(statistic).dtype != type.dtype) {
    statistic = g.Op("cast", {statistic}, {{"dtype", std::string(NameOf(type.dtype))}});
  }
  Shape narrow(x.size() + 1, 1);
  narrow.front() = groups;
  narrow.back() = x.back();
  Shape wide(x);
  wide[0] = x[0] / groups;
  wide.insert(wide.begin(), groups);
  const ValueId column = g.Op("reshape", {statistic}, {{"shape", narrow}});
  return g.Op("reshape", {g.Op("broadcast_to", {column}, {{"shape", wide}})}, {{"shape", x}});
}

// 2 (x - mean) d: bn_apply with rstd = 2 d, weight = 1, bias = 0.
ValueId TwiceApart(GradBuilder& g, ValueId x, ValueId mean, ValueId d, int64_t groups) {
  const ValueId twice = g.Op("mul_scalar", {d}, {{"value", 2.0}});
  const Shape channels{g.type(x).shape.back()};
  return g.Op(
      "bn_apply",
      {x, mean, twice, ConstantLike(g, 1.0, mean, channels), ConstantLike(g, 0.0, mean, channels)},
      {{"groups", groups}});
}

// -2 d sum(x - mean) = 2 d (count mean - sum(x)), the gradient of sums of squares about a mean.
ValueId TwiceOff(GradBuilder& g, ValueId x, ValueId mean, ValueId d, int64_t groups, double count) {
  const ValueId sum = g.Op("bn_sum", {x}, {{"groups", groups}});
  const ValueId total = g.Op("mul_scalar", {mean}, {{"value", count}});
  const ValueId twice = g.Op("mul_scalar", {d}, {{"value", 2.0}});
  return g.Op("mul", {twice, g.Op("sub", {total, sum})});
}

OpDef BnSum() {
  OpDef def("bn_sum");
  def.Doc("Sum of each channel over the samples of each group.")
      .Type("T", AnyFloat())
      .Type("S", "T", StatsType)
      .In("x", "T", "[n, ..., c]; n a multiple of groups")
      .Out("sum", "S", "[groups, c]");
  GroupsAttr(def)
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_RETURN_IF_ERROR(CheckOperands("bn_sum", op, {}));
        return Shapes{StatisticOf(op)};
      })
      .Sharding(RuleOf("X -> G c", true, " ; linear"))
      .Grad(Grads({[](GradBuilder& g) {
        return SpreadOverSamples(g, g.dout(0), g.type(g.in(0)), g.attrs().Int("groups"));
      }}))
      .Cost(FlopsPerElement(1))
      .Localize(LocalGroups(/*from_output=*/true));
  return def;
}

OpDef BnSqSum() {
  OpDef def("bn_sq_sum");
  def.Doc("Sum of (x - mean)^2 of each channel over the samples of each group.")
      .Type("T", AnyFloat())
      .Type("S", "T", StatsType)
      .In("x", "T", "[n, ..., c]; n a multiple of groups")
      .In("mean", "S", "[groups, c]")
      .Out("sum", "S", "[groups, c]");
  GroupsAttr(def)
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_RETURN_IF_ERROR(CheckOperands("bn_sq_sum", op, {{"mean", 's'}}));
        return Shapes{StatisticOf(op)};
      })
      .Sharding(RuleOf("X, G c -> G c", true))
      .Grad(Grads({[](GradBuilder& g) {
                     return TwiceApart(g, g.in(0), g.in(1), g.dout(0), g.attrs().Int("groups"));
                   },
                   [](GradBuilder& g) {
                     const int64_t groups = g.attrs().Int("groups");
                     const int64_t count = CountOf(g.type(g.in(0)).shape, groups);
                     return TwiceOff(g, g.in(0), g.in(1), g.dout(0), groups,
                                     static_cast<double>(count));
                   }}))
      .Cost(FlopsPerElement(3))
      .Localize(LocalGroups(/*from_output=*/true));
  return def;
}

OpDef BnSampleSums() {
  return OpDef("bn_sample_sums")
      .Doc(
          "Of each channel of each sample: its sum, and the sum of the squares about its mean. One "
          "pass over x.")
      .Type("T", AnyFloat())
      .Type("S", "T", StatsType)
      .In("x", "T", "[n, ..., c]")
      .Out("sums", "S", "[n, c]")
      .Out("squares", "S", "[n, c]")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_RETURN_IF_ERROR(CheckSamples("bn_sample_sums", op.inputs[0], 1));
        const Shape& x = op.inputs[0].shape;
        return Shapes{{x.front(), x.back()}, {x.front(), x.back()}};
      })
      .Sharding([](const OpContext& op) {
        std::string middle;
        for (size_t i = 2; i < op.inputs[0].shape.size(); ++i)
          absl::StrAppend(&middle, " d", i - 2);
        return absl::StrCat("n", middle, " c -> n c, n c",
                            middle.empty() ? "" : absl::StrCat(" ; whole", middle));
      })
      // Not those of a training batch_norm, whose gradient goes through bn_apply.
      .Grad([](GradBuilder& g) -> absl::Status {
        const TensorType x = g.type(g.in(0));
        const int64_t samples = x.shape.front();
        const ValueId of_sums = g.dout(0), of_squares = g.dout(1);  // -1: nothing depends on it
        ValueId dx = -1;
        if (of_sums >= 0) dx = SpreadOverSamples(g, of_sums, x, samples);
        if (of_squares >= 0) {
          const double count = static_cast<double>(std::max<int64_t>(1, CountOf(x.shape, samples)));
          const ValueId mean = g.Op("mul_scalar", {g.out(0)}, {{"value", 1.0 / count}});
          const ValueId apart = TwiceApart(g, g.in(0), mean, of_squares, samples);
          dx = of_sums >= 0 ? g.Op("add", {dx, apart}) : apart;
        }
        if (dx >= 0) g.SetGrad(0, dx);
        return absl::OkStatus();
      })
      .Cost(FlopsPerElement(4));
}

OpDef BnJoinSquares() {
  OpDef def("bn_join_squares");
  def.Doc(
         "Sum of (x - mean)^2 of each channel over the samples of each group, from what "
         "bn_sample_sums has of x: that of squares + count * (sums / count - mean)^2.")
      .Type("S", FullFloat())
      .In("sums", "S", "[n, c]; n a multiple of groups")
      .In("squares", "S", "[n, c]")
      .In("mean", "S", "[groups, c]")
      .Out("sum", "S", "[groups, c]");
  GroupsAttr(def)
      .Attr("count", "int", std::nullopt, "elements of a channel of one sample")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_RETURN_IF_ERROR(CheckOperands("bn_join_squares", op, {{"squares", 'x'}, {"mean", 's'}}));
        if (op.attrs.Int("count") < 1) {
          return MakeError(ErrorKind::kShape, "bn_join_squares: count must be >= 1");
        }
        return Shapes{StatisticOf(op)};
      })
      .Sharding(RuleOf("X, X, G c -> G c", true))
      .Grad(Grads({[](GradBuilder& g) {
                     const AttrValue count(static_cast<double>(g.attrs().Int("count")));
                     const ValueId mean = g.Op("mul_scalar", {g.in(2)}, {{"value", count}});
                     const AttrValue per_count(1.0 / static_cast<double>(g.attrs().Int("count")));
                     const ValueId d = g.Op("mul_scalar", {g.dout(0)}, {{"value", per_count}});
                     return TwiceApart(g, g.in(0), mean, d, g.attrs().Int("groups"));
                   },
                   [](GradBuilder& g) {
                     return SpreadOverSamples(g, g.dout(0), g.type(g.in(1)),
                                              g.attrs().Int("groups"));
                   },
                   [](GradBuilder& g) {
                     const int64_t groups = g.attrs().Int("groups");
                     const int64_t samples = g.type(g.in(0)).shape.front() / groups;
                     return TwiceOff(g, g.in(0), g.in(2), g.dout(0), groups,
                                     static_cast<double>(samples * g.attrs().Int("count")));
                   }}))
      .Cost(FlopsPerElement(6))
      .Localize(LocalGroups(/*from_output=*/true));
  return def;
}

// With count > 0 mean and rstd are x's own statistics and their dependence on x is part of dx: one
// fused kernel instead of the gradients of four ops. With count 0 they are numbers like any others.
absl::Status BnApplyGrad(GradBuilder& g) {
  const ValueId x = g.in(0);
  const ValueId mean = g.in(1);
  const ValueId rstd = g.in(2);
  const ValueId weight = g.in(3);
  const ValueId dy = g.dout(0);
  const int64_t groups = g.attrs().Int("groups");
  const int64_t count = g.attrs().Int("count");
  const bool own_statistics = count > 0;
  const bool needs_sums = g.NeedsGrad(3) || g.NeedsGrad(4) || (own_statistics && g.NeedsGrad(0)) ||
                          (!own_statistics && (g.NeedsGrad(1) || g.NeedsGrad(2)));
  std::vector<ValueId> sums;
  if (needs_sums) sums = g.OpN("bn_grad_sums", {x, dy, mean, rstd}, {{"groups", groups}});
  if (g.NeedsGrad(0)) {
    if (own_statistics) {
      g.SetGrad(0, g.Op("bn_grad_input", {x, dy, mean, rstd, weight, sums[0], sums[1]},
                        {{"groups", groups}, {"count", count}}));
    } else {
      // dy * rstd * weight is bn_apply of dy with mean = 0 and bias = 0.
      const ValueId no_mean = ConstantLike(g, 0.0, mean, g.type(mean).shape);
      const ValueId no_bias = ConstantLike(g, 0.0, mean, g.type(weight).shape);
      g.SetGrad(0, g.Op("bn_apply", {dy, no_mean, rstd, weight, no_bias}, {{"groups", groups}}));
    }
  }
  if (!own_statistics && g.NeedsGrad(1)) {
    g.SetGrad(1, g.Op("neg", {g.Op("mul", {g.Op("mul", {sums[0], rstd}), weight})}));
  }
  if (!own_statistics && g.NeedsGrad(2)) {
    g.SetGrad(2, g.Op("div", {g.Op("mul", {sums[1], weight}), rstd}));
  }
  const Shape channels = g.type(weight).shape;
  if (g.NeedsGrad(3)) g.SetGrad(3, ReduceToShape(g, sums[1], channels));
  if (g.NeedsGrad(4)) g.SetGrad(4, ReduceToShape(g, sums[0], channels));
  return absl::OkStatus();
}

OpDef BnApply() {
  OpDef def("bn_apply");
  def.Doc(
         "y = (x - mean) * rstd * weight + bias, channel by channel, with the statistics of each "
         "sample's group.")
      .Type("T", AnyFloat())
      .Type("S", "T", StatsType)
      .In("x", "T", "[n, ..., c]; n a multiple of groups")
      .In("mean", "S", "[groups, c]")
      .In("rstd", "S", "[groups, c], 1 / sqrt(variance + eps)")
      .In("weight", "S", "[c]")
      .In("bias", "S", "[c]")
      .Out("y", "T", "as x");
  GroupsAttr(def)
      .Attr(
          "count", "int", int64_t{0},
          "> 0: mean and rstd are x's own statistics over so many elements each, and the gradient "
          "of x goes through them; 0: they are given numbers")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_RETURN_IF_ERROR(CheckOperands(
            "bn_apply", op, {{"mean", 's'}, {"rstd", 's'}, {"weight", 'c'}, {"bias", 'c'}}));
        return Shapes{op.inputs[0].shape};
      })
      .Sharding(RuleOf("X, G c, G c, c, c -> X", false))
      .Grad(BnApplyGrad)
      .Cost(FlopsPerElement(4))
      .Localize(LocalGroups(/*from_output=*/false));
  return def;
}

OpDef BnGradSums() {
  OpDef def("bn_grad_sums");
  def.Doc(
         "The two sums of batch_norm's backward pass over each group: of dy, and of dy * xhat with "
         "xhat = (x - mean) * rstd.")
      .Type("T", AnyFloat())
      .Type("S", "T", StatsType)
      .In("x", "T", "[n, ..., c]; n a multiple of groups")
      .In("dy", "T", "gradient of y, as x")
      .In("mean", "S", "[groups, c]")
      .In("rstd", "S", "[groups, c]")
      .Out("sum_dy", "S", "[groups, c]")
      .Out("sum_dy_xhat", "S", "[groups, c]");
  GroupsAttr(def)
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_RETURN_IF_ERROR(
            CheckOperands("bn_grad_sums", op, {{"dy", 'x'}, {"mean", 's'}, {"rstd", 's'}}));
        return Shapes{StatisticOf(op), StatisticOf(op)};
      })
      .Sharding(RuleOf("X, X, G c, G c -> G c, G c", true, " ; linear 1"))
      .NotDifferentiable("it is a gradient itself: second derivatives are not supported")
      .Cost(FlopsPerElement(4))
      .Localize(LocalGroups(/*from_output=*/true));
  return def;
}

OpDef BnGradInput() {
  OpDef def("bn_grad_input");
  def.Doc(
         "dx = weight * rstd * (dy - sum_dy / count - xhat * sum_dy_xhat / count): batch_norm's "
         "gradient through its own statistics.")
      .Type("T", AnyFloat())
      .Type("S", "T", StatsType)
      .In("x", "T", "[n, ..., c]; n a multiple of groups")
      .In("dy", "T", "gradient of y, as x")
      .In("mean", "S", "[groups, c]")
      .In("rstd", "S", "[groups, c]")
      .In("weight", "S", "[c]")
      .In("sum_dy", "S", "[groups, c]")
      .In("sum_dy_xhat", "S", "[groups, c]")
      .Out("dx", "T", "as x");
  GroupsAttr(def)
      .Attr("count", "int", std::nullopt, "logical elements of one statistic, also on a shard")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_RETURN_IF_ERROR(CheckOperands("bn_grad_input", op,
                                         {{"dy", 'x'},
                                          {"mean", 's'},
                                          {"rstd", 's'},
                                          {"weight", 'c'},
                                          {"sum_dy", 's'},
                                          {"sum_dy_xhat", 's'}}));
        if (op.attrs.Int("count") < 1) {
          return MakeError(ErrorKind::kShape, "bn_grad_input: count must be >= 1");
        }
        return Shapes{op.inputs[0].shape};
      })
      .Sharding(RuleOf("X, X, G c, G c, c, G c, G c -> X", false))
      .NotDifferentiable("it is a gradient itself: second derivatives are not supported")
      .Cost(FlopsPerElement(8))
      // Input 2 is the mean, [local groups, c].
      .Localize([](const Attrs& attrs, const std::vector<TensorType>& local_inputs,
                   const std::vector<TensorType>&) {
        Attrs local = attrs;
        local.Set("groups", local_inputs[2].shape[0]);
        return local;
      });
  return def;
}

OpDef RunningUpdate() {
  return OpDef("running_update")
      .Doc(
          "Folds the statistics of each micro-batch into a running one, in order: steps times "
          "running = (1 - momentum) * running + momentum * stats[i].")
      .Type("T", FullFloat())
      .In("running", "T", "[c]")
      .In("stats", "T", "[steps, c]")
      .Out("updated", "T", "as running")
      .Attr("momentum", "float", std::nullopt, "weight of the new statistic, 0 .. 1")
      .Attr("steps", "int", int64_t{1}, "micro-batches of a step: the first extent of stats")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        const TensorType& running = op.inputs[0];
        OF_RETURN_IF_ERROR(CheckRank("running_update", "running", running, 1, "[c]"));
        OF_RETURN_IF_ERROR(CheckShape("running_update", "stats", op.inputs[1],
                                      {op.attrs.Int("steps"), running.shape[0]},
                                      "[steps, channels of running]"));
        return Shapes{running.shape};
      })
      // The order of the steps matters, so no axis splits them: split over micro they are gathered and
      // folded once, after the last micro-batch.
      .Sharding("c, u c -> c ; whole u")
      .NotDifferentiable("running statistics are not part of the loss")
      .Cost(FlopsPerElement(3))
      .Localize([](const Attrs& attrs, const std::vector<TensorType>& local_inputs,
                   const std::vector<TensorType>&) {
        Attrs local = attrs;
        local.Set("steps", local_inputs[1].shape[0]);
        return local;
      });
}

}  // namespace

std::vector<OpDef> BatchNormOps() {
  return {BnSum(),   BnSqSum(),    BnSampleSums(), BnJoinSquares(),
          BnApply(), BnGradSums(), BnGradInput(),  RunningUpdate()};
}

}  // namespace oneflow
