// Binding: what this rank announces of its channels to the rank at their other end, and lets its adapter
// reach; and what that rank's announcement means for them: the number, region and memory of the other end.
//
// Functions of OpenChannels. Threads: one at a time, under its lock. Invariants: what a peer says of its
// region is believed only as far as every slot lies in memory that it offers (by RDMA the peer's adapter
// sees to that); registered are a channel's own bytes alone, a receiver's to be written, a sender's to be
// read by this side's adapter. Read next: comm/agreement.h, comm/tcp_transport.cc.
#ifndef ONEFLOW_COMM_BINDING_H_
#define ONEFLOW_COMM_BINDING_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "comm/agreement.h"
#include "comm/channel_table.h"
#include "comm/neighbours.h"
#include "comm/rdma_peers.h"
#include "comm/wire.h"

namespace oneflow::comm {

// From the first byte of a region's messages to the last; none if that cannot be.
std::optional<uint64_t> SpanOf(const Region& slots, uint64_t bytes);

// Registers this end's region of a channel whose peer is reached by RDMA; again where it has moved. A
// failure leaves it unregistered, and its messages to frames.
absl::Status RegisterRegion(const RdmaPeers& rdma, Channel* channel);

// What this rank says to each other, by rank, of the channels that it opens under these numbers, and of those that
// have moved. Registered already.
std::vector<Announcement> AnnounceChannels(size_t world_size, const Digest& digest,
                                           const std::vector<ChannelId>& ids,
                                           const std::vector<ChannelSpec>& specs,
                                           const std::vector<ChannelId>& moved,
                                           const Neighbours& neighbours,
                                           const ChannelTable& channels);

// Binds the channels of `own`, and follows those that have moved at either end. By rank: of its stretches of rings those
// whose ring is mapped here (comm/ring_binding.h). REQUIRES: both ends fit (comm/agreement.h).
MappedBy BindChannels(int rank, const std::vector<Announcement>& own,
                      const std::vector<Announcement>& all, const Neighbours& neighbours,
                      const RdmaPeers& rdma, ChannelTable* channels);

// Sender: writes a message into the other end's slot; one of a ring in place nowhere.
// REQUIRES: the channel is in place, or has a target.
void Deliver(const Channel& channel, int64_t message, const std::byte* source);

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_BINDING_H_
