// TcpTransport: the Transport over one authenticated TCP connection per pair of ranks.
//
// Made by Connect (comm/rendezvous.h) from connected sockets; owns them and one I/O thread.
// Threads: as Transport says; one mutex guards all queues, a second one is held while callbacks
// run, so that CloseChannels can wait for them. Frames: a 16-byte header (type, channel number at
// the reader, payload bytes), then the payload, which is read straight into the posted slot. A rank
// that is silent for 10 s is lost (beats go out every 0.5 s); after a gap in the own I/O thread
// everybody gets another period. Read next: tcp_transport.cc.
#ifndef ONEFLOW_COMM_TCP_TRANSPORT_H_
#define ONEFLOW_COMM_TCP_TRANSPORT_H_

#include <memory>
#include <vector>

#include "comm/socket.h"
#include "comm/transport.h"

namespace oneflow::comm {

// peers[r] is the connection to rank r; peers[rank] is closed. `timeout_seconds` bounds every
// collective call.
std::unique_ptr<Transport> MakeTcpTransport(int rank, std::vector<Socket> peers,
                                            double timeout_seconds);

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_TCP_TRANSPORT_H_
