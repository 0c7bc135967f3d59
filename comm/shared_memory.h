// SharedMemory: memory of this process that others of the host may map. PeerMemory: such memory of
// another process, mapped here.
//
// It is a memfd, which has no name: a peer opens it as /proc/PID/fd/N, which the kernel allows to the
// same user in the same PID namespace. That is only a hint where to look: the memory is believed to be
// the one that was offered (over the authenticated connection) because the offer's nonce stands in it.
// Sealed against shrinking before it is offered, and a peer's is refused unless it is, so that no access
// to a mapping can fault. Owned by the transport. Threads: one makes and opens; the bytes are
// everybody's. Invariant: all that an offer says is checked before it is used, and an offer of something
// that is no memfd (a device, a pipe) is not opened. Read next: comm/neighbours.h.
#ifndef ONEFLOW_COMM_SHARED_MEMORY_H_
#define ONEFLOW_COMM_SHARED_MEMORY_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "comm/bytes.h"
#include "comm/socket.h"

namespace oneflow::comm {

// Random bytes that show that something is what was offered.
using Nonce = std::array<char, 16>;
Nonce RandomNonce();

// A descriptor of another process, and what is behind it.
struct Offer {
  uint64_t descriptor = 0;
  uint64_t base = 0;   // memory: its address in the process that offers it
  uint64_t bytes = 0;  // memory: without the page of the nonce
  Nonce nonce{};

  void Write(ByteWriter* writer) const;
  static Offer Read(ByteReader* reader);
};

// Opens what is behind a descriptor of process `pid`, if it is of that type (S_IFREG, S_IFIFO).
absl::StatusOr<Socket> OpenOffered(uint64_t pid, uint64_t descriptor, unsigned type);

class SharedMemory {
 public:
  // Zeros, from the beginning of a page. An error where the system has no memfd or no more memory. The
  // name is what /proc shows, nothing more.
  static absl::StatusOr<std::unique_ptr<SharedMemory>> Make(const char* name, size_t bytes);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  std::byte* data() const { return data_; }
  size_t bytes() const { return offer_.bytes; }
  const Offer& offer() const { return offer_; }

 private:
  SharedMemory() = default;

  Socket descriptor_;
  std::byte* data_ = nullptr;
  size_t mapped_ = 0;
  Offer offer_;
};

class PeerMemory {
 public:
  // Of process `pid` of this host; an error says why it cannot be had.
  static absl::StatusOr<std::shared_ptr<PeerMemory>> Open(uint64_t pid, const Offer& offer);
  ~PeerMemory();
  PeerMemory(const PeerMemory&) = delete;
  PeerMemory& operator=(const PeerMemory&) = delete;

  std::byte* data() const { return data_; }
  // Where `bytes` from that address of its owner are here; nullptr unless all of them are.
  std::byte* Find(const std::byte* address, uint64_t bytes) const;

 private:
  PeerMemory() = default;

  std::byte* data_ = nullptr;
  size_t mapped_ = 0;
  Offer offer_;
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_SHARED_MEMORY_H_
