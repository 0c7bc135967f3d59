#include "compiler/parallel/follow_decisions.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "compiler/parallel/node_kind.h"

namespace oneflow {
namespace {

constexpr const char* kDecideAnew = "; compile without them, and save those of the new plan";

bool HasValue(const Graph& graph, ValueId value) {
  return value >= 0 && static_cast<size_t>(value) < graph.num_values() &&
         graph.value(value).producer >= 0 && !graph.node(graph.value(value).producer).removed;
}

std::string Name(const Graph& graph, const Node& node) {
  return absl::StrCat("`", node.op, "` (", graph.location(node.location).Short(), ")");
}

std::string MeshText(const std::vector<Axis>& axes) {
  std::string text;
  for (const Axis& axis : axes) absl::StrAppend(&text, " ", axis.name, "=", axis.size);
  return text.empty() ? " of one device" : text;
}

// The first line that does not fit, for decisions of another graph.
absl::Status Difference(const HeldDecisions& held, const Graph& graph) {
  constexpr const char* kChanged = "the graph has changed since these decisions were saved: ";
  for (const auto& [name, state] : held.states) {
    const auto found = graph.states().find(name);
    if (found != graph.states().end() && found->second.type == state.type) continue;
    return DecisionsError(state.line,
                          absl::StrCat(kChanged, "the state \"", name, "\" ", state.type.ToString(),
                                       found == graph.states().end()
                                           ? std::string(" is not there")
                                           : " is " + found->second.type.ToString() + " now",
                                       kDecideAnew));
  }
  for (const auto& [value, choice] : held.nodes) {
    const bool known = HasValue(graph, value);
    // Copies of leaves for other stages and pins get their numbers later.
    if (!known && static_cast<size_t>(value) >= graph.num_values()) continue;
    const Node* node = known ? &graph.node(graph.value(value).producer) : nullptr;
    if (known && node->op == choice.op) continue;
    return DecisionsError(
        choice.line, absl::StrCat(kChanged, "%", value, " was `", choice.op, "` and is ",
                                  known ? Name(graph, *node) : std::string("gone"), kDecideAnew));
  }
  return DecisionsError(0, absl::StrCat(kChanged,
                                        "the ops with a choice are the same, but a shape, an edge, "
                                        "a flow.shard or another node is not",
                                        kDecideAnew));
}

// The number of the signature that is printed so, among those that are possible.
std::optional<int> FindSignature(const BoundNode& node, size_t axis, const std::string& text) {
  for (int number : node.allowed[axis]) {
    if (text == SignatureText(*node.rule, number)) return number;
  }
  return std::nullopt;
}

// Whether a line about the node says something about this axis.
bool HasChoice(const BoundGraph& bound, const BoundNode& node, size_t axis) {
  return node.rule != nullptr && bound.axes[axis].size > 1 &&
         node.rule->signatures().size() + node.rule->nested_signatures().size() > 1;
}

bool HasLine(const BoundGraph& bound, NodeId id, int stages) {
  const BoundNode& node = bound.nodes[id];
  if (node.rule == nullptr) return false;
  bool has = stages > 1;
  for (size_t axis = 0; axis < bound.axes.size(); ++axis) has = has || HasChoice(bound, node, axis);
  return has;
}

int StagesOf(const HeldDecisions& held) {
  Mesh mesh;
  mesh.axes = held.mesh;
  return mesh.stages();
}

}  // namespace

std::string SignatureText(const BoundRule& rule, int number) {
  const std::string text = rule.signature(number).ToString();
  int same = 0;
  for (int other = 0; other < number; ++other) {
    same += rule.signature(other).ToString() == text ? 1 : 0;
  }
  return same == 0 ? text : absl::StrCat(text, " #", same + 1);
}

absl::StatusOr<const HeldDecisions*> ChooseDecisions(const std::vector<HeldDecisions>& given,
                                                     const Graph& graph, uint64_t key,
                                                     const Mesh& mesh, int micro_batches) {
  if (given.empty()) return nullptr;
  const HeldDecisions* nearest = &given[0];
  for (const HeldDecisions& held : given) {
    if (held.graph != key) continue;
    nearest = &held;
    if (held.mesh == mesh.axes && held.micro_batches == micro_batches) return nearest;
  }
  const auto status = [&]() -> absl::Status {
    if (nearest->mesh != mesh.axes) {
      return DecisionsError(0, absl::StrCat("they were made for the mesh", MeshText(nearest->mesh),
                                            ", this is", MeshText(mesh.axes), kDecideAnew));
    }
    if (nearest->micro_batches != micro_batches) {
      return DecisionsError(
          0, absl::StrCat("they were made for accumulate=", nearest->micro_batches, ", this is ",
                          micro_batches, kDecideAnew));
    }
    return Difference(*nearest, graph);
  }();
  if (given.size() == 1) return status;
  return WithContext(status, absl::StrCat("none of ", given.size(), " decisions fits \"",
                                          graph.name(), "\"; of \"", nearest->name, "\""));
}

absl::Status FollowStatesAndStages(const HeldDecisions& held, const std::vector<Axis>& axes,
                                   Graph* graph) {
  const int stages = StagesOf(held);
  for (const auto& [name, state] : held.states) {
    const auto found = graph->states().find(name);
    if (found == graph->states().end() || found->second.type != state.type) {
      return Difference(held, *graph);
    }
    const std::string what =
        absl::StrCat("the state \"", name, "\" cannot be ", state.sharding.ToString(axes), ": ");
    if (state.sharding.IsPartial())
      return DecisionsError(state.line, what + "states are not partial");
    if (state.sharding.sbps[0].kind != Sbp::kBroadcast) {
      return DecisionsError(state.line, what + "micro-batches share it");
    }
    if (state.sharding.stage < 0 || state.sharding.stage >= stages) {
      return DecisionsError(state.line, absl::StrCat(what, "there are ", stages, " stages"));
    }
    const std::optional<Sharding>& earlier = found->second.sharding;
    if (earlier.has_value() && *earlier != state.sharding) {
      return DecisionsError(
          state.line,
          absl::StrCat(what, "an earlier plan of this model and mesh has placed it as ",
                       earlier->ToString(axes), "; give that plan's step its decisions too"));
    }
    graph->mutable_state(name)->sharding = state.sharding;
  }
  if (stages == 1) return absl::OkStatus();
  for (const auto& [value, choice] : held.nodes) {
    if (!HasValue(*graph, value)) continue;  // a copy of a leaf, made later
    Node& node = graph->mutable_node(graph->value(value).producer);
    if (IsLeaf(node)) continue;
    if (choice.stage >= stages || (node.stage.has_value() && *node.stage != choice.stage)) {
      return DecisionsError(
          choice.line,
          absl::StrCat(Name(*graph, node), " cannot be on stage ", choice.stage, ": ",
                       choice.stage >= stages ? absl::StrCat("there are ", stages, " stages")
                                              : absl::StrCat("flow.stage asks for ", *node.stage)));
    }
    node.stage = choice.stage;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::vector<int>>> FollowChoices(const HeldDecisions& held,
                                                            BoundGraph* bound) {
  const Graph& graph = *bound->graph;
  std::vector<std::vector<int>> choices(graph.num_nodes());
  size_t lines = 0;
  for (const StateGroup& group : bound->groups) {
    if (group.fixed.has_value()) continue;
    return DecisionsError(
        0, absl::StrCat("there is no line for the state \"", group.states[0], "\"", kDecideAnew));
  }
  for (NodeId id : bound->order) {
    BoundNode& bound_node = bound->nodes[id];
    if (bound_node.rule == nullptr) continue;
    const Node& node = graph.node(id);
    std::vector<int>& choice = choices[id];
    for (const std::vector<int>& allowed : bound_node.allowed) choice.push_back(allowed[0]);
    const auto line = held.nodes.find(node.outputs[0]);
    if (line == held.nodes.end()) {
      if (!HasLine(*bound, id, StagesOf(held))) continue;
      return DecisionsError(0, absl::StrCat("there is no line for %", node.outputs[0], ", ",
                                            Name(graph, node), kDecideAnew));
    }
    ++lines;
    const auto error = [&](const std::string& what) {
      return DecisionsError(line->second.line, absl::StrCat(Name(graph, node), " ", what));
    };
    if (line->second.op != node.op) return error("is not `" + line->second.op + "`");
    if (line->second.stage != *node.stage) {
      return error(absl::StrCat("is on stage ", *node.stage,
                                ", which follows from its "
                                "neighbours, not on ",
                                line->second.stage));
    }
    std::vector<bool> said(bound->axes.size(), false);
    for (const auto& [name, text] : line->second.signatures) {
      size_t axis = 0;
      while (axis < bound->axes.size() && bound->axes[axis].name != name) ++axis;
      if (axis == bound->axes.size() || said[axis] || !HasChoice(*bound, bound_node, axis)) {
        return error(absl::StrCat("has no choice on the axis '", name, "'",
                                  axis < bound->axes.size() && said[axis] ? " twice" : ""));
      }
      said[axis] = true;
      const std::optional<int> number = FindSignature(bound_node, axis, text);
      if (!number.has_value()) {
        std::string possible;
        for (int other : bound_node.allowed[axis]) {
          absl::StrAppend(&possible, possible.empty() ? "" : ", ",
                          SignatureText(*bound_node.rule, other));
        }
        return error(absl::StrCat("cannot be '", text, "' on ", name, ": possible are ", possible));
      }
      choice[axis] = *number;
    }
    for (size_t axis = 0; axis < said.size(); ++axis) {
      if (said[axis] || !HasChoice(*bound, bound_node, axis)) continue;
      return error(absl::StrCat("has a choice on ", bound->axes[axis].name, " that is not said"));
    }
    bound_node.allowed[0] = {choice[0]};
  }
  if (lines == held.nodes.size()) return choices;
  for (const auto& [value, line] : held.nodes) {
    if (HasValue(graph, value)) {
      const NodeId id = graph.value(value).producer;
      if (bound->nodes[id].rule != nullptr && graph.node(id).outputs[0] == value) continue;
    }
    return DecisionsError(line.line,
                          absl::StrCat("%", value, " is no node with a choice", kDecideAnew));
  }
  return choices;
}

absl::StatusOr<std::unique_ptr<LayoutState>> FollowLayouts(
    const HeldDecisions& held, const BoundGraph& bound, const CostModel& cost, ReshardPaths* paths,
    const std::vector<int>& micro_choice, const std::vector<std::vector<int>>& choices) {
  auto state =
      std::make_unique<LayoutState>(&bound, &cost, paths, micro_choice, /*state_weight=*/1);
  for (NodeId id : bound.order) {
    if (bound.nodes[id].rule == nullptr || state->Choose(id, choices[id])) continue;
    const Node& node = bound.graph->node(id);
    const auto line = held.nodes.find(node.outputs[0]);
    return DecisionsError(line == held.nodes.end() ? 0 : line->second.line,
                          absl::StrCat(Name(*bound.graph, node),
                                       " cannot have these signatures on all axes together"));
  }
  state->Commit();
  return state;
}

HeldDecisions HoldDecisions(const BoundGraph& bound, const LayoutState& state, const Mesh& mesh,
                            int micro_batches, uint64_t key) {
  const Graph& graph = *bound.graph;
  HeldDecisions held;
  held.name = graph.name();
  held.graph = key;
  held.mesh = mesh.axes;
  held.micro_batches = micro_batches;
  for (size_t g = 0; g < bound.groups.size(); ++g) {
    for (const std::string& name : bound.groups[g].states) {
      held.states[name] = {graph.states().at(name).type,
                           state.sharding(state.group(static_cast<int>(g))), 0};
    }
  }
  for (NodeId id : bound.order) {
    if (!HasLine(bound, id, mesh.stages())) continue;
    const Node& node = graph.node(id);
    HeldDecisions::Choice& choice = held.nodes[node.outputs[0]];
    choice.op = node.op;
    choice.stage = *node.stage;
    choice.comment = graph.location(node.location).Short();
    const std::vector<int>& numbers = state.node(id).choice;
    for (size_t axis = 0; axis < bound.axes.size(); ++axis) {
      if (!HasChoice(bound, bound.nodes[id], axis)) continue;
      choice.signatures.emplace_back(bound.axes[axis].name,
                                     SignatureText(*bound.nodes[id].rule, numbers[axis]));
    }
  }
  return held;
}

}  // namespace oneflow
