// Binary elementwise ops with NumPy broadcasting. 3 * sizeof(T) bytes per element where nothing is
// broadcast. In place over an operand that has the result's shape. Integer overflow wraps; division
// of an integer by zero gives 0.
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/families.h"

namespace oneflow::kernels {
namespace {

absl::Status CheckBinary(const KernelSpec& spec) {
  return CheckBroadcast(spec).SameDType().status();
}

}  // namespace

BinaryRuns FloatBinaryRuns(std::string_view op) {
  BinaryRuns found;
  VisitBinary([&]<typename Function, Elements kElements>(std::string_view name) {
    if (name == op) found = BinaryRunsFor<Function, kElements, true>(DType::kF32);
  });
  return found;
}

std::vector<KernelDef> BinaryKernels() {
  std::vector<KernelDef> rows;
  VisitBinary([&]<typename Function, Elements kElements>(const char* op) {
    rows.push_back({op, CheckBinary, Elementwise, [](const KernelSpec& spec) {
                      const DType dtype = spec.inputs.at(0).dtype;
                      return MakeBinary(spec, BinaryRunsFor<Function, kElements, true>(dtype));
                    }});
  });
  return rows;
}

}  // namespace oneflow::kernels
