#include "compiler/passes/narrow_updates.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/status.h"

namespace oneflow {
namespace {

constexpr int kGradient = 1;  // of either update's inputs

bool IsUpdate(const Node& node) { return node.op == "sgd_update" || node.op == "adamw_update"; }

// The narrow value that the update may read in the place of its gradient, or -1.
ValueId NarrowGradient(const Graph& graph, const Node& update) {
  const ValueId wide = update.inputs[kGradient];
  const Node& cast = graph.node(graph.value(wide).producer);
  if (cast.op != "cast" || cast.stage != update.stage || graph.uses(wide).size() != 1 ||
      std::count(update.inputs.begin(), update.inputs.end(), wide) != 1) {
    return -1;
  }
  const Value& from = graph.value(cast.inputs[0]);
  const bool narrow = from.type.dtype == DType::kBF16 || from.type.dtype == DType::kF16;
  return narrow && from.sharding == graph.value(wide).sharding ? cast.inputs[0] : -1;
}

}  // namespace

absl::Status NarrowUpdates(Graph* graph, Decisions* decisions) {
  for (NodeId id : graph->order()) {
    const Node& node = graph->node(id);
    if (node.removed || !IsUpdate(node)) continue;
    const ValueId narrow = NarrowGradient(*graph, node);
    if (narrow < 0) continue;
    const NodeId cast = graph->value(node.inputs[kGradient]).producer;
    std::vector<ValueId> inputs = node.inputs;
    inputs[kGradient] = narrow;
    OF_ASSIGN_OR_RETURN(const std::vector<ValueId> made,
                        graph->InsertNode(id, node.op, std::move(inputs), node.attrs, node));
    decisions->nodes.resize(graph->num_nodes());
    NodeDecision& decision = decisions->nodes[graph->value(made[0]).producer];
    decision = std::move(decisions->nodes[id]);
    for (size_t i = 0; i < made.size(); ++i) {
      graph->mutable_value(made[i]).sharding = graph->value(node.outputs[i]).sharding;
      graph->ReplaceUses(node.outputs[i], made[i]);
    }
    for (const NodeId gone : {id, cast}) {
      graph->RemoveNode(gone);
      decisions->nodes[gone] = {};
    }
  }
  return absl::OkStatus();
}

}  // namespace oneflow
