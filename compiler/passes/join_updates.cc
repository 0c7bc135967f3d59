#include "compiler/passes/join_updates.h"

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/status.h"
#include "compiler/passes/decided_graph.h"

namespace oneflow {
namespace {

// Inputs of adamw_update behind p, g, m and v.
constexpr size_t kRate = 4, kStep = 5;

// What joined updates have in common.
using Kind = std::tuple<int, NodePhase, ValueId, ValueId, std::string>;

class Joining {
 public:
  Joining(Graph* graph, Decisions* decisions)
      : graph_(*graph), decisions_(*decisions), edit_(graph, decisions) {}

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
    std::vector<ValueId> results;
    for (const NodeId id : joined) {
      const Node& node = graph_.node(id);
      inputs.insert(inputs.end(), node.inputs.begin(), node.inputs.begin() + kRate);
      results.insert(results.end(), node.outputs.begin(), node.outputs.end());
    }
    return edit_.Replace(last, "adamw_updates", std::move(inputs), last.attrs, results, joined)
        .status();
  }

  Graph& graph_;
  Decisions& decisions_;
  DecidedGraph edit_;
};

}  // namespace

absl::Status JoinUpdates(Graph* graph, Decisions* decisions) {
  return Joining(graph, decisions).Run();
}

}  // namespace oneflow
