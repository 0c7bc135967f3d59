// Rows of the CUDA table: shape ops and the movement tasks. Which regions move is decided in
// kernels/cpu/regions.cc, for all kinds of devices.
#include <bit>
#include <cstdint>
#include <vector>

#include "base/dtype.h"
#include "kernels/cpu/regions.h"
#include "kernels/cpu/scalar_types.h"
#include "kernels/cuda/cuda_region.h"
#include "kernels/cuda/definition.h"

namespace oneflow::kernels {
namespace {

KernelOr CopyKernel(const CudaApi* api, const KernelSpec& spec, const StridedCopy& copy) {
  OF_ASSIGN_OR_RETURN(const CudaRegion region, CudaRegion::Of(api, spec, CombineMode::kCopy, copy));
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    return region.Run(args.inputs[0], args.outputs[0], stream);
  });
}

CudaError ZeroBytes(const CudaApi* api, void* data, int64_t bytes, CudaStreamHandle stream) {
  return bytes == 0 ? 0 : api->zero(data, bytes, stream);
}

// ---- Shape ops ----

KernelOr MakePermute(const CudaApi* api, const KernelSpec& spec) {
  const Operand& in = spec.inputs.at(0);
  const Shape& shape = spec.outputs.at(0).shape;
  return CopyKernel(api, spec,
                    StridedCopy(in.dtype, shape, PermutedStrides(spec), 0, StridesOf(shape), 0));
}

KernelOr MakeBroadcastTo(const CudaApi* api, const KernelSpec& spec) {
  const Operand& in = spec.inputs.at(0);
  const Shape& shape = spec.outputs.at(0).shape;
  return CopyKernel(
      api, spec,
      StridedCopy(in.dtype, shape, BroadcastStrides(in.shape, shape), 0, StridesOf(shape), 0));
}

KernelOr MakeCat(const CudaApi* api, const KernelSpec& spec) {
  std::vector<CudaRegion> regions;
  for (const StridedCopy& copy : CatRegions(spec)) {
    OF_ASSIGN_OR_RETURN(regions.emplace_back(),
                        CudaRegion::Of(api, spec, CombineMode::kCopy, copy));
  }
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    CudaError error = 0;
    for (size_t i = 0; error == 0 && i < regions.size(); ++i) {
      error = regions[i].Run(args.inputs[i], args.outputs[0], stream);
    }
    return error;
  });
}

KernelOr MakeSlice(const CudaApi* api, const KernelSpec& spec) {
  return CopyKernel(api, spec, SlicedRegion(spec));
}

KernelOr MakeSliceGrad(const CudaApi* api, const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const CudaRegion region,
                      CudaRegion::Of(api, spec, CombineMode::kCopy, SliceGradRegion(spec)));
  const int64_t bytes = BytesOf(spec.outputs.at(0));
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    const CudaError error = ZeroBytes(api, args.outputs[0], bytes, stream);
    return error != 0 ? error : region.Run(args.inputs[0], args.outputs[0], stream);
  });
}

KernelOr MakeConstant(const CudaApi* api, const KernelSpec& spec) {
  const Operand& out = spec.outputs.at(0);
  const int64_t n = NumElements(out.shape);
  const uint64_t bits = ConstantBits(spec);
  const int element_bytes = static_cast<int>(SizeOf(out.dtype));
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    return api->fill(args.outputs[0], bits, element_bytes, n, stream);
  });
}

// ---- Movement tasks ----

KernelOr MakePack(const CudaApi* api, const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const StridedCopy copy, PackedRegion(spec));
  return CopyKernel(api, spec, copy);
}

KernelOr MakeAssemble(const CudaApi* api, const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const Assembly assembly, AssemblyOf(spec));
  std::vector<std::pair<int64_t, CudaRegion>> pieces;
  for (const Piece& piece : assembly.pieces) {
    OF_ASSIGN_OR_RETURN(const CudaRegion region,
                        CudaRegion::Of(api, spec, piece.mode, piece.region));
    pieces.emplace_back(piece.input, region);
  }
  const int64_t zero_bytes = assembly.zero_bytes;
  const bool is_copy = assembly.is_copy;
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    if (is_copy && args.inputs[0] == args.outputs[0]) return CudaError{0};
    CudaError error = ZeroBytes(api, args.outputs[0], zero_bytes, stream);
    for (size_t i = 0; error == 0 && i < pieces.size(); ++i) {
      error = pieces[i].second.Run(args.inputs[pieces[i].first], args.outputs[0], stream);
    }
    return error;
  });
}

absl::StatusOr<std::vector<CudaRegion>> RegionsOf(const CudaApi* api, const KernelSpec& spec,
                                                  CombineMode mode,
                                                  const std::vector<StridedCopy>& copies) {
  std::vector<CudaRegion> regions;
  for (const StridedCopy& copy : copies) {
    OF_ASSIGN_OR_RETURN(regions.emplace_back(), CudaRegion::Of(api, spec, mode, copy));
  }
  return regions;
}

KernelOr MakeRingSend(const CudaApi* api, const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const Shares shares, Shares::Of(spec, spec.inputs.at(0).shape));
  OF_ASSIGN_OR_RETURN(const std::vector<StridedCopy> copies, SentShares(spec, shares));
  OF_ASSIGN_OR_RETURN(const std::vector<CudaRegion> regions,
                      RegionsOf(api, spec, CombineMode::kCopy, copies));
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    return regions[shares.Sent(args.chunk)].Run(args.inputs[0], args.outputs[0], stream);
  });
}

KernelOr MakeRingReduce(const CudaApi* api, const KernelSpec& spec) {
  const Operand& buffer = spec.outputs.at(0);
  OF_ASSIGN_OR_RETURN(const Shares shares, Shares::Of(spec, buffer.shape));
  OF_ASSIGN_OR_RETURN(const CombineMode mode, ParseCombineMode(spec.attrs.String("mode")));
  OF_ASSIGN_OR_RETURN(const std::vector<StridedCopy> copies, ReceivedShares(spec, shares));
  OF_ASSIGN_OR_RETURN(const std::vector<CudaRegion> combined, RegionsOf(api, spec, mode, copies));
  OF_ASSIGN_OR_RETURN(const std::vector<CudaRegion> copied,
                      RegionsOf(api, spec, CombineMode::kCopy, copies));
  const int64_t bytes = BytesOf(buffer);
  const int64_t reduce_chunks = spec.attrs.Int("reduce_chunks");
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    if (args.outputs[0] != args.inputs[0] && args.chunk == 0 && bytes > 0) {
      const CudaError error = api->copy(args.outputs[0], args.inputs[0], bytes, stream);
      if (error != 0) return error;
    }
    const std::vector<CudaRegion>& regions = args.chunk < reduce_chunks ? combined : copied;
    return regions[shares.Received(args.chunk)].Run(args.inputs[1], args.outputs[0], stream);
  });
}

KernelOr MakeAccumulate(const CudaApi* api, const KernelSpec& spec) {
  const StridedCopy whole = Whole(spec.outputs.at(0));
  OF_ASSIGN_OR_RETURN(const CombineMode mode, ParseCombineMode(spec.attrs.String("mode")));
  OF_ASSIGN_OR_RETURN(const CudaRegion first, CudaRegion::Of(api, spec, CombineMode::kCopy, whole));
  OF_ASSIGN_OR_RETURN(const CudaRegion later, CudaRegion::Of(api, spec, mode, whole));
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    return (args.micro == 0 ? first : later).Run(args.inputs[0], args.outputs[0], stream);
  });
}

KernelOr MakeMicroSlice(const CudaApi* api, const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const MicroParts parts, MicroSliceOf(spec));
  OF_ASSIGN_OR_RETURN(const CudaRegion region,
                      CudaRegion::Of(api, spec, CombineMode::kCopy, parts.copy));
  return CudaKernelOf(
      api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) -> absl::Status {
        OF_RETURN_IF_ERROR(parts.Check("micro_slice", args.micro));
        return CudaStatus(
            *api, region.Run(args.inputs[0], args.outputs[0], stream, parts.stride * args.micro, 0),
            "micro_slice");
      });
}

KernelOr MakeMicroConcat(const CudaApi* api, const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const MicroParts parts, MicroConcatOf(spec));
  OF_ASSIGN_OR_RETURN(const CudaRegion region,
                      CudaRegion::Of(api, spec, CombineMode::kCopy, parts.copy));
  return CudaKernelOf(
      api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) -> absl::Status {
        OF_RETURN_IF_ERROR(parts.Check("micro_concat", args.micro));
        return CudaStatus(
            *api, region.Run(args.inputs[0], args.outputs[0], stream, 0, parts.stride * args.micro),
            "micro_concat");
      });
}

KernelOr MakeMicroMask(const CudaApi* api, const KernelSpec& spec) {
  const int64_t bytes = BytesOf(spec.outputs.at(0));
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    if (bytes == 0) return 0;
    if (args.micro != 0) return api->zero(args.outputs[0], bytes, stream);
    if (args.inputs[0] == args.outputs[0]) return 0;
    return api->copy(args.outputs[0], args.inputs[0], bytes, stream);
  });
}

// The buffer that goes round.
absl::StatusOr<Needs> DescribeRingReduce(const KernelSpec&) { return Needs{0, {{0, 0}}}; }

}  // namespace

std::vector<CudaRow> CudaMovementRows() {
  return {
      {"permute", NeedsNothing, MakePermute},
      {"broadcast_to", NeedsNothing, MakeBroadcastTo},
      {"cat", NeedsNothing, MakeCat},
      {"slice", NeedsNothing, MakeSlice},
      {"slice_grad", NeedsNothing, MakeSliceGrad},
      {"constant", NeedsNothing, MakeConstant},
      {"pack", NeedsNothing, MakePack},
      {"assemble", DescribeAssembly, MakeAssemble},
      {"ring_send", NeedsNothing, MakeRingSend},
      {"ring_reduce", DescribeRingReduce, MakeRingReduce},
      {"accumulate", NeedsNothing, MakeAccumulate},
      {"micro_slice", NeedsNothing, MakeMicroSlice},
      {"micro_concat", NeedsNothing, MakeMicroConcat},
      {"micro_mask", NeedsNothing, MakeMicroMask},
  };
}

}  // namespace oneflow::kernels
