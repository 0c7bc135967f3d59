// ShapeOf: the shape that a field of a plan holds.
//
// Pure. Threads: any. Read next: base/shape.h, plan/plan.proto.
#ifndef ONEFLOW_PLAN_SHAPE_OF_H_
#define ONEFLOW_PLAN_SHAPE_OF_H_

#include <cstdint>

#include "base/shape.h"
#include "google/protobuf/repeated_field.h"

namespace oneflow {

inline Shape ShapeOf(const google::protobuf::RepeatedField<int64_t>& extents) {
  return Shape(extents.begin(), extents.end());
}

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_SHAPE_OF_H_
