// Rings: the collectives of a plan, as those who can do a whole one in a call see them: which tasks are its
// members, and what it does to their buffers.
//
// A ring is a `ring_send` and a `ring_reduce` on each of its devices, on one buffer, the reduce of each fed by
// the send of the one before it (plan_format.md, movement tasks). Here are those whose members are all in the
// plan, whose attributes all agree, and whose buffers and links nobody else touches; so nothing else is
// needed to do it otherwise, and proof 6 has shown of the same tasks what they do. Of a ring that goes through
// several ranks each plan has parts, one a member, that say the same of themselves and which channels they hang
// on; whether they are one ring only all ranks together know (runtime/step_calls.h). And here are the rings that
// need not go round where all members share memory (RingPlace). Pure. Threads: any. REQUIRES: a plan that passed
// proof 1. Read next: plan/verify_flow.cc, runtime/step_schedule.h, docs/decisions/0039-summed-once.md.
#ifndef ONEFLOW_PLAN_RINGS_H_
#define ONEFLOW_PLAN_RINGS_H_

#include <cstdint>
#include <string>
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

// A member of an all-reduce that need not go round where all members share memory. Each member makes the whole sum of
// one share: in the chunks in which it would have, it adds that share's pieces of all buffers, in the order in which
// the ring would have, and writes the sum into all of them. In its other chunks it has nothing to do but to pass them
// on:
//
//   reads   a chunk that has come to the member that sums it has been passed on by all others, so their rings go round
//           and their buffers are filled; nobody writes its bytes but who sums it
//   writes  nobody else reads them while the ring goes round; when the chunk has come by once more, they are there
//
// So the chunks, whatever path each of them takes, order what is done to the buffers, and carry nothing. A ring that
// only scatters or only gathers does not end with a chunk from all others. Where not all share memory the ring goes
// round, and a share that comes whole may be received where it belongs, into the buffer (decision 0041): this member's part
// is in it, so nobody but its own SEND of it is still to read those bytes. Nobody else may touch the buffer from the
// first chunk to the last: those that did before are over when the ring's first task begins.
struct RingPlace {
  uint32_t reduce = 0;  // task
  // To the next member: the `ring_send`, if that is of this rank, else the SEND of pieces.
  uint32_t send = WholeRing::kNoTask;
  uint32_t ship = WholeRing::kNoTask;
  // The RECV from the one before, if that is of another rank.
  uint32_t receive = WholeRing::kNoTask;
  int next = -1;  // the next member among the places, if it is of this rank
  int64_t members = 0;
  // The chunks in which it sums: `pieces_per_share` of them from this one.
  int64_t sums_from = 0;
  int64_t pieces_per_share = 0;

  bool Sums(int64_t chunk) const { return chunk >= sums_from && !Gathers(chunk); }
  // What comes is whole: a member that adds its part of it has read it before, from where it goes.
  bool Gathers(int64_t chunk) const { return chunk >= sums_from + pieces_per_share; }
};

// Those whose members are all here, in order of their first tasks.
std::vector<WholeRing> RingsOf(const plan::Plan& plan);
// Of the others, in order of their `ring_reduce`.
std::vector<RingPart> RingPartsOf(const plan::Plan& plan);
// In order of their `ring_reduce`. Those of one rank that follow each other are there together or not at all.
std::vector<RingPlace> RingPlacesOf(const plan::Plan& plan);
// Those that follow each other, as positions in `places`: from one with a `receive` to one with a `ship`, or all of a
// ring whose members are all here.
std::vector<std::vector<size_t>> RingStretchesOf(const std::vector<RingPlace>& places);

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_RINGS_H_
