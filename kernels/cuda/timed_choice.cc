#include "kernels/cuda/timed_choice.h"

#include <limits>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "kernels/cuda/cuda_stream.h"
#include "kernels/cuda/offered_algorithms.h"

namespace oneflow::kernels {

absl::Status ChooseByTime(const CudaApi* api, UseAlgorithm use, const CudaAlgorithms& offered,
                          const std::string& problem, const std::shared_ptr<void>& plan,
                          CallTimer* timer, AlgorithmChoices* choices) {
  const std::vector<std::string> names(offered.names, offered.names + offered.count);
  const auto time = [&](size_t i) -> absl::StatusOr<double> {
    if (use(plan.get(), names[i].c_str()) != 0) return std::numeric_limits<double>::infinity();
    return timer->Seconds();
  };
  const auto give = [api, use, made = plan.get()](const std::string& name) {
    return CudaStatus(*api, use(made, name.c_str()), absl::StrCat("choosing ", name).c_str());
  };
  return choices->Choose({offered.place, problem}, names, time, plan, give);
}

}  // namespace oneflow::kernels
