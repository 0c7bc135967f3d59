// Verbs: as much of RDMA as the transport uses, as an interface: ports of adapters, registered memory,
// completion queues and reliable connected queue pairs that write into each other's memory.
//
// There are two: libibverbs, opened when it is asked for (comm/verbs/library.cc), and one in memory for
// tests (comm/fake_verbs_for_test.h). No header of libibverbs is seen outside of library.cc. What a port
// gives keeps it alive. Threads: a port from any; a completion queue and a queue pair as their classes say.
// Invariant: no call waits for a peer. Read next: comm/rdma_link.h, docs/decisions/0018-rdma.md.
#ifndef ONEFLOW_COMM_VERBS_VERBS_H_
#define ONEFLOW_COMM_VERBS_VERBS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace oneflow::comm {

// A global identifier of a port: on Ethernet an IPv6 address, or an IPv4 address mapped into one.
using Gid = std::array<uint8_t, 16>;

// Where a queue pair is reached.
struct QueuePairAddress {
  Gid gid{};
  uint16_t lid = 0;       // InfiniBand
  uint8_t link = 0;       // 1 InfiniBand, 2 Ethernet: only ports of one kind reach each other
  uint8_t mtu = 0;        // of the port: 1 to 5 for 256 to 4,096 bytes
  uint32_t number = 0;    // of the queue pair, 24 bits
  uint32_t sequence = 0;  // of the first packet that it sends, 24 bits
};

// What came of a piece of work.
struct Completion {
  static constexpr int kSuccess = 0;
  static constexpr int kFlushed = 5;  // not done, since its queue pair had failed already

  uint64_t id = 0;
  int status = kSuccess;  // as libibverbs numbers them
  bool received = false;  // the peer has written, and says `immediate`
  uint32_t immediate = 0;
};
// "transport retry counter exceeded (status 12)".
std::string NameOfStatus(int status);

// What may be done with memory by others.
enum class Rights { kNone, kRemoteWrite };

// Memory that an adapter may reach, until this is destroyed; then no more, whatever a peer does.
class RegisteredMemory {
 public:
  virtual ~RegisteredMemory() = default;
  virtual uint32_t local_key() const = 0;
  virtual uint32_t remote_key() const = 0;
};

// Threads: one at a time.
class CompletionQueue {
 public:
  virtual ~CompletionQueue() = default;
  // Readable when something was completed since Arm.
  virtual int fd() const = 0;
  // Takes at most `room` completions; 0: none is there.
  virtual absl::StatusOr<size_t> Poll(Completion* completions, size_t room) = 0;
  // Takes what made fd() readable, and makes the next completion do so again. What was completed before
  // must be polled afterwards: it makes nothing readable.
  virtual absl::Status Arm() = 0;
};

// A piece of work: bytes of this process into memory of the peer.
struct RemoteWrite {
  uint64_t id = 0;
  const std::byte* source = nullptr;
  uint64_t bytes = 0;
  uint32_t local_key = 0;
  uint64_t address = 0;  // of the peer
  uint32_t remote_key = 0;
  std::optional<uint32_t> immediate;  // the peer is told, after all earlier bytes are there
};

// One end of a reliable connection. Every piece of work is completed, in order, once; after the first
// that fails none is done. Threads: PostWrite one at a time, PostReceive likewise. Its completion queue
// outlives it.
class QueuePair {
 public:
  virtual ~QueuePair() = default;
  virtual uint32_t number() const = 0;
  // `sequence`: as this end's address says. REQUIRES: not connected; nothing is sent before both are.
  virtual absl::Status Connect(uint32_t sequence, const QueuePairAddress& peer) = 0;
  // Takes one more immediate of the peer.
  virtual absl::Status PostReceive(uint64_t id) = 0;
  virtual absl::Status PostWrite(const RemoteWrite& write) = 0;
  // Stops both directions; what is not done is completed as kFlushed.
  virtual void Stop() = 0;
};

// An active port of an adapter, opened.
class RdmaPort {
 public:
  virtual ~RdmaPort() = default;
  virtual std::string name() const = 0;          // "mlx5_0:1"
  virtual QueuePairAddress address() const = 0;  // of its queue pairs, without number and sequence
  virtual uint64_t longest_write() const = 0;
  virtual uint32_t most_work() const = 0;  // of a queue pair, in each direction

  virtual absl::StatusOr<std::unique_ptr<RegisteredMemory>> Register(std::byte* data,
                                                                     uint64_t bytes,
                                                                     Rights rights) = 0;
  // Memory of a GPU, which its driver has exported as a DMA buffer; `address` is what peers call its
  // first byte. An error where the adapter's driver cannot.
  virtual absl::StatusOr<std::unique_ptr<RegisteredMemory>> RegisterDmaBuffer(
      int descriptor, uint64_t offset, uint64_t bytes, uint64_t address, Rights rights) = 0;
  virtual absl::StatusOr<std::unique_ptr<CompletionQueue>> MakeCompletionQueue(uint32_t places) = 0;
  virtual absl::StatusOr<std::unique_ptr<QueuePair>> MakeQueuePair(CompletionQueue* completions,
                                                                   uint32_t writes,
                                                                   uint32_t receives) = 0;
};

// What opens ports.
class Verbs {
 public:
  virtual ~Verbs() = default;
  // An active port: of `device` where that is not empty, else the one that has the address `near`, else
  // the first by name. An error says why there is none.
  virtual absl::StatusOr<std::shared_ptr<RdmaPort>> Open(const std::string& device,
                                                         const Gid& near) = 0;
};

// libibverbs, opened at its first use. Open says so where it, or this build's part of it, is missing.
std::unique_ptr<Verbs> SystemVerbs();

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_VERBS_VERBS_H_
