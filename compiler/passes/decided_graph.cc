#include "compiler/passes/decided_graph.h"

#include <utility>

#include "base/status.h"
#include "compiler/ops/op_table.h"
#include "plan/sharding_rule.h"

namespace oneflow {

absl::StatusOr<std::vector<ValueId>> DecidedGraph::Insert(const Node& like, const std::string& op,
                                                          std::vector<ValueId> inputs, Attrs attrs,
                                                          const std::vector<Sharding>& layouts,
                                                          NodeId place) {
  OF_ASSIGN_OR_RETURN(const std::vector<ValueId> made,
                      graph_.InsertNode(place < 0 ? like.id : place, op, std::move(inputs),
                                        std::move(attrs), like));
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
                                             const std::vector<NodeId>& gone, NodeId place) {
  std::vector<Sharding> layouts;
  for (const ValueId value : values) layouts.push_back(graph_.value(value).sharding);
  OF_ASSIGN_OR_RETURN(const std::vector<ValueId> made,
                      Insert(like, op, std::move(inputs), std::move(attrs), layouts, place));
  for (size_t i = 0; i < values.size(); ++i) graph_.ReplaceUses(values[i], made[i]);
  for (const NodeId id : gone) Remove(id);
  return graph_.value(made[0]).producer;
}

void DecidedGraph::Remove(NodeId id) {
  graph_.RemoveNode(id);
  decisions_.nodes[id] = {};
}

bool DecidedGraph::Allows(const std::string& op, const Attrs& attrs,
                          const std::vector<ValueId>& inputs,
                          const std::vector<ValueId>& results) const {
  NodeShardings layouts;
  std::vector<TensorType> in, out;
  std::vector<Shape> in_shapes, out_shapes;
  for (const ValueId value : inputs) {
    in.push_back(graph_.value(value).type);
    in_shapes.push_back(in.back().shape);
    layouts.inputs.push_back(graph_.value(value).sharding);
  }
  for (const ValueId value : results) {
    out.push_back(graph_.value(value).type);
    out_shapes.push_back(out.back().shape);
    layouts.outputs.push_back(graph_.value(value).sharding);
  }
  const std::string rule = FindOp(op)->rule(OpContext{attrs, in, out});
  const absl::StatusOr<BoundRule> bound = BoundRule::Bind(rule, in_shapes, out_shapes);
  return bound.ok() && bound->IsLegal(layouts, decisions_.axes);
}

}  // namespace oneflow
