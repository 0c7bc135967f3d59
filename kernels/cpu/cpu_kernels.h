// The table of CPU kernels, assembled from one function per family file.
//
// Owned by the process (function-local static, const). Threads: any. Read next:
// docs/adding_an_op.md.
#ifndef ONEFLOW_KERNELS_CPU_CPU_KERNELS_H_
#define ONEFLOW_KERNELS_CPU_CPU_KERNELS_H_

#include <string_view>

#include "kernels/kernel.h"

namespace oneflow::kernels {

const KernelTable& CpuKernels();

// The instruction set that the kernels use on this machine: "avx512", "avx2" or "portable". Bits and
// workspaces depend on it.
std::string_view HostIsaName();

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_CPU_KERNELS_H_
