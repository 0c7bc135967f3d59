// Socket: a TCP socket, with a deadline on every blocking operation.
//
// Owns its descriptor; movable. Threads: one at a time. Invariants: binds one address of this host,
// never all of them; TCP_NODELAY always. Read next: comm/handshake.h.
#ifndef ONEFLOW_COMM_SOCKET_H_
#define ONEFLOW_COMM_SOCKET_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace oneflow::comm {

using Deadline = std::chrono::steady_clock::time_point;

// Where a rank listens, as ranks tell each other: an IPv6 address, or an IPv4 address mapped into
// one (::ffff:a.b.c.d).
struct Endpoint {
  uint8_t address[16] = {};
  uint32_t port = 0;

  std::string host() const;  // as Connect takes it: "10.0.0.7", "fd00::7"
};
static_assert(sizeof(Endpoint) == 20);

class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket();
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept;

  // Listens on the address that `host` (a name or an address) has, which must be one of this host;
  // port 0 takes a free one. An occupied port, a foreign address and `all addresses` are errors.
  static absl::StatusOr<Socket> Listen(int port, const std::string& host = "127.0.0.1");
  // Takes over a socket that somebody else has made listen on that port of one address; closes on
  // exec from here on. kError if the descriptor is no such socket.
  static absl::StatusOr<Socket> Adopt(int fd, int port);
  // One attempt: kUnavailable while nobody listens, or the name is not known yet.
  static absl::StatusOr<Socket> Connect(const std::string& host, int port, Deadline deadline);
  absl::StatusOr<Socket> Accept(Deadline deadline) const;
  absl::StatusOr<int> port() const;
  // The address and port of this end.
  absl::StatusOr<Endpoint> own_end() const;

  // All bytes or an error; kDeadlineExceeded at the deadline, kUnavailable if the peer closed.
  absl::Status WriteAll(const void* data, size_t bytes, Deadline deadline) const;
  absl::Status ReadAll(void* data, size_t bytes, Deadline deadline) const;
  absl::Status SetNonBlocking() const;

  int fd() const { return fd_; }
  bool open() const { return fd_ >= 0; }
  void Close();

 private:
  int fd_ = -1;
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_SOCKET_H_
