// StateWrites: which updates may go straight into their state, and which states are read while
// another state takes their place.
//
// Reads see a state as the step found it, writes take effect at the step's end. An update goes
// straight into its state where nobody reads the state afterwards (and, if the op reads it itself,
// where its kernel can: emit_nodes.cc asks the kernel's row); everything else is a register and a
// copy at the end of the step. What a state takes from another state that is written too (two
// buffers swapped) is copied out before either is.
//
// Pure function of the graph and its schedule, so equal on all ranks. Threads: any. Read next:
// compiler/lower/emit_nodes.h.
#ifndef ONEFLOW_COMPILER_LOWER_STATE_WRITES_H_
#define ONEFLOW_COMPILER_LOWER_STATE_WRITES_H_

#include <map>
#include <set>
#include <string>
#include <vector>

#include "compiler/graph/graph.h"
#include "compiler/lower/schedule.h"

namespace oneflow {

class StateWrites {
 public:
  StateWrites(const Graph& graph, const Decisions& decisions, const Schedule& schedule);

  // The state into which the producer of `value` may write it; nullptr: into a register.
  const std::string* InPlace(ValueId value) const {
    const auto it = in_place_.find(value);
    return it == in_place_.end() ? nullptr : &it->second;
  }
  // True if `value`, the bytes of a state, must be copied where the step begins.
  bool Saved(ValueId value) const { return saved_.contains(value); }

 private:
  // The state whose bytes each value is, through views and reshards that change nothing.
  void FindAliases(const Graph& graph, const Decisions& decisions);

  std::map<ValueId, std::string> alias_of_;
  std::map<ValueId, std::string> in_place_;
  std::set<ValueId> saved_;
};

// True if `reshard` moves nothing on any device: its result is its input's buffer.
bool ChangesNothing(const Graph& graph, const Node& reshard, const std::vector<Axis>& axes);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_LOWER_STATE_WRITES_H_
