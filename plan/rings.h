// Rings: the collectives of a plan, as those who can do a whole one in a call see them: which tasks are its
// members, and what it does to their buffers.
//
// A ring is a `ring_send` and a `ring_reduce` on each of its devices, on one buffer, the reduce of each fed by
// the send of the one before it (plan_format.md, movement tasks). Here are those whose members are all in the
// plan, whose attributes all agree, and whose buffers and links nobody else touches; so nothing else is
// needed to do it otherwise, and proof 6 has shown of the same tasks what they do. Of a ring that goes through
// several ranks each plan has parts, one a member, that say the same of themselves and which channels they hang
// on; whether they are one ring only all ranks together know (runtime/step_calls.h). And here are the rings whose
// messages need no copy between ranks that share memory (RingPlace). Pure. Threads: any. REQUIRES: a plan that passed
// proof 1. Read next: plan/verify_flow.cc, runtime/step_schedule.h, docs/decisions/0038-rings-in-place.md.
#ifndef ONEFLOW_PLAN_RINGS_H_
#define ONEFLOW_PLAN_RINGS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "plan/plan.pb.h"
#include "plan/sent_pieces.h"

namespace oneflow {

enum class RingKind : uint8_t {
  kAllReduce,      // each has the sum of all buffers
  kReduceScatter,  // each has its share of it; the other shares are undefined
  kAllGather,      // each has the shares of all
};

struct WholeRing {
  static constexpr uint32_t kNoTask = ~0u;
  struct Member {
    uint32_t device = 0;  // position in the plan
    uint32_t send = 0;    // tasks
    uint32_t reduce = 0;
    uint32_t share = 0;  // that it owns
    // The SEND and the RECV of its chunks, where the next member, or the one before, is of another rank.
    uint32_t ship = kNoTask;
    uint32_t receive = kNoTask;
  };
  RingKind kind = RingKind::kAllReduce;
  std::string mode;  // "sum", "max", "min"
  DType dtype = DType::kInvalid;
  int64_t elements = 0;  // of a buffer
  // True if share i of n is the i-th of n equal stretches of the buffer.
  bool even = false;
  std::vector<Member> members;    // those of this plan, by share, which is the mesh's order
  std::vector<uint32_t> devices;  // of all members, by share: global ids
};

// A member of a ring that other ranks have members of too.
struct RingPart {
  WholeRing ring;  // with this member alone; `devices` is empty
  int64_t shares = 0;
  // Channels that bring and take its chunks; empty where the neighbour is here.
  std::string from, to;
  int next = -1;  // that neighbour's place among the parts
};

// A member of an all-reduce whose messages need no place of their own where the two ranks share memory. Of a share's
// way round, the first `lent` messages may be read where they lie in the sender's buffer, and the rest may be written
// where they belong in the receiver's:
//
//   lent     a partial sum is overwritten by the whole one alone, which is made of it: when that comes, the next
//            member has read
//   the rest a whole sum is made of this member's part as well: when it comes, this member's ring goes round, and
//            those who read that part have done so
//
// So the ring's own messages order what a slot and its credits order elsewhere, whatever path each of them takes. A
// ring that only scatters or only gathers has no such messages. Nobody else may touch the buffer from the first chunk
// to the last: those that did before are over when the ring's first task begins.
struct RingPlace {
  uint32_t reduce = 0;  // task
  // The SEND of pieces to the next member and the RECV from the one before, where those are of other ranks.
  uint32_t ship = WholeRing::kNoTask;
  uint32_t receive = WholeRing::kNoTask;
  int64_t lent = 0;   // chunks
  SentPieces pieces;  // by chunk: where in the buffer what comes belongs
};

// Those whose members are all here, in order of their first tasks.
std::vector<WholeRing> RingsOf(const plan::Plan& plan);
// Of the others, in order of their `ring_reduce`.
std::vector<RingPart> RingPartsOf(const plan::Plan& plan);
// Members with a `ship` or a `receive`, in order of their `ring_reduce`.
std::vector<RingPlace> RingPlacesOf(const plan::Plan& plan);

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_RINGS_H_
