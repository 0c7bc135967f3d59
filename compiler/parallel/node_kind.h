// What the layout analyses ask of single nodes: is it a leaf, what does it cost.
//
// Pure functions. Threads: any. Read next: compiler/parallel/layout_search.h.
#ifndef ONEFLOW_COMPILER_PARALLEL_NODE_KIND_H_
#define ONEFLOW_COMPILER_PARALLEL_NODE_KIND_H_

#include <vector>

#include "compiler/graph/graph.h"
#include "compiler/ops/op_def.h"

namespace oneflow {

// A node without inputs: input, state_read, constant.
bool IsLeaf(const Node& node);

// Work on these local types. An op that says nothing moves its bytes once.
OpCost CostOf(const OpDef& def, const Attrs& attrs, const std::vector<TensorType>& inputs,
              const std::vector<TensorType>& outputs);

// The same for one device's share: `attrs` are the logical ones and are rewritten for it first.
OpCost LocalCost(const OpDef& def, const Attrs& attrs, const std::vector<TensorType>& local_inputs,
                 const std::vector<TensorType>& local_outputs);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PARALLEL_NODE_KIND_H_
