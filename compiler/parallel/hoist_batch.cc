#include "compiler/parallel/hoist_batch.h"

#include <map>

#include "base/check.h"
#include "base/status.h"
#include "compiler/ops/input_kind.h"
#include "compiler/passes/remove_dead.h"

namespace oneflow {
namespace {

class Hoist {
 public:
  explicit Hoist(Graph* graph) : graph_(*graph) {}

  bool OfBatchAlone(ValueId value) {
    const Node& node = graph_.node(graph_.value(value).producer);
    const auto [known, inserted] = batch_alone_.try_emplace(node.id, true);
    if (!inserted) return known->second;
    bool alone = node.op != "state_read";
    for (size_t i = 0; alone && i < node.inputs.size(); ++i) alone = OfBatchAlone(node.inputs[i]);
    batch_alone_[node.id] = alone;
    return alone;
  }

  // The same value, computed from the whole batch by nodes of its own.
  ValueId Whole(ValueId value) {
    const NodeId id = graph_.value(value).producer;
    if (!copies_.contains(id)) {
      const Node node = graph_.node(id);
      std::vector<ValueId> inputs;
      for (const ValueId input : node.inputs) inputs.push_back(Whole(input));
      Attrs attrs = node.attrs;
      if (node.op == "input" && InputKindOf(attrs) == InputKind::kBatch)
        attrs.Set("kind", NameOf(InputKind::kWhole));
      const auto copy = graph_.InsertNode(id, node.op, std::move(inputs), std::move(attrs), node);
      OF_CHECK(copy.ok()) << MessageOf(copy.status());
      for (size_t i = 0; i < copy->size(); ++i) {
        graph_.mutable_value((*copy)[i]).annotation = graph_.value(node.outputs[i]).annotation;
      }
      copies_[id] = *copy;
    }
    return copies_.at(id)[static_cast<size_t>(graph_.value(value).output)];
  }

 private:
  Graph& graph_;
  std::map<NodeId, bool> batch_alone_;
  std::map<NodeId, std::vector<ValueId>> copies_;
};

}  // namespace

bool HoistBatchValues(Graph* graph, const std::vector<ValueId>& values) {
  Hoist hoist(graph);
  bool any = false;
  for (const ValueId value : values) {
    if (!hoist.OfBatchAlone(value)) continue;
    graph->ReplaceUses(value, hoist.Whole(value));
    any = true;
  }
  if (any) RemoveDead(graph);
  return any;
}

}  // namespace oneflow
