#include "kernels/cpu/regions.h"

#include <cstring>
#include <string>
#include <type_traits>

#include "base/status.h"
#include "kernels/cpu/definition.h"
#include "kernels/cpu/scalar_types.h"
#include "plan/sharding.h"

namespace oneflow::kernels {
namespace {

// OK if the region lies inside the shape. Plans are untrusted input: a bad region must not become a
// stray write.
absl::Status CheckRegion(const KernelSpec& spec, const Shape& begin, const Shape& extent,
                         const Shape& shape) {
  bool inside = begin.size() == shape.size() && extent.size() == shape.size();
  for (size_t d = 0; inside && d < shape.size(); ++d) {
    inside = begin[d] >= 0 && extent[d] >= 0 && extent[d] <= shape[d] &&
             begin[d] <= shape[d] - extent[d];
  }
  if (inside) return absl::OkStatus();
  return MakeError(ErrorKind::kPlan, spec.op + ": region " + ToString(extent) + " at " +
                                         ToString(begin) + " is outside of " + ToString(shape));
}

// Numbers [i * rank, (i + 1) * rank) of a flattened list.
Shape Row(const std::vector<int64_t>& list, size_t i, size_t rank) {
  if (list.size() < (i + 1) * rank) return Shape(rank + 1, -1);  // refused by CheckRegion
  return Shape(list.begin() + i * rank, list.begin() + (i + 1) * rank);
}

// `part` is an equal part of `whole` along dim.
absl::StatusOr<MicroParts> MicroPartsOf(const KernelSpec& spec, const Shape& whole,
                                        const Shape& part) {
  const int64_t dim = spec.attrs.Int("dim");
  if (dim < 0 || dim >= static_cast<int64_t>(whole.size()) || part.size() != whole.size() ||
      (part[dim] > 0 && whole[dim] % part[dim] != 0) || (part[dim] == 0 && whole[dim] != 0)) {
    return MakeError(ErrorKind::kPlan, spec.op + ": " + ToString(part) +
                                           " is not an equal part of " + ToString(whole));
  }
  return MicroParts{StridedCopy(), part[dim] > 0 ? whole[dim] / part[dim] : INT64_MAX,
                    part[dim] * StridesOf(whole)[dim]};
}

// Strides and first element of the strided slice of a dense tensor of shape `whole`.
struct SliceView {
  Shape strides;
  int64_t begin = 0;
};
SliceView ViewOf(const Attrs& attrs, const Shape& whole, const Shape& part) {
  const int64_t dim = WrapDim(attrs.Int("dim"), whole.size());
  int64_t start = attrs.Int("start");
  if (start < 0) start += whole.at(dim);
  SliceView view{StridesOf(whole), 0};
  view.begin = start * view.strides.at(dim);
  // A slice of one element takes no step, so that a huge one overflows nothing.
  if (attrs.Has("step") && part.at(dim) > 1) view.strides[dim] *= attrs.Int("step");
  return view;
}

}  // namespace

Shape PermutedStrides(const KernelSpec& spec) {
  const Shape dense = StridesOf(spec.inputs.at(0).shape);
  const std::vector<int64_t>& dims = spec.attrs.Ints("dims");
  Shape strides(spec.outputs.at(0).shape.size());
  for (size_t d = 0; d < strides.size(); ++d) {
    strides[d] = dense.at(WrapDim(dims.at(d), strides.size()));
  }
  return strides;
}

std::vector<StridedCopy> CatRegions(const KernelSpec& spec) {
  const Shape& shape = spec.outputs.at(0).shape;
  const int64_t dim = WrapDim(spec.attrs.Int("dim"), shape.size());
  std::vector<StridedCopy> copies;
  Shape at(shape.size(), 0);
  for (const Operand& in : spec.inputs) {
    copies.push_back(
        StridedCopy::Region(in.dtype, in.shape, in.shape, Shape(shape.size(), 0), shape, at));
    at.at(dim) += in.shape.at(dim);
  }
  return copies;
}

StridedCopy SlicedRegion(const KernelSpec& spec) {
  const Operand& in = spec.inputs.at(0);
  const Shape& shape = spec.outputs.at(0).shape;
  const SliceView view = ViewOf(spec.attrs, in.shape, shape);
  return StridedCopy(in.dtype, shape, view.strides, view.begin, StridesOf(shape), 0);
}

StridedCopy SliceGradRegion(const KernelSpec& spec) {
  const Operand& dy = spec.inputs.at(0);
  const SliceView view = ViewOf(spec.attrs, spec.outputs.at(0).shape, dy.shape);
  return StridedCopy(dy.dtype, dy.shape, StridesOf(dy.shape), 0, view.strides, view.begin);
}

uint64_t ConstantBits(const KernelSpec& spec) {
  const double value = NumberAttr(spec.attrs, "value");
  uint64_t bits = 0;
  DispatchDType(spec.outputs.at(0).dtype, [&]<typename T>() {
    const T element = ElementOf<T>(value);
    std::memcpy(&bits, &element, sizeof(element));
  });
  return bits;
}

absl::StatusOr<StridedCopy> PackedRegion(const KernelSpec& spec) {
  const Operand& in = spec.inputs.at(0);
  const Operand& out = spec.outputs.at(0);
  const Shape begin = spec.attrs.Ints("begin");
  const Shape extent = spec.attrs.Ints("extent");
  OF_RETURN_IF_ERROR(CheckRegion(spec, begin, extent, in.shape));
  if (NumElements(extent) > NumElements(out.shape)) {
    return MakeError(ErrorKind::kPlan, "pack: " + ToString(extent) + " does not fit its output");
  }
  return StridedCopy::Region(in.dtype, extent, in.shape, begin, extent, Shape(extent.size(), 0));
}

absl::StatusOr<Assembly> AssemblyOf(const KernelSpec& spec) {
  const Operand& out = spec.outputs.at(0);
  const size_t rank = out.shape.size();
  const std::vector<int64_t>& inputs = spec.attrs.Ints("piece_input");
  const bool zero = spec.attrs.Has("zero") && spec.attrs.Bool("zero");
  OF_ASSIGN_OR_RETURN(
      const CombineMode mode,
      ParseCombineMode(spec.attrs.Has("mode") ? spec.attrs.String("mode") : "copy"));
  Assembly assembly;
  assembly.zero_bytes = zero ? BytesOf(out) : 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i] < 0 || inputs[i] >= static_cast<int64_t>(spec.inputs.size())) {
      return MakeError(ErrorKind::kPlan, "assemble: no input " + std::to_string(inputs[i]));
    }
    const Operand& in = spec.inputs[inputs[i]];
    const Shape source = Row(spec.attrs.Ints("src_begin"), i, rank);
    const Shape destination = Row(spec.attrs.Ints("dst_begin"), i, rank);
    const Shape extent = Row(spec.attrs.Ints("extent"), i, rank);
    OF_RETURN_IF_ERROR(CheckRegion(spec, source, extent, in.shape));
    OF_RETURN_IF_ERROR(CheckRegion(spec, destination, extent, out.shape));
    Piece piece{inputs[i], mode,
                StridedCopy::Region(out.dtype, extent, in.shape, source, out.shape, destination)};
    if (spec.attrs.Has("piece_mode")) {
      OF_ASSIGN_OR_RETURN(piece.mode, ParseCombineMode(spec.attrs.Strings("piece_mode").at(i)));
    }
    assembly.is_copy = inputs.size() == 1 && spec.inputs.size() == 1 && extent == in.shape &&
                       extent == out.shape && in.dtype == out.dtype &&
                       piece.mode == CombineMode::kCopy;
    assembly.pieces.push_back(std::move(piece));
  }
  return assembly;
}
absl::StatusOr<Needs> DescribeAssembly(const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const Assembly assembly, AssemblyOf(spec));
  return assembly.is_copy ? Needs{0, {{0, 0}}} : Needs{};
}

absl::StatusOr<Shares> Shares::Of(const KernelSpec& spec, const Shape& shape) {
  Shares shares;
  const int64_t dim = spec.attrs.Int("dim");
  shares.parts_ = spec.attrs.Int("parts");
  shares.pieces_ = spec.attrs.Has("pieces") ? spec.attrs.Int("pieces") : 1;
  shares.base_ = spec.attrs.Int("base");
  if (dim < 0 || dim >= static_cast<int64_t>(shape.size()) || shares.parts_ < 1 ||
      shares.pieces_ < 1) {
    return MakeError(ErrorKind::kPlan, spec.op + ": bad dim or parts for " + ToString(shape));
  }
  const int64_t extent = shape[dim];
  const int64_t units = spec.attrs.Int("units") > 0 ? spec.attrs.Int("units") : extent;
  if (units > 0 && extent % units != 0) {
    return MakeError(ErrorKind::kPlan,
                     spec.op + ": " + std::to_string(extent) + " elements are not whole units");
  }
  const int64_t unit = units > 0 ? extent / units : 0;
  for (int64_t i = 0; i < shares.parts_ * shares.pieces_; ++i) {
    const UnitRange range =
        DealPiece(units, shares.parts_, i / shares.pieces_, shares.pieces_, i % shares.pieces_);
    Shape begin(shape.size(), 0);
    Shape share = shape;
    begin[dim] = range.begin * unit;
    share[dim] = range.count * unit;
    shares.extents_.push_back(std::move(share));
    shares.begins_.push_back(std::move(begin));
  }
  return shares;
}
absl::StatusOr<std::vector<StridedCopy>> SentShares(const KernelSpec& spec, const Shares& shares) {
  const Operand& in = spec.inputs.at(0);
  std::vector<StridedCopy> copies;
  for (size_t i = 0; i < shares.extents().size(); ++i) {
    const Shape& extent = shares.extents()[i];
    if (NumElements(extent) > NumElements(spec.outputs.at(0).shape)) {
      return MakeError(ErrorKind::kPlan, "ring_send: a share does not fit its output");
    }
    copies.push_back(StridedCopy::Region(in.dtype, extent, in.shape, shares.begins()[i], extent,
                                         Shape(extent.size(), 0)));
  }
  return copies;
}

absl::StatusOr<std::vector<StridedCopy>> ReceivedShares(const KernelSpec& spec,
                                                        const Shares& shares) {
  const Operand& buffer = spec.outputs.at(0);
  std::vector<StridedCopy> copies;
  for (size_t i = 0; i < shares.extents().size(); ++i) {
    const Shape& extent = shares.extents()[i];
    if (NumElements(extent) > NumElements(spec.inputs.at(1).shape)) {
      return MakeError(ErrorKind::kPlan, "ring_reduce: its input is smaller than a share");
    }
    copies.push_back(StridedCopy::Region(buffer.dtype, extent, extent, Shape(extent.size(), 0),
                                         buffer.shape, shares.begins()[i]));
  }
  return copies;
}

StridedCopy Whole(const Operand& operand) {
  const Shape zero(operand.shape.size(), 0);
  return StridedCopy::Region(operand.dtype, operand.shape, operand.shape, zero, operand.shape,
                             zero);
}

absl::Status MicroParts::Check(const std::string& op, uint32_t micro) const {
  if (micro < parts) return absl::OkStatus();
  return MakeError(ErrorKind::kPlan, op + ": micro-batch " + std::to_string(micro) + " of " +
                                         std::to_string(parts) + " parts");
}

absl::StatusOr<MicroParts> MicroSliceOf(const KernelSpec& spec) {
  const Shape& whole = spec.inputs.at(0).shape;
  const Operand& part = spec.outputs.at(0);
  OF_ASSIGN_OR_RETURN(MicroParts parts, MicroPartsOf(spec, whole, part.shape));
  const Shape zero(whole.size(), 0);
  parts.copy = StridedCopy::Region(part.dtype, part.shape, whole, zero, part.shape, zero);
  return parts;
}

absl::StatusOr<MicroParts> MicroConcatOf(const KernelSpec& spec) {
  const Operand& part = spec.inputs.at(0);
  const Shape& whole = spec.outputs.at(0).shape;
  OF_ASSIGN_OR_RETURN(MicroParts parts, MicroPartsOf(spec, whole, part.shape));
  const Shape zero(whole.size(), 0);
  parts.copy = StridedCopy::Region(part.dtype, part.shape, part.shape, zero, whole, zero);
  return parts;
}

}  // namespace oneflow::kernels
