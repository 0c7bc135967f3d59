// Definition: short forms for the rows of the CUDA table: a kernel from a function object that
// enqueues, and the problem of a kernel as the plain data that crosses to the library.
//
// Functions only. Threads: any. Read next: kernels/cuda/cuda_kernels.cc.
#ifndef ONEFLOW_KERNELS_CUDA_DEFINITION_H_
#define ONEFLOW_KERNELS_CUDA_DEFINITION_H_

#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/status.h"
#include "kernels/cpu/definition.h"
#include "kernels/cpu/loop_nest.h"
#include "kernels/cuda/cuda_api.h"
#include "kernels/cuda/cuda_stream.h"
#include "kernels/kernel.h"

namespace oneflow::kernels {

// A kernel that calls `function(args, stream handle)`, which enqueues and returns a CudaError, or a status
// where it may also find that the plan asks for what is not there.
template <typename Function>
class CudaFunctionKernel final : public Kernel {
 public:
  CudaFunctionKernel(const CudaApi* api, std::string op, Function function)
      : api_(api), op_(std::move(op)), function_(std::move(function)) {}
  absl::Status Run(const KernelArgs& args, Stream* stream) const override {
    const auto result = function_(args, static_cast<CudaStream*>(stream)->handle());
    if constexpr (std::is_same_v<decltype(result), const absl::Status>) {
      return result;
    } else {
      return CudaStatus(*api_, result, op_.c_str());
    }
  }

 private:
  const CudaApi* const api_;
  const std::string op_;
  const Function function_;
};
template <typename Function>
std::unique_ptr<Kernel> CudaKernelOf(const CudaApi* api, const KernelSpec& spec,
                                     Function function) {
  return std::make_unique<CudaFunctionKernel<Function>>(api, spec.op, std::move(function));
}

inline absl::Status NoCudaKernel(const KernelSpec& spec) {
  std::string types;
  for (const Operand& in : spec.inputs) types.append(" ").append(NameOf(in.dtype));
  std::string message = "the cuda kernel of ";
  message.append(spec.op).append(" does not take").append(types);
  return MakeError(ErrorKind::kDType, message);
}

inline CudaOperands OperandsOf(const KernelArgs& args) {
  return {args.inputs, args.outputs, args.workspace, args.block, args.task};
}
// For those that write nothing while it is shut (KeepsGate).
inline CudaGate GateOf(const KernelArgs& args) {
  return {args.gate, static_cast<int32_t>(args.gate_blocks)};
}
// A kernel of one problem; NoCudaKernel if nothing was found to run it.
template <typename Problem>
KernelOr CudaKernelOf(const CudaApi* api, const KernelSpec& spec, CudaRun<Problem> run,
                      const Problem& problem) {
  if (run == nullptr) return NoCudaKernel(spec);
  return CudaKernelOf(api, spec, [=](const KernelArgs& args, CudaStreamHandle stream) {
    const CudaOperands operands = OperandsOf(args);
    return run(&problem, &operands, stream);
  });
}

// The first error of a sequence.
inline CudaError FirstOf(CudaError first, CudaError second) { return first != 0 ? first : second; }

template <int N>
CudaNest<N> NestOf(const LoopNest<N>& nest) {
  CudaNest<N> out = {};
  out.rank = nest.rank();
  out.elements = nest.elements();
  for (int d = 0; d < nest.rank(); ++d) {
    out.extent[d] = nest.extent(d);
    for (int o = 0; o < N; ++o) out.stride[o][d] = nest.stride(o, d);
  }
  return out;
}

// Rows along a dim; a scalar is one row of one element.
inline CudaRows RowsAlong(const Shape& shape, int64_t attr_dim) {
  if (shape.empty()) return {1, 1, 1};
  const int64_t dim = WrapDim(attr_dim, shape.size());
  CudaRows rows = {1, shape.at(dim), 1};
  for (size_t d = dim + 1; d < shape.size(); ++d) rows.inner *= shape[d];
  rows.rows = rows.inner;
  for (int64_t d = 0; d < dim; ++d) rows.rows *= shape[d];
  return rows;
}

using CudaMaker = KernelOr (*)(const CudaApi*, const KernelSpec&);
using Describer = absl::StatusOr<Needs> (*)(const KernelSpec&);

// One row of the table. Without a library kernels can be described, so that plans for a GPU compile
// anywhere, and not be made.
struct CudaRow {
  std::string op;
  Describer describe;
  CudaMaker make;
};
std::vector<CudaRow> CudaElementwiseRows();
std::vector<CudaRow> CudaFusedRows();
std::vector<CudaRow> CudaMovementRows();
std::vector<CudaRow> CudaMathRows();
std::vector<CudaRow> CudaNormRows();
std::vector<CudaRow> CudaIndexRows();
std::vector<CudaRow> CudaImageRows();
std::vector<CudaRow> CudaAttentionRows();

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_DEFINITION_H_
