// Compile: the pure function (Graph, Target, options) -> Plan of one rank. compile.cc lists the passes.
//
// No device, thread, environment variable or clock; same input, same bytes out. The logical part is the same
// on all ranks; lowering is per rank. Threads: any. Read next: compiler/compile.cc.
#ifndef ONEFLOW_COMPILER_COMPILE_H_
#define ONEFLOW_COMPILER_COMPILE_H_

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "compiler/graph/graph.h"
#include "compiler/lower/lower.h"
#include "plan/plan.pb.h"
#include "plan/target.pb.h"

namespace oneflow {

struct CompileOptions {
  Mesh mesh;
  int micro_batches = 1;
  int rank = 0;
  int world_size = 1;
};

struct Compiled {
  plan::Plan plan;
  std::vector<KernelQuery> missing;
  // Layouts of all states of the step, also of those that other ranks hold: equal on all ranks.
  std::map<std::string, Sharding> states;
  std::string decisions;                                   // text for plan.explain
  std::vector<std::pair<std::string, std::string>> dumps;  // (pass, graph text), if asked
};

absl::StatusOr<Compiled> Compile(Graph graph, const plan::Target& target,
                                 const CompileOptions& options, bool keep_dumps = false);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_COMPILE_H_
