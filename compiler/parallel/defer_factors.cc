#include "compiler/parallel/defer_factors.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/status.h"

namespace oneflow {
namespace {

// True if the node's outputs are linear in those inputs together, the others fixed: sums of them
// give sums.
bool IsLinearIn(const BoundNode& node, const std::vector<bool>& inputs) {
  if (node.rule == nullptr) return false;
  const auto is_sum = [](const Sbp& sbp) { return sbp == Sbp::P(); };
  return std::any_of(node.rule->signatures().begin(), node.rule->signatures().end(),
                     [&](const AxisSignature& signature) {
                       for (size_t i = 0; i < inputs.size(); ++i) {
                         if (inputs[i] ? !is_sum(signature.inputs[i])
                                       : signature.inputs[i].kind != Sbp::kBroadcast) {
                           return false;
                         }
                       }
                       return std::all_of(signature.outputs.begin(), signature.outputs.end(),
                                          is_sum);
                     });
}

class Deferral {
 public:
  Deferral(Graph* graph, const BoundGraph& bound, ValueId factor)
      : graph_(*graph), bound_(bound), factor_(factor), carries_(graph->num_values(), false) {
    carries_[factor] = true;
  }

  void Run() {
    for (NodeId id : bound_.order) {
      const Node node = graph_.node(id);
      std::vector<bool> carrying;
      for (ValueId input : node.inputs) carrying.push_back(carries_[input]);
      if (std::find(carrying.begin(), carrying.end(), true) == carrying.end()) continue;
      const bool follows =
          node.phase != NodePhase::kUpdate && IsLinearIn(bound_.nodes[id], carrying);
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        if (!carrying[i]) continue;
        if (node.inputs[i] == factor_) {
          if (follows) graph_.ReplaceInput(id, static_cast<int>(i), One(node));
        } else if (!follows) {
          graph_.ReplaceInput(id, static_cast<int>(i), Scaled(node.inputs[i], node));
        }
      }
      for (ValueId output : node.outputs) carries_[output] = follows;
    }
  }

 private:
  // A node next to `place`, as a part of the one that made `like`.
  ValueId Add(const Node& place, const std::string& op, std::vector<ValueId> inputs, Attrs attrs,
              ValueId like) {
    const Node maker = graph_.node(graph_.value(like).producer);
    const auto outputs =
        graph_.InsertNode(place.id, op, std::move(inputs), std::move(attrs), maker);
    OF_CHECK(outputs.ok()) << MessageOf(outputs.status());
    return (*outputs)[0];
  }

  ValueId One(const Node& reader) {
    const TensorType& type = graph_.value(factor_).type;
    return Add(reader, "constant", {},
               {{"value", AttrValue(1.0)},
                {"dtype", AttrValue(std::string(NameOf(type.dtype)))},
                {"shape", AttrValue(type.shape)}},
               factor_);
  }

  // What `value` would have been, for its first reader and those after it.
  ValueId Scaled(ValueId value, const Node& reader) {
    const auto known = scaled_.find(value);
    if (known != scaled_.end()) return known->second;
    const TensorType type = graph_.value(value).type;
    ValueId factor = factor_;
    if (!graph_.value(factor).type.shape.empty()) {
      factor = Add(reader, "reshape", {factor}, {{"shape", AttrValue(Shape{})}}, value);
    }
    if (graph_.value(factor).type.dtype != type.dtype) {
      factor = Add(reader, "cast", {factor},
                   {{"dtype", AttrValue(std::string(NameOf(type.dtype)))}}, value);
    }
    return scaled_[value] = Add(reader, "mul", {value, factor}, {}, value);
  }

  Graph& graph_;
  const BoundGraph& bound_;
  const ValueId factor_;
  std::vector<bool> carries_;  // by ValueId of the graph as it was: lacks the factor
  std::map<ValueId, ValueId> scaled_;
};

}  // namespace

std::optional<ValueId> FindLateFactor(const BoundGraph& bound, const NeededEarly& early) {
  const Graph& graph = *bound.graph;
  NodeId at = early.node;
  while (at >= 0) {
    const Node& node = graph.node(at);
    std::optional<ValueId> late;
    for (ValueId input : node.inputs) {
      if (!early.late[input]) continue;
      if (late.has_value() && *late != input) return std::nullopt;
      late = input;
    }
    if (!late.has_value()) return std::nullopt;
    std::vector<bool> inputs;
    for (ValueId input : node.inputs) inputs.push_back(input == *late);
    if (!IsLinearIn(bound.nodes[at], inputs)) return std::nullopt;
    if (NumElements(graph.value(*late).type.shape) == 1) return late;
    at = graph.value(*late).producer;
  }
  return std::nullopt;
}

void DeferFactor(Graph* graph, const BoundGraph& bound, ValueId factor) {
  Deferral(graph, bound, factor).Run();
}

}  // namespace oneflow
