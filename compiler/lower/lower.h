// Lower: Graph with decisions -> Plan of one rank: tasks, streams, order, credits, memory.
//
// Pure. After InsertReshard its input cannot fail but for memory (OutOfMemoryError with the
// registers at the peak). Looks at no other rank's tasks: only at the peers that this rank talks
// to. Threads: any. Read next: compiler/lower/lower.cc (the steps in order), plan/plan.proto.
#ifndef ONEFLOW_COMPILER_LOWER_LOWER_H_
#define ONEFLOW_COMPILER_LOWER_LOWER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compiler/graph/graph.h"
#include "compiler/parallel/decide.h"
#include "plan/gpu_memory.h"
#include "plan/plan.pb.h"
#include "plan/target.pb.h"

namespace oneflow {

// A kernel problem that the target has no row for. Its row's key must be `key`.
struct KernelQuery {
  std::string key;
  plan::Task task;  // op, attrs and ports
  uint32_t threads = 1;
};

// Answers a query with a row of its key. `plan` has the tasks' locations, for errors.
using DescribeKernel = std::function<absl::StatusOr<plan::KernelRow>(const KernelQuery& query,
                                                                     const plan::Plan& plan)>;

// A plan, and what the target lacks: as rows where the kernels were there to be asked, else as
// queries. A plan with queries must not run: its workspaces are unknown. Rows change nothing that
// ranks agree on.
struct Lowered {
  std::shared_ptr<plan::Plan> plan;   // in an arena of its own
  std::vector<plan::KernelRow> rows;  // sorted by key
  std::vector<KernelQuery> missing;   // sorted by key
};

// Without `describe` the target stands alone. `one_call`: which rings the devices do by one call of NCCL where that
// is, for the memory of GPUs; nullptr: none.
absl::StatusOr<Lowered> Lower(const Graph& graph, const Decisions& decisions,
                              const plan::Target& target, int rank, int world_size,
                              const DescribeKernel& describe = nullptr,
                              const RingIsOneCall& one_call = nullptr);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_LOWER_LOWER_H_
