// Lower: Graph with decisions -> Plan of one rank: tasks, streams, order, credits, memory.
//
// Pure. After InsertReshard its input cannot fail but for memory (OutOfMemoryError with the
// registers at the peak). Looks at no other rank's tasks: only at the peers that this rank talks
// to. Threads: any. Read next: compiler/lower/lower.cc (the steps in order), plan/plan.proto.
#ifndef ONEFLOW_COMPILER_LOWER_LOWER_H_
#define ONEFLOW_COMPILER_LOWER_LOWER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compiler/graph/graph.h"
#include "compiler/parallel/decide.h"
#include "plan/plan.pb.h"
#include "plan/target.pb.h"

namespace oneflow {

// A kernel problem that the target has no row for. Its row's key must be `key`.
struct KernelQuery {
  std::string key;
  plan::Task task;  // op, attrs and ports
  uint32_t threads = 1;
};

// A plan, and what the target lacks. The caller asks the kernels' Describe, adds the rows and
// compiles again until nothing is missing; such a plan must not run: its workspaces are unknown.
struct Lowered {
  plan::Plan plan;
  std::vector<KernelQuery> missing;  // sorted by key
};

// With `only_complete`, a plan that misses rows is not ordered and placed: it has its tasks alone.
absl::StatusOr<Lowered> Lower(const Graph& graph, const Decisions& decisions,
                              const plan::Target& target, int rank, int world_size,
                              bool only_complete = false);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_LOWER_LOWER_H_
