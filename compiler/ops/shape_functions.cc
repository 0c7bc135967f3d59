#include "compiler/ops/shape_functions.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"

namespace oneflow {

ShapeFn SameAsInput(int i) {
  return [i](const OpContext& op) -> absl::StatusOr<Shapes> { return Shapes{op.inputs[i].shape}; };
}

absl::StatusOr<Shape> BroadcastShapes(const std::string& op, const std::string& a_name,
                                      const TensorType& a, const std::string& b_name,
                                      const TensorType& b) {
  const size_t rank = std::max(a.shape.size(), b.shape.size());
  Shape result(rank);
  for (size_t i = 1; i <= rank; ++i) {
    const int64_t in_a = i <= a.shape.size() ? a.shape[a.shape.size() - i] : 1;
    const int64_t in_b = i <= b.shape.size() ? b.shape[b.shape.size() - i] : 1;
    if (in_a != in_b && in_a != 1 && in_b != 1) {
      return MakeError(
          ErrorKind::kShape,
          absl::StrCat(op, ": ", a_name, " is ", a.ToString(), " and ", b_name, " is ",
                       b.ToString(), ": dim -", i, " is ", in_a, " in one and ", in_b,
                       " in the other. Extents must be equal, or 1 in one of the two; use "
                       "reshape, unsqueeze or permute to line the dims up from the right"));
    }
    result[rank - i] = in_a == 1 ? in_b : in_a;
  }
  return result;
}

absl::Status CheckDim(const std::string& op, const std::string& argument, const TensorType& type,
                      int64_t dim) {
  const int64_t rank = static_cast<int64_t>(type.shape.size());
  if (dim >= 0 && dim < rank) return absl::OkStatus();
  return MakeError(
      ErrorKind::kShape,
      absl::StrCat(op, ": ", argument, " is ", type.ToString(), " and has no dim ", dim,
                   rank == 0 ? ": a 0-d tensor has no dims"
                             : absl::StrCat(": use 0 to ", rank - 1,
                                            ", or count from the end with -1 "
                                            "to -",
                                            rank)));
}

absl::Status CheckRank(const std::string& op, const std::string& argument, const TensorType& type,
                       size_t rank, const std::string& layout) {
  if (type.shape.size() == rank) return absl::OkStatus();
  return MakeError(
      ErrorKind::kShape,
      absl::StrCat(op, ": ", argument, " is ", type.ToString(), " but must have ", rank,
                   rank == 1 ? " dim, " : " dims, ", layout, ": reshape it first"));
}

absl::Status CheckShape(const std::string& op, const std::string& argument, const TensorType& type,
                        const Shape& expected, const std::string& why) {
  if (type.shape == expected) return absl::OkStatus();
  return MakeError(ErrorKind::kShape,
                   absl::StrCat(op, ": ", argument, " is ", type.ToString(),
                                " but must have shape ", ToString(expected), ": ", why));
}

std::string FactorName(size_t i) {
  const std::string letter(1, static_cast<char>('a' + i % 26));
  return i < 26 ? letter : absl::StrCat(letter, i / 26);
}

std::string FactorNames(size_t rank, size_t begin) {
  std::vector<std::string> dims;
  for (size_t i = 0; i < rank; ++i) dims.push_back(FactorName(begin + i));
  return JoinDims(dims);
}

std::string JoinDims(const std::vector<std::string>& dims) {
  return dims.empty() ? "." : absl::StrJoin(dims, " ");
}

LocalizeFn LocalShapeOfOutput() {
  return [](const Attrs& attrs, const std::vector<TensorType>&,
            const std::vector<TensorType>& local_outputs) {
    Attrs local = attrs;
    local.Set("shape", local_outputs[0].shape);
    return local;
  };
}

}  // namespace oneflow
