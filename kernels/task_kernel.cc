#include "kernels/task_kernel.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace oneflow::kernels {

absl::StatusOr<std::unique_ptr<Kernel>> MakeTaskKernel(const KernelTable& table,
                                                       const plan::Task& task, int threads) {
  const KernelSpec spec = KernelSpec::FromTask(task, threads);
  if (task.aliases_size() > 0) {
    OF_ASSIGN_OR_RETURN(const Needs needs, table.Describe(spec));
    for (const plan::Alias& alias : task.aliases()) {
      if (needs.MayAlias(static_cast<int>(alias.output()), static_cast<int>(alias.input())))
        continue;
      return MakeError(ErrorKind::kPlan,
                       absl::StrCat("the kernel of ", task.op(), " cannot write output ",
                                    alias.output(), " over input ", alias.input(),
                                    ", as the plan asks; compile the plan again on this machine"));
    }
  }
  return table.Make(spec);
}

}  // namespace oneflow::kernels
