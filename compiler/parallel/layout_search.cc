#include "compiler/parallel/layout_search.h"

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <optional>
#include <set>

#include "base/check.h"

namespace oneflow {
namespace {

constexpr int kSweeps = 8;
constexpr int64_t kStateEmphasis = 1000;
// Above this many combinations over the axes the forward sweep goes axis by axis.
constexpr size_t kMaxCombinations = 256;
// The same for the sweeps of single changes.
constexpr size_t kMaxChanges = 64;
// Nodes around a group of states that adapt to it.
constexpr int kRadius = 4;
constexpr size_t kMaxAround = 96;
// A node with more neighbours than this changes alone.
constexpr size_t kMaxNeighbours = 12;

class LayoutSearch {
 public:
  LayoutSearch(const BoundGraph& bound, LayoutState* state)
      : bound_(bound), graph_(*bound.graph), state_(*state) {
    int position = 0;
    position_.resize(graph_.num_nodes(), -1);
    settled_.resize(graph_.num_nodes(), {-1, -1});
    for (auto& of_kind : candidates_) of_kind.resize(bound_.kinds);
    for (NodeId id : bound_.order) {
      position_[id] = position++;
      if (bound_.nodes[id].rule != nullptr) searched_.push_back(id);
    }
  }

  void Run() {
    ForwardSweep();
    state_.Commit();
    bool with_neighbours = true;  // once: it costs as much as all the rest
    for (int sweep = 0; sweep < kSweeps; ++sweep) {
      bool changed = false;
      for (NodeId id : searched_) changed = ImproveNode(id, /*combine=*/true) || changed;
      for (size_t i = searched_.size(); i-- > 0;)
        changed = ImproveNode(searched_[i], /*combine=*/true) || changed;
      for (size_t g = 0; g < bound_.groups.size(); ++g)
        changed = ImproveGroup(static_cast<int>(g)) || changed;
      if (!changed && with_neighbours) {
        for (NodeId id : searched_) changed = ImproveWithNeighbours(id) || changed;
        with_neighbours = false;
      }
      state_.Commit();
      if (!changed) break;
    }
  }

 private:
  size_t axes() const { return bound_.axes.size(); }

  // Numbers of all choices of a node that differ from `base` on mesh axes; all combinations or one
  // axis at a time. Nodes of a kind have the same.
  const std::vector<int>& Candidates(NodeId id, int base, bool combine) {
    auto& known = candidates_[combine ? 1 : 0][bound_.nodes[id].kind];
    if (static_cast<size_t>(base) >= known.size()) known.resize(base + 1);
    if (!known[base].has_value()) {
      std::vector<int> numbers;
      for (const std::vector<int>& choice : ChoicesNear(id, state_.Choice(id, base), combine))
        numbers.push_back(state_.Number(id, choice));
      known[base] = std::move(numbers);
    }
    return *known[base];
  }

  std::vector<std::vector<int>> ChoicesNear(NodeId id, const std::vector<int>& base,
                                            bool combine) const {
    const auto& allowed = bound_.nodes[id].allowed;
    std::vector<std::vector<int>> result;
    if (!combine) {
      for (size_t axis = 1; axis < axes(); ++axis) {
        for (int number : allowed[axis]) {
          if (number == base[axis]) continue;
          result.push_back(base);
          result.back()[axis] = number;
        }
      }
      return result;
    }
    result = {base};
    for (size_t axis = 1; axis < axes(); ++axis) {
      std::vector<std::vector<int>> longer;
      for (const std::vector<int>& choice : result) {
        for (int number : allowed[axis]) {
          longer.push_back(choice);
          longer.back()[axis] = number;
        }
      }
      result = std::move(longer);
    }
    return result;
  }

  size_t Combinations(NodeId id) const {
    size_t combinations = 1;
    for (size_t axis = 1; axis < axes(); ++axis) {
      combinations *= bound_.nodes[id].allowed[axis].size();
    }
    return combinations;
  }

  void ForwardSweep() {
    for (NodeId id : searched_) {
      const bool combine = Combinations(id) <= kMaxCombinations;
      // Axis by axis: repeat until no single axis improves.
      int base = state_.node(id).number;
      int64_t best_cost = LocalCost(id, base).value_or(LayoutState::kImpossible * 1000);
      for (bool improved = true; improved;) {
        improved = false;
        for (const int number : Candidates(id, base, combine)) {
          const std::optional<int64_t> cost = LocalCost(id, number);
          if (!cost.has_value() || *cost >= best_cost) continue;
          best_cost = *cost;
          base = number;
          improved = !combine;
        }
      }
      OF_CHECK(state_.Choose(id, base)) << graph_.node(id).op << " has no legal layout";
      DecideStatesOf(id);
    }
    // A state that no searched node reads.
    for (size_t g = 0; g < bound_.groups.size(); ++g) {
      const int group = static_cast<int>(g);
      if (state_.group(group) != LayoutState::kUndecided) continue;
      std::vector<Sbp> sbps;
      for (const std::optional<Sbp>& asked : bound_.groups[g].asked)
        sbps.push_back(asked.value_or(Sbp::B()));
      state_.ChooseGroup(group, state_.GroupSharding(group, sbps));
    }
  }

  std::optional<int64_t> LocalCost(NodeId id, int number) {
    const NodeLayout* layout = state_.Evaluate(id, number);
    if (layout == nullptr) return std::nullopt;
    return state_.LocalCost(id, *layout);
  }

  // Free states that `id` is the first to read become what it needs, where the user left them free.
  void DecideStatesOf(NodeId id) {
    const Node& node = graph_.node(id);
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const NodeId producer = graph_.value(node.inputs[i]).producer;
      if (bound_.nodes[producer].role != NodeRole::kStateRead) continue;
      const int group = bound_.nodes[producer].group;
      if (state_.group(group) != LayoutState::kUndecided) continue;
      const Sharding& need = state_.sharding(state_.node(id).inputs[i]);
      std::vector<Sbp> sbps;
      for (size_t axis = 0; axis < axes(); ++axis) {
        const Sbp wanted = need.sbps[axis].kind == Sbp::kPartial ? Sbp::B() : need.sbps[axis];
        sbps.push_back(bound_.groups[group].asked[axis].value_or(wanted));
      }
      state_.ChooseGroup(group, state_.GroupSharding(group, sbps));
    }
  }

  // The best change of one node, if one helps: on one axis, or on all at once.
  bool ImproveNode(NodeId id, bool combine) {
    // Nothing helped, and nothing that the node sees has changed since. All combinations include the
    // single changes.
    const int64_t version = state_.Version(id);
    if (settled_[id][1] == version || (!combine && settled_[id][0] == version)) return false;
    int64_t best_delta = 0;
    int best = -1;
    const bool all_axes = combine && Combinations(id) <= kMaxChanges;
    for (const int number : Candidates(id, state_.node(id).number, all_axes)) {
      const NodeLayout* layout = state_.Evaluate(id, number);
      if (layout == nullptr || layout == &state_.node(id)) continue;
      const int64_t delta = state_.Delta(id, *layout);
      if (delta >= best_delta) continue;
      best_delta = delta;
      best = number;
    }
    if (best < 0) {
      settled_[id][combine ? 1 : 0] = version;
      return false;
    }
    // With uneven splits the estimate leaves the readers out: the total decides.
    const int64_t before = state_.total();
    const size_t mark = state_.Mark();
    if (state_.Choose(id, best) && state_.total() < before) return true;
    state_.Rollback(mark);
    return false;
  }

  std::vector<NodeId> Neighbours(NodeId id) const {
    const Node& node = graph_.node(id);
    std::set<std::pair<int, NodeId>> found;
    const auto add = [&](NodeId other) {
      if (other != id && bound_.nodes[other].rule != nullptr)
        found.insert({position_[other], other});
    };
    for (ValueId input : node.inputs) {
      add(graph_.value(input).producer);
      if (graph_.uses(input).size() > kMaxNeighbours) continue;
      for (NodeId reader : graph_.uses(input)) add(reader);
    }
    for (ValueId output : node.outputs) {
      for (NodeId reader : graph_.uses(output)) add(reader);
    }
    std::vector<NodeId> result;
    for (const auto& [position, other] : found) result.push_back(other);
    return result;
  }

  bool ImproveWithNeighbours(NodeId id) {
    const std::vector<NodeId> neighbours = Neighbours(id);
    if (neighbours.size() > kMaxNeighbours) return false;
    const int64_t before = state_.total();
    for (const int number : Candidates(id, state_.node(id).number, /*combine=*/false)) {
      const size_t mark = state_.Mark();
      if (state_.Choose(id, number)) {
        for (NodeId neighbour : neighbours) ImproveNode(neighbour, /*combine=*/false);
        if (state_.total() < before) return true;
      }
      state_.Rollback(mark);
    }
    return false;
  }

  // Searched nodes within kRadius edges of a group's reads and writes, in order.
  const std::vector<NodeId>& Around(int group) {
    const auto [it, added] = around_.try_emplace(group);
    if (!added) return it->second;
    std::set<NodeId> seen;
    std::vector<NodeId> frontier = bound_.groups[group].reads;
    frontier.insert(frontier.end(), bound_.groups[group].writes.begin(),
                    bound_.groups[group].writes.end());
    for (int distance = 0; distance < kRadius && seen.size() < kMaxAround; ++distance) {
      std::vector<NodeId> next;
      for (NodeId id : frontier) {
        const Node& node = graph_.node(id);
        const auto add = [&](NodeId other) {
          if (bound_.nodes[other].rule != nullptr && seen.size() < kMaxAround &&
              seen.insert(other).second) {
            next.push_back(other);
          }
        };
        for (ValueId input : node.inputs) add(graph_.value(input).producer);
        for (ValueId output : node.outputs) {
          for (NodeId reader : graph_.uses(output)) add(reader);
        }
      }
      frontier = std::move(next);
    }
    it->second.assign(seen.begin(), seen.end());
    std::sort(it->second.begin(), it->second.end(),
              [&](NodeId a, NodeId b) { return position_[a] < position_[b]; });
    return it->second;
  }

  bool ImproveGroup(int group) {
    const StateGroup& states = bound_.groups[group];
    if (states.fixed.has_value()) return false;
    bool changed = false;
    for (size_t axis = 1; axis < axes(); ++axis) {
      if (states.asked[axis].has_value()) continue;
      std::vector<Sbp> options = {Sbp::B()};
      for (size_t d = 0; d < states.shape.size(); ++d) {
        if (states.shape[d] > 1) options.push_back(Sbp::S(static_cast<int>(d)));
      }
      for (const Sbp& option : options) {
        std::vector<Sbp> sbps = state_.sharding(state_.group(group)).sbps;
        if (sbps[axis] == option) continue;
        sbps[axis] = option;
        const int64_t before = state_.total();
        const size_t mark = state_.Mark();
        state_.ChooseGroup(group, state_.GroupSharding(group, sbps));
        for (NodeId id : Around(group)) ImproveNode(id, /*combine=*/false);
        if (state_.total() < before) {
          changed = true;
        } else {
          state_.Rollback(mark);
        }
      }
    }
    return changed;
  }

  const BoundGraph& bound_;
  const Graph& graph_;
  LayoutState& state_;
  std::vector<int> position_;     // by NodeId
  std::vector<NodeId> searched_;  // in order
  // By NodeId: the version at which no change of one axis, or of all, helped.
  std::vector<std::array<int64_t, 2>> settled_;
  std::map<int, std::vector<NodeId>> around_;
  // [combine][kind][number of the base]; deques: references outlive additions
  std::array<std::vector<std::deque<std::optional<std::vector<int>>>>, 2> candidates_;
};

// True if on some mesh axis other than `dp` nothing is cut although there are states to cut.
bool LeavesAxisUnused(const BoundGraph& bound, const LayoutState& state) {
  for (size_t axis = 1; axis < bound.axes.size(); ++axis) {
    if (bound.axes[axis].size == 1) continue;
    const bool free =
        std::any_of(bound.groups.begin(), bound.groups.end(), [&](const StateGroup& group) {
          return !group.fixed.has_value() && !group.asked[axis].has_value();
        });
    if (!free) continue;
    bool used = false;
    for (NodeId id : bound.order) {
      for (int index : state.node(id).outputs) {
        used = used || state.sharding(index).sbps[axis].kind != Sbp::kBroadcast;
      }
    }
    if (!used) return true;
  }
  return false;
}

}  // namespace

std::unique_ptr<LayoutState> SearchLayouts(const BoundGraph& bound, const CostModel& cost,
                                           ReshardPaths* paths,
                                           const std::vector<int>& micro_choice) {
  auto state =
      std::make_unique<LayoutState>(&bound, &cost, paths, micro_choice, /*state_weight=*/1);
  LayoutSearch(bound, state.get()).Run();
  if (!LeavesAxisUnused(bound, *state)) return state;
  state = std::make_unique<LayoutState>(&bound, &cost, paths, micro_choice, kStateEmphasis);
  LayoutSearch(bound, state.get()).Run();
  return state;
}

}  // namespace oneflow
