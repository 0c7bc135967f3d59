// Movement: the tasks that lowering makes of reshards and micro-batches. docs/architecture.md,
// "Tasks that are no ops", says what each does. Any dtype. Bytes are bounded by memory bandwidth;
// the sides of a region that lie contiguously are copied as one run.
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/cpu/combine.h"
#include "kernels/cpu/definition.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/strided_copy.h"
#include "plan/sharding.h"

namespace oneflow::kernels {
namespace {

int64_t BytesOf(const Operand& operand) {
  return NumElements(operand.shape) * SizeOf(operand.dtype);
}

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

// out (dense) <- the region of in at `begin`.
KernelOr MakePack(const KernelSpec& spec) {
  const Operand& in = spec.inputs.at(0);
  const Operand& out = spec.outputs.at(0);
  const Shape begin = spec.attrs.Ints("begin");
  const Shape extent = spec.attrs.Ints("extent");
  OF_RETURN_IF_ERROR(CheckRegion(spec, begin, extent, in.shape));
  if (NumElements(extent) > NumElements(out.shape)) {
    return MakeError(ErrorKind::kPlan, "pack: " + ToString(extent) + " does not fit its output");
  }
  const StridedCopy copy =
      StridedCopy::Region(in.dtype, extent, in.shape, begin, extent, Shape(extent.size(), 0));
  return KernelOf([copy, threads = spec.threads](const KernelArgs& args) {
    copy.Run(args.inputs[0], args.outputs[0], threads);
  });
}

// One region of `assemble`.
struct Piece {
  int64_t input = 0;
  CombineMode mode = CombineMode::kCopy;
  StridedCopy region;
};

// Numbers [i * rank, (i + 1) * rank) of a flattened list.
Shape Row(const std::vector<int64_t>& list, size_t i, size_t rank) {
  if (list.size() < (i + 1) * rank) return Shape(rank + 1, -1);  // refused by CheckRegion
  return Shape(list.begin() + i * rank, list.begin() + (i + 1) * rank);
}

// out is built from pieces of the inputs, in their order.
KernelOr MakeAssemble(const KernelSpec& spec) {
  const Operand& out = spec.outputs.at(0);
  const size_t rank = out.shape.size();
  const std::vector<int64_t>& inputs = spec.attrs.Ints("piece_input");
  const bool zero = spec.attrs.Has("zero") && spec.attrs.Bool("zero");
  OF_ASSIGN_OR_RETURN(
      const CombineMode mode,
      ParseCombineMode(spec.attrs.Has("mode") ? spec.attrs.String("mode") : "copy"));
  std::vector<Piece> pieces;
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
    pieces.push_back(std::move(piece));
  }
  const int64_t zero_bytes = zero ? BytesOf(out) : 0;
  return KernelOf([pieces, zero_bytes, threads = spec.threads](const KernelArgs& args) {
    if (zero_bytes > 0) std::memset(args.outputs[0], 0, zero_bytes);
    for (const Piece& piece : pieces) {
      Combine(piece.mode, piece.region, args.inputs[piece.input], args.outputs[0], threads);
    }
  });
}

// One dim dealt out in `parts` shares of whole units.
class Shares {
 public:
  static absl::StatusOr<Shares> Of(const KernelSpec& spec, const Shape& shape) {
    Shares shares;
    const int64_t dim = spec.attrs.Int("dim");
    shares.parts_ = spec.attrs.Int("parts");
    shares.base_ = spec.attrs.Int("base");
    if (dim < 0 || dim >= static_cast<int64_t>(shape.size()) || shares.parts_ < 1) {
      return MakeError(ErrorKind::kPlan, spec.op + ": bad dim or parts for " + ToString(shape));
    }
    const int64_t extent = shape[dim];
    const int64_t units = spec.attrs.Int("units") > 0 ? spec.attrs.Int("units") : extent;
    if (units > 0 && extent % units != 0) {
      return MakeError(ErrorKind::kPlan,
                       spec.op + ": " + std::to_string(extent) + " elements are not whole units");
    }
    const int64_t unit = units > 0 ? extent / units : 0;
    for (int64_t i = 0; i < shares.parts_; ++i) {
      const UnitRange range = DealUnits(units, shares.parts_, i);
      Shape begin(shape.size(), 0);
      Shape share = shape;
      begin[dim] = range.begin * unit;
      share[dim] = range.count * unit;
      shares.extents_.push_back(std::move(share));
      shares.begins_.push_back(std::move(begin));
    }
    return shares;
  }
  // Share with number (base - back) mod parts.
  int64_t Index(int64_t back) const {
    const int64_t index = (base_ - back) % parts_;
    return index < 0 ? index + parts_ : index;
  }
  const std::vector<Shape>& extents() const { return extents_; }
  const std::vector<Shape>& begins() const { return begins_; }

 private:
  int64_t parts_ = 1;
  int64_t base_ = 0;
  std::vector<Shape> extents_;
  std::vector<Shape> begins_;
};

// Chunk c: out (dense) <- share (base - c) mod parts of in.
KernelOr MakeRingSend(const KernelSpec& spec) {
  const Operand& in = spec.inputs.at(0);
  OF_ASSIGN_OR_RETURN(const Shares shares, Shares::Of(spec, in.shape));
  std::vector<StridedCopy> copies;
  for (size_t i = 0; i < shares.extents().size(); ++i) {
    const Shape& extent = shares.extents()[i];
    if (NumElements(extent) > NumElements(spec.outputs.at(0).shape)) {
      return MakeError(ErrorKind::kPlan, "ring_send: a share does not fit its output");
    }
    copies.push_back(StridedCopy::Region(in.dtype, extent, in.shape, shares.begins()[i], extent,
                                         Shape(extent.size(), 0)));
  }
  return KernelOf([shares, copies, threads = spec.threads](const KernelArgs& args) {
    copies[shares.Index(args.chunk)].Run(args.inputs[0], args.outputs[0], threads);
  });
}

// Chunk c: combines (c < reduce_chunks) or copies the received chunk into share (base - 1 - c) mod
// parts of the buffer. Not in place, chunk 0 first copies the buffer.
KernelOr MakeRingReduce(const KernelSpec& spec) {
  const Operand& buffer = spec.outputs.at(0);
  OF_ASSIGN_OR_RETURN(const Shares shares, Shares::Of(spec, buffer.shape));
  OF_ASSIGN_OR_RETURN(const CombineMode mode, ParseCombineMode(spec.attrs.String("mode")));
  std::vector<StridedCopy> copies;
  for (size_t i = 0; i < shares.extents().size(); ++i) {
    const Shape& extent = shares.extents()[i];
    if (NumElements(extent) > NumElements(spec.inputs.at(1).shape)) {
      return MakeError(ErrorKind::kPlan, "ring_reduce: its input is smaller than a share");
    }
    copies.push_back(StridedCopy::Region(buffer.dtype, extent, extent, Shape(extent.size(), 0),
                                         buffer.shape, shares.begins()[i]));
  }
  const int64_t bytes = BytesOf(buffer);
  const int64_t reduce_chunks = spec.attrs.Int("reduce_chunks");
  return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
    if (args.outputs[0] != args.inputs[0] && args.chunk == 0) {
      std::memcpy(args.outputs[0], args.inputs[0], bytes);
    }
    Combine(args.chunk < reduce_chunks ? mode : CombineMode::kCopy,
            copies[shares.Index(int64_t{1} + args.chunk)], args.inputs[1], args.outputs[0],
            threads);
  });
}

// All of a dense tensor.
StridedCopy Whole(const Operand& operand) {
  const Shape zero(operand.shape.size(), 0);
  return StridedCopy::Region(operand.dtype, operand.shape, operand.shape, zero, operand.shape,
                             zero);
}

// Micro 0 copies, later ones combine.
KernelOr MakeAccumulate(const KernelSpec& spec) {
  const StridedCopy whole = Whole(spec.outputs.at(0));
  OF_ASSIGN_OR_RETURN(const CombineMode mode, ParseCombineMode(spec.attrs.String("mode")));
  return KernelOf([whole, mode, threads = spec.threads](const KernelArgs& args) {
    Combine(args.micro == 0 ? CombineMode::kCopy : mode, whole, args.inputs[0], args.outputs[0],
            threads);
  });
}

// `part` is the m-th of equal parts of `whole` along dim: the number of parts, and the elements
// from one to the next in the dense `whole`.
struct MicroParts {
  int64_t parts = 1;
  int64_t stride = 0;
};
absl::StatusOr<MicroParts> MicroPartsOf(const KernelSpec& spec, const Shape& whole,
                                        const Shape& part) {
  const int64_t dim = spec.attrs.Int("dim");
  if (dim < 0 || dim >= static_cast<int64_t>(whole.size()) || part.size() != whole.size() ||
      (part[dim] > 0 && whole[dim] % part[dim] != 0) || (part[dim] == 0 && whole[dim] != 0)) {
    return MakeError(ErrorKind::kPlan, spec.op + ": " + ToString(part) +
                                           " is not an equal part of " + ToString(whole));
  }
  return MicroParts{part[dim] > 0 ? whole[dim] / part[dim] : INT64_MAX,
                    part[dim] * StridesOf(whole)[dim]};
}

KernelOr MakeMicroSlice(const KernelSpec& spec) {
  const Shape& whole = spec.inputs.at(0).shape;
  const Operand& part = spec.outputs.at(0);
  OF_ASSIGN_OR_RETURN(const MicroParts parts, MicroPartsOf(spec, whole, part.shape));
  const Shape zero(whole.size(), 0);
  const StridedCopy copy =
      StridedCopy::Region(part.dtype, part.shape, whole, zero, part.shape, zero);
  return KernelOf([copy, parts, threads = spec.threads](const KernelArgs& args) {
    OF_CHECK(args.micro < parts.parts) << "micro_slice beyond its input";
    copy.Shifted(parts.stride * args.micro, 0).Run(args.inputs[0], args.outputs[0], threads);
  });
}

KernelOr MakeMicroConcat(const KernelSpec& spec) {
  const Operand& part = spec.inputs.at(0);
  const Shape& whole = spec.outputs.at(0).shape;
  OF_ASSIGN_OR_RETURN(const MicroParts parts, MicroPartsOf(spec, whole, part.shape));
  const Shape zero(whole.size(), 0);
  const StridedCopy copy =
      StridedCopy::Region(part.dtype, part.shape, part.shape, zero, whole, zero);
  return KernelOf([copy, parts, threads = spec.threads](const KernelArgs& args) {
    OF_CHECK(args.micro < parts.parts) << "micro_concat beyond its output";
    copy.Shifted(0, parts.stride * args.micro).Run(args.inputs[0], args.outputs[0], threads);
  });
}

// out <- in at micro 0, zeros later.
KernelOr MakeMicroMask(const KernelSpec& spec) {
  const StridedCopy whole = Whole(spec.outputs.at(0));
  const int64_t bytes = BytesOf(spec.outputs.at(0));
  return KernelOf([whole, bytes, threads = spec.threads](const KernelArgs& args) {
    if (args.micro == 0) {
      if (args.inputs[0] != args.outputs[0]) whole.Run(args.inputs[0], args.outputs[0], threads);
    } else {
      std::memset(args.outputs[0], 0, bytes);
    }
  });
}

absl::StatusOr<Needs> InPlace(const KernelSpec&) { return Needs{0, true}; }

}  // namespace

std::vector<KernelDef> MovementKernels() {
  return {
      {"pack", NeedsNothing, MakePack},
      {"assemble", NeedsNothing, MakeAssemble},
      {"ring_send", NeedsNothing, MakeRingSend},
      {"ring_reduce", InPlace, MakeRingReduce},
      {"accumulate", NeedsNothing, MakeAccumulate},
      {"micro_slice", NeedsNothing, MakeMicroSlice},
      {"micro_concat", NeedsNothing, MakeMicroConcat},
      {"micro_mask", NeedsNothing, MakeMicroMask},
  };
}

}  // namespace oneflow::kernels
