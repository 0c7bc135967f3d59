// One of two ranks that send each other messages and check every byte, until one of them stops or something
// comes between: for faults that only real processes, kernels and links have (tools/rdma_vm/faults.py).
//
//   oneflow_comm_pair RANK ADDRESS PATH DEVICE BYTES MESSAGES
//
// PATH: tcp, auto, shm or rdma; DEVICE: of RDMA, - for any. Prints how the other is reached, `at N` now and then, and
// at last `done N` (exit code 0), `wrong N` (1) or `lost N rank R: WORDS` (3), R being the rank that is blamed.
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <vector>

#include "base/status.h"
#include "comm/blame.h"
#include "comm/rendezvous.h"

namespace oneflow::comm {
namespace {

constexpr int kWrong = 1, kUsage = 2, kLost = 3;

// What has happened to the two channels, for the one thread that waits for it.
class Events {
 public:
  TransportCallbacks Callbacks() {
    return {[this](ChannelId) { Add(&credits_); }, [this](ChannelId) { Add(&sent_); },
            [this](ChannelId) { Add(&arrived_); },
            [this](const absl::Status& status) {
              std::lock_guard lock(mutex_);
              if (error_.ok()) error_ = status;
              changed_.notify_all();
            },
            [](int) {}};
  }
  absl::Status WaitForCredit(int64_t count) { return WaitFor(credits_, count); }
  absl::Status WaitForSent(int64_t count) { return WaitFor(sent_, count); }
  absl::Status WaitForArrived(int64_t count) { return WaitFor(arrived_, count); }
  void AddSent() { Add(&sent_); }

 private:
  void Add(int64_t* count) {
    std::lock_guard lock(mutex_);
    ++*count;
    changed_.notify_all();
  }
  absl::Status WaitFor(const int64_t& counter, int64_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return counter >= count || !error_.ok(); });
    return counter >= count ? absl::OkStatus() : error_;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t credits_ = 0, sent_ = 0, arrived_ = 0;
  absl::Status error_;
};

// What stands at a place of a message: no two messages, ranks or places share it.
uint64_t Word(int rank, int64_t message, size_t place) {
  uint64_t word = static_cast<uint64_t>(message) * 2 + static_cast<uint64_t>(rank);
  word = (word << 24 | (place & 0xffffff)) * 0x9e3779b97f4a7c15u;
  return word ^ word >> 29;
}

int Lost(int64_t messages, const absl::Status& status) {
  std::printf("lost %ld rank %d: %s\n", static_cast<long>(messages),
              BlamedRank(status).value_or(-1), MessageOf(status).c_str());
  return kLost;
}

int Run(const RendezvousOptions& options, int64_t bytes, int64_t messages) {
  auto connected = Connect(options);
  if (!connected.ok()) return Lost(0, connected.status());
  Transport& transport = **connected;
  const int self = options.rank, peer = 1 - self;
  std::printf("by %s\n", transport.paths()[static_cast<size_t>(peer)].c_str());
  std::fflush(stdout);

  constexpr uint32_t kSlots = 2;
  const size_t words = static_cast<size_t>(bytes) / sizeof(uint64_t);
  std::vector<uint64_t> out(words), own(words * kSlots);
  std::byte* shared = transport.AllocateShared(own.size() * sizeof(uint64_t));
  auto* in = shared != nullptr ? reinterpret_cast<uint64_t*>(shared) : own.data();
  const auto name = [](int from) { return "from " + std::to_string(from); };
  Events events;
  const auto opened = transport.OpenChannels("pair", {},
                                             {{name(peer),
                                               peer,
                                               false,
                                               bytes,
                                               kSlots,
                                               "",
                                               {reinterpret_cast<std::byte*>(in), bytes, kSlots}},
                                              {name(self),
                                               peer,
                                               true,
                                               bytes,
                                               kSlots,
                                               "",
                                               {reinterpret_cast<std::byte*>(out.data()), 0, 1}}},
                                             events.Callbacks());
  if (!opened.ok()) return Lost(0, opened.status());
  const ChannelId from_peer = (*opened)[0], to_peer = (*opened)[1];
  for (uint32_t i = 0; i < kSlots; ++i) transport.Post(from_peer);

  for (int64_t n = 0; n < messages; ++n) {
    if (n % 20 == 0) {
      std::printf("at %ld\n", static_cast<long>(n));
      std::fflush(stdout);
    }
    absl::Status status = events.WaitForCredit(n + 1);
    if (status.ok()) status = events.WaitForSent(n);
    if (!status.ok()) return Lost(n, status);
    for (size_t i = 0; i < words; ++i) out[i] = Word(self, n, i);
    if (transport.Send(to_peer)) events.AddSent();
    if (status = events.WaitForArrived(n + 1); !status.ok()) return Lost(n, status);
    const uint64_t* slot = in + static_cast<size_t>(n % kSlots) * words;
    for (size_t i = 0; i < words; ++i) {
      if (slot[i] == Word(peer, n, i)) continue;
      std::printf("wrong %ld\n", static_cast<long>(n));
      return kWrong;
    }
    if (n + kSlots < messages) transport.Post(from_peer);
  }
  const absl::Status met = transport.AllGather("").status();
  if (!met.ok()) return Lost(messages, met);
  transport.CloseChannels({from_peer, to_peer});
  if (shared != nullptr) transport.FreeShared(shared);
  std::printf("done %ld\n", static_cast<long>(messages));
  return 0;
}

}  // namespace
}  // namespace oneflow::comm

int main(int count, char** arguments) {
  using oneflow::comm::PathChoice;
  if (count != 7) {
    std::fprintf(stderr, "usage: oneflow_comm_pair RANK ADDRESS PATH DEVICE BYTES MESSAGES\n");
    return oneflow::comm::kUsage;
  }
  const std::string path = arguments[3], device = arguments[4];
  oneflow::comm::RendezvousOptions options;
  options.rank = std::atoi(arguments[1]);
  options.world_size = 2;
  options.address = arguments[2];
  options.secret = std::string(32, 's');
  options.job = "pair";
  for (const PathChoice choice :
       {PathChoice::kTcp, PathChoice::kAuto, PathChoice::kShared, PathChoice::kRdma}) {
    if (path == NameOf(choice)) options.path = choice;
  }
  if (device != "-") options.rdma.device = device;
  return oneflow::comm::Run(options, std::atol(arguments[5]), std::atol(arguments[6]));
}
