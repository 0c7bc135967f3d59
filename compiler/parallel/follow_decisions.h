// FollowDecisions: the parts of Decide that take held decisions in place of a search, and the one
// that makes them.
//
// Functions in the order in which Decide calls them. Pure. Threads: any. What they are given is
// untrusted: each line is checked against the graph and its sharding rules, and PlanError names the
// line. Read next: compiler/parallel/decide.cc.
#ifndef ONEFLOW_COMPILER_PARALLEL_FOLLOW_DECISIONS_H_
#define ONEFLOW_COMPILER_PARALLEL_FOLLOW_DECISIONS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compiler/parallel/bound_graph.h"
#include "compiler/parallel/cost_model.h"
#include "compiler/parallel/held_decisions.h"
#include "compiler/parallel/layout_state.h"

namespace oneflow {

// Those for this graph (whose GraphKey is `key`), mesh and number of micro-batches; nullptr if none
// are given. If none of the given fits, the error names what differs.
absl::StatusOr<const HeldDecisions*> ChooseDecisions(const std::vector<HeldDecisions>& given,
                                                     const Graph& graph, uint64_t key,
                                                     const Mesh& mesh, int micro_batches);

// Gives the graph's states their layouts, as an earlier plan would, and its nodes their stages, as
// flow.stage would. REQUIRES: annotated values are pinned.
absl::Status FollowStatesAndStages(const HeldDecisions& held, const std::vector<Axis>& axes,
                                   Graph* graph);

// The choice of every node with a rule, by NodeId, and leaves in `bound` only that on `micro`.
absl::StatusOr<std::vector<std::vector<int>>> FollowChoices(const HeldDecisions& held,
                                                            BoundGraph* bound);

// The layouts that these choices give.
absl::StatusOr<std::unique_ptr<LayoutState>> FollowLayouts(
    const HeldDecisions& held, const BoundGraph& bound, const CostModel& cost, ReshardPaths* paths,
    const std::vector<int>& micro_choice, const std::vector<std::vector<int>>& choices);

// A signature as decisions print it: "S(0),B->S(0)", with " #2" where an earlier one prints alike.
std::string SignatureText(const BoundRule& rule, int number);

// What was decided, but for the moves.
HeldDecisions HoldDecisions(const BoundGraph& bound, const LayoutState& state, const Mesh& mesh,
                            int micro_batches, uint64_t key);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PARALLEL_FOLLOW_DECISIONS_H_
