// Shape ops that move bytes: permute, broadcast_to, cat, slice, slice_grad, and constant. Any
// dtype. reshape is a view and has no kernel.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/cpu/definition.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/regions.h"
#include "kernels/cpu/scalar_types.h"

namespace oneflow::kernels {
namespace {

absl::Status CheckPermute(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(1).Outputs(1).SameDType();
  const Shape& from = check.in(0).shape;
  const std::vector<int64_t> dims = check.Ints("dims");
  check.Require(dims.size() == from.size(), "dims names each dim of the input");
  Shape to;
  std::vector<bool> seen(from.size(), false);
  for (size_t d = 0; check.ok() && d < dims.size(); ++d) {
    const size_t dim = check.WrappedDim(dims[d], check.in(0));
    check.Require(!seen[dim], "dims names each dim once");
    seen[dim] = true;
    to.push_back(from[dim]);
  }
  return check.HasShape(check.out(0), to).status();
}

absl::Status CheckBroadcastTo(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(1).Outputs(1).SameDType();
  return check.Broadcasts(check.in(0).shape, check.out(0).shape).status();
}

absl::Status CheckCat(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(1, std::numeric_limits<size_t>::max()).Outputs(1).SameDType();
  check.Rank(check.out(0), 1, kMaxRank);
  const size_t dim = check.Dim("dim", check.out(0));
  int64_t total = 0;
  for (size_t i = 0; check.ok() && i < spec.inputs.size(); ++i) {
    Shape shape = check.out(0).shape;
    check.Rank(check.in(i), shape.size(), shape.size());
    if (!check.ok()) break;
    shape[dim] = check.in(i).shape[dim];
    check.HasShape(check.in(i), shape);
    // No overflow: a sum that went beyond the result is refused before the next one is added.
    total += shape[dim];
    check.Require(total <= check.out(0).shape[dim], "the inputs fit into the result");
  }
  check.Require(!check.ok() || total == check.out(0).shape[dim], "the inputs fill the result");
  return check.status();
}

// `part` is the strided slice of `whole`.
absl::Status CheckSliceOf(SpecCheck* check, const Operand& part, const Operand& whole) {
  check->Inputs(1).Outputs(1).SameDType().Rank(whole, 1, kMaxRank);
  const size_t dim = check->Dim("dim", whole);
  check->Rank(part, whole.shape.size(), whole.shape.size());
  if (!check->ok()) return check->status();
  const int64_t extent = whole.shape[dim];
  const int64_t count = part.shape[dim];
  int64_t start = check->Int("start", -extent, extent);
  if (start < 0) start += extent;
  const int64_t step = check->IntOr("step", 1, 1, std::numeric_limits<int64_t>::max());
  Shape shape = whole.shape;
  shape[dim] = count;
  check->HasShape(part, shape);
  check->Require(count == 0 || (start < extent && (count - 1) <= (extent - 1 - start) / step),
                 "the slice lies inside of the whole");
  return check->status();
}

absl::Status CheckSlice(const KernelSpec& spec) {
  SpecCheck check(spec);
  return CheckSliceOf(&check, check.out(0), check.in(0));
}

absl::Status CheckSliceGrad(const KernelSpec& spec) {
  SpecCheck check(spec);
  return CheckSliceOf(&check, check.in(0), check.out(0));
}

absl::Status CheckConstant(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(0).Outputs(1).Number("value");
  return check.status();
}

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
      {"permute", CheckPermute, NeedsNothing, MakePermute},
      {"broadcast_to", CheckBroadcastTo, NeedsNothing, MakeBroadcastTo},
      {"cat", CheckCat, NeedsNothing, MakeCat},
      {"slice", CheckSlice, NeedsNothing, MakeSlice},
      {"slice_grad", CheckSliceGrad, NeedsNothing, MakeSliceGrad},
      {"constant", CheckConstant, NeedsNothing, MakeConstant},
  };
}

}  // namespace oneflow::kernels
