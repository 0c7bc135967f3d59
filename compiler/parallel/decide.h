// Decide: a stage and a Sharding for every value, honouring what the user fixed and otherwise
// minimising reshard cost.
//
// Pure. After it every Value has a canonical Sharding on the layout axes (plan/sharding.h), every
// node a stage, and an input whose sharding differs from what its node needs is listed in
// `Decisions` (InsertReshard then inserts the moves). With held decisions nothing is searched: they
// are checked and followed. Threads: any. Read next: docs/sharding.md,
// compiler/parallel/held_decisions.h, compiler/passes/insert_reshard.h.
#ifndef ONEFLOW_COMPILER_PARALLEL_DECIDE_H_
#define ONEFLOW_COMPILER_PARALLEL_DECIDE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compiler/graph/graph.h"
#include "compiler/parallel/held_decisions.h"
#include "plan/sharding.h"
#include "plan/sharding_rule.h"
#include "plan/target.pb.h"

namespace oneflow {

// What was decided for one node, with what it cost.
struct NodeDecision {
  NodeShardings shardings;  // what its inputs must have and its outputs get
  std::vector<int> choice;  // per layout axis: index into BoundRule::signatures()
  std::string reason;       // for plan.explain: alternatives with their cost
};

struct Decisions {
  Mesh mesh;
  int micro_batches = 1;
  std::vector<Axis> axes;           // layout axes
  std::vector<NodeDecision> nodes;  // by NodeId; empty shardings for removed nodes
  // The same in a form that can be kept. Its moves are those that were given until InsertReshard has
  // run, then those that it took.
  HeldDecisions held;
};

// Fills Value::sharding and Node::stage in the graph. Errors: ShardingError with the user's line:
// an annotation that no signature allows, an absent axis, a value that micro-batches cannot cut
// ("x @ x.T over samples"), a sum over micro-batches that is needed before the last one.
//
// Of `given` the decisions that were made for this graph, mesh and number of micro-batches are
// followed; if there are some and none fits, or one cannot be followed, PlanError says which line
// differs.
absl::StatusOr<Decisions> Decide(Graph* graph, const Mesh& mesh, int micro_batches,
                                 const plan::Target& target,
                                 const std::vector<HeldDecisions>& given = {});

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PARALLEL_DECIDE_H_
