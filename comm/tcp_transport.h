// TcpTransport: the Transport over two authenticated TCP connections per pair of ranks: one for
// frames (docs/wire_format.md), one for heartbeats.
//
// Made by Connect (comm/rendezvous.h) from connected sockets; owns them and two threads. One does
// all reading, runs all callbacks and writes what callers leave to it (comm/outbox.h); the other is
// the heartbeat's. There is no lock over all: each peer's outbox has one, channels are counters, and
// what changes the reader's world (closing channels, losing a peer) runs on the reader's thread.
// Sockets stay open until the end, so a descriptor that a late event names is never another's. Read
// next: tcp_transport.cc.
#ifndef ONEFLOW_COMM_TCP_TRANSPORT_H_
#define ONEFLOW_COMM_TCP_TRANSPORT_H_

#include <memory>
#include <vector>

#include "comm/doorkeeper.h"
#include "comm/socket.h"
#include "comm/transport.h"

namespace oneflow::comm {

// The connections to the other ranks, by rank; the own place is closed in both.
struct Links {
  std::vector<Socket> data;
  std::vector<Socket> beats;
};

// `timeout_seconds` bounds every collective call. `door` lives as long as the transport; rank 0 has
// one.
std::unique_ptr<Transport> MakeTcpTransport(int rank, Links links, double timeout_seconds,
                                            std::unique_ptr<Doorkeeper> door);

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_TCP_TRANSPORT_H_
