// TcpTransport: the Transport over two authenticated TCP connections per pair of ranks: one for
// frames (docs/wire_format.md), one for heartbeats. Messages and credits go past them where there is a
// faster path, through shared memory (comm/neighbours.h) or by RDMA (comm/rdma_peers.h); what ranks say
// in words, farewells and losses stay here.
//
// Made by Connect (comm/rendezvous.h) from connected sockets; owns them and two threads. One reads
// sockets, completions of adapters and notices that nobody looks for, runs their callbacks and writes what callers
// leave to it (comm/outbox.h); the other is the heartbeat's. A thread that has nothing to do may stand in for the first
// where it reads (comm/event_queue.h): what came then wakes that thread alone. Each peer's outbox has a lock, channels
// are counters, and one thread at a time has its turn at what comes and runs callbacks (comm/turns.h); it writes when
// its turn is over. What changes the reader's world (closing channels, losing a peer) is done in a turn.
// Sockets stay open until the end, so a descriptor that a late event names is never another's. Read
// next: tcp_transport.cc.
#ifndef ONEFLOW_COMM_TCP_TRANSPORT_H_
#define ONEFLOW_COMM_TCP_TRANSPORT_H_

#include <memory>
#include <vector>

#include "comm/doorkeeper.h"
#include "comm/neighbours.h"
#include "comm/rdma_peers.h"
#include "comm/socket.h"
#include "comm/transport.h"

namespace oneflow::comm {

// The connections to the other ranks, by rank; the own place is closed in both. And where all ranks run.
struct Links {
  std::vector<Socket> data;
  std::vector<Socket> beats;
  std::vector<HostId> hosts = {};
};

// `timeout_seconds` bounds every collective call. `door` lives as long as the transport; rank 0 has
// one. All by TCP.
std::unique_ptr<Transport> MakeTcpTransport(int rank, Links links, double timeout_seconds,
                                            std::unique_ptr<Doorkeeper> door);
// Collective: the same, and finds out which ranks are reached through shared memory and by RDMA.
absl::StatusOr<std::unique_ptr<Transport>> MakeTransport(int rank, Links links,
                                                         double timeout_seconds,
                                                         std::unique_ptr<Doorkeeper> door,
                                                         PathChoice choice, RdmaOptions rdma);

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_TCP_TRANSPORT_H_
