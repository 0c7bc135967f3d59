// Rings: the collectives of a plan, as those who can do a whole one in a call see them: which tasks are its
// members, and what it does to their buffers.
//
// A ring is a `ring_send` and a `ring_reduce` on each of its devices, on one buffer, the reduce of each fed by
// the send of the one before it (plan_format.md, movement tasks). Here are those whose members are all in the
// plan, whose attributes all agree, and whose buffers and links nobody else touches; so nothing else is
// needed to do it otherwise, and proof 6 has shown of the same tasks what they do. Pure. Threads: any. REQUIRES:
// a plan that passed proof 1. Read next: plan/verify_flow.cc, runtime/step_schedule.h.
#ifndef ONEFLOW_PLAN_RINGS_H_
#define ONEFLOW_PLAN_RINGS_H_

#include <cstdint>
#include <vector>

#include "base/dtype.h"
#include "plan/plan.pb.h"

namespace oneflow {

enum class RingKind : uint8_t {
  kAllReduce,      // each has the sum of all buffers
  kReduceScatter,  // each has its share of it; the other shares are undefined
  kAllGather,      // each has the shares of all
};

struct WholeRing {
  struct Member {
    uint32_t device = 0;  // position in the plan
    uint32_t send = 0;    // tasks
    uint32_t reduce = 0;
  };
  RingKind kind = RingKind::kAllReduce;
  std::string mode;  // "sum", "max", "min"
  DType dtype = DType::kInvalid;
  int64_t elements = 0;  // of a buffer
  // True if share i of n is the i-th of n equal stretches of the buffer.
  bool even = false;
  std::vector<Member> members;  // by the share that each owns, which is the mesh's order
};

// In order of their first tasks.
std::vector<WholeRing> RingsOf(const plan::Plan& plan);

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_RINGS_H_
