// IsolatedFiring: a firing that works on copies of its operands, each between guards, so that a
// kernel that reads or writes a byte that is not its own is caught at that firing.
//
// For the virtual runtime. Threads: one. What it proves: the copies are as large as the ports say;
// the ports lie in their slots, and no output lies over another operand unless it is the same
// buffer. Read next: runtime/guarded_block.h, runtime/virtual_runtime.h.
#ifndef ONEFLOW_RUNTIME_ISOLATED_FIRING_H_
#define ONEFLOW_RUNTIME_ISOLATED_FIRING_H_

#include <cstdint>

#include "absl/status/status.h"
#include "runtime/io/invocation.h"
#include "runtime/program.h"

namespace oneflow {

// Does what Program::RunFiring does. PlanError, at the user's line, if the firing wrote beside an
// operand, changed an input that is no output, or two of its operands lie half over each other; an
// access beyond the guards ends the process. REQUIRES: the program is bound and holds bytes.
absl::Status RunIsolated(const Program& program, uint32_t task, int64_t ordinal,
                         const Invocation& invocation);

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_ISOLATED_FIRING_H_
