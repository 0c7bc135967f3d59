// Socket: a TCP socket on the loopback interface, with a deadline on every blocking operation.
//
// Owns its descriptor; movable. Threads: one at a time. Invariants: binds 127.0.0.1 only,
// TCP_NODELAY always. Read next: comm/handshake.h.
#ifndef ONEFLOW_COMM_SOCKET_H_
#define ONEFLOW_COMM_SOCKET_H_

#include <chrono>
#include <cstddef>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace oneflow::comm {

using Deadline = std::chrono::steady_clock::time_point;

class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket();
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept;

  // Listens on 127.0.0.1; port 0 takes a free one. An occupied port is an error that names it.
  static absl::StatusOr<Socket> Listen(int port);
  // Takes over a socket that somebody else has made listen on that port of 127.0.0.1; closes on
  // exec from here on. kError if the descriptor is no such socket.
  static absl::StatusOr<Socket> Adopt(int fd, int port);
  // One attempt: kUnavailable while nobody listens. Only 127.0.0.1 and localhost: anything else is
  // kPeer at once.
  static absl::StatusOr<Socket> Connect(const std::string& host, int port, Deadline deadline);
  // kPeer unless ranks of one host can meet there.
  static absl::Status CheckHost(const std::string& host);
  absl::StatusOr<Socket> Accept(Deadline deadline) const;
  absl::StatusOr<int> port() const;

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
