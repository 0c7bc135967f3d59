#include "compiler/passes/pad_classes.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "compiler/passes/decided_graph.h"

namespace oneflow {
namespace {

constexpr int64_t kMultiple = 8;  // two-byte elements in 16 bytes

// One product and all that its scores reach.
class Padding {
 public:
  Padding(Graph* graph, Decisions* decisions, NodeId product)
      : graph_(*graph), edit_(graph, decisions), product_(product) {}

  // True if every reader can pass over columns behind the classes.
  bool Fits() {
    const Node& node = graph_.node(product_);
    if (node.op != "matmul" || node.attrs.Bool("transpose_a") || !node.attrs.Bool("transpose_b")) {
      return false;
    }
    weight_ = node.inputs[1];
    const TensorType& weight = TypeOf(weight_);
    if (SizeOf(weight.dtype) != 2 || weight.shape.size() != 2) return false;
    classes_ = weight.shape[0];
    padded_ = (classes_ + kMultiple - 1) / kMultiple * kMultiple;
    if (padded_ == classes_ || classes_ == 0 || !TakesScores(node.outputs[0])) return false;
    bool has_loss = false;
    for (size_t i = 0; i < scores_.size(); ++i) {  // grows
      for (const NodeId reader : graph_.uses(scores_[i])) {
        if (!Takes(graph_.node(reader), scores_[i])) return false;
        has_loss = has_loss || graph_.node(reader).op == "cross_entropy";
        readers_.insert(reader);
      }
    }
    return has_loss;
  }

  // REQUIRES: Fits().
  absl::Status Run() {
    readers_.insert(product_);
    std::vector<NodeId> old(readers_.begin(), readers_.end());
    std::sort(old.begin(), old.end(), [&](NodeId a, NodeId b) { return graph_.Before(a, b); });
    for (const NodeId id : old) OF_RETURN_IF_ERROR(Replace(id));
    for (size_t i = old.size(); i-- > 0;) edit_.Remove(old[i]);
    return absl::OkStatus();
  }

 private:
  const TensorType& TypeOf(ValueId value) const { return graph_.value(value).type; }
  bool AreScores(ValueId value) const {
    return std::find(scores_.begin(), scores_.end(), value) != scores_.end();
  }

  // A value whose last dim is the classes is one to be padded. Each device has all of them, for cross_entropy needs them
  // and no reader that is taken moves any.
  bool TakesScores(ValueId value) {
    const Shape& shape = TypeOf(value).shape;
    if (AreScores(value)) return true;
    if (shape.empty() || shape.back() != classes_) return false;
    scores_.push_back(value);
    return true;
  }

  bool Takes(const Node& node, ValueId scores) {
    const Shape& shape = TypeOf(scores).shape;
    if (node.op == "cross_entropy") return node.attrs.Int("classes") == 0;
    if (node.op == "cross_entropy_grad") {
      return node.attrs.Int("classes") == 0 && TakesScores(node.outputs[0]);
    }
    if (node.op == "reshape") return TakesScores(node.outputs[0]);
    if (node.op == "add") {
      const ValueId beside = node.inputs[node.inputs[0] == scores ? 1 : 0];
      return TypeOf(beside).shape == Shape{classes_} && TypeOf(node.outputs[0]).shape == shape &&
             TakesScores(node.outputs[0]);
    }
    if (node.op == "sum") {
      Shape rest;
      for (size_t d = 0; d + 1 < shape.size(); ++d) rest.push_back(static_cast<int64_t>(d));
      return node.attrs.Ints("dims") == rest && TypeOf(node.outputs[0]).shape == Shape{classes_};
    }
    if (node.op != "matmul" || node.inputs[0] != scores || node.inputs[1] == scores ||
        node.attrs.Bool("transpose_b")) {
      return false;
    }
    // By the weights, or the gradient of these.
    return node.attrs.Bool("transpose_a") ? shape.size() == 2 : node.inputs[1] == weight_;
  }

  // What stands for `value` in a reader.
  absl::StatusOr<ValueId> Padded(ValueId value, const Node& reader) {
    const auto found = padded_of_.find(value);
    if (found != padded_of_.end()) return found->second;
    const TensorType type = TypeOf(value);
    const bool is_weight = value == weight_;
    const bool is_bias = reader.op == "add" && type.shape == Shape{classes_};
    if (!is_weight && !is_bias) return value;
    Attrs attrs{{"dim", int64_t{0}},
                {"start", int64_t{0}},
                {"stop", classes_},
                {"step", int64_t{1}},
                {"extent", padded_}};
    OF_ASSIGN_OR_RETURN(
        const std::vector<ValueId> made,
        edit_.Insert(reader, "slice_grad", {value}, attrs, {graph_.value(value).sharding}));
    padded_of_[value] = made[0];
    return made[0];
  }

  // The same op over padded operands, before the old one; who reads no scores reads the new one's results.
  absl::Status Replace(NodeId id) {
    const Node node = graph_.node(id);
    std::vector<ValueId> inputs;
    for (const ValueId whole : node.inputs) {
      OF_ASSIGN_OR_RETURN(const ValueId input, Padded(whole, node));
      inputs.push_back(input);
    }
    Attrs attrs = node.attrs;
    if (node.op == "cross_entropy" || node.op == "cross_entropy_grad") {
      attrs.Set("classes", classes_);
    }
    if (node.op == "reshape") {
      Shape shape = TypeOf(node.outputs[0]).shape;
      shape.back() = padded_;
      attrs.Set("shape", std::move(shape));
    }
    std::vector<Sharding> layouts;
    for (const ValueId result : node.outputs) layouts.push_back(graph_.value(result).sharding);
    OF_ASSIGN_OR_RETURN(const std::vector<ValueId> made,
                        edit_.Insert(node, node.op, std::move(inputs), std::move(attrs), layouts));
    for (size_t i = 0; i < made.size(); ++i) {
      const ValueId old = node.outputs[i];
      if (AreScores(old)) {
        padded_of_[old] = made[i];
      } else if (TypeOf(old) == TypeOf(made[i])) {
        graph_.ReplaceUses(old, made[i]);
      } else {  // a gradient: [classes, ...]
        OF_ASSIGN_OR_RETURN(const std::vector<ValueId> cut, edit_.Insert(node, "slice", {made[i]},
                                                                         {{"dim", int64_t{0}},
                                                                          {"start", int64_t{0}},
                                                                          {"stop", classes_},
                                                                          {"step", int64_t{1}}},
                                                                         {layouts[i]}));
        graph_.ReplaceUses(old, cut[0]);
      }
    }
    return absl::OkStatus();
  }

  Graph& graph_;
  DecidedGraph edit_;
  const NodeId product_;
  ValueId weight_ = -1;
  int64_t classes_ = 0, padded_ = 0;
  std::vector<ValueId> scores_;  // values [.., classes]: the product's, and what has its rows
  std::set<NodeId> readers_;
  std::map<ValueId, ValueId> padded_of_;
};

}  // namespace

absl::Status PadClasses(Graph* graph, Decisions* decisions) {
  for (const NodeId id : graph->order()) {
    if (graph->node(id).removed) continue;
    Padding padding(graph, decisions, id);
    if (padding.Fits()) OF_RETURN_IF_ERROR(padding.Run());
  }
  return absl::OkStatus();
}

}  // namespace oneflow
