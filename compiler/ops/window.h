// Windows that slide over the height and width of an NHWC image: convolution and pooling.
//
// Pure functions; threads: any. Read next: convolution.cc, pooling.cc.
#ifndef ONEFLOW_COMPILER_OPS_WINDOW_H_
#define ONEFLOW_COMPILER_OPS_WINDOW_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compiler/ops/op_def.h"

namespace oneflow {

// The geometry of one window op: all of it per dim, height then width.
struct Window {
  std::vector<int64_t> kernel;
  std::vector<int64_t> stride;
  std::vector<int64_t> padding;
  std::vector<int64_t> dilation;
};

// Reads stride, padding and, where the op has it, dilation; checks lengths and ranges.
absl::StatusOr<Window> WindowFromAttrs(const std::string& op, const Attrs& attrs,
                                       std::vector<int64_t> kernel);

// Output extents [p, q] of the window over `image` [n, h, w, c]; ShapeError if it does not fit.
absl::StatusOr<std::vector<int64_t>> WindowExtents(const std::string& op, const Window& window,
                                                   const TensorType& image);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_OPS_WINDOW_H_
