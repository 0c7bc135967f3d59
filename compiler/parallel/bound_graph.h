// BoundGraph: the graph as the layout searches see it: every node with its role and its sharding
// rule bound to logical shapes, and the states in groups that must lie alike.
//
// Owned by one call of Decide; refers to the graph, whose nodes must not change meanwhile. Threads:
// one. Invariants: a node has a rule exactly if its layout is searched (kSearched, kPin); nodes of
// one kind are alike in all that a rule, a cost or a choice looks at, so repeated layers are bound
// and evaluated once; a state that is written lies like the states that its update reads (parameter,
// momentum, ..), so one group decides for all. Read next: compiler/parallel/micro_search.h, layout_search.h.
#ifndef ONEFLOW_COMPILER_PARALLEL_BOUND_GRAPH_H_
#define ONEFLOW_COMPILER_PARALLEL_BOUND_GRAPH_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compiler/graph/graph.h"
#include "compiler/ops/op_def.h"
#include "plan/sharding.h"
#include "plan/sharding_rule.h"

namespace oneflow {

enum class NodeRole {
  kSearched,    // a signature of its rule is chosen
  kPin,         // stands for flow.shard: passes its input through in the layout that the user fixed
  kFixed,       // input: its layout is given
  kStateRead,   // as the group of the state decides
  kStateWrite,  // needs the state's layout
  kOutput,      // needs B
};

// A node with what the searches need of it.
struct BoundNode {
  NodeRole role = NodeRole::kFixed;
  const OpDef* def = nullptr;
  std::shared_ptr<const BoundRule> rule;  // one for all nodes of a kind; null without a rule
  int kind = -1;  // with a rule: equal exactly for equal op, attrs, types, stage and annotation
  // Per layout axis, the signature numbers that annotations leave, ascending (0 is all B).
  std::vector<std::vector<int>> allowed;
  Sharding fixed;  // kFixed: the layout of its output
  int group = -1;  // kStateRead, kStateWrite: index into BoundGraph::groups
};

// States that lie alike.
struct StateGroup {
  std::vector<std::string> states;  // sorted
  Shape shape;
  int64_t bytes = 0;  // of all of them, logical
  int stage = 0;
  std::vector<std::optional<Sbp>>
      asked;                      // per layout axis: fixed by the user, by the axis, or free
  std::optional<Sharding> fixed;  // by an earlier plan
  std::vector<NodeId> reads;
  std::vector<NodeId> writes;
};

struct BoundGraph {
  const Graph* graph = nullptr;
  std::vector<Axis> axes;
  std::vector<NodeId> order;
  std::vector<BoundNode> nodes;  // by NodeId
  std::vector<StateGroup> groups;
  int kinds = 0;
};

// Puts a pin after every annotated value that is no input, so that what the producer makes and what
// the user wants may differ: a `reshard` node with axis -2 that InsertReshard removes again.
absl::Status PinAnnotatedValues(Graph* graph, const std::vector<Axis>& axes);

// True for a node that PinAnnotatedValues added.
bool IsPin(const Node& node);

// Binds all rules and reads all annotations. REQUIRES: stages are assigned, annotated values are
// pinned. ShardingError with the user's line: an axis that the mesh lacks, a dim that the tensor
// lacks, a batch that `accumulate` does not divide.
absl::StatusOr<BoundGraph> BindGraph(const Graph& graph, const std::vector<Axis>& axes);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PARALLEL_BOUND_GRAPH_H_
