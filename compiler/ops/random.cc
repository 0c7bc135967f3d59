// Randomness. A number depends on (seed, key, step, logical element index) alone, so a mask is the
// same under every layout, and the gradient draws it again instead of storing it.
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "compiler/ops/cost.h"
#include "compiler/ops/families.h"
#include "compiler/ops/gradient.h"
#include "compiler/ops/shape_functions.h"

namespace oneflow {
namespace {

OpDef Masked(const std::string& name, const std::string& x) {
  return OpDef(name)
      .Type("T", AnyFloat())
      .In(x, "T", "any shape")
      .In("step", DType::kI64, "0-d, number of the step: another mask each step")
      .Attr("p", "float", std::nullopt, "probability of a zero, 0 <= p <= 1")
      .Attr("seed", "int", std::nullopt, "seed of the run")
      .Attr("key", "int", std::nullopt, "names the call site: module path and occurrence, hashed")
      .Shape([name, x](const OpContext& op) -> absl::StatusOr<Shapes> {
        const double p = op.attrs.Float("p");
        if (!(p >= 0.0 && p <= 1.0)) {
          return MakeError(ErrorKind::kError, absl::StrCat(name, ": p is ", p,
                                                           " but must be a probability from 0 to "
                                                           "1"));
        }
        OF_RETURN_IF_ERROR(CheckRank(name, "step", op.inputs[1], 0, "a single number"));
        return Shapes{op.inputs[0].shape};
      })
      .Sharding("..., . -> ... ; linear 0")
      .Grad(Grads({[](GradBuilder& g) {
        return g.Op("dropout_grad", {g.dout(0), g.in(1)}, g.attrs());
      }}))
      .Cost(FlopsPerElement(20))
      .NeedsSlice();
}

// Numbers that depend on no element of x, whose shape they have.
OpDef Drawn(const std::string& name, int64_t flops) {
  return OpDef(name)
      .Type("T", AnyFloat())
      .In("x", "T", "any shape: only that counts, and the element type")
      .In("step", DType::kI64, "0-d, number of the step: other numbers each step")
      .Attr("seed", "int", std::nullopt, "seed of the run")
      .Attr("key", "int", std::nullopt, "names the call site: module path and occurrence, hashed")
      .Out("y", "T", "as x")
      .Shape([name](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_RETURN_IF_ERROR(CheckRank(name, "step", op.inputs[1], 0, "a single number"));
        return Shapes{op.inputs[0].shape};
      })
      .Sharding("..., . -> ...")
      .Grad(Grads(
          {[](GradBuilder& g) { return ConstantLike(g, 0.0, g.dout(0), g.type(g.in(0)).shape); }}))
      .Cost(FlopsPerElement(flops))
      .NeedsSlice();
}

}  // namespace

std::vector<OpDef> RandomOps() {
  return {
      Masked("dropout", "x")
          .Doc("y = x / (1 - p) with probability 1 - p, else 0. The mask is Philox4x32-10 keyed by "
               "(seed, key, step, logical element index).")
          .Out("y", "T", "as x"),
      Masked("dropout_grad", "dy")
          .Doc("Gradient of dropout: dy / (1 - p) under the same mask, else 0.")
          .Out("dx", "T", "as dy"),
      Drawn("uniform", 12)
          .Doc("Numbers in [0, 1): the leading bits of Philox4x32-10 keyed by (seed, key, step, "
               "logical element index)."),
      Drawn("normal", 60)
          .Doc("Normal numbers of mean 0 and variance 1, by Box-Muller from the bits of uniform: "
               "two neighbours share two words.")};
}

}  // namespace oneflow
