// NAME_grad(saved, dy): the gradients of unary ops in one pass (3 * sizeof(T) bytes per element). The
// formulas stand beside the functions in kernels/scalar/. In place over either operand.
#include "absl/strings/str_cat.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/families.h"

namespace oneflow::kernels {
namespace {

absl::Status CheckGradient(const KernelSpec& spec) {
  SpecCheck check = CheckBroadcast(spec);
  check.Same(check.in(0), check.out(0));
  return check.Same(check.in(1), check.out(0)).status();
}

}  // namespace

BinaryRuns FloatGradientRuns(std::string_view op) {
  BinaryRuns found;
  VisitUnary([&]<typename Function, Elements>(std::string_view name, int64_t) {
    if constexpr (HasGrad<Function>) {
      if (op == absl::StrCat(std::string(name), "_grad")) {
        found = BinaryRunsFor<GradOf<Function>, Elements::kFloats, false>(DType::kF32);
      }
    }
  });
  return found;
}

std::vector<KernelDef> GradientKernels() {
  std::vector<KernelDef> rows;
  VisitUnary([&]<typename Function, Elements>(const char* op, int64_t) {
    if constexpr (HasGrad<Function>) {
      rows.push_back(
          {absl::StrCat(op, "_grad"), CheckGradient, Elementwise, [](const KernelSpec& spec) {
             const DType dtype = spec.inputs.at(0).dtype;
             return MakeBinary(spec,
                               BinaryRunsFor<GradOf<Function>, Elements::kFloats, false>(dtype));
           }});
    }
  });
  return rows;
}

}  // namespace oneflow::kernels
