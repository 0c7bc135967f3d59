#include "compiler/parallel/decide.h"

#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "compiler/parallel/assign_stages.h"
#include "compiler/parallel/bound_graph.h"
#include "compiler/parallel/cost_model.h"
#include "compiler/parallel/defer_factors.h"
#include "compiler/parallel/follow_decisions.h"
#include "compiler/parallel/hoist_batch.h"
#include "compiler/parallel/layout_search.h"
#include "compiler/parallel/layout_state.h"
#include "compiler/parallel/micro_search.h"
#include "compiler/parallel/reshard_path.h"

namespace oneflow {
namespace {

std::string Microseconds(int64_t ns) {
  const int64_t tenths = (ns < 0 ? -ns : ns) / 100;
  return absl::StrCat(ns < 0 ? "-" : "", tenths / 10, ".", tenths % 10, " us");
}

// "S(0),B->S(0)" of the chosen layout on one axis.
std::string ChosenText(const LayoutState& state, const NodeLayout& layout, size_t axis) {
  AxisSignature signature;
  for (int index : layout.inputs) signature.inputs.push_back(state.sharding(index).sbps[axis]);
  for (int index : layout.outputs) signature.outputs.push_back(state.sharding(index).sbps[axis]);
  return signature.ToString();
}

// What was chosen on each axis, and what the step would cost more with each alternative:
// "tp: B,S(1)->S(1), not S(1),S(0)->P (+12.5 us)".
std::string Explain(const BoundGraph& bound, NodeId id, LayoutState* state) {
  std::string text;
  const std::vector<int> chosen = state->node(id).choice;
  for (size_t axis = 0; axis < bound.axes.size(); ++axis) {
    if (bound.axes[axis].size == 1) continue;
    absl::StrAppend(&text, text.empty() ? "" : "; ", bound.axes[axis].name, ": ",
                    ChosenText(*state, state->node(id), axis));
    if (axis == 0) continue;
    std::string separator = ", not ";
    for (int number : bound.nodes[id].allowed[axis]) {
      if (number == chosen[axis]) continue;
      std::vector<int> choice = chosen;
      choice[axis] = number;
      const NodeLayout* layout = state->Evaluate(id, choice);
      if (layout == nullptr) continue;
      const int64_t more = state->Delta(id, *layout);
      absl::StrAppend(&text, separator, bound.nodes[id].rule->signature(number).ToString(), " (",
                      more >= LayoutState::kImpossible ? std::string("not possible")
                      : more >= LayoutState::kGatherPenalty
                          ? std::string("gives up a split or layout that is kept")
                          : absl::StrCat(more < 0 ? "" : "+", Microseconds(more)),
                      ")");
      separator = ", ";
    }
  }
  return text;
}

// A factor of one term was moved behind the sums of the gradients, where another term has joined.
absl::Status SeveralFactors(const absl::Status& refused) {
  return MakeError(
      ErrorKind::kSharding,
      absl::StrCat(MessageOf(refused),
                   ". A number over the whole batch may be the factor of a gradient; here terms "
                   "with different ones meet in one gradient of each sample. Compute each term "
                   "from its own call of the model: then they meet in the parameters"),
      LocationOf(refused).value_or(Location{}));
}

}  // namespace

absl::StatusOr<Decisions> Decide(Graph* graph, const Mesh& mesh, int micro_batches,
                                 const plan::Target& target,
                                 const std::vector<HeldDecisions>& given) {
  OF_CHECK(micro_batches >= 1) << "micro_batches " << micro_batches;
  const CostModel cost(target, mesh, micro_batches);
  const uint64_t key = GraphKey(*graph);
  OF_ASSIGN_OR_RETURN(const HeldDecisions* held,
                      ChooseDecisions(given, *graph, key, mesh, micro_batches));
  // What the user fixed becomes nodes, so that a value may be made in one layout and read in
  // another.
  OF_RETURN_IF_ERROR(PinAnnotatedValues(graph, cost.axes()));
  if (held != nullptr) OF_RETURN_IF_ERROR(FollowStatesAndStages(*held, cost.axes(), graph));
  // Stages first: a layout lives on one stage.
  OF_RETURN_IF_ERROR(AssignStages(graph, mesh.stages(), cost));
  // Then time, which has hard rules, then space, which has costs.
  OF_ASSIGN_OR_RETURN(BoundGraph bound, BindGraph(*graph, cost.axes()));
  NeededEarly early;
  absl::StatusOr<std::vector<int>> micro_choice = SearchMicro(bound, cost, &early);
  std::map<ValueId, absl::Status> deferred;  // factors, and what would be said without
  while (!micro_choice.ok()) {
    if (!HoistBatchValues(graph, early.sums)) {
      const std::optional<ValueId> factor = FindLateFactor(bound, early);
      if (!factor.has_value()) return micro_choice.status();
      const auto [known, added] = deferred.emplace(*factor, micro_choice.status());
      if (!added) return SeveralFactors(known->second);
      DeferFactor(graph, bound, *factor);
    }
    OF_ASSIGN_OR_RETURN(bound, BindGraph(*graph, cost.axes()));
    early = {};
    micro_choice = SearchMicro(bound, cost, &early);
  }
  ReshardPaths paths(&cost);
  std::unique_ptr<LayoutState> state;
  if (held == nullptr) {
    state = SearchLayouts(bound, cost, &paths, *micro_choice);
  } else {
    // Held choices name nodes of the graph as it is now, and leave less to the search over time.
    OF_ASSIGN_OR_RETURN(const std::vector<std::vector<int>> followed, FollowChoices(*held, &bound));
    OF_RETURN_IF_ERROR(paths.Fix(held->moves));
    OF_ASSIGN_OR_RETURN(const std::vector<int> micro, SearchMicro(bound, cost));
    OF_ASSIGN_OR_RETURN(state, FollowLayouts(*held, bound, cost, &paths, micro, followed));
  }

  Decisions decisions;
  decisions.held = HoldDecisions(bound, *state, mesh, micro_batches, key);
  if (held != nullptr) decisions.held.moves = held->moves;
  decisions.mesh = mesh;
  decisions.micro_batches = micro_batches;
  decisions.axes = cost.axes();
  decisions.nodes.resize(graph->num_nodes());
  for (NodeId id : bound.order) {
    const Node& node = graph->node(id);
    NodeDecision& decision = decisions.nodes[id];
    const NodeLayout layout = state->node(id);
    decision.choice = layout.choice;
    for (int index : layout.inputs) decision.shardings.inputs.push_back(state->sharding(index));
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      const Sharding& sharding = state->sharding(layout.outputs[i]);
      decision.shardings.outputs.push_back(sharding);
      graph->mutable_value(node.outputs[i]).sharding = sharding;
    }
    if (bound.nodes[id].role == NodeRole::kSearched)
      decision.reason = Explain(bound, id, state.get());
  }
  return decisions;
}

}  // namespace oneflow
