// What it costs ranks to find each other and to load a plan: N processes of this host connect, then open and close
// the channels of a small plan, whose ranks talk to two neighbours each. `./dev bench joining` runs it; a line a figure.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/check.h"
#include "comm/rendezvous.h"
#include "comm/socket.h"

namespace oneflow::comm {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kRows = 300;    // ops of the plan
constexpr int kChannels = 4;  // to each neighbour, and as many from it
constexpr int64_t kBytes = 1024;
constexpr int kLoads = 9;

struct Figures {
  double join_ms = 0;
  double load_ms = 0;      // the median
  double join_bytes = 0;   // sent over TCP
  double load_bytes = 0;   // the least: beats come in between
  double descriptors = 0;  // open when the rank has joined
};

// What this process has sent over its TCP connections, and how many descriptors it has.
void Count(double* bytes, double* descriptors) {
  *bytes = *descriptors = 0;
  rlimit limit{};
  OF_CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0) << "getrlimit";
  int unused = 0;
  for (int fd = 3; fd < static_cast<int>(limit.rlim_cur) && unused < 1000; ++fd) {
    tcp_info info{};
    socklen_t size = sizeof(info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0) {
      *bytes += static_cast<double>(info.tcpi_bytes_sent);
    } else if (errno == EBADF) {
      ++unused;
      continue;
    }
    unused = 0;
    ++*descriptors;
  }
}

double Milliseconds(Clock::time_point since) {
  return std::chrono::duration<double, std::milli>(Clock::now() - since).count();
}

std::vector<ChannelSpec> ChannelsOf(int rank, int world, std::byte* slots,
                                    std::vector<std::byte>* sources) {
  std::vector<ChannelSpec> specs;
  const int right = (rank + 1) % world, left = (rank + world - 1) % world;
  std::vector<int> peers = {left};
  if (right != left) peers.push_back(right);
  const auto name = [](int i, int from, int to) {
    return "network.layer" + std::to_string(i) + ".weight gradient from " + std::to_string(from) +
           " to " + std::to_string(to);
  };
  const std::string check = "stamp (0, 1, 2, 3), 1024 bytes, 2 slots";
  for (int peer : peers) {
    for (int i = 0; i < kChannels; ++i) {
      specs.push_back({name(i, peer, rank), peer, false, kBytes, 2, check, {slots, kBytes, 2}});
      specs.push_back(
          {name(i, rank, peer), peer, true, kBytes, 2, check, {sources->data(), kBytes, 1}});
      slots += 2 * kBytes;
    }
  }
  return specs;
}

Figures RunRank(int rank, int world, int port) {
  Figures figures;
  RendezvousOptions options;
  options.rank = rank;
  options.world_size = world;
  options.address = "127.0.0.1:" + std::to_string(port);
  options.secret = std::string(32, 's');
  options.job = "benchmark";
  options.rdma.device = "none";  // a machine's adapters are not what is measured
  const Clock::time_point begin = Clock::now();
  const std::unique_ptr<Transport> transport = *Connect(options);
  figures.join_ms = Milliseconds(begin);
  Count(&figures.join_bytes, &figures.descriptors);

  std::vector<std::string> rows;
  for (int i = 0; i < kRows; ++i) {
    char row[64];
    std::snprintf(row, sizeof(row), "%016llx train.py:%d",
                  0x9e3779b97f4a7c15ull * static_cast<uint64_t>(i + 1), i);
    rows.push_back(row);
  }
  std::vector<std::byte> own(4 * kChannels * kBytes), sources(kBytes);
  std::byte* slots = transport->AllocateShared(own.size());
  std::vector<double> times, bytes;
  for (int load = 0; load < kLoads; ++load) {
    OF_CHECK(transport->AllGather("").ok()) << "a rank was lost";
    const auto specs = ChannelsOf(rank, world, slots != nullptr ? slots : own.data(), &sources);
    double before = 0, after = 0, unused = 0;
    Count(&before, &unused);
    const Clock::time_point start = Clock::now();
    const auto ids = *transport->OpenChannels("0123456789abcdef", rows, specs, {});
    times.push_back(Milliseconds(start));
    Count(&after, &unused);
    bytes.push_back(after - before);
    OF_CHECK(transport->AllGather("").ok()) << "a rank was lost";
    transport->CloseChannels(ids);
  }
  std::sort(times.begin(), times.end());
  figures.load_ms = times[times.size() / 2];
  figures.load_bytes = *std::min_element(bytes.begin(), bytes.end());
  if (slots != nullptr) transport->FreeShared(slots);
  return figures;
}

int Run(int world) {
  const size_t size = static_cast<size_t>(world) * sizeof(Figures);
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  OF_CHECK(memory != MAP_FAILED) << "mmap";
  Figures* figures = static_cast<Figures*>(memory);
  const int port = *Socket::Listen(0)->port();
  for (int rank = 0; rank < world; ++rank) {
    const pid_t child = fork();
    OF_CHECK(child >= 0) << "fork";
    if (child > 0) continue;
    figures[rank] = RunRank(rank, world, port);
    _exit(0);
  }
  for (int rank = 0; rank < world; ++rank) {
    int status = 0;
    OF_CHECK(wait(&status) > 0 && status == 0) << "a rank failed";
  }
  // The slowest rank's, and those of the rank that says most.
  const auto most = [&](double Figures::*figure) {
    double value = 0;
    for (int rank = 0; rank < world; ++rank) value = std::max(value, figures[rank].*figure);
    return value;
  };
  std::printf("join_ms %.2f\nload_ms %.2f\njoin_bytes %.0f\nload_bytes %.0f\ndescriptors %.0f\n",
              most(&Figures::join_ms), most(&Figures::load_ms), most(&Figures::join_bytes),
              most(&Figures::load_bytes), most(&Figures::descriptors));
  return 0;
}

}  // namespace
}  // namespace oneflow::comm

int main(int argc, char** argv) {
  const int world = argc == 2 ? std::atoi(argv[1]) : 0;
  if (world < 2 || world > 1024) {
    std::fprintf(stderr, "usage: %s RANKS (2 to 1024)\n", argv[0]);
    return 2;
  }
  return oneflow::comm::Run(world);
}
