#include "compiler/lower/state_writes.h"

#include <algorithm>
#include <utility>

#include "compiler/ops/op_table.h"

namespace oneflow {
namespace {

// True if all firings of `a` stand before those of `b`, which is outside the micro loop.
bool Before(const Schedule& schedule, NodeId a, NodeId b) {
  const NodeSchedule& one = schedule.node(a);
  const NodeSchedule& two = schedule.node(b);
  return std::pair(one.phase, one.position) < std::pair(two.phase, two.position);
}

}  // namespace

bool ChangesNothing(const Graph& graph, const Node& reshard, const std::vector<Axis>& axes) {
  const int64_t axis = reshard.attrs.Int("axis");
  if (axis < 0) return false;
  return axes[axis].size == 1 ||
         graph.value(reshard.inputs[0]).sharding == graph.value(reshard.outputs[0]).sharding;
}

void StateWrites::FindAliases(const Graph& graph, const Decisions& decisions) {
  for (NodeId id : graph.order()) {
    const Node& node = graph.node(id);
    if (node.op == "state_read") {
      alias_of_[node.outputs[0]] = node.attrs.String("name");
      continue;
    }
    const bool same = FindOp(node.op)->view ||
                      (node.op == "reshard" && ChangesNothing(graph, node, decisions.axes));
    if (!same) continue;
    if (const auto it = alias_of_.find(node.inputs[0]); it != alias_of_.end())
      alias_of_[node.outputs[0]] = it->second;
  }
}

StateWrites::StateWrites(const Graph& graph, const Decisions& decisions, const Schedule& schedule) {
  FindAliases(graph, decisions);
  std::set<std::string> written;
  std::map<std::string, std::vector<NodeId>> readers;
  for (NodeId id : graph.order()) {
    const Node& node = graph.node(id);
    if (node.op == "state_write") {
      written.insert(node.attrs.String("name"));
      continue;
    }
    for (ValueId input : node.inputs) {
      if (const auto it = alias_of_.find(input); it != alias_of_.end())
        readers[it->second].push_back(id);
    }
  }
  for (NodeId id : graph.order()) {
    const Node& node = graph.node(id);
    if (node.op != "state_write") continue;
    const ValueId value = node.inputs[0];
    const auto source = alias_of_.find(value);
    if (source == alias_of_.end() || source->second == node.attrs.String("name") ||
        !written.contains(source->second)) {
      continue;
    }
    saved_.insert(value);
    readers[source->second].push_back(graph.value(value).producer);
  }
  for (NodeId id : graph.order()) {
    const Node& node = graph.node(id);
    if (node.op != "state_write") continue;
    const std::string& name = node.attrs.String("name");
    const ValueId value = node.inputs[0];
    if (alias_of_.contains(value)) continue;
    const Node& producer = graph.node(graph.value(value).producer);
    const OpDef& op = *FindOp(producer.op);
    if (op.structural || op.view || producer.op == "reshard" || graph.uses(value).size() != 1 ||
        schedule.node(producer.id).in_micro_loop() || !schedule.BehindFailures(producer.id)) {
      continue;
    }
    const std::vector<NodeId>& others = readers[name];
    const bool last = std::all_of(others.begin(), others.end(), [&](NodeId reader) {
      return reader == producer.id || Before(schedule, reader, producer.id);
    });
    if (last) in_place_[value] = name;
  }
}

}  // namespace oneflow
