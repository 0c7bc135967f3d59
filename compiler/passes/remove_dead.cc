#include "compiler/passes/remove_dead.h"

#include <algorithm>

namespace oneflow {

void RemoveDead(Graph* graph) {
  const std::vector<NodeId> order = graph->order();
  for (size_t i = order.size(); i-- > 0;) {
    const Node& node = graph->node(order[i]);
    if (node.op == "output" || node.op == "state_write") continue;
    const bool used = std::any_of(node.outputs.begin(), node.outputs.end(),
                                  [&](ValueId value) { return !graph->uses(value).empty(); });
    if (!used) graph->RemoveNode(order[i]);
  }
}

}  // namespace oneflow
