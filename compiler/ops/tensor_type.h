// TensorType: the logical type of a value, and ValueId, its number in a graph: what ops say of tensors
// without knowing graphs.
//
// Values. Threads: any. Read next: compiler/ops/op_def.h, compiler/graph/graph.h.
#ifndef ONEFLOW_COMPILER_OPS_TENSOR_TYPE_H_
#define ONEFLOW_COMPILER_OPS_TENSOR_TYPE_H_

#include <cstdint>
#include <string>

#include "base/dtype.h"
#include "base/shape.h"

namespace oneflow {

using ValueId = int32_t;

// Logical type of a value.
struct TensorType {
  DType dtype = DType::kInvalid;
  Shape shape;
  bool operator==(const TensorType&) const = default;
  std::string ToString() const;  // "f32[2,3]"
  int64_t bytes() const { return NumElements(shape) * SizeOf(dtype); }
};

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_OPS_TENSOR_TYPE_H_
