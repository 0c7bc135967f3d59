// Shape: the extents of a tensor, outermost first; a 0-d tensor has the empty shape.
//
// Plain values. Threads: any. Extents are >= 0; the number of elements fits in int64 (checked where
// shapes enter: python bindings, plan parser). Read next: plan/sharding.h.
#ifndef ONEFLOW_BASE_SHAPE_H_
#define ONEFLOW_BASE_SHAPE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace oneflow {

using Shape = std::vector<int64_t>;

// Product of the extents; 1 for a 0-d tensor. REQUIRES: CheckedNumElements(shape) has a value.
int64_t NumElements(const Shape& shape);

// As NumElements, nullopt on a negative extent or overflow of int64.
std::optional<int64_t> CheckedNumElements(const Shape& shape);

// Row-major strides in elements.
Shape StridesOf(const Shape& shape);

// "[2,3]"; "[]" for 0-d.
std::string ToString(const Shape& shape);

}  // namespace oneflow

#endif  // ONEFLOW_BASE_SHAPE_H_
