// Fused: what the attributes of the op `fused` say: a chain of elementwise ops through which one value
// runs, so that what lies between two of them never goes to memory.
//
//   %5 = bn_apply(%1, %2, %3, %4, %0)
//   %6 = add(%5, %9)                     ->  %8 = fused(%1, %2, %3, %4, %0, %9) {
//   %8 = relu(%6)                                ops=["bn_apply","add","relu"], reads=[1,5,0], ..}
//
// The value begins as input 0; step k replaces it by its op's result, rounded to that step's element type, and
// reads the inputs from `reads[k]` on beside it. It lies on the left of a binary op, or, where `reversed[k]` is 1,
// on the right. So a chain has the bits of its ops one by one. The compiler makes chains
// (compiler/passes/fuse_elementwise.h), kernels run them; both know what may stand in one from here.
//
// Values. Threads: any. Total: a plan is untrusted. Invariants of what FusedSteps returns: 2 to kMaxFusedSteps
// steps; at most one draws numbers (`dropout`) and at most one knows channels (`bn_apply`); inputs 1, 2, ..
// are read once each, in that order. Read next: compiler/ops/fused.cc, kernels/cpu/fused.cc.
#ifndef ONEFLOW_PLAN_FUSED_H_
#define ONEFLOW_PLAN_FUSED_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/dtype.h"
#include "plan/attrs.h"

namespace oneflow {

inline constexpr int kMaxFusedSteps = 8;
inline constexpr int kMaxFusedInputs = 12;

// How a step uses inputs beside the value.
enum class FusedRole {
  kUnary,      // none
  kCast,       // none
  kBinary,     // one, of the value's shape or of one element
  kDropout,    // one: the number of the step
  kBatchNorm,  // four: mean, rstd, weight, bias
};

// What `op` is in a chain; nothing if it cannot stand in one.
std::optional<FusedRole> FusedRoleOf(std::string_view op);
// Inputs that a step reads beside the value.
int InputsRead(FusedRole role);
// Element types of values that run through a chain: f32, bf16, f16.
bool RunsFused(DType dtype);

struct FusedStep {
  std::string op;
  FusedRole role = FusedRole::kUnary;
  int read = 0;  // the first input that it reads; 0: none
  bool reversed = false;
  double value = 0;           // the op's attribute of that name, if it has one
  DType dtype = DType::kF32;  // of the result
};

// Errors (PlanError): lists of different lengths, an op that cannot stand there, inputs that are not read in order,
// a type that does not run fused.
absl::StatusOr<std::vector<FusedStep>> FusedSteps(const Attrs& attrs);
// Sets ops, reads, reversed, values and types.
void SetFusedSteps(const std::vector<FusedStep>& steps, Attrs* attrs);
// Inputs of a chain: the value's first one and all that its steps read.
int FusedInputs(const std::vector<FusedStep>& steps);

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_FUSED_H_
