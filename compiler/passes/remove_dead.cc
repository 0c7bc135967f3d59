#include "compiler/passes/remove_dead.h"

#include <algorithm>
#include <map>
#include <vector>

namespace oneflow {

void RemoveDead(Graph* graph) {
  const std::vector<NodeId> order = graph->order();
  std::map<NodeId, NodeId> upstream;  // of a removed node
  for (size_t i = order.size(); i-- > 0;) {
    const Node& node = graph->node(order[i]);
    if (node.op == "output" || node.op == "state_write") continue;
    const bool used = std::any_of(node.outputs.begin(), node.outputs.end(),
                                  [&](ValueId value) { return !graph->uses(value).empty(); });
    if (used) continue;
    upstream[order[i]] = node.inputs.empty() ? -1 : graph->value(node.inputs[0]).producer;
    graph->RemoveNode(order[i]);
  }
  for (NodeId id : graph->order()) {
    const NodeId forward = graph->node(id).forward;
    NodeId kept = forward;
    for (auto found = upstream.find(kept); found != upstream.end() && found->second >= 0;
         found = upstream.find(kept)) {
      kept = found->second;
    }
    if (kept != forward) graph->mutable_node(id).forward = kept;
  }
}

}  // namespace oneflow
