#include "plan/cycle_ratio.h"

#include <algorithm>

namespace oneflow {
namespace {

// Sums of ns * tokens of a whole plan.
__extension__ typedef __int128 Wide;

constexpr uint32_t kNone = 0xffffffffu;

class Search {
 public:
  Search(const std::vector<TimedEdge>& edges, const std::vector<uint32_t>& order)
      : edges_(edges), order_(order), out_(order.size()) {
    for (uint32_t e = 0; e < edges.size(); ++e) out_[edges[e].from].push_back(e);
  }

  // Edges of a cycle with more than ns / tokens; empty if there is none.
  std::vector<uint32_t> Beat(int64_t ns, int64_t tokens) const {
    std::vector<Wide> longest(order_.size(), 0);
    std::vector<uint32_t> reached_by(order_.size(), kNone);
    // A path without a cycle crosses each node at most once; each round settles one more crossing.
    for (size_t round = 0; round <= order_.size(); ++round) {
      bool grew = false;
      for (const uint32_t from : order_) {
        for (const uint32_t e : out_[from]) {
          const TimedEdge& edge = edges_[e];
          const Wide length = longest[from] + Wide{edge.ns} * tokens - Wide{edge.tokens} * ns;
          if (length <= longest[edge.to]) continue;
          longest[edge.to] = length;
          reached_by[edge.to] = e;
          grew = true;
        }
      }
      if (!grew) return {};
      std::vector<uint32_t> cycle = CycleOf(reached_by);
      if (!cycle.empty()) return cycle;
    }
    return {};
  }

 private:
  // A cycle among the edges by which nodes were last reached: such a cycle has grown, so it beats
  // the ratio.
  std::vector<uint32_t> CycleOf(const std::vector<uint32_t>& reached_by) const {
    std::vector<uint32_t> visit(order_.size(), kNone);
    for (const uint32_t start : order_) {
      uint32_t at = start;
      while (visit[at] == kNone && reached_by[at] != kNone) {
        visit[at] = start;
        at = edges_[reached_by[at]].from;
      }
      if (visit[at] != start || reached_by[at] == kNone) continue;
      std::vector<uint32_t> cycle;
      const uint32_t first = at;
      do {
        cycle.push_back(reached_by[at]);
        at = edges_[reached_by[at]].from;
      } while (at != first);
      std::reverse(cycle.begin(), cycle.end());
      return cycle;
    }
    return {};
  }

  const std::vector<TimedEdge>& edges_;
  const std::vector<uint32_t>& order_;
  std::vector<std::vector<uint32_t>> out_;
};

}  // namespace

CycleRatio MaximumCycleRatio(const std::vector<TimedEdge>& edges,
                             const std::vector<uint32_t>& order) {
  const Search search(edges, order);
  CycleRatio best;
  while (true) {
    std::vector<uint32_t> cycle = search.Beat(best.ns, best.tokens);
    if (cycle.empty()) return best;
    CycleRatio next;
    next.tokens = 0;
    for (const uint32_t e : cycle) {
      next.ns += edges[e].ns;
      next.tokens += edges[e].tokens;
    }
    next.edges = std::move(cycle);
    best = std::move(next);
  }
}

}  // namespace oneflow
