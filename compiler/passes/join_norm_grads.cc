#include "compiler/passes/join_norm_grads.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/status.h"

namespace oneflow {
namespace {

constexpr int kDy = 1;         // of either gradient's inputs
constexpr size_t kShared = 4;  // x, dy, mean, rstd

class Joining {
 public:
  Joining(Graph* graph, Decisions* decisions) : graph_(*graph), decisions_(*decisions) {}

  absl::Status Run() {
    for (const NodeId id : graph_.order()) {
      if (graph_.node(id).removed || graph_.node(id).op != "layer_norm_grad") continue;
      const NodeId weights = WeightsOf(graph_.node(id));
      if (weights >= 0) OF_RETURN_IF_ERROR(Join(id, weights));
    }
    return absl::OkStatus();
  }

 private:
  // The gradient of the weight that can be made with that of x, or -1.
  NodeId WeightsOf(const Node& of_x) const {
    for (const NodeId id : graph_.uses(of_x.inputs[kDy])) {
      const Node& node = graph_.node(id);
      if (node.op == "layer_norm_weight_grad" && node.stage == of_x.stage &&
          node.phase == of_x.phase && node.attrs == of_x.attrs && graph_.Before(of_x.id, id) &&
          std::equal(node.inputs.begin(), node.inputs.end(), of_x.inputs.begin()) &&
          SameLayouts(of_x.id, id)) {
        return id;
      }
    }
    return -1;
  }

  bool SameLayouts(NodeId of_x, NodeId weights) const {
    const std::vector<Sharding>& a = decisions_.nodes[of_x].shardings.inputs;
    const std::vector<Sharding>& b = decisions_.nodes[weights].shardings.inputs;
    return a.size() >= kShared && b.size() == kShared && std::equal(b.begin(), b.end(), a.begin());
  }

  absl::Status Join(NodeId of_x, NodeId weights) {
    const Node first = graph_.node(of_x);
    const Node second = graph_.node(weights);
    OF_ASSIGN_OR_RETURN(
        const std::vector<ValueId> made,
        graph_.InsertNode(of_x, "layer_norm_grads", first.inputs, first.attrs, first));
    std::vector<ValueId> old = first.outputs;
    old.insert(old.end(), second.outputs.begin(), second.outputs.end());
    NodeShardings shardings = {decisions_.nodes[of_x].shardings.inputs, {}};
    for (size_t i = 0; i < made.size(); ++i) {
      graph_.mutable_value(made[i]).sharding = graph_.value(old[i]).sharding;
      shardings.outputs.push_back(graph_.value(old[i]).sharding);
      graph_.ReplaceUses(old[i], made[i]);
    }
    decisions_.nodes.resize(graph_.num_nodes());
    decisions_.nodes[graph_.value(made[0]).producer].shardings = std::move(shardings);
    for (const NodeId gone : {of_x, weights}) {
      graph_.RemoveNode(gone);
      decisions_.nodes[gone] = {};
    }
    return absl::OkStatus();
  }

  Graph& graph_;
  Decisions& decisions_;
};

}  // namespace

absl::Status JoinNormGrads(Graph* graph, Decisions* decisions, const plan::Target& target) {
  const bool gpus =
      std::all_of(target.devices().begin(), target.devices().end(),
                  [](const plan::TargetDevice& device) { return device.kind() == "cuda"; });
  return gpus ? Joining(graph, decisions).Run() : absl::OkStatus();
}

}  // namespace oneflow
