#include "compiler/parallel/bound_graph.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/status.h"
#include "compiler/ops/input_kind.h"
#include "compiler/ops/op_table.h"
#include "compiler/parallel/node_kind.h"

namespace oneflow {
namespace {

constexpr int64_t kPinAxis = -2;

using Annotation = std::map<std::string, Sbp>;

std::string AxisNames(const std::vector<Axis>& axes) {
  std::vector<std::string> names;
  for (size_t i = 1; i < axes.size(); ++i) names.push_back(axes[i].name);
  return names.empty() ? "none that carries layouts" : absl::StrJoin(names, ", ");
}

// Checks what the user wrote for one tensor; what = "flow.shard of f32[8,4]".
absl::Status CheckAnnotation(const Annotation& annotation, const TensorType& type,
                             bool allow_partial, const std::vector<Axis>& axes,
                             const std::string& what, const Location& location) {
  for (const auto& [name, sbp] : annotation) {
    const bool known = std::any_of(axes.begin() + 1, axes.end(),
                                   [&](const Axis& axis) { return axis.name == name; });
    if (!known) {
      return MakeError(
          ErrorKind::kSharding,
          absl::StrCat(what, " names the axis ", name, ", but the mesh has ", AxisNames(axes),
                       name == "pp" ? ". Stages are chosen with `with flow.stage(i):`"
                       : name == "micro"
                           ? ". Micro-batches are chosen with accumulate="
                           : absl::StrCat(". Add ", name,
                                          "= to flow.mesh (size 1 is legal) or drop it here")),
          location);
    }
    if (sbp.kind == Sbp::kSplit && sbp.dim >= type.shape.size()) {
      return MakeError(
          ErrorKind::kSharding,
          absl::StrCat(
              what, " asks for ", name, "=\"", sbp.ToString(), "\", but ",
              type.shape.empty()
                  ? std::string("a tensor without dims can only be \"B\"")
                  : absl::StrCat("it has the dims 0 to ", type.shape.size() - 1, ": use S(0)",
                                 type.shape.size() > 1
                                     ? absl::StrCat(" .. S(", type.shape.size() - 1, ")")
                                     : std::string(),
                                 " or B")),
          location);
    }
    if (sbp.kind == Sbp::kPartial && !allow_partial) {
      return MakeError(
          ErrorKind::kSharding,
          absl::StrCat(what, " asks for ", name, "=\"", sbp.ToString(),
                       "\", but an input or state cannot be partial: use \"B\" or \"S(dim)\""),
          location);
    }
  }
  return absl::OkStatus();
}

// The rule of a pin: every dim passes through, and so does a sum.
std::string PassThroughRule(size_t rank) {
  if (rank == 0) return ". -> . ; linear";
  std::string dims;
  for (size_t d = 0; d < rank; ++d) absl::StrAppend(&dims, d == 0 ? "" : " ", "d", d);
  return absl::StrCat(dims, " -> ", dims, " ; linear");
}

// Where a state is first read or written, for errors about it.
Location LocationOfState(const Graph& graph, const std::vector<NodeId>& order,
                         const std::string& name) {
  for (NodeId id : order) {
    const Node& node = graph.node(id);
    if ((node.op != "state_read" && node.op != "state_write") || node.attrs.String("name") != name)
      continue;
    if (graph.location(node.location).known()) return graph.location(node.location);
    for (ValueId output : node.outputs) {
      for (NodeId reader : graph.uses(output)) {
        const Location& location = graph.location(graph.node(reader).location);
        if (location.known()) return location;
      }
    }
  }
  return {};
}

class Binder {
 public:
  Binder(const Graph& graph, const std::vector<Axis>& axes) : graph_(graph) {
    result_.graph = &graph;
    result_.axes = axes;
    result_.order = graph.order();
    result_.nodes.resize(graph.num_nodes());
  }

  absl::StatusOr<BoundGraph> Run() {
    OF_RETURN_IF_ERROR(GroupStates());
    for (NodeId id : result_.order) {
      OF_RETURN_IF_ERROR(
          WithLocation(BindNode(graph_.node(id)), graph_.location(graph_.node(id).location)));
    }
    return std::move(result_);
  }

 private:
  const std::vector<Axis>& axes() const { return result_.axes; }

  absl::Status BindNode(const Node& node) {
    BoundNode& bound = result_.nodes[node.id];
    bound.def = FindOp(node.op);
    if (node.op == "input") return BindInput(node, &bound);
    if (node.op == "output") {
      bound.role = NodeRole::kOutput;
      return absl::OkStatus();
    }
    if (node.op == "state_read" || node.op == "state_write") {
      bound.role = node.op == "state_read" ? NodeRole::kStateRead : NodeRole::kStateWrite;
      bound.group = group_of_.at(node.attrs.String("name"));
      StateGroup& group = result_.groups[bound.group];
      (bound.role == NodeRole::kStateRead ? group.reads : group.writes).push_back(node.id);
      group.stage = *node.stage;
      return absl::OkStatus();
    }
    return BindRule(node, &bound);
  }

  absl::Status BindInput(const Node& node, BoundNode* bound) {
    bound->role = NodeRole::kFixed;
    const Value& value = graph_.value(node.outputs[0]);
    const std::string& name = node.attrs.String("name");
    const InputKind kind = InputKindOf(node.attrs);
    const bool whole = kind == InputKind::kWhole;  // not cut into micro-batches
    const bool batch = kind == InputKind::kBatch && !value.type.shape.empty();
    OF_RETURN_IF_ERROR(
        CheckAnnotation(value.annotation, value.type, /*allow_partial=*/false, axes(),
                        absl::StrCat("flow.shard of the input ", name, " ", value.type.ToString()),
                        graph_.location(node.location)));
    const int64_t micro = axes()[0].size;
    if (batch && value.type.shape[0] % micro != 0) {
      return MakeError(
          ErrorKind::kSharding,
          absl::StrCat("accumulate=", micro, " does not divide the batch: input ", name, " is ",
                       value.type.ToString(), " and ", value.type.shape[0], " samples are not ",
                       micro, " equal micro-batches. Use a batch size that ", micro,
                       " divides, or another accumulate="),
          graph_.location(node.location));
    }
    Sharding sharding = Sharding::Broadcast(*node.stage, axes().size(), value.type.shape.size());
    for (size_t axis = 0; axis < axes().size(); ++axis) {
      const auto asked = value.annotation.find(axes()[axis].name);
      if (asked != value.annotation.end()) {
        sharding.sbps[axis] = asked->second;
      } else if ((batch && axis == 0) || ((batch || whole) && axes()[axis].name == "dp")) {
        sharding.sbps[axis] = Sbp::S(0);
      }
    }
    bound->fixed = Canonical(std::move(sharding), axes(), value.type.shape);
    return absl::OkStatus();
  }

  // What a rule, a cost and a choice see of a node.
  using Kind = std::tuple<std::string, std::string, std::vector<int64_t>, std::string>;

  Kind KindOf(const Node& node, bool pin) const {
    std::vector<int64_t> types = {*node.stage, static_cast<int64_t>(node.inputs.size())};
    for (const auto* side : {&node.inputs, &node.outputs}) {
      for (ValueId value : *side) {
        const TensorType& type = graph_.value(value).type;
        types.push_back(static_cast<int64_t>(type.dtype));
        types.push_back(static_cast<int64_t>(type.shape.size()));
        types.insert(types.end(), type.shape.begin(), type.shape.end());
      }
    }
    std::string asked;
    if (pin) {
      for (const auto& [axis, sbp] : graph_.value(node.outputs[0]).annotation)
        absl::StrAppend(&asked, axis, "=", sbp.ToString(), ";");
    }
    return {node.op, node.attrs.ToString(), std::move(types), std::move(asked)};
  }

  absl::Status BindRule(const Node& node, BoundNode* bound) {
    const bool pin = IsPin(node);
    bound->role = pin ? NodeRole::kPin : NodeRole::kSearched;
    OF_CHECK(bound->def != nullptr) << "no op " << node.op;
    const auto [first, added] = kinds_.try_emplace(KindOf(node, pin), node.id);
    if (!added) {
      *bound = result_.nodes[first->second];
      return absl::OkStatus();
    }
    bound->kind = result_.kinds++;
    return BindKind(node, pin, bound);
  }

  absl::Status BindKind(const Node& node, bool pin, BoundNode* bound) {
    std::vector<TensorType> inputs, outputs;
    std::vector<Shape> input_shapes, output_shapes;
    for (ValueId value : node.inputs) inputs.push_back(graph_.value(value).type);
    for (ValueId value : node.outputs) outputs.push_back(graph_.value(value).type);
    for (const TensorType& type : inputs) input_shapes.push_back(type.shape);
    for (const TensorType& type : outputs) output_shapes.push_back(type.shape);
    std::string rule;
    if (pin) {
      rule = PassThroughRule(input_shapes[0].size());
    } else {
      OF_CHECK(bound->def->rule != nullptr) << node.op << " has no sharding rule";
      rule = bound->def->rule(OpContext{node.attrs, inputs, outputs});
    }
    absl::StatusOr<BoundRule> bind = BoundRule::Bind(rule, input_shapes, output_shapes);
    if (!bind.ok())
      return WithContext(bind.status(), absl::StrCat(node.op, ": rule \"", rule, "\""));
    bound->rule = std::make_shared<const BoundRule>(*std::move(bind));
    const auto& signatures = bound->rule->signatures();
    const size_t nested = bound->rule->nested_signatures().size();
    for (size_t axis = 0; axis < axes().size(); ++axis) {
      std::vector<int> allowed;
      std::optional<Sbp> asked;
      if (pin) {
        const Annotation& annotation = graph_.value(node.outputs[0]).annotation;
        const auto found = annotation.find(axes()[axis].name);
        if (found != annotation.end() && axes()[axis].size > 1) asked = found->second;
      }
      // Nested signatures stand behind an outer axis, which micro does not have.
      const size_t count =
          axes()[axis].size == 1 ? 1 : signatures.size() + (axis == 0 ? 0 : nested);
      for (size_t i = 0; i < count; ++i) {
        const int number = static_cast<int>(i);
        if (asked.has_value() && bound->rule->signature(number).outputs[0] != *asked) continue;
        allowed.push_back(number);
      }
      if (allowed.empty()) {
        return MakeError(
            ErrorKind::kSharding,
            absl::StrCat("flow.shard of ", inputs[0].ToString(), " cannot be ", asked->ToString(),
                         " on ", axes()[axis].name, ": possible are ",
                         absl::StrJoin(signatures, ", ",
                                       [](std::string* out, const AxisSignature& signature) {
                                         out->append(signature.outputs[0].ToString());
                                       })));
      }
      bound->allowed.push_back(std::move(allowed));
    }
    return absl::OkStatus();
  }

  // Union of the states that one update reads and writes.
  absl::Status GroupStates() {
    std::map<std::string, std::string> parent;
    for (const auto& [name, state] : graph_.states()) parent[name] = name;
    const auto root = [&](std::string name) {
      while (parent.at(name) != name) name = parent.at(name);
      return name;
    };
    std::set<std::string> used;
    for (NodeId id : result_.order) {
      const Node& node = graph_.node(id);
      if (node.op == "state_read") used.insert(node.attrs.String("name"));
      if (node.op != "state_write") continue;
      const std::string& written = node.attrs.String("name");
      used.insert(written);
      for (ValueId input : graph_.node(graph_.value(node.inputs[0]).producer).inputs) {
        const Node& reader = graph_.node(graph_.value(input).producer);
        if (reader.op != "state_read") continue;
        const std::string& read = reader.attrs.String("name");
        if (!Compatible(root(written), root(read))) continue;
        const std::string first = root(written);
        const std::string second = root(read);
        const std::string& low = std::min(first, second);
        const std::string& high = std::max(first, second);
        parent[high] = low;
        annotations_[low].insert(annotations_[high].begin(), annotations_[high].end());
      }
    }
    std::map<std::string, int> index;
    for (const std::string& name : used) {
      const auto [it, added] =
          index.try_emplace(root(name), static_cast<int>(result_.groups.size()));
      if (added) result_.groups.emplace_back();
      group_of_[name] = it->second;
      OF_RETURN_IF_ERROR(AddToGroup(graph_.states().at(name), &result_.groups[it->second]));
    }
    return absl::OkStatus();
  }

  // Two states may share a group if they have one shape and nobody asked for different layouts.
  bool Compatible(const std::string& a, const std::string& b) {
    const GraphState& first = graph_.states().at(a);
    const GraphState& second = graph_.states().at(b);
    if (first.type.shape != second.type.shape) return false;
    if (first.sharding != second.sharding) return false;
    Annotation& mine = annotations_.try_emplace(a, first.annotation).first->second;
    const Annotation& theirs = annotations_.try_emplace(b, second.annotation).first->second;
    return std::all_of(theirs.begin(), theirs.end(), [&](const auto& entry) {
      const auto found = mine.find(entry.first);
      return found == mine.end() || found->second == entry.second;
    });
  }

  absl::Status AddToGroup(const GraphState& state, StateGroup* group) {
    const std::string what = absl::StrCat("The layout of ", state.name, " ", state.type.ToString());
    const auto check = [&](const Location& location) {
      return CheckAnnotation(state.annotation, state.type, /*allow_partial=*/false, axes(), what,
                             location);
    };
    // Only an error is worth the search for the line.
    if (!check({}).ok()) return check(LocationOfState(graph_, result_.order, state.name));
    group->asked.resize(axes().size());
    group->states.push_back(state.name);
    group->shape = state.type.shape;
    group->bytes += state.type.bytes();
    for (size_t axis = 0; axis < axes().size(); ++axis) {
      const auto asked = state.annotation.find(axes()[axis].name);
      if (asked != state.annotation.end()) {
        group->asked[axis] = asked->second;
      } else if (axis == 0 || axes()[axis].name == "dp" || axes()[axis].size == 1 ||
                 state.type.shape.empty()) {
        if (!group->asked[axis].has_value()) group->asked[axis] = Sbp::B();
      }
    }
    if (state.sharding.has_value()) {
      if (!CheckSharding(*state.sharding, axes(), state.type.shape).ok()) {
        return MakeError(
            ErrorKind::kPlan,
            absl::StrCat(what, " was fixed by an earlier plan as ", state.sharding->ToString(),
                         ", which does not fit this mesh: use one mesh for all steps of a model"),
            LocationOfState(graph_, result_.order, state.name));
      }
      group->fixed = state.sharding;
    }
    return absl::OkStatus();
  }

  const Graph& graph_;
  BoundGraph result_;
  std::map<std::string, int> group_of_;
  std::map<Kind, NodeId> kinds_;                   // the first node of each
  std::map<std::string, Annotation> annotations_;  // of the group whose root has this name
};

}  // namespace

bool IsPin(const Node& node) { return node.op == "reshard" && node.attrs.Int("axis") == kPinAxis; }

absl::Status PinAnnotatedValues(Graph* graph, const std::vector<Axis>& axes) {
  for (NodeId id : graph->order()) {
    if (graph->node(id).op == "input") continue;
    const std::vector<ValueId> outputs = graph->node(id).outputs;
    for (ValueId value : outputs) {
      const Annotation annotation = graph->value(value).annotation;
      if (annotation.empty()) continue;
      const TensorType type = graph->value(value).type;
      OF_RETURN_IF_ERROR(CheckAnnotation(annotation, type, /*allow_partial=*/true, axes,
                                         absl::StrCat("flow.shard of ", type.ToString()),
                                         graph->location(graph->node(id).location)));
      if (graph->uses(value).empty()) continue;
      const Node like = graph->node(id);
      OF_ASSIGN_OR_RETURN(const std::vector<ValueId> pinned,
                          graph->InsertNode(graph->uses(value)[0], "reshard", {value},
                                            Attrs{{"axis", AttrValue(kPinAxis)},
                                                  {"change", AttrValue(std::string("pin"))}},
                                            like));
      graph->ReplaceUses(value, pinned[0]);
      const NodeId pin = graph->value(pinned[0]).producer;
      if (graph->node(pin).inputs[0] != value) graph->ReplaceInput(pin, 0, value);
      graph->mutable_value(pinned[0]).annotation = annotation;
      graph->mutable_value(value).annotation.clear();
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<BoundGraph> BindGraph(const Graph& graph, const std::vector<Axis>& axes) {
  return Binder(graph, axes).Run();
}

}  // namespace oneflow
