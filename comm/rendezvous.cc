#include "comm/rendezvous.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <numeric>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "comm/admission.h"
#include "comm/blame.h"
#include "comm/doorkeeper.h"
#include "comm/handshake.h"
#include "comm/socket.h"
#include "comm/tcp_transport.h"

namespace oneflow::comm {
namespace {

using Clock = std::chrono::steady_clock;
// One attempt to connect, to a host that may not answer yet.
constexpr auto kAttemptTime = std::chrono::seconds(10);
constexpr size_t kShortestSecret = 16;

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

// Descriptors for each other rank: its two connections; and on the own host an inbox (its memory, and a pipe's ends)
// and the other's (its pipe's end).
constexpr uint64_t kConnections = 2, kInboxes = 4;
// For all else that a process opens: files of data, libraries, memory, GPUs; and the least of it.
constexpr uint64_t kOthers = 512, kFewOthers = 64;

// Raises this process's limit of descriptors, as far as it may, for so many ranks.
absl::Status AllowDescriptors(uint64_t world_size) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return absl::OkStatus();
  const uint64_t least = kConnections * world_size + kFewOthers;
  if (limit.rlim_max < least) {
    return MakeError(ErrorKind::kPeer,
                     absl::StrCat("a rank of ", world_size, " needs ", least,
                                  " descriptors, and this process may have ", limit.rlim_max,
                                  "; raise the hard limit (ulimit -Hn)"));
  }
  const uint64_t wanted = (kConnections + kInboxes) * world_size + kOthers;
  if (limit.rlim_cur >= wanted) return absl::OkStatus();
  limit.rlim_cur = std::min<uint64_t>(wanted, limit.rlim_max);
  (void)setrlimit(RLIMIT_NOFILE, &limit);  // up to the hard limit anybody may
  return absl::OkStatus();
}

// What a rank says of itself on its connection to rank 0, and all are told.
struct Place {
  Endpoint listens;  // rank 0's: zeros
  HostId host{};
};
static_assert(sizeof(Place) == 36);

std::vector<HostId> HostsOf(const std::vector<Place>& table) {
  std::vector<HostId> hosts;
  for (const Place& place : table) hosts.push_back(place.host);
  return hosts;
}

// Both connections of a rank, as they come.
class Arrivals {
 public:
  Arrivals(Links* links, const std::vector<int>& expected) : links_(links), missing_(expected) {}

  const std::vector<int>& missing() const { return missing_; }

  std::string Welcome(uint32_t rank, Purpose purpose, Socket* socket) {
    const auto it = std::find(missing_.begin(), missing_.end(), static_cast<int>(rank));
    Socket* place = purpose == Purpose::kData ? &links_->data[rank] : &links_->beats[rank];
    if (it == missing_.end() || place->open()) return TwinRefusal(rank);
    const std::string yes = Acceptance::Yes();
    const Deadline soon = Clock::now() + std::chrono::seconds(1);
    if (!socket->WriteAll(yes.data(), yes.size(), soon).ok()) return "the connection broke";
    *place = std::move(*socket);
    if (links_->data[rank].open() && links_->beats[rank].open()) missing_.erase(it);
    return "";
  }

 private:
  Links* links_;
  std::vector<int> missing_;  // ranks of which a connection is missing
};

// Lets ranks in until every expected one is there. `announce` prints who is missing.
absl::Status AcceptRanks(const Socket& listener, const Identity& self, Arrivals* arrivals,
                         bool announce, Deadline deadline) {
  Admission admission(&listener, &self);
  const auto welcome = [&](uint32_t rank, Purpose purpose, Socket* socket) {
    return arrivals->Welcome(rank, purpose, socket);
  };
  Deadline next_report = Clock::now() + std::chrono::seconds(5);
  while (!arrivals->missing().empty()) {
    OF_RETURN_IF_ERROR(admission.Run(Sooner(deadline, next_report), welcome));
    const std::string missing = absl::StrJoin(arrivals->missing(), ", ");
    if (missing.empty()) break;
    if (Clock::now() >= deadline) {
      return MakeError(
          ErrorKind::kPeer,
          absl::StrCat("rank ", self.rank, " waited in vain for rank(s) ", missing,
                       "; see whether those processes started, or raise the time limit"));
    }
    if (Clock::now() < next_report) continue;
    next_report = Clock::now() + std::chrono::seconds(5);
    if (announce) {
      std::fprintf(stderr, "oneflow: rank %u still waits for rank(s) %s\n", self.rank,
                   missing.c_str());
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Socket> ConnectToRank(const std::string& host, int port, const Identity& self,
                                     int peer, Purpose purpose, Deadline deadline) {
  while (true) {
    absl::StatusOr<Socket> socket =
        Socket::Connect(host, port, Sooner(deadline, Clock::now() + kAttemptTime));
    absl::Status why = socket.status();
    if (socket.ok()) {
      const Deadline limit = Sooner(deadline, Clock::now() + 2 * kHandshakeTime);
      const absl::Status introduced =
          Introduce(*socket, self, static_cast<uint32_t>(peer), purpose, limit);
      if (introduced.ok()) return socket;
      if (KindOf(introduced) == ErrorKind::kPeer) return introduced;
      why = introduced;
    } else if (KindOf(socket.status()) == ErrorKind::kPeer) {
      return socket.status();
    }
    if (Clock::now() >= deadline) {
      return MakeError(ErrorKind::kPeer,
                       absl::StrCat("rank ", self.rank, " cannot reach rank ", peer, " at ", host,
                                    ":", port, " (", MessageOf(why),
                                    "); see whether that process started, and whether a firewall "
                                    "or the wrong interface stands between the hosts"));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

absl::Status ConnectBoth(const std::string& host, int port, const Identity& self, int peer,
                         Deadline deadline, Links* links) {
  OF_ASSIGN_OR_RETURN(links->data[peer],
                      ConnectToRank(host, port, self, peer, Purpose::kData, deadline));
  OF_ASSIGN_OR_RETURN(links->beats[peer],
                      ConnectToRank(host, port, self, peer, Purpose::kBeats, deadline));
  return absl::OkStatus();
}

std::vector<int> Range(int begin, int end) {
  std::vector<int> range(std::max(0, end - begin));
  std::iota(range.begin(), range.end(), begin);
  return range;
}

// Rank 0: every rank says where it is; all get the table.
absl::Status ShareTable(std::vector<Place>* places, Links* links, Deadline deadline) {
  std::vector<Place>& table = *places;
  const auto left = [](size_t rank, const absl::Status& status) {
    return PeerFailure(static_cast<int>(rank),
                       absl::StrCat("rank ", rank, " left while ranks were gathering: ",
                                    MessageOf(status), "; its message says why"));
  };
  for (size_t r = 1; r < table.size(); ++r) {
    const absl::Status read = links->data[r].ReadAll(&table[r], sizeof(Place), deadline);
    if (!read.ok()) return left(r, read);
  }
  for (size_t r = 1; r < table.size(); ++r) {
    const absl::Status written =
        links->data[r].WriteAll(table.data(), table.size() * sizeof(Place), deadline);
    if (!written.ok()) return left(r, written);
  }
  return absl::OkStatus();
}

// An adapter is looked for where this rank speaks TCP.
RdmaOptions RdmaOf(const RendezvousOptions& options, const Links& links) {
  RdmaOptions rdma = options.rdma;
  for (const Socket& socket : links.data) {
    const absl::StatusOr<Endpoint> own = socket.own_end();
    if (!own.ok()) continue;
    std::copy(std::begin(own->address), std::end(own->address), rdma.near.begin());
    break;
  }
  return rdma;
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
  if (options.secret.size() < kShortestSecret) {
    return MakeError(ErrorKind::kPeer,
                     absl::StrCat("the job's secret has ", options.secret.size(),
                                  " bytes, too few to keep anybody out (at least ", kShortestSecret,
                                  "); start the ranks with oneflow-launch"));
  }
  const size_t world = static_cast<size_t>(options.world_size);
  OF_RETURN_IF_ERROR(AllowDescriptors(world));
  Links links{std::vector<Socket>(world), std::vector<Socket>(world)};
  std::vector<Place> table(world);

  if (options.rank == 0) {
    OF_ASSIGN_OR_RETURN(Socket listener, options.listener >= 0
                                             ? Socket::Adopt(options.listener, port)
                                             : Socket::Listen(port, host));
    Arrivals arrivals(&links, Range(1, options.world_size));
    OF_RETURN_IF_ERROR(AcceptRanks(listener, self, &arrivals, true, deadline));
    table[0].host = OwnHost();
    OF_RETURN_IF_ERROR(ShareTable(&table, &links, deadline));
    links.hosts = HostsOf(table);
    auto door = std::make_unique<Doorkeeper>(std::move(listener), self);
    RdmaOptions rdma = RdmaOf(options, links);
    return MakeTransport(0, std::move(links), options.collective_seconds, std::move(door),
                         options.path, std::move(rdma));
  }
  OF_RETURN_IF_ERROR(ConnectBoth(host, port, self, 0, deadline, &links));
  // Where rank 0 is reached from, the other ranks reach this one.
  OF_ASSIGN_OR_RETURN(const Endpoint near, links.data[0].own_end());
  OF_ASSIGN_OR_RETURN(const Socket listener, Socket::Listen(0, near.host()));
  OF_ASSIGN_OR_RETURN(const Endpoint listens, listener.own_end());
  const Place announced{listens, OwnHost()};
  absl::Status gathered = links.data[0].WriteAll(&announced, sizeof(announced), deadline);
  if (gathered.ok()) {
    gathered = links.data[0].ReadAll(table.data(), table.size() * sizeof(Place), deadline);
  }
  if (!gathered.ok()) {
    return PeerFailure(0, absl::StrCat("rank 0 left while ranks were gathering: ",
                                       MessageOf(gathered), "; its message says why"));
  }
  links.hosts = HostsOf(table);
  // The lower rank accepts.
  for (int r = 1; r < options.rank; ++r) {
    const Endpoint& there = table[static_cast<size_t>(r)].listens;
    OF_RETURN_IF_ERROR(
        ConnectBoth(there.host(), static_cast<int>(there.port), self, r, deadline, &links));
  }
  Arrivals arrivals(&links, Range(options.rank + 1, options.world_size));
  OF_RETURN_IF_ERROR(AcceptRanks(listener, self, &arrivals, false, deadline));
  RdmaOptions rdma = RdmaOf(options, links);
  return MakeTransport(options.rank, std::move(links), options.collective_seconds, nullptr,
                       options.path, std::move(rdma));
}

}  // namespace oneflow::comm
