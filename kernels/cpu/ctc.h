// CtcProblemOf: the extents of a call of ctc_loss or of its gradient, for all kinds of devices.
//
// A function. Threads: any. REQUIRES: a spec that the op's check has passed. Read next:
// kernels/scalar/ctc.h.
#ifndef ONEFLOW_KERNELS_CPU_CTC_H_
#define ONEFLOW_KERNELS_CPU_CTC_H_

#include "kernels/cpu/definition.h"
#include "kernels/scalar/ctc.h"

namespace oneflow::kernels {

CtcProblem CtcProblemOf(const KernelSpec& spec);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_CTC_H_
