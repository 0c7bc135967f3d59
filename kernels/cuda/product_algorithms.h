// ChooseProductAlgorithm: a product's algorithm by AlgorithmChoices, timed on the GPU.
//
// A product is timed on memory of its own, which is given back, with drawn operands: the clock of a GPU depends on
// the bits that it multiplies. Where there is no memory for that, the heuristics' first stays and is not kept in
// the file. Operands are warm in the caches as far as they fit.
//
// Threads: the one that makes the kernel, which is with its GPU. Read next: kernels/cuda/algorithm_choices.h.
#ifndef ONEFLOW_KERNELS_CUDA_PRODUCT_ALGORITHMS_H_
#define ONEFLOW_KERNELS_CUDA_PRODUCT_ALGORITHMS_H_

#include <memory>

#include "absl/status/status.h"
#include "kernels/cuda/algorithm_choices.h"
#include "kernels/cuda/cuda_api.h"

namespace oneflow::kernels {

// `plan` is of api->matmul_plan(&problem). Nothing, unless `choices` measures.
absl::Status ChooseProductAlgorithm(const CudaApi* api, const CudaMatmul& problem,
                                    const std::shared_ptr<void>& plan, AlgorithmChoices* choices);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_PRODUCT_ALGORITHMS_H_
