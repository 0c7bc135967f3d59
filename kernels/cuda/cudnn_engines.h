// EngineSearch: which engine of cuDNN does a graph of operations, and the plan that is made of it.
//
// Engines are taken in the order of cuDNN's heuristics, mode A and then FALLBACK: the first that fits the workspace,
// adds in f32, gives the same bits in every run, and multiplies f32 as f32. The order depends on the problem, cuDNN's
// version and the GPU alone, so two processes, and two GPUs of one kind, choose alike: that the bits of a run come
// again would not survive a race between two engines that are equally fast. Measured on request they are known by their
// names (kernels/cuda/algorithm_choices.h). What the notes of an engine do not say of its bits, the graph has to ask
// for (kernels/cuda/cudnn_operations.h).
//
// No CUDA is called here: a description of a device in place of a handle answers where there is no GPU, which is how
// this is tested (kernels/cuda/cudnn_graphs_main.cc). Threads: any. REQUIRES: cuDNN was found. Read next:
// kernels/cuda/cudnn_graph.h, kernels/cuda/cudnn_attention_graph.h.
#ifndef ONEFLOW_KERNELS_CUDA_CUDNN_ENGINES_H_
#define ONEFLOW_KERNELS_CUDA_CUDNN_ENGINES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "kernels/cuda/cudnn_descriptor.h"
#include "kernels/cuda/cudnn_operations.h"

namespace oneflow::kernels::cudnn {

// One of the two: a device's handle, or the description of one (kDeviceProperties).
struct GraphPlace {
  Handle handle = nullptr;
  Descriptor device = nullptr;
};

struct EngineSearch {
  Operations operations;
  DType dtype;  // of what is multiplied
  // Those that a compiler makes at run time, for a second each, or those that are there.
  bool compiled;
  GraphPlace place;
  int64_t workspace_bytes;
};

struct EnginePlan {
  Owned plan, config;  // what the plan was made from
  int64_t engine = 0;  // its number in cuDNN
  int64_t workspace_bytes = 0;
  std::string name;  // which engine, and its settings: "engine 62 14=3"
};
// By the first that will do, or the one of that name ("": any). nullopt: none will.
std::optional<EnginePlan> FirstPlan(const EngineSearch& search, const std::string& name);
// The names of the first few that may do, for measuring; some may turn out to make no plan.
std::vector<std::string> EngineNames(const EngineSearch& search, size_t most);

}  // namespace oneflow::kernels::cudnn

#endif  // ONEFLOW_KERNELS_CUDA_CUDNN_ENGINES_H_
