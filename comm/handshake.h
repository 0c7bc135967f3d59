// Handshake: two ranks prove to each other that they know the job's secret, before any other byte
// is read. docs/wire_format.md has every field.
//
//   connector -> acceptor   hello: magic, version, world size, both ranks, what the connection is
//                           for, epoch, SHA-256 of the job id, nonce
//   acceptor  -> connector  nonce, mac = HMAC-SHA256(secret, "acceptor" + hello + nonce)
//   connector -> acceptor   mac = HMAC-SHA256(secret, "connector" + hello + nonce + acceptor's mac)
//   acceptor  -> connector  0, or the length and text of a refusal
//
// 128 bytes before a peer is authenticated; macs bind the version and both ranks, and are compared
// in constant time. The connecting side blocks, with a deadline; the accepting side is a state
// machine, so that a silent stranger delays nobody. Threads: one at a time.
// Read next: comm/admission.h.
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

// What a connection is for.
enum class Purpose : uint32_t { kData = 0, kBeats = 1 };

// Connecting side, to rank `peer`. A refusal comes back as kPeer with the acceptor's words.
absl::Status Introduce(const Socket& socket, const Identity& self, uint32_t peer, Purpose purpose,
                       Deadline deadline);

// The first message, as it lies on the wire.
struct Hello {
  uint32_t magic = 0;
  uint32_t version = 0;
  uint32_t world_size = 0;
  uint32_t rank = 0;  // the connector's
  uint32_t peer = 0;  // the acceptor's
  uint32_t purpose = 0;
  uint64_t epoch = 0;
  uint8_t job[32] = {};
  uint8_t nonce[32] = {};
};
static_assert(sizeof(Hello) == 96);

// Accepting side: fed with the bytes that have come, says what to answer.
class Acceptance {
 public:
  explicit Acceptance(const Identity& self) : self_(&self) {}

  // How many bytes are needed before the next call of Take.
  size_t wanted() const { return step_ == 0 ? sizeof(Hello) : 32; }
  // Takes those bytes. *answer is to be sent, also with a refusal. Ok and not proven(): go on.
  // kUnauthenticated: a stranger, who gets no answer. kPeer: one of ours that differs in version or
  // world size, so no rank can start. kAborted: one of ours that is not wanted here (another epoch,
  // job or rank): drop it and go on.
  absl::Status Take(const std::string& bytes, std::string* answer);

  // The secret was proven and every field fits.
  bool proven() const { return proven_; }
  uint32_t rank() const { return hello_.rank; }
  Purpose purpose() const { return static_cast<Purpose>(hello_.purpose); }

  // The last answer: yes, or why not.
  static std::string Yes();
  static std::string No(const std::string& why);

 private:
  absl::Status Judge(std::string* answer) const;

  const Identity* self_;
  int step_ = 0;
  Hello hello_;
  std::string said_;  // hello and own nonce
  std::string own_mac_;
  bool proven_ = false;
};

// HMAC-SHA256, 32 bytes.
std::string Hmac(const std::string& secret, const std::string& text);

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_HANDSHAKE_H_
