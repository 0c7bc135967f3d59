#include "compiler/parallel/node_kind.h"

namespace oneflow {

bool IsLeaf(const Node& node) {
  return node.op == "input" || node.op == "state_read" || node.op == "constant";
}

OpCost CostOf(const OpDef& def, const Attrs& attrs, const std::vector<TensorType>& inputs,
              const std::vector<TensorType>& outputs) {
  if (def.cost) return def.cost(OpContext{attrs, inputs, outputs});
  OpCost cost;
  for (const auto* side : {&inputs, &outputs}) {
    for (const TensorType& type : *side) cost.bytes += type.bytes();
  }
  return cost;
}

OpCost LocalCost(const OpDef& def, const Attrs& attrs, const std::vector<TensorType>& local_inputs,
                 const std::vector<TensorType>& local_outputs) {
  if (!def.localize) return CostOf(def, attrs, local_inputs, local_outputs);
  return CostOf(def, def.localize(attrs, local_inputs, local_outputs), local_inputs, local_outputs);
}

}  // namespace oneflow
