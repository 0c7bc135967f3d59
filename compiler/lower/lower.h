// Lower: Graph with decisions -> Plan of one rank: tasks, streams, order, credits, memory.
//
// Pure. After InsertReshard its input cannot fail but for memory (OutOfMemoryError with the registers at the
// peak). Looks at no other rank's tasks: only at the peers that this rank talks to. Threads: any.
// Read next: compiler/lower/lower.cc (the steps in order), plan/plan.proto.
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

// A plan, and the kernel problems that the target has no row for. The caller asks the kernels' Describe,
// adds the rows and compiles again until nothing is missing; until then an upper bound is used.
struct Lowered {
  plan::Plan plan;
  std::vector<plan::Task> missing;  // tasks whose kernel row is missing (op, ports, attrs)
};

absl::StatusOr<Lowered> Lower(const Graph& graph, const Decisions& decisions,
                              const plan::Target& target, int rank, int world_size);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_LOWER_LOWER_H_
