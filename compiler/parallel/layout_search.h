// SearchLayouts: a signature per node and mesh axis, and a layout per group of states, at the least
// predicted cost (layout_state.h says which).
//
//   mesh tp:2, x [64,256], w1 [256,1024], w2 [1024,256] free
//   %h = matmul(%x, %w1)   B,S(1)->S(1)      found: w1 by columns,
//   %r = relu(%h)          S(1)->S(1)               w2 by rows,
//   %y = matmul(%r, %w2)   S(1),S(0)->P             one all-reduce
//
// 1. A forward sweep gives each node its cheapest layout given what precedes it; a free state takes
//    the layout of its first reader.
// 2. Sweeps of single changes, each kept if the total falls: one node; one group of states with the
//    nodes around it adapting; and once, when those find nothing more, one node with its neighbours
//    adapting. Until nothing changes (at most kSweeps rounds).
// 3. An axis that the user named is used: if all nodes are B on one, the states are weighed
//    kStateEmphasis times and the search runs again (small models on fast devices would otherwise
//    be replicated).
//
// Deterministic and near-linear: a change looks at its surroundings only. Threads: any.
// Read next: compiler/parallel/decide.cc.
#ifndef ONEFLOW_COMPILER_PARALLEL_LAYOUT_SEARCH_H_
#define ONEFLOW_COMPILER_PARALLEL_LAYOUT_SEARCH_H_

#include <memory>
#include <vector>

#include "compiler/parallel/layout_state.h"

namespace oneflow {

// The best state found. REQUIRES: `bound`, `cost`, `paths` outlive the result; `micro_choice` is
// what SearchMicro gave.
std::unique_ptr<LayoutState> SearchLayouts(const BoundGraph& bound, const CostModel& cost,
                                           ReshardPaths* paths,
                                           const std::vector<int>& micro_choice);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PARALLEL_LAYOUT_SEARCH_H_
