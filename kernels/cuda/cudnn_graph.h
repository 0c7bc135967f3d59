// PlanConvolution: a convolution, one of its gradients, or one that makes statistics of its result, as a graph of cuDNN,
// and the engine that does it.
//
// cuDNN is opened by name, at run time; its interface is declared in cudnn_backend.h. Images are [n, h, w, c]
// as ours, filters channels last (kernels/cuda/filter_layout.h). Engines are taken in the order of cuDNN's
// heuristics, mode A and then FALLBACK: the first that fits the workspace, adds in f32, gives the same
// bits in every run, and multiplies f32 as f32. The order depends on the problem, cuDNN's version and the
// GPU alone, so two processes, and two GPUs of one kind, choose alike: that the bits of a run come again would not
// survive a race between two engines that are equally fast. Measured on request they are known by their names
// (kernels/cuda/algorithm_choices.h).
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
#include "kernels/cuda/cudnn_descriptor.h"

namespace oneflow::kernels::cudnn {

// Ids of the tensors that are in memory; the last three only beside statistics.
inline constexpr int64_t kX = 1, kW = 2, kY = 3, kPivots = 4, kSums = 5, kSquares = 6;

// One of the two: a device's handle, or the description of one (kDeviceProperties).
struct GraphPlace {
  Handle handle = nullptr;
  Descriptor device = nullptr;
};

struct EnginePlan {
  Owned plan, config;  // what the plan was made from
  int64_t engine = 0;  // its number in cuDNN
  int64_t workspace_bytes = 0;
  std::string name;  // which engine, and its settings: "engine 62 14=3"
};
// By the first that will do, or the one of that name. nullopt: there is no cuDNN, or none of its engines will do.
std::optional<EnginePlan> PlanConvolution(const CudaConvolution& p, const GraphPlace& place,
                                          int64_t workspace_bytes, const std::string& name = "");
// The names of the first few that may do, for measuring; some may turn out to make no plan.
std::vector<std::string> OfferedEngines(const CudaConvolution& p, const GraphPlace& place,
                                        int64_t workspace_bytes, size_t most);

}  // namespace oneflow::kernels::cudnn

#endif  // ONEFLOW_KERNELS_CUDA_CUDNN_GRAPH_H_
