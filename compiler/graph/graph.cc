#include "compiler/graph/graph.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "compiler/ops/infer.h"
#include "compiler/ops/op_table.h"

namespace oneflow {
namespace {

// Room between the order keys of two nodes added one after the other: 20 insertions into one gap
// before the keys are dealt out anew.
constexpr int64_t kKeyGap = int64_t{1} << 20;

}  // namespace

LocationId Graph::AddLocation(const Location& location) {
  if (!location.known()) return 0;
  const auto [it, added] =
      location_ids_.emplace(location, static_cast<LocationId>(locations_.size()));
  if (added) locations_.push_back(location);
  return it->second;
}

absl::Status Graph::AddState(const std::string& name, TensorType type,
                             std::map<std::string, Sbp> annotation,
                             std::optional<Sharding> sharding) {
  if (type.dtype == DType::kInvalid || !CheckedNumElements(type.shape).has_value()) {
    return MakeError(ErrorKind::kShape,
                     absl::StrCat("state ", name, ": ", type.ToString(), " is not a tensor type"));
  }
  const auto it = states_.find(name);
  if (it != states_.end()) {
    if (it->second.type == type) return absl::OkStatus();
    return MakeError(ErrorKind::kShape,
                     absl::StrCat("state ", name, " is declared twice, as ",
                                  it->second.type.ToString(), " and as ", type.ToString(),
                                  ": give the two parameters or buffers different names"));
  }
  states_.emplace(name,
                  GraphState{name, std::move(type), std::move(annotation), std::move(sharding)});
  return absl::OkStatus();
}

GraphState* Graph::mutable_state(const std::string& name) {
  const auto it = states_.find(name);
  return it == states_.end() ? nullptr : &it->second;
}

absl::StatusOr<std::vector<ValueId>> Graph::AddNode(const std::string& op,
                                                    std::vector<ValueId> inputs, Attrs attrs,
                                                    LocationId location, const std::string& scope,
                                                    std::optional<int> stage, NodeId forward) {
  Node node;
  node.op = op;
  node.inputs = std::move(inputs);
  node.attrs = std::move(attrs);
  node.location = location;
  node.scope = scope;
  node.stage = stage;
  node.forward = forward;
  node.phase = PhaseOf(node);
  return MakeNode(std::move(node), std::nullopt);
}

NodePhase Graph::PhaseOf(const Node& node) const {
  if (node.forward >= 0) return NodePhase::kBackward;
  if (node.op == "state_write") return NodePhase::kUpdate;
  for (const ValueId input : node.inputs) {
    // A bad id is refused where the node is made.
    if (input < 0 || input >= static_cast<ValueId>(values_.size()) || values_[input].producer < 0)
      continue;
    if (nodes_[values_[input].producer].phase != NodePhase::kForward) return NodePhase::kUpdate;
  }
  return phase_;
}

absl::StatusOr<std::vector<ValueId>> Graph::InsertNode(NodeId before, const std::string& op,
                                                       std::vector<ValueId> inputs, Attrs attrs,
                                                       const Node& like) {
  Node node;
  node.op = op;
  node.inputs = std::move(inputs);
  node.attrs = std::move(attrs);
  node.location = like.location;
  node.scope = like.scope;
  node.stage = like.stage;
  node.forward = like.forward;
  node.phase = like.phase;
  for (const ValueId input : node.inputs) {  // a permute of a gradient is no forward node
    if (node.phase == NodePhase::kForward) node.phase = nodes_[values_[input].producer].phase;
  }
  return MakeNode(std::move(node), before);
}

absl::StatusOr<std::vector<TensorType>> Graph::InferNode(Node* node) const {
  const OpDef* def = FindOp(node->op);
  if (def == nullptr) {
    return MakeError(ErrorKind::kError, absl::StrCat("there is no op ", node->op));
  }
  std::vector<TensorType> types;
  types.reserve(node->inputs.size());
  for (ValueId input : node->inputs) {
    if (input < 0 || input >= static_cast<ValueId>(values_.size()) || values_[input].producer < 0) {
      return MakeError(ErrorKind::kError, absl::StrCat(node->op, ": there is no value %", input));
    }
    types.push_back(values_[input].type);
  }
  OF_RETURN_IF_ERROR(CompleteAttrs(*def, &node->attrs));
  if (node->op != "state_read" && node->op != "state_write") {
    return InferOutputs(*def, types, std::as_const(node->attrs));
  }
  // The types of states are known to the graph alone.
  const std::string& name = node->attrs.String("name");
  const auto state = states_.find(name);
  if (state == states_.end()) {
    return MakeError(ErrorKind::kError, absl::StrCat(node->op, ": there is no state ", name));
  }
  OF_RETURN_IF_ERROR(CheckInputs(*def, types));
  if (node->op == "state_read") return std::vector<TensorType>{state->second.type};
  if (types[0] != state->second.type) {
    return MakeError(
        types[0].dtype != state->second.type.dtype ? ErrorKind::kDType : ErrorKind::kShape,
        absl::StrCat("state_write: ", name, " is ", state->second.type.ToString(),
                     " and cannot become ", types[0].ToString(),
                     ": reshape or cast the new value"));
  }
  return std::vector<TensorType>{};
}

absl::StatusOr<std::vector<ValueId>> Graph::MakeNode(Node node, std::optional<NodeId> before) {
  OF_CHECK(node.location >= 0 && node.location < static_cast<LocationId>(locations_.size()))
      << "location " << node.location << " is not of this graph";
  auto types = InferNode(&node);
  if (!types.ok()) return WithLocation(types.status(), locations_[node.location]);
  const NodeId id = static_cast<NodeId>(nodes_.size());
  node.id = id;
  for (size_t i = 0; i < types->size(); ++i) {
    node.outputs.push_back(static_cast<ValueId>(values_.size()));
    Value value;
    value.type = std::move((*types)[i]);
    value.producer = id;
    value.output = static_cast<int>(i);
    values_.push_back(std::move(value));
    uses_.emplace_back();
  }
  std::vector<ValueId> outputs = node.outputs;
  nodes_.push_back(std::move(node));
  Link(id, before);
  for (ValueId input : nodes_[id].inputs) AddUse(input, id);
  return outputs;
}

void Graph::Link(NodeId id, std::optional<NodeId> before) {
  const NodeId after = before.has_value() ? previous_[*before] : last_;
  const NodeId next = before.value_or(-1);
  OF_CHECK(next == -1 || !nodes_[next].removed) << "insertion before removed node " << next;
  next_.push_back(next);
  previous_.push_back(after);
  (after == -1 ? first_ : next_[after]) = id;
  (next == -1 ? last_ : previous_[next]) = id;
  const int64_t low = after == -1 ? (next == -1 ? 0 : keys_[next] - 2 * kKeyGap) : keys_[after];
  const int64_t high = next == -1 ? low + 2 * kKeyGap : keys_[next];
  keys_.push_back(low + (high - low) / 2);
  if (keys_[id] == low && after != -1) RenumberKeys();
}

void Graph::RenumberKeys() {
  int64_t key = 0;
  for (NodeId id = first_; id != -1; id = next_[id]) keys_[id] = key += kKeyGap;
}

void Graph::AddUse(ValueId value, NodeId node) {
  std::vector<NodeId>& uses = uses_[value];
  const auto place = std::lower_bound(uses.begin(), uses.end(), node,
                                      [this](NodeId a, NodeId b) { return Before(a, b); });
  if (place == uses.end() || *place != node) uses.insert(place, node);
}

void Graph::RemoveUse(ValueId value, NodeId node) {
  std::vector<NodeId>& uses = uses_[value];
  uses.erase(std::remove(uses.begin(), uses.end(), node), uses.end());
}

void Graph::ReplaceForwards(const std::map<NodeId, NodeId>& places) {
  for (const NodeId id : order()) {
    NodeId& forward = nodes_[id].forward;
    for (auto found = places.find(forward); found != places.end(); found = places.find(forward)) {
      forward = found->second;
    }
  }
}

void Graph::ReplaceUses(ValueId old_value, ValueId new_value) {
  OF_CHECK(values_[old_value].type == values_[new_value].type)
      << "%" << old_value << " and %" << new_value << " differ in type";
  const std::vector<NodeId> readers = uses_[old_value];
  for (NodeId reader : readers) {
    if (reader == values_[new_value].producer) continue;
    for (ValueId& input : nodes_[reader].inputs) {
      if (input == old_value) input = new_value;
    }
    RemoveUse(old_value, reader);
    AddUse(new_value, reader);
  }
}

void Graph::ReplaceInput(NodeId node, int index, ValueId value) {
  std::vector<ValueId>& inputs = nodes_[node].inputs;
  const ValueId old_value = inputs.at(index);
  OF_CHECK(values_[old_value].type == values_[value].type)
      << "%" << old_value << " and %" << value << " differ in type";
  inputs[index] = value;
  if (std::find(inputs.begin(), inputs.end(), old_value) == inputs.end()) {
    RemoveUse(old_value, node);
  }
  AddUse(value, node);
}

void Graph::RemoveNode(NodeId id) {
  Node& node = nodes_[id];
  OF_CHECK(!node.removed) << "node " << id << " is removed twice";
  for (ValueId output : node.outputs) {
    OF_CHECK(uses_[output].empty()) << "%" << output << " of " << node.op << " is still read";
    values_[output].producer = -1;
  }
  for (ValueId input : node.inputs) RemoveUse(input, id);
  (previous_[id] == -1 ? first_ : next_[previous_[id]]) = next_[id];
  (next_[id] == -1 ? last_ : previous_[next_[id]]) = previous_[id];
  node.removed = true;
}

std::vector<NodeId> Graph::order() const {
  std::vector<NodeId> result;
  result.reserve(nodes_.size());
  for (NodeId id = first_; id != -1; id = next_[id]) result.push_back(id);
  return result;
}

}  // namespace oneflow
