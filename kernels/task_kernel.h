// MakeTaskKernel: the kernel of one task of a plan, refused where the plan asks for more than the
// kernel declares.
//
// A function of its arguments. Threads: any. Read next: kernels/kernel.h.
#ifndef ONEFLOW_KERNELS_TASK_KERNEL_H_
#define ONEFLOW_KERNELS_TASK_KERNEL_H_

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/kernel.h"
#include "plan/plan.pb.h"

namespace oneflow::kernels {

// Fails where the task writes over an input and the kernel does not declare that it can.
absl::StatusOr<std::unique_ptr<Kernel>> MakeTaskKernel(const KernelTable& table,
                                                       const plan::Task& task, int threads);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_TASK_KERNEL_H_
