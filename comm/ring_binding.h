// Rings in place: which rings need not go round because all their ranks share memory and have mapped all their buffers.
//
// A stretch of a ring, what one rank has of it, is announced to all ranks of the host; each follows the names of the
// channels from stretch to stretch, back to its own, and maps what lies on the way. What it has mapped it says in
// the call that ends the opening to all others of that ring, and a ring is in place when all have said so: so all
// of its ranks find the same.
//
// Functions of OpenChannels. Threads: one at a time, under its lock. Invariants: what a peer says of its buffers is
// believed only as far as they lie in memory that it offers; how much of them is touched this rank knows itself.
// Read next: comm/binding.h, docs/decisions/0039-summed-once.md.
#ifndef ONEFLOW_COMM_RING_BINDING_H_
#define ONEFLOW_COMM_RING_BINDING_H_

#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "comm/agreement.h"
#include "comm/channel_table.h"
#include "comm/neighbours.h"
#include "comm/wire.h"

namespace oneflow::comm {

// Adds to what is said to each rank. `offered`: by rank, to what memory that it may map, by addresses in it.
void AnnounceRings(const std::vector<ChannelId>& opened, const std::vector<ChannelId>& moved,
                   const Neighbours& neighbours, const ChannelTable& channels,
                   std::vector<Announcement>* own,
                   std::vector<std::vector<const std::byte*>>* offered);

// Finds the rings of the stretches that have been announced, follows buffers that have moved, and adds to what this rank
// maps of each. Those rings are not in place until all have said so. REQUIRES: the channels are bound.
void BindRings(int rank, const std::vector<Announcement>& own, const std::vector<Announcement>& all,
               const Neighbours& neighbours, ChannelTable* channels, MappedBy* mapped);

// Here each rank has `mapped` so much. An error blames a rank that names stretches of no ring of its own.
absl::Status SettleRings(const MappedBy& mapped, ChannelTable* channels);

// As Transport::InPlace.
std::vector<Region> BuffersInPlace(const Channel& channel);

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_RING_BINDING_H_
