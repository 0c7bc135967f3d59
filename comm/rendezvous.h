// Rendezvous: the ranks of a job find each other through one address and prove that they know the
// job's secret; the result is a connected Transport.
//
// Mutual HMAC-SHA256 challenge over nonces, protocol version, job, epoch, rank; constant-time
// compare; at most 512 bytes and 5 s before a peer is authenticated. Binds loopback only (one
// host). No wait without a bound. Threads: call once per process. Read next: comm/tcp_transport.h,
// docs/launch.md.
#ifndef ONEFLOW_COMM_RENDEZVOUS_H_
#define ONEFLOW_COMM_RENDEZVOUS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "comm/transport.h"

namespace oneflow::comm {

struct RendezvousOptions {
  int rank = 0;
  int world_size = 1;
  std::string address;  // "127.0.0.1:29500", rank 0 listens there
  std::string secret;   // 32 bytes
  std::string job;      // id
  uint64_t epoch = 0;
  double timeout_seconds = 120;
};

// Reports the missing ranks every 5 s on stderr (rank 0), fails at the timeout. Version or world
// size skew fails on all ranks within 2 s with both values.
absl::StatusOr<std::unique_ptr<Transport>> Connect(const RendezvousOptions& options);

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_RENDEZVOUS_H_
