#include "compiler/passes/join_norm_grads.h"

#include <algorithm>
#include <vector>

#include "base/status.h"
#include "compiler/passes/decided_graph.h"

namespace oneflow {
namespace {

constexpr int kDy = 1;  // of either gradient's inputs

class Joining {
 public:
  Joining(Graph* graph, Decisions* decisions) : graph_(*graph), edit_(graph, decisions) {}

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
          std::equal(node.inputs.begin(), node.inputs.end(), of_x.inputs.begin())) {
        return id;
      }
    }
    return -1;
  }

  absl::Status Join(NodeId of_x, NodeId weights) {
    const Node& first = graph_.node(of_x);
    std::vector<ValueId> results = first.outputs;
    const std::vector<ValueId>& sums = graph_.node(weights).outputs;
    results.insert(results.end(), sums.begin(), sums.end());
    return edit_
        .Replace(first, "layer_norm_grads", first.inputs, first.attrs, results, {of_x, weights})
        .status();
  }

  Graph& graph_;
  DecidedGraph edit_;
};

}  // namespace

absl::Status JoinNormGrads(Graph* graph, Decisions* decisions) {
  return Joining(graph, decisions).Run();
}

}  // namespace oneflow
