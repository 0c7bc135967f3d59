// Definition: short forms for the rows of the table: a kernel from a function object, attributes
// that may be given in several forms, and the error of a dtype without a kernel.
//
// Functions only. Threads: any. Invariant: what reads a spec here relies on the row's check. Read
// next: kernels/spec_check.h, kernels/cpu/unary.cc.
#ifndef ONEFLOW_KERNELS_CPU_DEFINITION_H_
#define ONEFLOW_KERNELS_CPU_DEFINITION_H_

#include <array>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "base/status.h"
#include "kernels/cpu/denormals.h"
#include "kernels/kernel.h"
#include "kernels/spec_check.h"

namespace oneflow::kernels {

using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;

// A kernel that calls a function object, which returns nothing or a status, and is done when it
// returns; what it captures was computed when it was made. Every CPU kernel is one: denormals are
// flushed here.
template <typename Function>
class FunctionKernel final : public Kernel {
 public:
  explicit FunctionKernel(Function function) : function_(std::move(function)) {}
  absl::Status Run(const KernelArgs& args, Stream*) const override {
    const FlushDenormals flush;
    if constexpr (std::is_void_v<std::invoke_result_t<const Function&, const KernelArgs&>>) {
      function_(args);
      return absl::OkStatus();
    } else {
      return function_(args);
    }
  }

 private:
  Function function_;
};
template <typename Function>
std::unique_ptr<Kernel> KernelOf(Function function) {
  return std::make_unique<FunctionKernel<Function>>(std::move(function));
}

// `describe` that needs no workspace.
inline absl::StatusOr<Needs> NeedsNothing(const KernelSpec&) { return Needs{}; }
// No workspace; element by element: output 0 may be the buffer of every input of its type.
inline absl::StatusOr<Needs> Elementwise(const KernelSpec& spec) {
  const Operand& out = spec.outputs.at(0);
  Needs needs;
  for (size_t i = 0; i < spec.inputs.size(); ++i) {
    const Operand& in = spec.inputs[i];
    if (in.dtype == out.dtype && in.shape == out.shape)
      needs.aliases.push_back({0, static_cast<int>(i)});
  }
  return needs;
}

inline absl::Status UnsupportedDType(const KernelSpec& spec, DType dtype) {
  return MakeError(ErrorKind::kDType,
                   "the cpu kernel of " + spec.op + " does not take " + std::string(NameOf(dtype)));
}

template <typename T>
const T* In(const KernelArgs& args, int i) {
  return static_cast<const T*>(args.inputs[i]);
}
template <typename T>
T* Out(const KernelArgs& args, int i) {
  return static_cast<T*>(args.outputs[i]);
}

// An int or float attribute as double.
inline double NumberAttr(const Attrs& attrs, const std::string& name) {
  const int64_t* integer = attrs.Find<int64_t>(name);
  return integer == nullptr ? attrs.Float(name) : static_cast<double>(*integer);
}

// An attribute for two image dims: one number for both, or [height, width].
inline std::array<int64_t, 2> PairAttr(const Attrs& attrs, const std::string& name) {
  if (const int64_t* both = attrs.Find<int64_t>(name)) return {*both, *both};
  const std::vector<int64_t>& values = attrs.Ints(name);
  return {values.at(0), values.at(values.size() - 1)};
}

// The extent of a window of `taps` places, `dilation` apart, slid by `stride` over a padded dim; -1
// if it does not fit. REQUIRES: stride and dilation >= 1, numbers up to kMaxWindow.
inline int64_t WindowExtent(int64_t extent, int64_t taps, int64_t stride, int64_t padding,
                            int64_t dilation) {
  const int64_t room = extent + 2 * padding - dilation * (taps - 1) - 1;
  return taps < 1 || room < 0 ? -1 : room / stride + 1;
}
inline constexpr int64_t kMaxWindow = int64_t{1} << 30;

// A dim counted from the end if negative.
inline int64_t WrapDim(int64_t dim, size_t rank) {
  return dim < 0 ? dim + static_cast<int64_t>(rank) : dim;
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_DEFINITION_H_
