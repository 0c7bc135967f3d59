// Handshake: two ranks prove to each other that they know the job's secret, before any other byte
// is read.
//
//   connector -> acceptor   hello:  magic, version, world size, rank, epoch, SHA-256 of the job id,
//   nonce acceptor  -> connector  nonce, mac = HMAC-SHA256(secret, "acceptor" + hello + nonce)
//   connector -> acceptor   mac = HMAC-SHA256(secret, "connector" + hello + nonce + acceptor's mac)
//   acceptor  -> connector  0, or the length and text of a refusal
// 88 bytes at most before a peer is authenticated; macs are compared in constant time; the whole
// takes a deadline. Blocking, on the caller's thread. Read next: comm/rendezvous.cc.
#ifndef ONEFLOW_COMM_HANDSHAKE_H_
#define ONEFLOW_COMM_HANDSHAKE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "comm/socket.h"

namespace oneflow::comm {

// What this rank says of itself.
struct Identity {
  uint32_t rank = 0;
  uint32_t world_size = 1;
  uint64_t epoch = 0;
  std::string job;
  std::string secret;
};

// Connecting side. A refusal comes back as kPeer with the acceptor's words.
absl::Status Introduce(const Socket& socket, const Identity& self, Deadline deadline);

// Accepting side: the rank of an authenticated peer of the same job, epoch and world size.
// kUnauthenticated for a stranger (drop it and go on); kPeer if an authenticated peer differs in a
// field (both values are named).
absl::StatusOr<uint32_t> Admit(const Socket& socket, const Identity& self, Deadline deadline);

// HMAC-SHA256, 32 bytes.
std::string Hmac(const std::string& secret, const std::string& text);

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_HANDSHAKE_H_
