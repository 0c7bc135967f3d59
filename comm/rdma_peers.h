// RdmaPeers: the ranks that this rank reaches by RDMA.
//
// Found out by a collective exchange (Meet) behind that of the neighbours: each rank that has a peer it
// shares no memory with opens a port and says where its queue pairs are; each connects to the peers',
// sends a probe, and says what did not work. A pair uses RDMA if both probes came, else TCP. Addresses
// and, later, keys of memory go over the authenticated connections alone. Owned by the transport.
// Threads: Meet before others know of it; link and listens from any; the rest from whoever runs
// callbacks. Read next: comm/rdma_link.h, comm/tcp_transport.cc.
#ifndef ONEFLOW_COMM_RDMA_PEERS_H_
#define ONEFLOW_COMM_RDMA_PEERS_H_

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "comm/neighbours.h"
#include "comm/rdma_link.h"
#include "comm/transport.h"
#include "comm/verbs/verbs.h"

namespace oneflow::comm {

// What a rank may use for RDMA.
struct RdmaOptions {
  std::shared_ptr<Verbs> verbs;  // nullptr: libibverbs
  std::string device;            // empty: the one that has the address `near`, or any
  Gid near{};                    // where this rank speaks TCP
  // Longer than an adapter tries to reach a port that does not answer.
  std::chrono::milliseconds probe_time{5000};
};

class RdmaPeers {
 public:
  // Nobody.
  explicit RdmaPeers(int world_size);
  // Collective. `neighbours` have met. An error on all ranks if one of them insists on RDMA that a pair
  // does not get.
  absl::Status Meet(int rank, PathChoice choice, RdmaOptions options, const Neighbours& neighbours,
                    const ExchangeFn& exchange);

  // nullptr: that rank is reached otherwise.
  RdmaLink* link(int rank) const { return links_[static_cast<size_t>(rank)].get(); }
  bool any() const { return any_.load(std::memory_order_acquire); }
  // As Transport::paths.
  const std::vector<std::string>& paths() const { return paths_; }

  // Whether what that rank writes here is looked at; no more after Drop or Suspect.
  bool listens(int rank) const {
    return listening_[static_cast<size_t>(rank)].load(std::memory_order_acquire);
  }
  void Drop(int rank);
  // Its connection is broken. Why it stopped it may still say by TCP; if it does not, it is due.
  void Suspect(int rank, const std::string& how);
  // How the connection broke, once: the time is up in which the peer could have said why.
  std::optional<std::string> Due(int rank);
  // How it is broken so far: "; HOW", or nothing.
  std::string Doubt(int rank) const;
  // How long the transport's thread may sleep at most, so that Due is asked in time.
  int longest_sleep_ms() const;
  // All that was sent is there.
  bool idle() const;

 private:
  std::vector<std::unique_ptr<RdmaLink>> links_;
  std::vector<std::atomic<bool>> listening_;
  std::vector<std::string> paths_;
  std::atomic<bool> any_{false};
  // A connection that broke.
  struct Suspicion {
    std::string how;
    std::chrono::steady_clock::time_point due;
  };
  std::vector<std::optional<Suspicion>> suspicions_;
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_RDMA_PEERS_H_
