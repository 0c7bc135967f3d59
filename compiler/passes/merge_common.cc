#include "compiler/passes/merge_common.h"

#include <algorithm>
#include <map>
#include <string>
#include <tuple>

namespace oneflow {

void MergeCommon(Graph* graph) {
  using Key = std::tuple<std::string, std::vector<ValueId>, std::string, int>;
  std::map<Key, NodeId> first;
  std::map<NodeId, NodeId> merged;
  for (NodeId id : graph->order()) {
    const Node& node = graph->node(id);
    if (node.op == "output" || node.op == "state_write" || node.op == "reshard") continue;
    const bool annotated =
        std::any_of(node.outputs.begin(), node.outputs.end(),
                    [&](ValueId value) { return !graph->value(value).annotation.empty(); });
    if (annotated) continue;
    const auto [it, added] = first.try_emplace(
        Key{node.op, node.inputs, node.attrs.ToString(), node.stage.value_or(-1)}, id);
    if (added) continue;
    const std::vector<ValueId> outputs = node.outputs;
    const std::vector<ValueId> kept = graph->node(it->second).outputs;
    for (size_t i = 0; i < outputs.size(); ++i) graph->ReplaceUses(outputs[i], kept[i]);
    graph->RemoveNode(id);
    merged[id] = it->second;
  }
  if (merged.empty()) return;
  for (NodeId id : graph->order()) {
    const auto found = merged.find(graph->node(id).forward);
    if (found != merged.end()) graph->mutable_node(id).forward = found->second;
  }
}

}  // namespace oneflow
