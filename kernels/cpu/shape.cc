// Shape ops that move bytes: permute, broadcast_to, cat, slice, slice_grad, and constant. Any
// dtype. reshape is a view and has no kernel.
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/cpu/definition.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/scalar_types.h"
#include "kernels/cpu/strided_copy.h"

namespace oneflow::kernels {
namespace {

KernelOr CopyKernel(StridedCopy copy, int threads) {
  return KernelOf([copy, threads](const KernelArgs& args) {
    copy.Run(args.inputs[0], args.outputs[0], threads);
  });
}

// out[i_0, ..] = in[..], where dim d of the result is dim dims[d] of the input.
KernelOr MakePermute(const KernelSpec& spec) {
  const Operand& in = spec.inputs.at(0);
  const Shape& shape = spec.outputs.at(0).shape;
  const std::vector<int64_t>& dims = spec.attrs.Ints("dims");
  const Shape dense = StridesOf(in.shape);
  Shape strides(shape.size());
  for (size_t d = 0; d < shape.size(); ++d)
    strides[d] = dense.at(WrapDim(dims.at(d), shape.size()));
  return CopyKernel(StridedCopy(in.dtype, shape, strides, 0, StridesOf(shape), 0), spec.threads);
}

KernelOr MakeBroadcastTo(const KernelSpec& spec) {
  const Operand& in = spec.inputs.at(0);
  const Shape& shape = spec.outputs.at(0).shape;
  return CopyKernel(
      StridedCopy(in.dtype, shape, BroadcastStrides(in.shape, shape), 0, StridesOf(shape), 0),
      spec.threads);
}

KernelOr MakeCat(const KernelSpec& spec) {
  const Shape& shape = spec.outputs.at(0).shape;
  const int64_t dim = WrapDim(spec.attrs.Int("dim"), shape.size());
  std::vector<StridedCopy> copies;
  Shape at(shape.size(), 0);
  for (const Operand& in : spec.inputs) {
    copies.push_back(
        StridedCopy::Region(in.dtype, in.shape, in.shape, Shape(shape.size(), 0), shape, at));
    at.at(dim) += in.shape.at(dim);
  }
  return KernelOf([copies, threads = spec.threads](const KernelArgs& args) {
    for (size_t i = 0; i < copies.size(); ++i) {
      copies[i].Run(args.inputs[i], args.outputs[0], threads);
    }
  });
}

// Strides and first element of the strided slice of a dense tensor of shape `whole`.
struct SliceView {
  Shape strides;
  int64_t begin = 0;
};
SliceView ViewOf(const Attrs& attrs, const Shape& whole) {
  const int64_t dim = WrapDim(attrs.Int("dim"), whole.size());
  int64_t start = attrs.Int("start");
  if (start < 0) start += whole.at(dim);
  SliceView view{StridesOf(whole), 0};
  view.begin = start * view.strides.at(dim);
  if (attrs.Has("step")) view.strides[dim] *= attrs.Int("step");
  return view;
}

KernelOr MakeSlice(const KernelSpec& spec) {
  const Operand& in = spec.inputs.at(0);
  const Shape& shape = spec.outputs.at(0).shape;
  const SliceView view = ViewOf(spec.attrs, in.shape);
  return CopyKernel(StridedCopy(in.dtype, shape, view.strides, view.begin, StridesOf(shape), 0),
                    spec.threads);
}

// dx is zero but for the slice, which is dy.
KernelOr MakeSliceGrad(const KernelSpec& spec) {
  const Operand& dy = spec.inputs.at(0);
  const Operand& dx = spec.outputs.at(0);
  const SliceView view = ViewOf(spec.attrs, dx.shape);
  const StridedCopy copy(dy.dtype, dy.shape, StridesOf(dy.shape), 0, view.strides, view.begin);
  const int64_t bytes = NumElements(dx.shape) * SizeOf(dx.dtype);
  return KernelOf([copy, bytes, threads = spec.threads](const KernelArgs& args) {
    std::memset(args.outputs[0], 0, bytes);
    copy.Run(args.inputs[0], args.outputs[0], threads);
  });
}

KernelOr MakeConstant(const KernelSpec& spec) {
  const Operand& out = spec.outputs.at(0);
  const int64_t n = NumElements(out.shape);
  const double value = NumberAttr(spec.attrs, "value");
  return DispatchDType(out.dtype, [&]<typename T>() -> std::unique_ptr<Kernel> {
    T element;
    if constexpr (std::is_same_v<T, Bool>) {
      element = Bool(value != 0);
    } else if constexpr (std::is_integral_v<T>) {
      element = static_cast<T>(static_cast<int64_t>(value));
    } else {
      element = T(static_cast<float>(value));
    }
    return KernelOf(
        [n, element](const KernelArgs& args) { std::fill_n(Out<T>(args, 0), n, element); });
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
