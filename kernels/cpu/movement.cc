// Movement: the tasks that lowering makes of reshards and micro-batches. docs/architecture.md,
// "Tasks that are no ops", says what each does. Any dtype. Bytes are bounded by memory bandwidth;
// the sides of a region that lie contiguously are copied as one run.
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "kernels/cpu/definition.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/regions.h"

namespace oneflow::kernels {
namespace {

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
    if (assembly.zero_bytes > 0) std::memset(args.outputs[0], 0, assembly.zero_bytes);
    for (const Piece& piece : assembly.pieces) {
      Combine(piece.mode, piece.region, args.inputs[piece.input], args.outputs[0], threads);
    }
  });
}

// Chunk c: out (dense) <- share (base - c) mod parts of in.
KernelOr MakeRingSend(const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const Shares shares, Shares::Of(spec, spec.inputs.at(0).shape));
  OF_ASSIGN_OR_RETURN(const std::vector<StridedCopy> copies, SentShares(spec, shares));
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
  OF_ASSIGN_OR_RETURN(const std::vector<StridedCopy> copies, ReceivedShares(spec, shares));
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
    OF_CHECK(args.micro < parts.parts) << "micro_slice beyond its input";
    parts.copy.Shifted(parts.stride * args.micro, 0).Run(args.inputs[0], args.outputs[0], threads);
  });
}

KernelOr MakeMicroConcat(const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const MicroParts parts, MicroConcatOf(spec));
  return KernelOf([parts, threads = spec.threads](const KernelArgs& args) {
    OF_CHECK(args.micro < parts.parts) << "micro_concat beyond its output";
    parts.copy.Shifted(0, parts.stride * args.micro).Run(args.inputs[0], args.outputs[0], threads);
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
      {"pack", NeedsNothing, MakePack},
      {"assemble", NeedsNothing, MakeAssemble},
      {"ring_send", NeedsNothing, MakeRingSend},
      {"ring_reduce", DescribeRingReduce, MakeRingReduce},
      {"accumulate", NeedsNothing, MakeAccumulate},
      {"micro_slice", NeedsNothing, MakeMicroSlice},
      {"micro_concat", NeedsNothing, MakeMicroConcat},
      {"micro_mask", NeedsNothing, MakeMicroMask},
  };
}

}  // namespace oneflow::kernels
