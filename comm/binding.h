// Binding: what the announcements of all ranks mean for this rank's channels: the number, region and
// memory of the other end; and what of its own end this rank lets an adapter reach.
//
// Functions of OpenChannels. Threads: one at a time, under its lock. Invariants: what a peer says of its
// region is believed only as far as every slot lies in memory that it offers (by RDMA the peer's adapter
// sees to that); registered are a channel's own bytes alone, a receiver's to be written, a sender's to be
// read by this side's adapter. Read next: comm/wire.h, comm/tcp_transport.cc.
#ifndef ONEFLOW_COMM_BINDING_H_
#define ONEFLOW_COMM_BINDING_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "comm/channel_table.h"
#include "comm/neighbours.h"
#include "comm/rdma_peers.h"
#include "comm/wire.h"

namespace oneflow::comm {

// What the ranks have said, by rank; an error if they do not fit together.
absl::StatusOr<std::vector<Announcement>> Agreement(const std::vector<std::string>& said);

// Registers this end's region of a channel whose peer is reached by RDMA; again where it has moved. A
// failure leaves it unregistered, and its messages to frames.
absl::Status RegisterRegion(const RdmaPeers& rdma, Channel* channel);

// Binds the channels `ids`, which this rank has announced in `all`, and follows those that have moved.
// REQUIRES: an Agreement.
void BindChannels(int rank, const std::vector<Announcement>& all, const std::vector<ChannelId>& ids,
                  const Neighbours& neighbours, const RdmaPeers& rdma, ChannelTable* channels);

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_BINDING_H_
