// MaximumCycleRatio: the slowest cycle of a timed marked graph: nanoseconds per token. A plan
// cannot finish a step faster than that, and with free devices it does not finish slower: the cycle
// explains the bottleneck.
//
// Pure. Threads: any. Exact (integers), by Newton's iteration on the ratio (Dinkelbach): take the
// ratio of a cycle, look for a cycle that beats it, until none does. Each look is a longest-path
// search along the token free order. Read next: plan/analyse.h.
#ifndef ONEFLOW_PLAN_CYCLE_RATIO_H_
#define ONEFLOW_PLAN_CYCLE_RATIO_H_

#include <cstdint>
#include <vector>

namespace oneflow {

// `to` may begin `ns` after `from` began; `tokens` steps later.
struct TimedEdge {
  uint32_t from = 0;
  uint32_t to = 0;
  int64_t ns = 0;  // >= 0
  uint32_t tokens = 0;
};

// The cycle with the largest ns / tokens. Empty, 0 / 1, if no cycle takes time.
struct CycleRatio {
  int64_t ns = 0;
  int64_t tokens = 1;
  std::vector<uint32_t> edges;  // indexes, in the order of the cycle
};

// REQUIRES: `order` holds every node once and every edge without tokens goes forward in it.
CycleRatio MaximumCycleRatio(const std::vector<TimedEdge>& edges,
                             const std::vector<uint32_t>& order);

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_CYCLE_RATIO_H_
