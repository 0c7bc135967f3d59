// Rendezvous: the ranks of a job find each other through one address and prove that they know the
// job's secret; the result is a connected Transport.
//
// Rank 0 listens at the job's address, every other rank at the address from which it reaches rank 0;
// never on all addresses. Every pair of ranks gets two connections, for data and for heartbeats, at
// the addresses that ranks announce; the lower rank accepts. Strangers, twins and ranks of another
// epoch are turned away and the job goes on, also after it has started: rank 0 keeps its door. No
// wait without a bound.
// Threads: call once per process. Read next: comm/admission.h, comm/tcp_transport.h,
// docs/wire_format.md.
#ifndef ONEFLOW_COMM_RENDEZVOUS_H_
#define ONEFLOW_COMM_RENDEZVOUS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "comm/rdma_peers.h"
#include "comm/transport.h"

namespace oneflow::comm {

// Who this process is, and where it meets the others.
struct RendezvousOptions {
  int rank = 0;
  int world_size = 1;
  std::string address;  // "10.0.0.1:29500", a name or an address; rank 0 listens there
  int listener = -1;    // rank 0: a socket that listens there already; -1: makes one
  std::string secret;   // at least 16 bytes
  std::string job;      // id
  uint64_t epoch = 0;
  PathChoice path = PathChoice::kAuto;
  RdmaOptions rdma = {};
  double timeout_seconds = 120;     // for all ranks to be there
  double collective_seconds = 120;  // for all ranks to make a collective call
};

// Reports the missing ranks every 5 s on stderr (rank 0), fails at the timeout. Version or world
// size skew fails on all ranks within 2 s with both values.
absl::StatusOr<std::unique_ptr<Transport>> Connect(const RendezvousOptions& options);

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_RENDEZVOUS_H_
