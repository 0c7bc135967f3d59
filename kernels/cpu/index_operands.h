// TableRows and GatherLines: what embedding, gather and scatter_add do to their operands, for all kinds
// of devices.
//
// Values, const. Threads: any. Invariant: what they say lies inside the operands of a spec that the op's
// check has passed. Read next: kernels/cpu/indexing.cc.
#ifndef ONEFLOW_KERNELS_CPU_INDEX_OPERANDS_H_
#define ONEFLOW_KERNELS_CPU_INDEX_OPERANDS_H_

#include <cstdint>

#include "kernels/cpu/definition.h"
#include "kernels/cpu/loop_nest.h"

namespace oneflow::kernels {

// The rows of the table that are here: [begin, begin + count) of `all`.
struct TableRows {
  int64_t begin = 0, count = 0, all = 0, features = 0;
};
inline TableRows TableRowsOf(const Operand& table) {
  return {table.begin.at(0), table.shape.at(0), table.logical_shape.at(0), table.shape.at(1)};
}

// The lines of index along dim, and where each begins in x: operand 0 is index, operand 1 x.
struct GatherLines {
  LoopNest<2> nest;
  int64_t length = 0, bound = 0;           // of a line of index, and of x
  int64_t index_stride = 0, x_stride = 0;  // along dim
};
inline GatherLines GatherLinesOf(const KernelSpec& spec) {
  const Shape& x = spec.inputs.at(0).shape;
  const Shape& index = spec.inputs.at(1).shape;
  const size_t dim = static_cast<size_t>(WrapDim(spec.attrs.Int("dim"), x.size()));
  Shape x_strides = StridesOf(x);
  Shape index_strides = StridesOf(index);
  GatherLines lines{{}, index[dim], x[dim], index_strides[dim], x_strides[dim]};
  Shape others = index;
  others[dim] = 1;
  lines.nest = LoopNest<2>(others, {index_strides, x_strides});
  return lines;
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_INDEX_OPERANDS_H_
