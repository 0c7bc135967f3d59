#include "comm/rendezvous.h"

#include <cstdio>
#include <map>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "comm/handshake.h"
#include "comm/socket.h"
#include "comm/tcp_transport.h"

namespace oneflow::comm {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kHandshakeTime = std::chrono::seconds(5);

Deadline Sooner(Deadline a, Deadline b) { return a < b ? a : b; }

absl::StatusOr<std::pair<std::string, int>> SplitAddress(const std::string& address) {
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(address.substr(colon + 1), &port) ||
      port <= 0 || port > 65535) {
    return MakeError(ErrorKind::kPeer, absl::StrCat("`", address,
                                                    "` is no host:port; set MASTER_ADDR and "
                                                    "MASTER_PORT, or start with oneflow-launch"));
  }
  return std::make_pair(address.substr(0, colon), port);
}

// Accepts authenticated ranks until every rank in `missing` is there. `announce` prints who is
// missing.
absl::Status AcceptRanks(const Socket& listener, const Identity& self, std::vector<int> missing,
                         bool announce, Deadline deadline, std::vector<Socket>* peers) {
  Deadline next_report = Clock::now() + std::chrono::seconds(5);
  while (!missing.empty()) {
    absl::StatusOr<Socket> socket = listener.Accept(Sooner(deadline, next_report));
    if (!socket.ok()) {
      if (!absl::IsDeadlineExceeded(socket.status())) return socket.status();
      if (Clock::now() >= deadline) {
        return MakeError(
            ErrorKind::kPeer,
            absl::StrCat("rank ", self.rank, " waited in vain for rank(s) ",
                         absl::StrJoin(missing, ", "),
                         "; see whether those processes started, or raise the time limit"));
      }
      if (Clock::now() < next_report) continue;
      next_report = Clock::now() + std::chrono::seconds(5);
      if (announce) {
        std::fprintf(stderr, "oneflow: rank %u still waits for rank(s) %s\n", self.rank,
                     absl::StrJoin(missing, ", ").c_str());
      }
      continue;
    }
    const Deadline limit = Sooner(deadline, Clock::now() + kHandshakeTime);
    absl::StatusOr<uint32_t> rank = Admit(*socket, self, limit);
    if (!rank.ok()) {
      if (KindOf(rank.status()) == ErrorKind::kPeer) return rank.status();
      continue;  // a stranger
    }
    const auto it = std::find(missing.begin(), missing.end(), static_cast<int>(*rank));
    if (it == missing.end()) continue;  // a twin of a rank that is here
    missing.erase(it);
    (*peers)[*rank] = std::move(*socket);
  }
  return absl::OkStatus();
}

absl::StatusOr<Socket> ConnectToRank(const std::string& host, int port, const Identity& self,
                                     int peer, Deadline deadline) {
  while (true) {
    absl::StatusOr<Socket> socket = Socket::Connect(host, port, deadline);
    if (socket.ok()) {
      const Deadline limit = Sooner(deadline, Clock::now() + 2 * kHandshakeTime);
      const absl::Status introduced = Introduce(*socket, self, limit);
      if (introduced.ok()) return socket;
      if (KindOf(introduced) == ErrorKind::kPeer) return introduced;
    } else if (KindOf(socket.status()) == ErrorKind::kPeer) {
      return socket.status();
    }
    if (Clock::now() >= deadline) {
      return MakeError(ErrorKind::kPeer,
                       absl::StrCat("rank ", self.rank, " cannot reach rank ", peer, " at ", host,
                                    ":", port, "; see whether that process started"));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> Connect(const RendezvousOptions& options) {
  OF_ASSIGN_OR_RETURN(const auto address, SplitAddress(options.address));
  const auto& [host, port] = address;
  const Deadline deadline =
      Clock::now() +
      std::chrono::milliseconds(static_cast<int64_t>(1000 * options.timeout_seconds));
  const Identity self{static_cast<uint32_t>(options.rank),
                      static_cast<uint32_t>(options.world_size), options.epoch, options.job,
                      options.secret};
  std::vector<Socket> peers(options.world_size);
  std::vector<uint32_t> ports(options.world_size, 0);

  if (options.rank == 0) {
    OF_ASSIGN_OR_RETURN(const Socket listener, Socket::Listen(port));
    std::vector<int> missing;
    for (int r = 1; r < options.world_size; ++r) missing.push_back(r);
    OF_RETURN_IF_ERROR(AcceptRanks(listener, self, missing, true, deadline, &peers));
    // Every rank says where it listens; all get the table.
    for (int r = 1; r < options.world_size; ++r) {
      OF_RETURN_IF_ERROR(peers[r].ReadAll(&ports[r], sizeof(uint32_t), deadline));
    }
    for (int r = 1; r < options.world_size; ++r) {
      OF_RETURN_IF_ERROR(
          peers[r].WriteAll(ports.data(), ports.size() * sizeof(uint32_t), deadline));
    }
  } else {
    OF_ASSIGN_OR_RETURN(const Socket listener, Socket::Listen(0));
    OF_ASSIGN_OR_RETURN(const int own_port, listener.port());
    OF_ASSIGN_OR_RETURN(peers[0], ConnectToRank(host, port, self, 0, deadline));
    const uint32_t announced = static_cast<uint32_t>(own_port);
    OF_RETURN_IF_ERROR(peers[0].WriteAll(&announced, sizeof(announced), deadline));
    const absl::Status table =
        peers[0].ReadAll(ports.data(), ports.size() * sizeof(uint32_t), deadline);
    if (!table.ok()) {
      return MakeError(ErrorKind::kPeer, absl::StrCat("rank 0 left while ranks were gathering: ",
                                                      table.message(), "; its message says why"));
    }
    // The lower rank accepts.
    for (int r = 1; r < options.rank; ++r) {
      OF_ASSIGN_OR_RETURN(peers[r],
                          ConnectToRank(host, static_cast<int>(ports[r]), self, r, deadline));
    }
    std::vector<int> missing;
    for (int r = options.rank + 1; r < options.world_size; ++r) missing.push_back(r);
    OF_RETURN_IF_ERROR(AcceptRanks(listener, self, missing, false, deadline, &peers));
  }
  return MakeTcpTransport(options.rank, std::move(peers), options.timeout_seconds);
}

}  // namespace oneflow::comm
