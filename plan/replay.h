// Replay: runs some steps of a plan symbolically, in an order drawn from a seed that the plan
// allows, and watches every byte. The verifier's judge in tests of mutations: it shares the edges
// of the plan with it, but neither clocks nor sweeps, and what it finds has really happened in a
// run.
//
// Pure. Threads: any. Peers answer at once: a SEND has a credit, a RECV may arrive any time after
// its post. Cost: events of all steps x registers alive. Read next: plan/mutate.h.
#ifndef ONEFLOW_PLAN_REPLAY_H_
#define ONEFLOW_PLAN_REPLAY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "plan/plan.pb.h"

namespace oneflow {

// What one run shows.
struct ReplayResult {
  bool deadlock = false;
  bool clobbered = false;  // bytes were filled that someone had still to read, or was using
  std::string what;        // the first finding
  bool clean() const { return !deadlock && !clobbered; }
};

// `late`: tasks whose firings end as late as they can; the others are drawn by the seed.
// REQUIRES: proof 1.
ReplayResult Replay(const plan::Plan& plan, uint64_t seed, uint32_t steps,
                    const std::vector<uint32_t>& late = {});

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_REPLAY_H_
