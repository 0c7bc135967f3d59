// ChooseByTime: which of the algorithms that a library offers a plan gets, each timed on the GPU: what products,
// convolutions and attention have in common.
//
// A function. Threads: the one that makes the kernel, which is with its GPU. Read next:
// kernels/cuda/algorithm_choices.h, kernels/cuda/call_timer.h.
#ifndef ONEFLOW_KERNELS_CUDA_TIMED_CHOICE_H_
#define ONEFLOW_KERNELS_CUDA_TIMED_CHOICE_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "kernels/cuda/algorithm_choices.h"
#include "kernels/cuda/call_timer.h"
#include "kernels/cuda/cuda_api.h"

namespace oneflow::kernels {

// Gives a plan one of its algorithms by its name (CudaApi::matmul_use and its like).
using UseAlgorithm = CudaError (*)(void* plan, const char* name);

// `problem`: what the file knows it by; `timer`: times the plan with the algorithm that it has. One that cannot be used
// counts as infinitely slow.
absl::Status ChooseByTime(const CudaApi* api, UseAlgorithm use, const CudaAlgorithms& offered,
                          const std::string& problem, const std::shared_ptr<void>& plan,
                          CallTimer* timer, AlgorithmChoices* choices);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_TIMED_CHOICE_H_
