// The table of CPU kernels, assembled from one function per family file.
//
// Owned by the process (function-local static, const). Threads: any. Read next:
// docs/adding_an_op.md.
#ifndef ONEFLOW_KERNELS_CPU_CPU_KERNELS_H_
#define ONEFLOW_KERNELS_CPU_CPU_KERNELS_H_

#include "kernels/kernel.h"

namespace oneflow::kernels {

const KernelTable& CpuKernels();

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_CPU_KERNELS_H_
