// DecidedGraph: edits of a graph whose layouts are decided and whose moves are nodes, so that every input lies as its
// value does: what a node is told of its inputs follows from them, and only new results are given a layout.
//
// Owned by a pass behind InsertReshard, over the compile call's graph and decisions. Threads: one. Invariant: every
// node has a decision, and removed ones an empty one. Read next: compiler/parallel/decide.h,
// compiler/passes/fuse_bias.cc.
#ifndef ONEFLOW_COMPILER_PASSES_DECIDED_GRAPH_H_
#define ONEFLOW_COMPILER_PASSES_DECIDED_GRAPH_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compiler/graph/graph.h"
#include "compiler/parallel/decide.h"

namespace oneflow {

class DecidedGraph {
 public:
  DecidedGraph(Graph* graph, Decisions* decisions) : graph_(*graph), decisions_(*decisions) {}

  // A node before `like`, or before `place` if that is a node, in the stage, phase and scope of `like`. `layouts`: of
  // its results.
  absl::StatusOr<std::vector<ValueId>> Insert(const Node& like, const std::string& op,
                                              std::vector<ValueId> inputs, Attrs attrs,
                                              const std::vector<Sharding>& layouts,
                                              NodeId place = -1);
  // The same, of which result i takes the place and the layout of values[i]; `gone` are removed, readers first.
  // Returns the node.
  absl::StatusOr<NodeId> Replace(const Node& like, const std::string& op,
                                 std::vector<ValueId> inputs, Attrs attrs,
                                 const std::vector<ValueId>& values,
                                 const std::vector<NodeId>& gone, NodeId place = -1);
  void Remove(NodeId id);
  // Whether the op's rule allows that it reads `inputs` and leaves what lies and is as `results`.
  bool Allows(const std::string& op, const Attrs& attrs, const std::vector<ValueId>& inputs,
              const std::vector<ValueId>& results) const;

 private:
  Graph& graph_;
  Decisions& decisions_;
};

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PASSES_DECIDED_GRAPH_H_
