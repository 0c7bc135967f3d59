#include "compiler/passes/decided_graph.h"

#include <utility>

#include "base/status.h"

namespace oneflow {

absl::StatusOr<std::vector<ValueId>> DecidedGraph::Insert(const Node& like, const std::string& op,
                                                          std::vector<ValueId> inputs, Attrs attrs,
                                                          const std::vector<Sharding>& layouts) {
  OF_ASSIGN_OR_RETURN(const std::vector<ValueId> made,
                      graph_.InsertNode(like.id, op, std::move(inputs), std::move(attrs), like));
  const NodeId id = graph_.value(made[0]).producer;
  decisions_.nodes.resize(graph_.num_nodes());
  NodeShardings& decided = decisions_.nodes[id].shardings;
  for (const ValueId input : graph_.node(id).inputs) {
    decided.inputs.push_back(graph_.value(input).sharding);
  }
  decided.outputs = layouts;
  for (size_t i = 0; i < made.size(); ++i) graph_.mutable_value(made[i]).sharding = layouts[i];
  return made;
}

absl::StatusOr<NodeId> DecidedGraph::Replace(const Node& like, const std::string& op,
                                             std::vector<ValueId> inputs, Attrs attrs,
                                             const std::vector<ValueId>& values,
                                             const std::vector<NodeId>& gone) {
  std::vector<Sharding> layouts;
  for (const ValueId value : values) layouts.push_back(graph_.value(value).sharding);
  OF_ASSIGN_OR_RETURN(const std::vector<ValueId> made,
                      Insert(like, op, std::move(inputs), std::move(attrs), layouts));
  for (size_t i = 0; i < values.size(); ++i) graph_.ReplaceUses(values[i], made[i]);
  for (const NodeId id : gone) Remove(id);
  return graph_.value(made[0]).producer;
}

void DecidedGraph::Remove(NodeId id) {
  graph_.RemoveNode(id);
  decisions_.nodes[id] = {};
}

}  // namespace oneflow
