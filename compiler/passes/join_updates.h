// JoinUpdates: AdamW's updates of small parameters become one task for up to 44 of them: their bytes take less time
// than a launch, and a model has more norms and biases than it has products.
//
//   %9, %10, %11 = adamw_update(%1, %2, %3, %4, %lr, %step)      %20, .., %25 = adamw_updates(%lr, %step, %1, %2, %3,
//   %17, %18, %19 = adamw_update(%5, %6, %7, %8, %lr, %step)  ->                              %4, %5, %6, %7, %8)
//
// Joined are those of one stage, phase, attributes, learning rate and step, whole on each device, where the new values
// are not read before the last of them is made: it stands in that one's place, and gradients, small, are held until
// then. After NarrowUpdates. Bits do not change. Pure. Threads: any. Read next: compiler/ops/optimizer.cc.
#ifndef ONEFLOW_COMPILER_PASSES_JOIN_UPDATES_H_
#define ONEFLOW_COMPILER_PASSES_JOIN_UPDATES_H_

#include <cstdint>

#include "absl/status/status.h"
#include "compiler/graph/graph.h"
#include "compiler/parallel/decide.h"

namespace oneflow {

// Elements that a parameter has at most, and parameters that are joined at most: those of one launch.
inline constexpr int64_t kMostJoinedElements = int64_t{1} << 16;
inline constexpr size_t kMostJoinedUpdates = 44;

// Makes the updates anew; grows decisions->nodes for them.
absl::Status JoinUpdates(Graph* graph, Decisions* decisions);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PASSES_JOIN_UPDATES_H_
