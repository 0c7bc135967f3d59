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
#include "comm/system_error.h"

namespace oneflow::comm {
namespace {

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

// An address in the form that sockets take.
struct Address {
  sockaddr_storage bytes{};
  socklen_t size = 0;
  int family = AF_INET;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&bytes); }
};

// IPv4 first: a name that has both is reached either way.
absl::StatusOr<Address> Resolve(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (error != 0) {
    return absl::UnavailableError(
        absl::StrCat("the name `", host, "` has no address: ", gai_strerror(error)));
  }
  const addrinfo* chosen = found;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    if (each->ai_family == AF_INET) {
      chosen = each;
      break;
    }
  }
  Address address;
  std::memcpy(&address.bytes, chosen->ai_addr, chosen->ai_addrlen);
  address.size = chosen->ai_addrlen;
  address.family = chosen->ai_family;
  freeaddrinfo(found);
  return address;
}

Endpoint EndpointOf(const sockaddr_storage& bytes) {
  Endpoint endpoint;
  if (bytes.ss_family == AF_INET6) {
    const auto& six = reinterpret_cast<const sockaddr_in6&>(bytes);
    std::memcpy(endpoint.address, &six.sin6_addr, 16);
    endpoint.port = ntohs(six.sin6_port);
  } else {
    const auto& four = reinterpret_cast<const sockaddr_in&>(bytes);
    endpoint.address[10] = endpoint.address[11] = 0xff;
    std::memcpy(endpoint.address + 12, &four.sin_addr, 4);
    endpoint.port = ntohs(four.sin_port);
  }
  return endpoint;
}

// Whether it stands for every address of the host.
bool IsAny(const sockaddr_storage& bytes) {
  const Endpoint endpoint = EndpointOf(bytes);
  const size_t begin = bytes.ss_family == AF_INET ? 12 : 0;
  return std::all_of(endpoint.address + begin, endpoint.address + 16,
                     [](uint8_t byte) { return byte == 0; });
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

std::string Endpoint::host() const {
  in6_addr six{};
  std::memcpy(&six, address, sizeof(address));
  char text[INET6_ADDRSTRLEN] = {};
  if (IN6_IS_ADDR_V4MAPPED(&six)) {
    inet_ntop(AF_INET, address + 12, text, sizeof(text));
  } else {
    inet_ntop(AF_INET6, address, text, sizeof(text));
  }
  return text;
}

absl::StatusOr<Socket> Socket::Listen(int port, const std::string& host) {
  OF_ASSIGN_OR_RETURN(const Address address, Resolve(host, port));
  if (IsAny(address.bytes)) {
    return MakeError(ErrorKind::kPeer,
                     absl::StrCat("`", host,
                                  "` would listen on every address of this host; set "
                                  "MASTER_ADDR to the one that the other ranks reach"));
  }
  Socket socket(::socket(address.family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.open()) return SystemError("socket");
  const int one = 1;
  setsockopt(socket.fd_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  if (bind(socket.fd_, address.get(), address.size) != 0) {
    if (errno == EADDRNOTAVAIL) {
      return MakeError(ErrorKind::kPeer,
                       absl::StrCat("`", host,
                                    "` is no address of this host, so rank 0 cannot "
                                    "listen there; set MASTER_ADDR (--master-addr) to "
                                    "an address of the host of rank 0"));
    }
    return SystemError(absl::StrCat("cannot listen on ", host, ":", port,
                                    " (another job may use it; choose another --master-port)"));
  }
  if (listen(socket.fd_, 128) != 0) return SystemError("listen");
  return socket;
}

absl::StatusOr<Socket> Socket::Adopt(int fd, int port) {
  Socket socket(fd);
  int listens = 0;
  socklen_t size = sizeof(listens);
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  const bool fits = getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 &&
                    listens != 0 &&
                    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0 &&
                    (address.ss_family == AF_INET || address.ss_family == AF_INET6) &&
                    EndpointOf(address).port == static_cast<uint32_t>(port) && !IsAny(address) &&
                    fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && socket.SetNonBlocking().ok();
  if (fits) return socket;
  socket.fd_ = -1;  // not ours to close
  return MakeError(ErrorKind::kError,
                   absl::StrCat("descriptor ", fd, " is no socket that listens on port ", port,
                                " of one address; start the ranks with oneflow-launch"));
}

absl::StatusOr<Socket> Socket::Connect(const std::string& host, int port, Deadline deadline) {
  OF_ASSIGN_OR_RETURN(const Address address, Resolve(host, port));
  Socket socket(::socket(address.family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.open()) return SystemError("socket");
  OF_RETURN_IF_ERROR(socket.SetNonBlocking());
  if (connect(socket.fd_, address.get(), address.size) != 0) {
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

absl::StatusOr<Endpoint> Socket::own_end() const {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return SystemError("getsockname");
  }
  return EndpointOf(address);
}

absl::StatusOr<int> Socket::port() const {
  OF_ASSIGN_OR_RETURN(const Endpoint own, own_end());
  return static_cast<int>(own.port);
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
