// Movement: the tasks that lowering makes of reshards and micro-batches. docs/architecture.md,
// "Tasks that are no ops", says what each does. Any dtype. Bytes are bounded by memory bandwidth;
// the sides of a region that lie contiguously are copied as one run.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cpu/definition.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/regions.h"

namespace oneflow::kernels {
namespace {

absl::Status CheckPack(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(1).Outputs(1).SameDType();
  const Shape extent = check.Ints("extent");
  check.Inside(check.Ints("begin"), extent, check.in(0).shape);
  check.Require(!check.ok() || NumElements(extent) <= NumElements(check.out(0).shape),
                "the region fits into the output");
  return check.status();
}

// Numbers [i * rank, (i + 1) * rank) of a flattened list.
Shape Row(const std::vector<int64_t>& list, size_t i, size_t rank) {
  return Shape(list.begin() + i * rank, list.begin() + (i + 1) * rank);
}

bool IsCombineMode(const std::string& text) { return ParseCombineMode(text).ok(); }

absl::Status CheckAssemble(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(0, std::numeric_limits<size_t>::max()).Outputs(1).SameDType();
  const std::vector<int64_t> inputs = check.Ints("piece_input");
  const std::vector<int64_t> sources = check.Ints("src_begin");
  const std::vector<int64_t> destinations = check.Ints("dst_begin");
  const std::vector<int64_t> extents = check.Ints("extent");
  const size_t rank = check.out(0).shape.size();
  const size_t numbers = inputs.size() * rank;
  check.Require(
      sources.size() == numbers && destinations.size() == numbers && extents.size() == numbers,
      "the lists have a row for each piece");
  check.IntOr("rank", 0, static_cast<int64_t>(rank), static_cast<int64_t>(rank));
  check.Require(IsCombineMode(check.TextOr("mode", "copy")), "a known mode");
  check.BoolOr("zero", false);
  if (spec.attrs.Has("piece_mode")) {
    const std::vector<std::string> modes = check.Texts("piece_mode");
    check.Require(
        modes.size() == inputs.size() && std::all_of(modes.begin(), modes.end(), IsCombineMode),
        "a known mode for each piece");
  }
  for (size_t i = 0; check.ok() && i < inputs.size(); ++i) {
    check.Require(inputs[i] >= 0 && inputs[i] < static_cast<int64_t>(spec.inputs.size()),
                  "each piece reads one of the inputs");
    const Shape extent = Row(extents, i, rank);
    check.Inside(Row(sources, i, rank), extent, check.in(static_cast<size_t>(inputs[i])).shape);
    check.Inside(Row(destinations, i, rank), extent, check.out(0).shape);
  }
  return check.status();
}

constexpr int64_t kMaxParts = int64_t{1} << 16;

// The shares of `whole`, of which `chunk` holds any.
void CheckShares(SpecCheck* check, const Operand& whole, const Operand& chunk) {
  check->SameDType().Rank(whole, 1, kMaxRank);
  const size_t dim = check->Dim("dim", whole);
  const int64_t parts = check->Int("parts", 1, kMaxParts);
  if (check->spec().attrs.Has("pieces"))
    check->Int("pieces", 1, kMaxParts / std::max<int64_t>(parts, 1));
  check->Int("base", -kMaxParts, kMaxParts);
  const int64_t units = check->Int("units", 0, std::numeric_limits<int64_t>::max());
  check->Require(!check->ok() || units == 0 || whole.shape[dim] % units == 0,
                 "shares are of whole units");
  if (!check->ok()) return;
  const absl::StatusOr<Shares> shares = Shares::Of(check->spec(), whole.shape);
  check->Require(shares.ok(), "dims are counted from the front");
  for (size_t i = 0; check->ok() && i < shares->extents().size(); ++i) {
    check->Require(NumElements(shares->extents()[i]) <= NumElements(chunk.shape),
                   "a share fits into a chunk");
  }
}
absl::Status CheckRingSend(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(1).Outputs(1);
  CheckShares(&check, check.in(0), check.out(0));
  return check.status();
}

absl::Status CheckRingReduce(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(2).Outputs(1).Same(check.in(0), check.out(0));
  CheckShares(&check, check.out(0), check.in(1));
  check.Require(IsCombineMode(check.Text("mode")), "a known mode");
  check.Int("reduce_chunks", 0, std::numeric_limits<int64_t>::max());
  return check.status();
}

absl::Status CheckWhole(const KernelSpec& spec) {
  SpecCheck check(spec);
  return check.Inputs(1).Outputs(1).Same(check.in(0), check.out(0)).status();
}

absl::Status CheckAccumulate(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Require(IsCombineMode(check.Text("mode")), "a known mode");
  return check.ok() ? CheckWhole(spec) : check.status();
}

// `part` is the m-th of equal parts of `whole` along dim.
void CheckMicroParts(SpecCheck* check, const Operand& whole, const Operand& part) {
  check->Inputs(1).Outputs(1).SameDType().Rank(whole, 1, kMaxRank);
  const size_t dim = check->Dim("dim", whole);
  check->Rank(part, whole.shape.size(), whole.shape.size());
  if (!check->ok()) return;
  Shape shape = whole.shape;
  shape[dim] = part.shape[dim];
  check->HasShape(part, shape);
  check->Require(
      part.shape[dim] > 0 ? whole.shape[dim] % part.shape[dim] == 0 : whole.shape[dim] == 0,
      "equal parts");
}
absl::Status CheckMicroSlice(const KernelSpec& spec) {
  SpecCheck check(spec);
  CheckMicroParts(&check, check.in(0), check.out(0));
  return check.status();
}
absl::Status CheckMicroConcat(const KernelSpec& spec) {
  SpecCheck check(spec);
  CheckMicroParts(&check, check.out(0), check.in(0));
  return check.status();
}

// out (dense) <- the region of in at `begin`.
KernelOr MakePack(const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const StridedCopy copy, PackedRegion(spec));
  return KernelOf([copy, threads = spec.threads](const KernelArgs& args) {
    copy.Run(args.inputs[0], args.outputs[0], threads);
  });
}

// out is built from pieces of the inputs, in their order.
KernelOr MakeAssemble(const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const Assembly assembly, AssemblyOf(spec));
  return KernelOf([assembly, threads = spec.threads](const KernelArgs& args) {
    if (assembly.is_copy && args.inputs[0] == args.outputs[0]) return;
    if (assembly.zero_bytes > 0) std::memset(args.outputs[0], 0, assembly.zero_bytes);
    for (const Piece& piece : assembly.pieces) {
      Combine(piece.mode, piece.region, args.inputs[piece.input], args.outputs[0], threads);
    }
  });
}

// Chunk c: out (dense) <- what it sends of in.
KernelOr MakeRingSend(const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const Shares shares, Shares::Of(spec, spec.inputs.at(0).shape));
  OF_ASSIGN_OR_RETURN(const std::vector<StridedCopy> copies, SentShares(spec, shares));
  return KernelOf([shares, copies, threads = spec.threads](const KernelArgs& args) {
    copies[shares.Sent(args.chunk)].Run(args.inputs[0], args.outputs[0], threads);
  });
}

// Chunk c: combines (c < reduce_chunks) or copies what it receives into its place in the buffer. Not in
// place, chunk 0 first copies the buffer.
KernelOr MakeRingReduce(const KernelSpec& spec) {
  const Operand& buffer = spec.outputs.at(0);
  OF_ASSIGN_OR_RETURN(const Shares shares, Shares::Of(spec, buffer.shape));
  OF_ASSIGN_OR_RETURN(const CombineMode mode, ParseCombineMode(spec.attrs.String("mode")));
  OF_ASSIGN_OR_RETURN(const std::vector<StridedCopy> copies, ReceivedShares(spec, shares));
  const int64_t bytes = BytesOf(buffer);
  const int64_t reduce_chunks = spec.attrs.Int("reduce_chunks");
  return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
    if (args.member_count > 0) {
      const StridedCopy& piece = copies[shares.Received(args.chunk)];
      return CombineAll(mode, piece.dtype(), args.members, args.member_count,
                        piece.destination_begin(), piece.elements(), threads);
    }
    if (args.outputs[0] != args.inputs[0] && args.chunk == 0) {
      std::memcpy(args.outputs[0], args.inputs[0], bytes);
    }
    Combine(args.chunk < reduce_chunks ? mode : CombineMode::kCopy,
            copies[shares.Received(args.chunk)], args.inputs[1], args.outputs[0], threads);
  });
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

KernelOr MakeMicroSlice(const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const MicroParts parts, MicroSliceOf(spec));
  return KernelOf([parts, threads = spec.threads](const KernelArgs& args) {
    OF_RETURN_IF_ERROR(parts.Check("micro_slice", args.micro));
    parts.copy.Shifted(parts.stride * args.micro, 0).Run(args.inputs[0], args.outputs[0], threads);
    return absl::OkStatus();
  });
}

KernelOr MakeMicroConcat(const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const MicroParts parts, MicroConcatOf(spec));
  return KernelOf([parts, threads = spec.threads](const KernelArgs& args) {
    OF_RETURN_IF_ERROR(parts.Check("micro_concat", args.micro));
    parts.copy.Shifted(0, parts.stride * args.micro).Run(args.inputs[0], args.outputs[0], threads);
    return absl::OkStatus();
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

// The buffer that goes round.
absl::StatusOr<Needs> DescribeRingReduce(const KernelSpec&) { return Needs{0, {{0, 0}}}; }

}  // namespace

std::vector<KernelDef> MovementKernels() {
  return {
      {"pack", CheckPack, NeedsNothing, MakePack},
      {"assemble", CheckAssemble, DescribeAssembly, MakeAssemble},
      {"ring_send", CheckRingSend, NeedsNothing, MakeRingSend},
      {"ring_reduce", CheckRingReduce, DescribeRingReduce, MakeRingReduce},
      {"accumulate", CheckAccumulate, NeedsNothing, MakeAccumulate},
      {"micro_slice", CheckMicroSlice, NeedsNothing, MakeMicroSlice},
      {"micro_concat", CheckMicroConcat, NeedsNothing, MakeMicroConcat},
      {"micro_mask", CheckWhole, NeedsNothing, MakeMicroMask},
  };
}

}  // namespace oneflow::kernels
