#include "compiler/ops/gradient.h"

#include <string>
#include <utility>

#include "base/check.h"

namespace oneflow {

GradFn Grads(std::vector<InputGradFn> per_input) {
  return [per_input = std::move(per_input)](GradBuilder& g) {
    for (size_t i = 0; i < per_input.size(); ++i) {
      const int input = static_cast<int>(i);
      if (!per_input[i] || !g.NeedsGrad(input)) continue;
      const Shape shape = g.type(g.in(input)).shape;
      g.SetGrad(input, ReduceToShape(g, per_input[i](g), shape));
    }
    return absl::OkStatus();
  };
}

ValueId ReduceToShape(GradBuilder& g, ValueId gradient, const Shape& shape) {
  const Shape from = g.type(gradient).shape;
  if (from == shape) return gradient;
  OF_CHECK(from.size() >= shape.size()) << "a gradient of smaller rank than its value";
  const size_t leading = from.size() - shape.size();
  std::vector<int64_t> dims;
  Shape reduced;
  for (size_t i = 0; i < from.size(); ++i) {
    if (i < leading || (shape[i - leading] == 1 && from[i] != 1)) {
      dims.push_back(static_cast<int64_t>(i));
    } else {
      reduced.push_back(from[i]);
    }
  }
  ValueId sum = gradient;
  if (!dims.empty()) sum = g.Op("sum", {gradient}, {{"dims", dims}, {"keepdim", false}});
  return reduced == shape ? sum : g.Op("reshape", {sum}, {{"shape", shape}});
}

ValueId ConstantLike(GradBuilder& g, double value, ValueId like, Shape shape) {
  return g.Op("constant", {},
              {{"value", value},
               {"dtype", std::string(NameOf(g.type(like).dtype))},
               {"shape", std::move(shape)}});
}

ValueId PassGradient(GradBuilder& g) { return g.dout(0); }

}  // namespace oneflow
