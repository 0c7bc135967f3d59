#include "compiler/passes/join_slices.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "base/status.h"

namespace oneflow {
namespace {

class Joining {
 public:
  explicit Joining(Graph* graph) : graph_(*graph) {}

  absl::Status Run() {
    // From the last node upwards, so that a sum is seen as a whole before its parts.
    std::vector<NodeId> order = graph_.order();
    std::reverse(order.begin(), order.end());
    for (const NodeId id : order) {
      if (!graph_.node(id).removed) OF_RETURN_IF_ERROR(Visit(id));
    }
    if (joined_.empty()) return absl::OkStatus();
    for (const NodeId id : graph_.order()) {
      const auto found = joined_.find(graph_.node(id).forward);
      if (found != joined_.end()) graph_.mutable_node(id).forward = found->second;
    }
    return absl::OkStatus();
  }

 private:
  // The additions of a sum, each behind those that read it, and its parts.
  struct Sum {
    std::vector<NodeId> additions;
    std::vector<NodeId> parts;
  };

  bool Annotated(const Node& node) const {
    return std::any_of(node.outputs.begin(), node.outputs.end(),
                       [this](ValueId value) { return !graph_.value(value).annotation.empty(); });
  }

  // Whether all of the sum is additions and gradients of slices that belong to it alone.
  bool Collect(const Node& root, Sum* sum) const {
    sum->additions = {root.id};
    for (size_t i = 0; i < sum->additions.size(); ++i) {
      const Node& node = graph_.node(sum->additions[i]);
      if (node.inputs[0] == node.inputs[1]) return false;
      for (const ValueId input : node.inputs) {
        const Value& value = graph_.value(input);
        const Node& maker = graph_.node(value.producer);
        if (graph_.uses(input).size() != 1 || maker.stage != root.stage ||
            maker.phase != root.phase || Annotated(maker) ||
            value.type != graph_.value(root.outputs[0]).type) {
          return false;
        }
        if (maker.op != "slice_grad" && maker.op != "add") return false;
        (maker.op == "add" ? sum->additions : sum->parts).push_back(maker.id);
      }
    }
    return true;
  }

  // Sorts the parts by where they begin; whether they fill the dim.
  bool Tile(std::vector<NodeId>* parts) const {
    const auto begin = [this](NodeId id) { return graph_.node(id).attrs.Int("start"); };
    std::sort(parts->begin(), parts->end(),
              [&](NodeId a, NodeId b) { return begin(a) < begin(b); });
    const Attrs& first = graph_.node(parts->front()).attrs;
    int64_t end = 0;
    for (const NodeId id : *parts) {
      const Attrs& attrs = graph_.node(id).attrs;
      if (attrs.Int("dim") != first.Int("dim") || attrs.Int("step") != 1 ||
          attrs.Int("start") != end) {
        return false;
      }
      end = attrs.Int("stop");
    }
    return end == first.Int("extent");
  }

  absl::Status Visit(NodeId id) {
    const Node root = graph_.node(id);
    if (root.op != "add" || Annotated(root)) return absl::OkStatus();
    Sum sum;
    if (!Collect(root, &sum) || !Tile(&sum.parts)) return absl::OkStatus();
    std::vector<ValueId> inputs;
    for (const NodeId part : sum.parts) inputs.push_back(graph_.node(part).inputs[0]);
    const Attrs attrs = {{"dim", AttrValue(graph_.node(sum.parts[0]).attrs.Int("dim"))}};
    OF_ASSIGN_OR_RETURN(const std::vector<ValueId> made,
                        graph_.InsertNode(id, "cat", std::move(inputs), attrs, root));
    graph_.ReplaceUses(root.outputs[0], made[0]);
    for (const std::vector<NodeId>* nodes : {&sum.additions, &sum.parts}) {
      for (const NodeId node : *nodes) {
        joined_[node] = graph_.value(made[0]).producer;
        graph_.RemoveNode(node);
      }
    }
    return absl::OkStatus();
  }

  Graph& graph_;
  std::map<NodeId, NodeId> joined_;  // what stood for it before
};

}  // namespace

absl::Status JoinSlices(Graph* graph) { return Joining(graph).Run(); }

}  // namespace oneflow
