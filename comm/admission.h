// Admission: lets the ranks of this job in, many at once, while strangers wait, talk nonsense or
// leave.
//
// Made by Connect, on its thread. Bounded: at most 128 connections that have not proven the secret
// yet (the oldest goes when one more comes), 5 s and 128 bytes each. Read next: comm/handshake.h,
// comm/rendezvous.cc.
#ifndef ONEFLOW_COMM_ADMISSION_H_
#define ONEFLOW_COMM_ADMISSION_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <list>
#include <string>

#include "absl/status/status.h"
#include "comm/handshake.h"
#include "comm/socket.h"

namespace oneflow::comm {

// What a connection has to prove the secret.
inline constexpr auto kHandshakeTime = std::chrono::seconds(5);

class Admission {
 public:
  // Takes the socket of an authenticated peer of this job and returns nothing, or says why it may
  // not come in (a twin, say).
  using Welcome = std::function<std::string(uint32_t rank, Purpose purpose, Socket* socket)>;

  // Both outlive the admission.
  Admission(const Socket* listener, const Identity* self) : listener_(listener), self_(self) {}

  // Does what can be done until `until`, or *stop; returns after each welcome. An error if a peer
  // differs so that the job cannot start (kPeer), or the listener failed.
  absl::Status Run(Deadline until, const Welcome& welcome, const std::atomic<bool>* stop = nullptr);

 private:
  struct Pending {
    Socket socket;
    Acceptance acceptance;
    Deadline limit;
    std::string read;
  };

  void Accept();
  // False: drop it.
  bool Advance(Pending* pending, const Welcome& welcome, bool* welcomed, absl::Status* fatal);

  const Socket* listener_;
  const Identity* self_;
  std::list<Pending> pending_;  // oldest first
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_ADMISSION_H_
