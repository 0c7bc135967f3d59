// Schedule: which loop every node runs in, in which phase of the step, and the stamp that follows
// from it.
//
// Pure function of the graph and its decisions, so equal on all ranks. With K micro-batches and p
// stages:
//
//   phase     level  slot of stage s, micro-batch m  what
//   prologue  STEP   0                               feeds the micro loop, depends on no micro-batch
//   forward   MICRO  1 + s + 2m                      what the loss is made of
//   backward  MICRO  1 + 2p - 1 - s + 2m             gradients, and what depends on them
//   epilogue  STEP   2p + 2K + 1                     sums over micro-batches, updates, outputs
//
// On every stage that order is 1F1B: forward(p-1-s+i) < backward(i) < forward(p-s+i). Without
// accumulation all nodes are STEP in slot 0, in graph order. Threads: any. Read next:
// compiler/lower/streams.h.
#ifndef ONEFLOW_COMPILER_LOWER_SCHEDULE_H_
#define ONEFLOW_COMPILER_LOWER_SCHEDULE_H_

#include <vector>

#include "absl/status/statusor.h"
#include "compiler/graph/graph.h"
#include "compiler/parallel/decide.h"
#include "plan/plan.pb.h"

namespace oneflow {

enum class Phase { kPrologue, kForward, kBackward, kEpilogue };

// Where one node stands in the step.
struct NodeSchedule {
  Phase phase = Phase::kPrologue;
  uint32_t position =
      0;  // in graph order: equal on all ranks; what has several rounds has as many positions
  bool in_micro_loop() const { return phase == Phase::kForward || phase == Phase::kBackward; }
  plan::Level level() const { return in_micro_loop() ? plan::MICRO : plan::STEP; }
};

// The order of the tasks that one node becomes: the high part of `sub` in their stamps. The low
// part numbers the pieces of an exchange, of which one device may have several.
inline constexpr uint32_t kPiecesPerSub = 1u << 20;
enum class Sub : uint32_t {
  kStage = 0,
  kPack = 1,
  kSend = 2,
  kReceive = 3,
  kCombine = 4,
  kExtract = 5
};

class Schedule {
 public:
  // Fails with a ShardingError when a micro-batch would need what is known only after the last one.
  // Nodes stand in graph order; `state_write` nodes behind all others if a step may fail.
  static absl::StatusOr<Schedule> Make(const Graph& graph, const Decisions& decisions);

  const NodeSchedule& node(NodeId id) const { return nodes_[id]; }
  // Stamp of a task of `id` that runs on a device of `stage`.
  // `round`: of a movement in several (sum_rounds.h), which stand one behind the other.
  plan::StampProto Stamp(NodeId id, int stage, Sub sub, uint32_t piece = 0,
                         uint32_t round = 0) const;
  // True if all firings of a node stand behind those of every node whose kernel may find something
  // wrong in the data: what it writes is not written in a step that fails.
  bool BehindFailures(NodeId id) const;
  int stages() const { return stages_; }
  int micro_batches() const { return micro_batches_; }

 private:
  std::vector<NodeSchedule> nodes_;
  std::vector<NodeId> may_fail_;
  int stages_ = 1;
  int micro_batches_ = 1;
};

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_LOWER_SCHEDULE_H_
