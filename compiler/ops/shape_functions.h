// Shape functions, extent checks and rule texts that several op families share.
//
// Pure functions; threads: any. Errors name the op and the argument, show the types and say what to
// do; the caller attaches the user's line. Read next: compiler/ops/unary.cc.
#ifndef ONEFLOW_COMPILER_OPS_SHAPE_FUNCTIONS_H_
#define ONEFLOW_COMPILER_OPS_SHAPE_FUNCTIONS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compiler/ops/op_def.h"

namespace oneflow {

// One output of the shape of input i.
ShapeFn SameAsInput(int i);

// An op y = f(x) of any shape: y has the type of x, every element depends on one element. Without doc
// and gradient.
OpDef Unary(const std::string& name, DTypeSet dtypes, int64_t flops);

// Two shapes broadcast right-aligned, as NumPy and PyTorch do.
absl::StatusOr<Shape> BroadcastShapes(const std::string& op, const std::string& a_name,
                                      const TensorType& a, const std::string& b_name,
                                      const TensorType& b);

// ShapeError unless 0 <= dim < rank of the tensor.
absl::Status CheckDim(const std::string& op, const std::string& argument, const TensorType& type,
                      int64_t dim);

// ShapeError unless the argument has this rank; `layout` says what its dims are, "[n, h, w, c]".
absl::Status CheckRank(const std::string& op, const std::string& argument, const TensorType& type,
                       size_t rank, const std::string& layout);

// ShapeError unless the argument has this shape; `why` says where the expected shape comes from.
absl::Status CheckShape(const std::string& op, const std::string& argument, const TensorType& type,
                        const Shape& expected, const std::string& why);

// Name of the i-th factor of a rule: a, b, .. z, a1, b1, ..
std::string FactorName(size_t i);

// "a b c": the factors begin .. begin + rank - 1; "." for rank 0.
std::string FactorNames(size_t rank, size_t begin = 0);

// Joins the dims of one tensor of a rule; "." if there is none.
std::string JoinDims(const std::vector<std::string>& dims);

// Sets attribute `shape` to the local shape of output 0.
LocalizeFn LocalShapeOfOutput();

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_OPS_SHAPE_FUNCTIONS_H_
