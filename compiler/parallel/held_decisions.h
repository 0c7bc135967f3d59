// HeldDecisions: what Decide chose, as data that outlives the compile: a small text that a person
// reads, a file keeps and a later compile is given, so that links, rates and process boundaries
// cannot change the layouts, and with them the order of sums.
//
//   oneflow decisions 1
//   graph "step" 1c9f0b2a77e01234
//   mesh dp:2 tp:2
//   micro_batches 1
//   state "fc1.weight" f32[64,32] <(B,S(0))>
//   node %12 matmul @0 {dp S(0),B->S(0); tp B,S(1)->S(1)}  # model.py:12
//   move f32[64,10] <(B,P)> tp <(B,B)>
//   move f32[64,32] <(P,B)> dp/8 <(B,B)>
//
// `graph`: name and key of the graph that it was decided for. A state: its layout. A node: the stage
// and, per layout axis, the signature of its sharding rule (`#2` behind one that prints as another
// does); it is named by its first output, as in dumps and plan.explain, and stands here if there was
// a choice. A move: from layout, then step by step the axis (`*`: a general exchange; `dp/8`: by level, in groups
// of eight first, sum_rounds.h) and the layout behind it. A line that begins with `#`, and what follows `#` behind a node, is a comment.
//
// A value; equal decisions give equal bytes. Threads: any. The text is untrusted: parsing is total,
// and Decide checks each line against the graph. Read next: compiler/parallel/decide.h,
// docs/sharding.md.
#ifndef ONEFLOW_COMPILER_PARALLEL_HELD_DECISIONS_H_
#define ONEFLOW_COMPILER_PARALLEL_HELD_DECISIONS_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "compiler/graph/graph.h"
#include "compiler/parallel/reshard_path.h"
#include "plan/sharding.h"

namespace oneflow {

// See the file. `line` fields are those of the text, for errors; 0 if there was none.
struct HeldDecisions {
  // The layout of one state, also of those on other stages.
  struct State {
    TensorType type;
    Sharding sharding;
    int line = 0;
  };
  // What one node does: per layout axis that has a choice, the text of its signature.
  struct Choice {
    std::string op;
    int stage = 0;
    std::vector<std::pair<std::string, std::string>> signatures;
    std::string comment;
    int line = 0;
  };

  std::string name;
  uint64_t graph = 0;  // GraphKey
  std::vector<Axis> mesh;
  int micro_batches = 1;
  std::map<std::string, State> states;
  std::map<ValueId, Choice> nodes;  // by first output
  std::vector<HeldMove> moves;      // printed sorted, each once

  std::string ToString() const;
  // PlanError that names the line.
  static absl::StatusOr<HeldDecisions> Parse(const std::string& text);
};

// A number that equal graphs share: ops, edges, types and what the user asked of values. Left out is
// what changes no layout (locations, scopes, seeds, values of float attributes) and what decisions
// replace (layouts asked of states or given by an earlier plan).
uint64_t GraphKey(const Graph& graph);

// PlanError for a line of decisions that cannot be followed: "decisions, line 3: ...".
absl::Status DecisionsError(int line, const std::string& what);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PARALLEL_HELD_DECISIONS_H_
