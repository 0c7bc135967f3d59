// What a message between two processes costs, by each path, beside what it is made of: memcpy for large
// ones, a byte there and back over a bare TCP connection for small ones. `./dev bench transports` runs
// it; a line a figure.
//
// With arguments RANK HOST PORT it is one of two processes on two hosts, of which rank 0's is HOST: TCP alone, beside
// a bare connection (on the next port). `./dev bench hosts` runs these.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "base/check.h"
#include "comm/rendezvous.h"
#include "comm/socket.h"

namespace oneflow::comm {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int64_t kLarge = int64_t{16} << 20;
constexpr int64_t kSmall = 64;
constexpr int kRounds = 7;

double Seconds(const std::function<void()>& work) {
  const Clock::time_point begin = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double Best(const std::function<void()>& work) {
  double best = 1e9;
  for (int round = 0; round < kRounds; ++round) best = std::min(best, Seconds(work));
  return best;
}

// Counts of what has come, for a thread that waits for it: it looks, or sleeps in place of the transport's, as threads
// of a session do.
class Events {
 public:
  TransportCallbacks Callbacks() {
    return {[this](ChannelId) { Add(&credits); }, [this](ChannelId) { Add(&sent); },
            [this](ChannelId) { Add(&arrived); }, [](const absl::Status&) {}, [](int) {}};
  }
  // Before the callbacks may run.
  void Rouses(Transport* transport) { transport_ = transport; }
  void WaitFor(const std::atomic<int64_t>& count, int64_t value, Transport* transport, bool look) {
    if (!look) {
      if (transport->StandIn([&] { return count.load() >= value; })) return;
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return count.load() >= value; });
      return;
    }
    transport->BeginLooking();
    while (count.load() < value) (void)transport->Look();
    transport->EndLooking();
  }
  std::atomic<int64_t> credits{0}, sent{0}, arrived{0};

 private:
  void Add(std::atomic<int64_t>* count) {
    std::lock_guard lock(mutex_);
    ++*count;
    changed_.notify_all();
    transport_->Rouse();
  }
  Transport* transport_ = nullptr;
  std::mutex mutex_;
  std::condition_variable changed_;
};

// Both ends of a channel each way, as the plans use them: slots are posted again when they are read.
class End {
 public:
  End(Transport* transport, int64_t bytes, bool look)
      : transport_(transport), look_(look), bytes_(static_cast<size_t>(bytes)), own_(4 * bytes_) {
    slots_ = transport->AllocateShared(2 * bytes_);
    shared_ = slots_ != nullptr;
    if (!shared_) slots_ = own_.data() + 2 * bytes_;
    std::memset(slots_, 0, 2 * bytes_);
    std::memset(own_.data(), 1, own_.size());
    events_.Rouses(transport);
    const int peer = 1 - transport->rank();
    const auto name = [](int from) { return "from " + std::to_string(from); };
    const std::vector<ChannelSpec> specs = {
        {name(peer), peer, false, bytes, 2, "", {slots_, bytes, 2}},
        {name(1 - peer), peer, true, bytes, 2, "", {own_.data(), bytes, 1}}};
    ids_ = *transport->OpenChannels("", {}, specs, events_.Callbacks());
    transport->Post(ids_[0]);
    transport->Post(ids_[0]);
  }
  ~End() {
    (void)transport_->AllGather("").status();
    transport_->CloseChannels(ids_);
    if (shared_) transport_->FreeShared(slots_);
    (void)transport_->AllGather("").status();
  }
  void Send() {
    events_.WaitFor(events_.credits, ++sent_, transport_, look_);
    if (transport_->Send(ids_[1])) {
      ++events_.sent;
    }
    if (bytes_ > size_t{1} << 16) events_.WaitFor(events_.sent, sent_, transport_, look_);
  }
  void Receive() {
    events_.WaitFor(events_.arrived, ++received_, transport_, look_);
    transport_->Post(ids_[0]);
  }

 private:
  Transport* transport_;
  const bool look_;
  const size_t bytes_;
  std::vector<std::byte> own_;
  std::byte* slots_ = nullptr;
  bool shared_ = false;
  Events events_;
  std::vector<ChannelId> ids_;
  int64_t sent_ = 0, received_ = 0;
};

void RunRank(int rank, const std::string& host, int port, PathChoice path, const char* name) {
  RendezvousOptions options;
  options.rank = rank;
  options.world_size = 2;
  options.address = host + ":" + std::to_string(port);
  options.secret = std::string(32, 's');
  options.job = "benchmark";
  options.path = path;
  const std::unique_ptr<Transport> transport = *Connect(options);
  {
    End end(transport.get(), kLarge, /*look=*/false);
    constexpr int kMessages = 16;
    // One way; a small message back would not change it, the last slot's credit ends it.
    const double seconds = Best([&] {
      for (int i = 0; i < kMessages; ++i) rank == 0 ? end.Send() : end.Receive();
      (void)transport->AllGather("").status();
    });
    if (rank == 0) std::printf("%s_gb_per_s %.3f\n", name, kMessages * kLarge / seconds / 1e9);
  }
  for (bool look : {true, false}) {
    if (look && path == PathChoice::kTcp) continue;
    End end(transport.get(), kSmall, look);
    constexpr int kTrips = 3000;
    const double seconds = Best([&] {
      for (int i = 0; i < kTrips; ++i) {
        if (rank == 0) end.Send();
        end.Receive();
        if (rank == 1) end.Send();
      }
    });
    if (rank == 0) {
      std::printf("%s_%s_round_trip_us %.2f\n", name, look ? "looking" : "sleeping",
                  1e6 * seconds / kTrips);
    }
  }
}

// Two processes; this one is rank 0.
void InTwo(const std::function<void(int)>& rank) {
  std::fflush(stdout);
  const pid_t child = fork();
  OF_CHECK(child >= 0) << "fork";
  if (child == 0) {
    rank(1);
    _exit(0);
  }
  rank(0);
  int status = 0;
  OF_CHECK(waitpid(child, &status, 0) == child && status == 0) << "rank 1 failed";
}

void Trips(int rank, const Socket& socket) {
  OF_CHECK(fcntl(socket.fd(), F_SETFL, 0) == 0) << "fcntl";  // calls that wait
  constexpr int kTrips = 3000;
  std::vector<char> message(kSmall);
  const auto send = [&] {
    OF_CHECK(::send(socket.fd(), message.data(), message.size(), 0) == kSmall) << "send";
  };
  const auto receive = [&] {
    OF_CHECK(recv(socket.fd(), message.data(), message.size(), MSG_WAITALL) == kSmall) << "recv";
  };
  const double seconds = Best([&] {
    for (int i = 0; i < kTrips; ++i) {
      if (rank == 0) send();
      receive();
      if (rank == 1) send();
    }
  });
  if (rank == 0) std::printf("bare_socket_round_trip_us %.2f\n", 1e6 * seconds / kTrips);
}

Deadline InAMinute() { return Clock::now() + std::chrono::seconds(60); }

void BareSocket() {
  const Socket listener = *Socket::Listen(0);
  const int port = *listener.port();
  InTwo([&](int rank) {
    Trips(rank, rank == 0 ? *listener.Accept(InAMinute())
                          : *Socket::Connect("127.0.0.1", port, InAMinute()));
  });
}

// The other process may come later.
void BareSocketBetween(int rank, const std::string& host, int port) {
  if (rank == 0) {
    const Socket listener = *Socket::Listen(port, host);
    Trips(rank, *listener.Accept(InAMinute()));
    return;
  }
  absl::StatusOr<Socket> socket = Socket::Connect(host, port, InAMinute());
  while (absl::IsUnavailable(socket.status())) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    socket = Socket::Connect(host, port, InAMinute());
  }
  Trips(rank, *socket);
}

void Memcpy() {
  std::vector<std::byte> from(kLarge, std::byte{1}), to(2 * kLarge, std::byte{1});
  constexpr int kCopies = 16;
  const double seconds = Best([&] {
    for (int i = 0; i < kCopies; ++i) {
      std::memcpy(to.data() + i % 2 * kLarge, from.data(), kLarge);
      asm volatile("" : : "r"(to.data()) : "memory");
    }
  });
  std::printf("memcpy_gb_per_s %.3f\n", kCopies * kLarge / seconds / 1e9);
}

void RunPath(PathChoice path, const char* name) {
  const int port = *Socket::Listen(0)->port();
  InTwo([&](int rank) { RunRank(rank, "127.0.0.1", port, path, name); });
}

}  // namespace
}  // namespace oneflow::comm

int main(int argc, char** argv) {
  if (argc == 4) {
    const int rank = std::atoi(argv[1]), port = std::atoi(argv[3]);
    oneflow::comm::BareSocketBetween(rank, argv[2], port + 1);
    oneflow::comm::RunRank(rank, argv[2], port, oneflow::comm::PathChoice::kTcp, "tcp");
    return 0;
  }
  oneflow::comm::Memcpy();
  oneflow::comm::BareSocket();
  oneflow::comm::RunPath(oneflow::comm::PathChoice::kShared, "shm");
  oneflow::comm::RunPath(oneflow::comm::PathChoice::kTcp, "tcp");
}
