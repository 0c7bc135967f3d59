// Shape ops that move bytes: permute, broadcast_to, cat, slice, slice_grad, and constant. Any
// dtype. reshape is a view and has no kernel.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/cpu/definition.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/regions.h"
#include "kernels/cpu/scalar_types.h"

namespace oneflow::kernels {
namespace {

KernelOr CopyKernel(StridedCopy copy, int threads) {
  return KernelOf([copy, threads](const KernelArgs& args) {
    copy.Run(args.inputs[0], args.outputs[0], threads);
  });
}

// out[i_0, ..] = in[..], where dim d of the result is dim dims[d] of the input.
KernelOr MakePermute(const KernelSpec& spec) {
  const Shape& shape = spec.outputs.at(0).shape;
  return CopyKernel(
      StridedCopy(spec.inputs.at(0).dtype, shape, PermutedStrides(spec), 0, StridesOf(shape), 0),
      spec.threads);
}

KernelOr MakeBroadcastTo(const KernelSpec& spec) {
  const Operand& in = spec.inputs.at(0);
  const Shape& shape = spec.outputs.at(0).shape;
  return CopyKernel(
      StridedCopy(in.dtype, shape, BroadcastStrides(in.shape, shape), 0, StridesOf(shape), 0),
      spec.threads);
}

KernelOr MakeCat(const KernelSpec& spec) {
  return KernelOf([copies = CatRegions(spec), threads = spec.threads](const KernelArgs& args) {
    for (size_t i = 0; i < copies.size(); ++i) {
      copies[i].Run(args.inputs[i], args.outputs[0], threads);
    }
  });
}

KernelOr MakeSlice(const KernelSpec& spec) { return CopyKernel(SlicedRegion(spec), spec.threads); }

// dx is zero but for the slice, which is dy.
KernelOr MakeSliceGrad(const KernelSpec& spec) {
  const int64_t bytes = BytesOf(spec.outputs.at(0));
  return KernelOf(
      [copy = SliceGradRegion(spec), bytes, threads = spec.threads](const KernelArgs& args) {
        std::memset(args.outputs[0], 0, bytes);
        copy.Run(args.inputs[0], args.outputs[0], threads);
      });
}

KernelOr MakeConstant(const KernelSpec& spec) {
  const Operand& out = spec.outputs.at(0);
  const int64_t n = NumElements(out.shape);
  const uint64_t bits = ConstantBits(spec);
  return DispatchSize(out.dtype, [&]<typename T>() -> std::unique_ptr<Kernel> {
    return KernelOf([n, element = static_cast<T>(bits)](const KernelArgs& args) {
      std::fill_n(Out<T>(args, 0), n, element);
    });
  });
}

}  // namespace

std::vector<KernelDef> ShapeKernels() {
  return {
      {"permute", NeedsNothing, MakePermute},
      {"broadcast_to", NeedsNothing, MakeBroadcastTo},
      {"cat", NeedsNothing, MakeCat},
      {"slice", NeedsNothing, MakeSlice},
      {"slice_grad", NeedsNothing, MakeSliceGrad},
      {"constant", NeedsNothing, MakeConstant},
  };
}

}  // namespace oneflow::kernels
