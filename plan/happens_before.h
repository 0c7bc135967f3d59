// HappensBefore: which firings of a rank are over before which others begin, under any timing that
// the streams, registers, credits and `after` edges of its plan allow. Vector clocks over the
// rank's streams.
//
// Owned by whoever asks (memory planner, proof 3); it keeps a reference to the plan, which must
// outlive it and must not change in tasks, streams, registers' slots or consumers meanwhile
// (offsets may: they are never read). Threads: const access from any; AddAfterEdge excludes all
// else. Meaning of order: "a before b" = a's end happens before b's start. A RECV starts at its
// post and ends at its arrive. Relations repeat with the step, so any two steps may be named; what
// is further apart than the expansion is answered from the expansion's last step, which a task's
// own order implies. Cost: firings x streams words for `steps` expanded steps to build; queries
// O(1). Read next: plan/verify.h.
#ifndef ONEFLOW_PLAN_HAPPENS_BEFORE_H_
#define ONEFLOW_PLAN_HAPPENS_BEFORE_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "plan/firing_graph.h"
#include "plan/firings.h"
#include "plan/plan.pb.h"

namespace oneflow {

class HappensBefore {
 public:
  // REQUIRES: proofs 1 and 2 of plan/verify.h but for offsets: every firing in one stream, every
  // edge raises the stamp or stays in its stream (CHECKed here). `steps` 0 chooses enough steps for
  // every credit and lag of the plan.
  explicit HappensBefore(const plan::Plan& plan, uint32_t steps = 0);
  // The same, of a graph that was made of the plan already.
  HappensBefore(const plan::Plan& plan, FiringGraph graph);

  // As above, firing by firing in the order of stamps: `begins` is called when all that is over
  // before firing `index` of `step` begins is known of that firing, and may add edges into it.
  using Begins = std::function<void(HappensBefore* order, uint32_t step, uint32_t index)>;
  HappensBefore(const plan::Plan& plan, uint32_t steps, const Begins& begins);

  // True if `a` is over before `b` begins under any timing. False for a == b.
  bool Before(const FiringId& a, const FiringId& b) const;
  // The same of firings of the expanded steps, as far as the steps before `b` alone imply it.
  bool BeforeInExpansion(uint32_t step_a, uint32_t a, uint32_t step_b, uint32_t b) const {
    return Start(step_b, b)[graph_.StreamOf(a)] >
           step_a * graph_.StreamLength(graph_.StreamOf(a)) + graph_.PositionOf(a);
  }

  // True if every access of iteration `qa` of register `a` (the producer's and all consumers'
  // firings) is over before the first firing that fills iteration `qb` of register `b`. Iterations
  // count from the start of the run, at the register's own level.
  bool AllBefore(uint32_t a, int64_t qa, uint32_t b, int64_t qb) const;

  // Adds the edge to the relation, as if the plan had it (the plan is not changed). Costs the
  // firings whose past grows. REQUIRES: it raises the stamp; both tasks have levels >=
  // after.level() and equally many iterations of it.
  void AddAfterEdge(uint32_t task, const plan::AfterEdge& after);

  const FiringGraph& graph() const { return graph_; }
  uint32_t steps() const { return steps_; }

 private:
  HappensBefore(const plan::Plan& plan, FiringGraph graph, uint32_t steps, const Begins& begins);

  // An edge out of a firing.
  struct Link {
    uint32_t to = 0;
    uint32_t steps = 0;
    bool stream = false;
  };
  // An edge that was added; those out of one firing form a list.
  struct AddedLink {
    Link link;
    uint32_t next = kNone;
  };

  uint32_t* Start(uint32_t step, uint32_t index) {
    return start_.data() + (size_t{step} * graph_.size() + index) * lanes_;
  }
  const uint32_t* Start(uint32_t step, uint32_t index) const {
    return start_.data() + (size_t{step} * graph_.size() + index) * lanes_;
  }
  uint32_t* Arrive(uint32_t step, uint32_t index) {
    return arrive_.data() + (size_t{step} * receives_ + receive_[index]) * lanes_;
  }
  bool IsReceive(uint32_t index) const { return receive_[index] != kNone; }
  void CheckRises(const FiringEdge& edge) const;
  // Joins what `from` knows at its end into `to`; true if `to` learnt something.
  bool Flow(uint32_t from_step, uint32_t from, uint32_t to_step, uint32_t to, bool stream);
  bool Swept(uint32_t step, uint32_t index) const {
    return step < step_ || (step == step_ && graph_.StampRank(index) < rank_);
  }
  // A RECV's arrive knows what its post knows; true if it learnt something.
  bool Settle(uint32_t step, uint32_t index);
  // Tells all that wait for a firing what is over with it; `learnt` is called for those to whom it
  // was news.
  template <typename Learnt>
  void Tell(uint32_t step, uint32_t from, const Learnt& learnt);

  static constexpr uint32_t kNone = 0xffffffffu;
  const plan::Plan& plan_;
  FiringGraph graph_;
  uint32_t steps_ = 2;
  uint32_t step_ = 0;  // how far the clocks are known: the firing that begins now
  uint32_t rank_ = 0;
  size_t lanes_ = 0;                   // one per stream
  uint32_t receives_ = 0;              // RECV firings per step
  std::vector<uint32_t> receive_;      // per firing: its number among RECV firings, or kNone
  std::vector<uint32_t> first_link_;   // per firing, one more at the end: into links_
  std::vector<Link> links_;            // of the plan's edges, those out of one firing together
  std::vector<uint32_t> first_added_;  // per firing: the last added edge out of it, or kNone
  std::vector<AddedLink> added_;
  std::vector<uint32_t> start_;   // [step][firing][lane]: firings of the lane over before it starts
  std::vector<uint32_t> arrive_;  // [step][receive][lane]: the same for the arrive of a RECV
};

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_HAPPENS_BEFORE_H_
