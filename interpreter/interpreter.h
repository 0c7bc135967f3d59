// Interpreter: a graph or a single op at once on one CPU device, no plan: eager calls, and the
// oracle that plans must equal.
//
// Stateless functions. Threads: any (kernels run on the calling thread's team). The whole logical
// tensor is one shard. Read next: kernels/kernel.h.
#ifndef ONEFLOW_INTERPRETER_INTERPRETER_H_
#define ONEFLOW_INTERPRETER_INTERPRETER_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/host_tensor.h"
#include "compiler/graph/graph.h"
#include "kernels/kernel.h"

namespace oneflow {

// One op on host tensors: infers types through the op table, runs the kernel. `threads`: size of
// the team. A view shares its input's bytes. Errors carry `location`.
absl::StatusOr<std::vector<HostTensor>> RunOp(const kernels::KernelTable& kernels,
                                              const std::string& op,
                                              const std::vector<HostTensor>& inputs, Attrs attrs,
                                              const Location& location, int threads = 1);

// A whole graph. `inputs` by name; `states` is read and, for state_write, replaced once the whole
// graph has run: reads see the values at the beginning of the step, a failed step changes nothing.
// Returns outputs by name. Values are freed behind their last reader. Errors carry the node's
// location.
absl::StatusOr<std::map<std::string, HostTensor>> RunGraph(
    const kernels::KernelTable& kernels, const Graph& graph,
    const std::map<std::string, HostTensor>& inputs, std::map<std::string, HostTensor>* states,
    int threads = 1);

}  // namespace oneflow

#endif  // ONEFLOW_INTERPRETER_INTERPRETER_H_
