// PlanConvolution: a convolution, one of its gradients, or one that makes statistics of its result, as a graph of cuDNN,
// and the engine that does it.
//
// cuDNN is opened by name, at run time; its interface is declared in cudnn_backend.h. Images are [n, h, w, c]
// as ours, filters channels last (kernels/cuda/filter_layout.h). Which engine: kernels/cuda/cudnn_engines.h.
//
// Statistics (parts = 1) are sums about numbers that are given (kernels/cuda/convolution_sums.h), over all that the
// result has of a channel, of the result in f32:
//
//   wide = x * w, y = wide rounded, sums = sum(wide - pivots), squares = sum((wide - pivots)^2)
//
// No CUDA is called here: a description of a device in place of a handle answers where there is no GPU, which is how
// this is tested (kernels/cuda/cudnn_graphs_main.cc). Threads: any. Read next: kernels/cuda/cudnn_convolution.h.
#ifndef ONEFLOW_KERNELS_CUDA_CUDNN_GRAPH_H_
#define ONEFLOW_KERNELS_CUDA_CUDNN_GRAPH_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/cuda/cuda_api.h"
#include "kernels/cuda/cudnn_engines.h"

namespace oneflow::kernels::cudnn {

// Ids of the tensors that are in memory; the last three only beside statistics.
inline constexpr int64_t kX = 1, kW = 2, kY = 3, kPivots = 4, kSums = 5, kSquares = 6;

// By the first that will do, or the one of that name. nullopt: there is no cuDNN, or none of its engines will do.
std::optional<EnginePlan> PlanConvolution(const CudaConvolution& p, const GraphPlace& place,
                                          int64_t workspace_bytes, const std::string& name = "");
// The names of the first few that may do, for measuring; some may turn out to make no plan.
std::vector<std::string> OfferedEngines(const CudaConvolution& p, const GraphPlace& place,
                                        int64_t workspace_bytes, size_t most);

}  // namespace oneflow::kernels::cudnn

#endif  // ONEFLOW_KERNELS_CUDA_CUDNN_GRAPH_H_
