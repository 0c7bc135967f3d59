// FiringGraph: the firings of one step and every edge between them, with the number of steps that
// an edge crosses. It is the marked graph of docs/plan_format.md: an edge that crosses a step
// carries a token.
//
// A value, built from a plan that it does not keep. Threads: const access from any. Invariants:
// firings of a task are consecutive, in order of their ordinals; edges are sorted by (to, kind,
// item, from) and shift invariant: the edge holds between step s and step s + steps for every s.
// Size: linear in firings. Read next: plan/happens_before.h, plan/verify_live.cc,
// plan/analyse_time.cc.
#ifndef ONEFLOW_PLAN_FIRING_GRAPH_H_
#define ONEFLOW_PLAN_FIRING_GRAPH_H_

#include <cstdint>
#include <string>
#include <vector>

#include "plan/firings.h"
#include "plan/plan.pb.h"

namespace oneflow {

// Why one firing waits for another. Between two firings of a RECV's stream an edge holds twice:
// post to post and arrive to arrive; every other edge into a RECV ends at its post, every edge out
// starts at its arrive.
enum class EdgeKind : uint8_t {
  kStream,  // next in the order of the stream
  kData,    // reads a register: the producer's last inner firing -> the consumer's first
  kCredit,  // refills a slot: the consumer's last inner firing -> the producer's first, `slots`
            // later
  kAfter,   // ready without bytes
};

// `from` in step s must end before `to` in step s + steps may start.
struct FiringEdge {
  uint32_t from = 0;  // firing indexes
  uint32_t to = 0;
  uint32_t steps = 0;
  EdgeKind kind = EdgeKind::kStream;
  uint32_t item = 0;  // stream; register; or the position of the edge in the task's `after`
  bool operator==(const FiringEdge&) const = default;
};

// The expanded step. Firing indexes are dense: FirstIndex(task) + ordinal within the step.
class FiringGraph {
 public:
  // REQUIRES: proof 1.
  explicit FiringGraph(const plan::Plan& plan);

  uint32_t size() const { return static_cast<uint32_t>(task_.size()); }
  uint32_t FirstIndex(uint32_t task) const { return first_[task]; }
  uint32_t FiringsOf(uint32_t task) const { return first_[task + 1] - first_[task]; }
  // The index of a firing, whatever its step.
  uint32_t IndexOf(const plan::Plan& plan, const FiringId& firing) const;
  FiringId At(const plan::Plan& plan, uint32_t index, uint32_t step = 0) const;

  uint32_t TaskOf(uint32_t index) const { return task_[index]; }
  uint32_t StreamOf(uint32_t index) const { return stream_[index]; }
  uint32_t PositionOf(uint32_t index) const { return position_[index]; }  // in its stream's step
  uint32_t StreamLength(uint32_t stream) const {
    return static_cast<uint32_t>(order_[stream].size());
  }
  const std::vector<uint32_t>& StreamOrder(uint32_t stream) const { return order_[stream]; }
  uint32_t streams() const { return static_cast<uint32_t>(order_.size()); }
  const std::vector<FiringEdge>& edges() const { return edges_; }

  // The firings of a step by stamp, those of equal stamps by stream and place in it: in a live plan
  // every edge within a step goes forward in this order.
  const std::vector<uint32_t>& ByStamp() const { return by_stamp_; }
  uint32_t StampRank(uint32_t index) const { return stamp_rank_[index]; }  // inverse of ByStamp

  // The edges of one more `after` of a task (not added here).
  std::vector<FiringEdge> EdgesOf(const plan::Plan& plan, uint32_t task,
                                  const plan::AfterEdge& after, uint32_t item) const;

 private:
  std::vector<uint32_t> first_;  // per task, one more at the end
  std::vector<uint32_t> task_;   // per firing
  std::vector<uint32_t> stream_;
  std::vector<uint32_t> position_;
  std::vector<std::vector<uint32_t>> order_;  // per stream
  std::vector<FiringEdge> edges_;
  std::vector<uint32_t> by_stamp_;
  std::vector<uint32_t> stamp_rank_;
};

// "matmul.3 -> relu.4: reads register 7 (2 slots) of matmul.3, mlp.py:8": one hop of a printed
// cycle.
std::string DescribeEdge(const plan::Plan& plan, const FiringGraph& graph, const FiringEdge& edge);

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_FIRING_GRAPH_H_
