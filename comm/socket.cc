#include "comm/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace oneflow::comm {
namespace {

absl::Status SystemError(const std::string& what) {
  return absl::UnavailableError(absl::StrCat(what, ": ", std::strerror(errno)));
}

// Waits for `events`; kDeadlineExceeded when the time is over.
absl::Status WaitFor(int fd, short events, Deadline deadline) {
  while (true) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd entry{fd, events, 0};
    const int ready = poll(&entry, 1, static_cast<int>(std::max<int64_t>(0, left.count())));
    if (ready > 0) return absl::OkStatus();
    if (ready == 0) return absl::DeadlineExceededError("timed out");
    if (errno != EINTR) return SystemError("poll");
  }
}

void SetNoDelay(int fd) {
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

}  // namespace

Socket::~Socket() { Close(); }

Socket& Socket::operator=(Socket&& other) noexcept {
  if (this != &other) {
    Close();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void Socket::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

absl::StatusOr<Socket> Socket::Listen(int port) {
  Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.open()) return SystemError("socket");
  const int one = 1;
  setsockopt(socket.fd_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(socket.fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return SystemError(absl::StrCat("cannot listen on 127.0.0.1:", port,
                                    " (another job may use it; choose another --master-port)"));
  }
  if (listen(socket.fd_, 128) != 0) return SystemError("listen");
  return socket;
}

absl::StatusOr<Socket> Socket::Adopt(int fd, int port) {
  Socket socket(fd);
  int listens = 0;
  socklen_t size = sizeof(listens);
  sockaddr_in address{};
  socklen_t length = sizeof(address);
  const bool fits = getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 &&
                    listens != 0 &&
                    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0 &&
                    address.sin_family == AF_INET && ntohs(address.sin_port) == port &&
                    address.sin_addr.s_addr == htonl(INADDR_LOOPBACK) &&
                    fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && socket.SetNonBlocking().ok();
  if (fits) return socket;
  socket.fd_ = -1;  // not ours to close
  return MakeError(ErrorKind::kError,
                   absl::StrCat("descriptor ", fd, " is no socket that listens on 127.0.0.1:", port,
                                "; start the ranks with oneflow-launch"));
}

absl::Status Socket::CheckHost(const std::string& host) {
  if (host == "127.0.0.1" || host == "localhost") return absl::OkStatus();
  return MakeError(ErrorKind::kPeer,
                   absl::StrCat("ranks of one host meet at 127.0.0.1, not at `", host,
                                "`; leave --master-addr (MASTER_ADDR) away"));
}

absl::StatusOr<Socket> Socket::Connect(const std::string& host, int port, Deadline deadline) {
  OF_RETURN_IF_ERROR(CheckHost(host));
  Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.open()) return SystemError("socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  OF_RETURN_IF_ERROR(socket.SetNonBlocking());
  if (connect(socket.fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    if (errno != EINPROGRESS) return SystemError("connect");
    OF_RETURN_IF_ERROR(WaitFor(socket.fd_, POLLOUT, deadline));
    int error = 0;
    socklen_t size = sizeof(error);
    getsockopt(socket.fd_, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
      errno = error;
      return SystemError("connect");
    }
  }
  SetNoDelay(socket.fd_);
  return socket;
}

absl::StatusOr<Socket> Socket::Accept(Deadline deadline) const {
  OF_RETURN_IF_ERROR(WaitFor(fd_, POLLIN, deadline));
  Socket socket(accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket.open()) return SystemError("accept");
  SetNoDelay(socket.fd_);
  return socket;
}

absl::StatusOr<int> Socket::port() const {
  sockaddr_in address{};
  socklen_t size = sizeof(address);
  if (getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return SystemError("getsockname");
  }
  return ntohs(address.sin_port);
}

absl::Status Socket::WriteAll(const void* data, size_t bytes, Deadline deadline) const {
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = send(fd_, at, bytes, MSG_NOSIGNAL);
    if (n > 0) {
      at += n;
      bytes -= static_cast<size_t>(n);
    } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      OF_RETURN_IF_ERROR(WaitFor(fd_, POLLOUT, deadline));
    } else if (n < 0 && errno != EINTR) {
      return SystemError("send");
    }
  }
  return absl::OkStatus();
}

absl::Status Socket::ReadAll(void* data, size_t bytes, Deadline deadline) const {
  char* at = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t n = recv(fd_, at, bytes, MSG_DONTWAIT);
    if (n > 0) {
      at += n;
      bytes -= static_cast<size_t>(n);
    } else if (n == 0) {
      return absl::UnavailableError("the peer closed the connection");
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      OF_RETURN_IF_ERROR(WaitFor(fd_, POLLIN, deadline));
    } else if (errno != EINTR) {
      return SystemError("recv");
    }
  }
  return absl::OkStatus();
}

absl::Status Socket::SetNonBlocking() const {
  const int flags = fcntl(fd_, F_GETFL);
  if (flags < 0 || fcntl(fd_, F_SETFL, flags | O_NONBLOCK) != 0) return SystemError("fcntl");
  return absl::OkStatus();
}

}  // namespace oneflow::comm
