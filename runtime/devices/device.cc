#include "runtime/devices/device.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace oneflow {

absl::StatusOr<std::unique_ptr<StepRunner>> Device::MakeStepRunner(StepWork) {
  return MakeError(ErrorKind::kError, absl::StrCat(kind(), " devices run no whole steps"));
}

absl::StatusOr<std::unique_ptr<kernels::Kernel>> MakeFittingKernel(
    const kernels::KernelTable& table, const plan::Task& task, int threads, int64_t workspace_bytes,
    const std::string& isa) {
  const kernels::KernelSpec spec = kernels::KernelSpec::FromTask(task, threads);
  OF_ASSIGN_OR_RETURN(const kernels::Needs needs, table.Describe(spec));
  if (needs.workspace_bytes > workspace_bytes) {
    return MakeError(
        ErrorKind::kPlan,
        absl::StrCat("its workspace has ", workspace_bytes, " bytes, but the kernel of ", task.op(),
                     " needs ", needs.workspace_bytes, " on this machine (",
                     isa.empty() ? "" : absl::StrCat("instruction set ", isa, ", "), threads,
                     threads == 1 ? " thread" : " threads", "); compile the plan here"));
  }
  for (const plan::Alias& alias : task.aliases()) {
    if (needs.MayAlias(static_cast<int>(alias.output()), static_cast<int>(alias.input()))) continue;
    return MakeError(ErrorKind::kPlan,
                     absl::StrCat("the kernel of ", task.op(), " cannot write output ",
                                  alias.output(), " over input ", alias.input(),
                                  ", as the plan asks; compile the plan again on this machine"));
  }
  return table.Make(spec);
}

}  // namespace oneflow
