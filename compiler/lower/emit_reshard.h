// EmitReshard: one `reshard` node -> movement tasks on this rank's devices.
//
// What they do on one mesh axis of n devices, T = bytes of the whole value on the other axes (per
// device: bytes received, chunk firings):
//   P->B    ring all-reduce       2T(n-1)/n   2(n-1)
//           direct                T(n-1)      1 (compiler/passes/bucket_sums.h says when)
//   P->S    ring reduce-scatter    T(n-1)/n     n-1
//   S->B    ring all-gather        T(n-1)/n     n-1
//   S->S'   exchange               T(n-1)/n^2   n-1 peers
//   B->S, B->P   local             0
// and between stages, or where one-axis steps do not reach, a general exchange: every destination
// takes each piece of its slice once, sums over Partial sources in mesh order. On `micro`:
// accumulate, concat, slice, mask. A ring is one ring_send and one ring_reduce task on the chunk
// loop, so a plan does not grow with n; with p the device's place in the ring, and shares whole:
//
//   %5 = reshard(%3) P->B on dp   ->   r1 = assemble(r0)           the device's own part
//                                      link = ring_send(r1)        chunk c: share (p-1-c) mod n,
//                                                                  into the next device
//                                      r2 = ring_reduce(r1, link)  in place of r1: share
//                                                                  (p-2-c) mod n
//
// Large shares travel in pieces, a chunk each, a share's pieces one after the other. To another rank equal pieces are
// sent from where they lie: a SEND of r1 stands for ring_send (docs/decisions/0035).
//
// A bucket (several inputs, P -> B) has its members side by side in r1 and one pack per member
// behind r2. A direct sum has its members side by side in the link, and adds each to the device's own:
//
//   %5 = reshard(%3) P->B on dp   ->   link = assemble(r0)         all of it, into each other device
//                                      r2 = assemble(r0, link, ..) in the mesh's order
//
// By level of links (`rounds`, compiler/parallel/sum_rounds.h) these stand one behind the other, each among the devices
// of one line of the axis and at positions of its own in the order: what a scattering leaves is one share, in whose
// buffer the next ring goes round.
//
// Where the next device is on another rank chunks go through SEND and RECV; the order of the
// additions is the mesh's, never the links', so one process and many give the same bits.
// Pure; edits the draft of one call. Read next: docs/sharding.md, compiler/lower/plan_exchange.cc.
#ifndef ONEFLOW_COMPILER_LOWER_EMIT_RESHARD_H_
#define ONEFLOW_COMPILER_LOWER_EMIT_RESHARD_H_

#include "compiler/lower/draft.h"

namespace oneflow {

// Adds the tasks of a `reshard` node and the buffers of its output on the local devices.
void EmitReshard(const Node& node, Draft* draft);

// The piece of `node`'s input that `destination` takes from `source` in a general exchange.
struct ExchangePiece {
  int source = 0;      // position in the source stage
  Shape source_begin;  // in the source's local buffer
  Shape destination_begin;
  Shape extent;
  bool combines = false;  // adds to what an earlier piece put there
};

// The pieces of one destination (position in its stage) in the order in which they are combined;
// empty for a device that holds zeros of a Partial. Equal on all ranks.
std::vector<ExchangePiece> PlanExchange(const Shape& shape, const Sharding& from,
                                        const Sharding& to, const Mesh& mesh,
                                        const std::vector<Axis>& axes, int destination);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_LOWER_EMIT_RESHARD_H_
