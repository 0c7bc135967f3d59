// Compile: the pure function (Graph, Target, options) -> Plan of one rank. compile.cc lists the passes.
//
// No device, thread, environment variable or clock; same input, same bytes out. The logical part is the same
// on all ranks; lowering is per rank. Threads: any. Read next: compiler/compile.cc.
#ifndef ONEFLOW_COMPILER_COMPILE_H_
#define ONEFLOW_COMPILER_COMPILE_H_

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "compiler/graph/graph.h"
#include "compiler/lower/lower.h"
#include "compiler/parallel/held_decisions.h"
#include "plan/plan.pb.h"
#include "plan/target.pb.h"

namespace oneflow {

struct CompileOptions {
  Mesh mesh;
  int micro_batches = 1;
  int rank = 0;
  int world_size = 1;
  // Decisions of earlier compiles: those for this graph are followed in place of a search.
  std::vector<HeldDecisions> decisions;
  // Ops are joined (chains of elementwise ops, casts and slices with what reads them), casts that others take back go,
  // and rows of a vocabulary are padded for a GPU's products. The bits are the same.
  bool fuse = true;
  // Of cuda devices: which rings NCCL does, where it is (plan/gpu_memory.h); nullptr: none.
  RingIsOneCall one_call;
};

struct Compiled {
  std::shared_ptr<plan::Plan> plan;  // in an arena of its own: its parts lie side by side
  std::vector<KernelQuery> missing;
  // Layouts of all states of the step, also of those that other ranks hold: equal on all ranks.
  std::map<std::string, Sharding> states;
  std::string decisions;       // text for plan.explain
  std::string held_decisions;  // HeldDecisions as text: equal on all ranks but for moves of outputs
  std::vector<std::pair<std::string, std::string>> dumps;  // (pass, graph text), if asked
};

// The plan for the target as it is: `missing` names the kernel rows that it lacks.
absl::StatusOr<Compiled> Compile(Graph graph, const plan::Target& target,
                                 const CompileOptions& options, bool keep_dumps = false);

// As Compile; `describe` is asked for the rows that the target lacks, once each, and they are added
// to it.
absl::StatusOr<Compiled> CompileComplete(Graph graph, plan::Target* target,
                                         const CompileOptions& options, bool keep_dumps,
                                         const DescribeKernel& describe);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_COMPILE_H_
