// Ranks of a job in one process, for tests: connected, with what counts their callbacks and a channel
// between two of them.
//
// Owned by a test. Threads: one, which plays all ranks; Recorder's counters change on the transports'. Read
// next: comm/transport_test.cc.
#ifndef ONEFLOW_COMM_WORLD_FOR_TEST_H_
#define ONEFLOW_COMM_WORLD_FOR_TEST_H_

#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "comm/rendezvous.h"
#include "comm/socket.h"

namespace oneflow::comm {

inline int FreePort() { return *Socket::Listen(0)->port(); }

inline RendezvousOptions Options(int rank, int world_size, int port,
                                 PathChoice path = PathChoice::kAuto) {
  RendezvousOptions options;
  options.path = path;
  options.rank = rank;
  options.world_size = world_size;
  options.address = "127.0.0.1:" + std::to_string(port);
  options.secret = std::string(32, 's');
  options.job = "job";
  options.timeout_seconds = 20;
  return options;
}

using Result = absl::StatusOr<std::unique_ptr<Transport>>;

// Connects all ranks, each on its own thread.
inline std::vector<Result> ConnectAll(const std::vector<RendezvousOptions>& options) {
  std::vector<std::future<Result>> futures;
  for (const RendezvousOptions& o : options) {
    futures.push_back(std::async(std::launch::async, [o] { return Connect(o); }));
  }
  std::vector<Result> results;
  for (auto& future : futures) results.push_back(future.get());
  return results;
}

// All ranks of a job, in this process; `rdma` gives each its adapter.
inline std::vector<std::unique_ptr<Transport>> World(
    int size, PathChoice path, const std::function<RdmaOptions(int)>& rdma = nullptr) {
  const int port = FreePort();
  std::vector<RendezvousOptions> options;
  for (int r = 0; r < size; ++r) {
    options.push_back(Options(r, size, port, path));
    if (rdma != nullptr) options.back().rdma = rdma(r);
  }
  std::vector<std::unique_ptr<Transport>> world;
  for (Result& result : ConnectAll(options)) {
    EXPECT_TRUE(result.ok()) << result.status();
    world.push_back(std::move(*result));
  }
  return world;
}

// Counts callbacks and waits for them.
class Recorder {
 public:
  TransportCallbacks Callbacks() {
    return {[this](ChannelId) { Add(&credits); }, [this](ChannelId) { Add(&sent); },
            [this](ChannelId) { Add(&arrived); },
            [this](const absl::Status& status) {
              std::lock_guard lock(mutex);
              error = status;
              changed.notify_all();
            },
            [this](int rank) {
              std::lock_guard lock(mutex);
              left = rank;
              changed.notify_all();
            }};
  }
  bool WaitFor(int* counter, int value) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::seconds(20), [&] { return *counter >= value; });
  }
  bool WaitForError() {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::seconds(20), [&] { return !error.ok(); });
  }
  int credits = 0, sent = 0, arrived = 0;
  int left = -1;
  absl::Status error;

 private:
  void Add(int* counter) {
    std::lock_guard lock(mutex);
    ++*counter;
    changed.notify_all();
  }
  std::mutex mutex;
  std::condition_variable changed;
};

// Slots that peers of this host can write into, if the transport has such memory.
class Slots {
 public:
  Slots(Transport* transport, size_t bytes)
      : transport_(transport), shared_(transport->AllocateShared(bytes)), own_(bytes) {}
  ~Slots() {
    if (shared_ != nullptr) transport_->FreeShared(shared_);
  }
  bool shared() const { return shared_ != nullptr; }
  size_t size() const { return own_.size(); }
  std::byte* data() { return shared_ != nullptr ? shared_ : own_.data(); }
  std::byte operator[](size_t i) { return data()[i]; }

 private:
  Transport* transport_;
  std::byte* shared_;
  std::vector<std::byte> own_;
};

// A channel from rank 0 to rank 1 of a world of two.
struct OneWay {
  OneWay(std::vector<std::unique_ptr<Transport>>* ranks, int64_t bytes, int slots,
         TransportCallbacks at_0, TransportCallbacks at_1)
      : world(*ranks), to(world[1].get(), static_cast<size_t>(bytes * slots)), from(to.size()) {
    const uint32_t count = static_cast<uint32_t>(slots);
    std::thread other([&, callbacks = std::move(at_1)] {
      in = (*world[1]->OpenChannels(
          "f", {}, {{"c", 0, false, bytes, slots, "", {to.data(), bytes, count}}}, callbacks))[0];
    });
    out = (*world[0]->OpenChannels(
        "f", {}, {{"c", 1, true, bytes, slots, "", {from.data(), bytes, count}}}, at_0))[0];
    other.join();
  }
  // The last message may have arrived and its call to the kernel not yet returned.
  ~OneWay() { world[0]->CloseChannels({out}); }
  std::vector<std::unique_ptr<Transport>>& world;
  Slots to;
  std::vector<std::byte> from;
  ChannelId in = 0, out = 0;
};

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_WORLD_FOR_TEST_H_
