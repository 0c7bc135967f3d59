// Rows of the CUDA table: elementwise ops. What the functions compute is in
// kernels/scalar/functions.h.
#include "base/dtype.h"
#include "kernels/cuda/definition.h"
#include "kernels/scalar/table.h"

namespace oneflow::kernels {
namespace {

KernelOr MakeUnaryOf(const CudaApi* api, const KernelSpec& spec, const char* function) {
  const CudaUnary run = api->find_unary(function, static_cast<int>(spec.inputs.at(0).dtype));
  if (run == nullptr) return NoCudaKernel(spec);
  const double value = spec.attrs.Has("value") ? NumberAttr(spec.attrs, "value") : 0;
  const int64_t n = NumElements(spec.outputs.at(0).shape);
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    return run(args.inputs[0], args.outputs[0], value, n, stream);
  });
}
KernelOr MakeUnary(const CudaApi* api, const KernelSpec& spec) {
  return MakeUnaryOf(api, spec, spec.op.c_str());
}
// The common exponents by their own functions, as on the CPU.
KernelOr MakePow(const CudaApi* api, const KernelSpec& spec) {
  const double value = NumberAttr(spec.attrs, "value");
  if (value == 2) return MakeUnaryOf(api, spec, "square");
  if (value == 3) return MakeUnaryOf(api, spec, "cube");
  if (value == -1) return MakeUnaryOf(api, spec, "reciprocal");
  return MakeUnaryOf(api, spec, "pow_scalar");
}

KernelOr MakeBinary(const CudaApi* api, const KernelSpec& spec) {
  const CudaBinary run =
      api->find_binary(spec.op.c_str(), static_cast<int>(spec.inputs.at(0).dtype));
  if (run == nullptr) return NoCudaKernel(spec);
  const double value = spec.attrs.Has("value") ? NumberAttr(spec.attrs, "value") : 0;
  const Shape& shape = spec.outputs.at(0).shape;
  const CudaNest<3> nest = NestOf(
      LoopNest<3>(shape, {BroadcastStrides(spec.inputs[0].shape, shape),
                          BroadcastStrides(spec.inputs.at(1).shape, shape), StridesOf(shape)}));
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    return run(&nest, args.inputs[0], args.inputs[1], args.outputs[0], value, stream);
  });
}

KernelOr MakeWhere(const CudaApi* api, const KernelSpec& spec) {
  const Shape& shape = spec.outputs.at(0).shape;
  const CudaNest<4> nest = NestOf(
      LoopNest<4>(shape, {BroadcastStrides(spec.inputs.at(0).shape, shape),
                          BroadcastStrides(spec.inputs.at(1).shape, shape),
                          BroadcastStrides(spec.inputs.at(2).shape, shape), StridesOf(shape)}));
  const int bytes = static_cast<int>(SizeOf(spec.outputs[0].dtype));
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    return api->where(&nest, args.inputs[0], args.inputs[1], args.inputs[2], args.outputs[0], bytes,
                      stream);
  });
}

KernelOr MakeCast(const CudaApi* api, const KernelSpec& spec) {
  const CudaCast run = api->find_cast(static_cast<int>(spec.inputs.at(0).dtype),
                                      static_cast<int>(spec.outputs.at(0).dtype));
  if (run == nullptr) return NoCudaKernel(spec);
  const int64_t n = NumElements(spec.outputs[0].shape);
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    return run(args.inputs[0], args.outputs[0], n, stream);
  });
}

}  // namespace

std::vector<CudaRow> CudaElementwiseRows() {
  std::vector<CudaRow> rows = {{"pow_scalar", Elementwise, MakePow},
                               {"where", NeedsNothing, MakeWhere},
                               {"cast", Elementwise, MakeCast}};
  VisitUnary([&]<typename Function, Elements>(const std::string& op, int) {
    rows.push_back({op, Elementwise, MakeUnary});
    if constexpr (HasGrad<Function>) rows.push_back({op + "_grad", Elementwise, MakeBinary});
  });
  VisitBinary([&]<typename Function, Elements>(const char* op) {
    rows.push_back({op, Elementwise, MakeBinary});
  });
  VisitComparison([&]<typename Function>(const char* op) {
    rows.push_back({op, NeedsNothing, MakeBinary});
  });
  return rows;
}

}  // namespace oneflow::kernels
