// ChooseAttentionAlgorithm: the own kernel of an attention, or an engine of cuDNN, by AlgorithmChoices, timed on the GPU.
//
// Threads: the one that makes the kernel, which is with its GPU. Read next: kernels/cuda/algorithm_choices.h,
// kernels/cuda/call_timer.h.
#ifndef ONEFLOW_KERNELS_CUDA_ATTENTION_ALGORITHMS_H_
#define ONEFLOW_KERNELS_CUDA_ATTENTION_ALGORITHMS_H_

#include <memory>

#include "absl/status/status.h"
#include "kernels/cuda/algorithm_choices.h"
#include "kernels/cuda/cuda_api.h"

namespace oneflow::kernels {

// `plan` is of api->attention_plan(&problem). Nothing, unless `choices` measures and an engine may do the problem.
absl::Status ChooseAttentionAlgorithm(const CudaApi* api, const CudaAttention& problem,
                                      const std::shared_ptr<void>& plan, AlgorithmChoices* choices);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_ATTENTION_ALGORITHMS_H_
