#include "compiler/passes/narrow_updates.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/status.h"
#include "compiler/passes/decided_graph.h"

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
  DecidedGraph edit(graph, decisions);
  for (NodeId id : graph->order()) {
    const Node& node = graph->node(id);
    if (node.removed || !IsUpdate(node)) continue;
    const ValueId narrow = NarrowGradient(*graph, node);
    if (narrow < 0) continue;
    const NodeId cast = graph->value(node.inputs[kGradient]).producer;
    std::vector<ValueId> inputs = node.inputs;
    inputs[kGradient] = narrow;
    OF_RETURN_IF_ERROR(
        edit.Replace(node, node.op, std::move(inputs), node.attrs, node.outputs, {id, cast})
            .status());
  }
  return absl::OkStatus();
}

}  // namespace oneflow
