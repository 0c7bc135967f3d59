// Unary elementwise ops: y = f(x), dense, one pass (read x, write y: 2 * sizeof(T) bytes per
// element). What they compute is in kernels/scalar/. All may run in place.
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/parallel.h"

namespace oneflow::kernels {
namespace {

absl::Status CheckUnary(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.NumberOr("value", 0);
  return check.Inputs(1).Outputs(1).Same(check.in(0), check.out(0)).status();
}

absl::Status CheckScalarOp(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Number("value");
  return check.ok() ? CheckUnary(spec) : check.status();
}

// x^value: the common exponents by their own loops, which vectorise.
KernelOr MakePow(const KernelSpec& spec) {
  const DType dtype = spec.inputs.at(0).dtype;
  const double value = NumberAttr(spec.attrs, "value");
  constexpr Elements kFloats = Elements::kFloats;
  if (value == 2) return MakeUnary(spec, UnaryRunFor<Square, kFloats>(dtype), kGrain);
  if (value == 3) return MakeUnary(spec, UnaryRunFor<Cube, kFloats>(dtype), kGrain);
  if (value == -1) return MakeUnary(spec, UnaryRunFor<Reciprocal, kFloats>(dtype), kGrain);
  return MakeUnary(spec, UnaryRunFor<PowScalar, kFloats>(dtype), kGrain / 16);
}

}  // namespace

UnaryRun FloatUnaryRun(std::string_view op) {
  UnaryRun found = nullptr;
  VisitUnary([&]<typename Function, Elements kElements>(std::string_view name, int64_t) {
    if (name == op) found = UnaryRunFor<Function, kElements>(DType::kF32);
  });
  return found;
}

std::vector<KernelDef> UnaryKernels() {
  std::vector<KernelDef> rows = {{"pow_scalar", CheckScalarOp, Elementwise, MakePow}};
  VisitUnary([&]<typename Function, Elements kElements>(const std::string& op, int64_t cost) {
    const bool scalar = op == "add_scalar" || op == "mul_scalar";
    rows.push_back({op, scalar ? CheckScalarOp : CheckUnary, Elementwise,
                    [grain = kGrain / cost](const KernelSpec& spec) {
                      const DType dtype = spec.inputs.at(0).dtype;
                      return MakeUnary(spec, UnaryRunFor<Function, kElements>(dtype), grain);
                    }});
  });
  return rows;
}

}  // namespace oneflow::kernels
