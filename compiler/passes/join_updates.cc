#include "compiler/passes/join_updates.h"

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/status.h"

namespace oneflow {
namespace {

// Inputs of adamw_update behind p, g, m and v.
constexpr size_t kRate = 4, kStep = 5;

// What joined updates have in common.
using Kind = std::tuple<int, NodePhase, ValueId, ValueId, std::string>;

class Joining {
 public:
  Joining(Graph* graph, Decisions* decisions) : graph_(*graph), decisions_(*decisions) {}

  absl::Status Run() {
    std::map<Kind, std::vector<NodeId>> open;
    for (const NodeId id : graph_.order()) {
      const Node& node = graph_.node(id);
      if (!MayJoin(node)) continue;
      std::vector<NodeId>& members = open[KindOf(node)];
      const bool late = std::any_of(members.begin(), members.end(),
                                    [&](NodeId member) { return IsReadBefore(member, id); });
      if (late || members.size() == kMostJoinedUpdates) OF_RETURN_IF_ERROR(Join(&members));
      members.push_back(id);
    }
    for (auto& [kind, members] : open) OF_RETURN_IF_ERROR(Join(&members));
    return absl::OkStatus();
  }

 private:
  Kind KindOf(const Node& node) const {
    return {*node.stage, node.phase, node.inputs[kRate], node.inputs[kStep], node.attrs.ToString()};
  }

  bool MayJoin(const Node& node) const {
    if (node.op != "adamw_update" ||
        NumElements(graph_.value(node.inputs[0]).type.shape) > kMostJoinedElements) {
      return false;
    }
    const NodeShardings& shardings = decisions_.nodes[node.id].shardings;
    for (const auto* side : {&shardings.inputs, &shardings.outputs}) {
      for (const Sharding& sharding : *side) {
        for (const Sbp& sbp : sharding.sbps) {
          if (sbp.kind != Sbp::kBroadcast) return false;
        }
      }
    }
    return true;
  }

  // Whether somebody reads a result of the update before the node stands.
  bool IsReadBefore(NodeId update, NodeId node) const {
    const std::vector<ValueId>& outputs = graph_.node(update).outputs;
    return std::any_of(outputs.begin(), outputs.end(), [&](ValueId output) {
      const std::vector<NodeId>& uses = graph_.uses(output);
      return std::any_of(uses.begin(), uses.end(),
                         [&](NodeId use) { return use == node || graph_.Before(use, node); });
    });
  }

  // One node in the place of the last.
  absl::Status Join(std::vector<NodeId>* members) {
    const std::vector<NodeId> joined = std::exchange(*members, {});
    if (joined.size() < 2) return absl::OkStatus();
    const Node last = graph_.node(joined.back());
    std::vector<ValueId> inputs = {last.inputs[kRate], last.inputs[kStep]};
    NodeShardings shardings;
    for (const size_t i : {kRate, kStep}) {
      shardings.inputs.push_back(decisions_.nodes[last.id].shardings.inputs[i]);
    }
    for (const NodeId id : joined) {
      const Node& node = graph_.node(id);
      const NodeShardings& own = decisions_.nodes[id].shardings;
      inputs.insert(inputs.end(), node.inputs.begin(), node.inputs.begin() + kRate);
      shardings.inputs.insert(shardings.inputs.end(), own.inputs.begin(),
                              own.inputs.begin() + kRate);
      shardings.outputs.insert(shardings.outputs.end(), own.outputs.begin(), own.outputs.end());
    }
    OF_ASSIGN_OR_RETURN(
        const std::vector<ValueId> made,
        graph_.InsertNode(last.id, "adamw_updates", std::move(inputs), last.attrs, last));
    size_t next = 0;
    for (const NodeId id : joined) {
      for (const ValueId output : graph_.node(id).outputs) {
        graph_.mutable_value(made[next]).sharding = graph_.value(output).sharding;
        graph_.ReplaceUses(output, made[next++]);
      }
      graph_.RemoveNode(id);
      decisions_.nodes[id] = {};
    }
    decisions_.nodes.resize(graph_.num_nodes());
    decisions_.nodes[graph_.value(made[0]).producer].shardings = std::move(shardings);
    return absl::OkStatus();
  }

  Graph& graph_;
  Decisions& decisions_;
};

}  // namespace

absl::Status JoinUpdates(Graph* graph, Decisions* decisions) {
  return Joining(graph, decisions).Run();
}

}  // namespace oneflow
