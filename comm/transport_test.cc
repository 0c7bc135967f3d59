#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <future>
#include <mutex>
#include <thread>

#include "base/status.h"
#include "comm/handshake.h"
#include "comm/rendezvous.h"
#include "comm/socket.h"
#include "comm/wire.h"

namespace oneflow::comm {
namespace {

int FreePort() { return *Socket::Listen(0)->port(); }

RendezvousOptions Options(int rank, int world_size, int port) {
  RendezvousOptions options;
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
std::vector<Result> ConnectAll(const std::vector<RendezvousOptions>& options) {
  std::vector<std::future<Result>> futures;
  for (const RendezvousOptions& o : options) {
    futures.push_back(std::async(std::launch::async, [o] { return Connect(o); }));
  }
  std::vector<Result> results;
  for (auto& future : futures) results.push_back(future.get());
  return results;
}

std::vector<std::unique_ptr<Transport>> World(int size) {
  const int port = FreePort();
  std::vector<RendezvousOptions> options;
  for (int r = 0; r < size; ++r) options.push_back(Options(r, size, port));
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

TEST(TransportTest, MessagesOfAChannelArriveInOrderInThePostedSlots) {
  Recorder recorders[2];
  auto world = World(2);
  std::vector<ChannelId> ids[2];
  const int64_t bytes = (1 << 20) - 3;
  std::vector<std::byte> slots(static_cast<size_t>(2 * bytes));
  std::vector<std::byte> source(static_cast<size_t>(bytes));
  int told_at_once = 0;
  std::thread other([&] {
    ids[1] = *world[1]->OpenChannels("f", {"row"},
                                     {{"c", 0, false, bytes, 2, "s", {slots.data(), bytes, 2}}},
                                     recorders[1].Callbacks());
  });
  ids[0] = *world[0]->OpenChannels("f", {"row"},
                                   {{"c", 1, true, bytes, 2, "s", {source.data(), bytes, 1}}},
                                   recorders[0].Callbacks());
  other.join();
  EXPECT_EQ(world[0]->RemoteRegion(ids[0][0]).base, slots.data());
  EXPECT_EQ(world[0]->RemoteRegion(ids[0][0]).slots, 2u);
  EXPECT_EQ(world[1]->RemoteRegion(ids[1][0]).base, source.data());
  constexpr int kMessages = 50;
  world[1]->Post(ids[1][0]);
  world[1]->Post(ids[1][0]);
  for (int i = 0; i < kMessages; ++i) {
    ASSERT_TRUE(recorders[0].WaitFor(&recorders[0].credits, i + 1));
    ASSERT_TRUE(recorders[0].WaitFor(&recorders[0].sent, i - told_at_once));
    std::memset(source.data(), i, source.size());
    if (world[0]->Send(ids[0][0])) ++told_at_once;
    ASSERT_TRUE(recorders[1].WaitFor(&recorders[1].arrived, i + 1));
    for (int64_t at : {int64_t{0}, bytes / 2, bytes - 1}) {
      ASSERT_EQ(slots[static_cast<size_t>(i % 2 * bytes + at)], static_cast<std::byte>(i));
    }
    world[1]->Post(ids[1][0]);
  }
  EXPECT_EQ(world[1]->bytes_received(), kMessages * bytes);
  EXPECT_EQ(world[0]->bytes_sent(), kMessages * bytes);
}

TEST(TransportTest, AllGatherGivesEveryRanksBytesInRankOrder) {
  auto world = World(4);
  std::vector<std::future<absl::StatusOr<std::vector<std::string>>>> futures;
  for (int r = 0; r < 4; ++r) {
    futures.push_back(std::async(std::launch::async, [&, r] {
      return world[r]->AllGather(std::string(1000 * r, static_cast<char>('a' + r)));
    }));
  }
  for (auto& future : futures) {
    const auto said = future.get();
    ASSERT_TRUE(said.ok()) << said.status();
    for (int r = 0; r < 4; ++r) {
      EXPECT_EQ((*said)[r], std::string(1000 * r, static_cast<char>('a' + r)));
    }
  }
}

TEST(TransportTest, DifferentProgramsFailOnAllRanksAndNameTheFirstRow) {
  Recorder recorders[2];
  auto world = World(2);
  absl::Status statuses[2];
  std::thread other([&] {
    statuses[1] = world[1]->OpenChannels("g", {"a mlp.py:3", "c mlp.py:9"}, {}, {}).status();
  });
  statuses[0] = world[0]->OpenChannels("f", {"a mlp.py:3", "b mlp.py:8"}, {}, {}).status();
  other.join();
  for (const absl::Status& status : statuses) {
    EXPECT_EQ(KindOf(status), ErrorKind::kPeer);
    EXPECT_NE(MessageOf(status).find("b mlp.py:8"), std::string::npos) << status;
    EXPECT_NE(MessageOf(status).find("c mlp.py:9"), std::string::npos) << status;
  }
}

TEST(TransportTest, EndsOfAChannelThatDifferAreRefused) {
  Announcement a{"f", {}, {{"c", 1, true, 64, 2, "stamp"}}, 0};
  Announcement b{"f", {}, {{"c", 0, false, 64, 2, "stamp"}}, 0};
  EXPECT_EQ(Compare({a, b}), "");
  b.channels[0].slots = 1;
  EXPECT_NE(Compare({a, b}).find("2 slots"), std::string::npos);
  b.channels[0].slots = 2;
  b.channels[0].check = "other";
  EXPECT_NE(Compare({a, b}).find("other"), std::string::npos);
  b.channels.clear();
  EXPECT_NE(Compare({a, b}).find("known to rank 0 alone"), std::string::npos);
}

TEST(TransportTest, ALostPeerIsNamedOnce) {
  Recorder recorder;
  auto world = World(3);
  std::vector<std::future<void>> opened;
  for (int r = 1; r < 3; ++r) {
    opened.push_back(std::async(std::launch::async, [&, r] {
      std::vector<ChannelSpec> specs;
      if (r == 1) specs = {{"c", 0, true, 64, 1, ""}};
      (void)world[r]->OpenChannels("f", {}, specs, {}).status();
    }));
  }
  ASSERT_TRUE(
      world[0]->OpenChannels("f", {}, {{"c", 1, false, 64, 1, ""}}, recorder.Callbacks()).ok());
  opened.clear();
  world[1]->Abort(MakeError(ErrorKind::kShape, "ShapeError at mlp.py:7"));
  ASSERT_TRUE(recorder.WaitForError());
  EXPECT_NE(MessageOf(recorder.error).find("rank 1 failed: ShapeError at mlp.py:7"),
            std::string::npos)
      << recorder.error;
}

TEST(TransportTest, ACollectiveCallThatAPeerDoesNotMakeNamesIt) {
  auto world = World(2);
  world[1].reset();  // leaves in peace
  const auto said = world[0]->AllGather("x");
  EXPECT_EQ(KindOf(said.status()), ErrorKind::kPeer);
  EXPECT_NE(MessageOf(said.status()).find("rank(s) 1"), std::string::npos) << said.status();
}

TEST(RendezvousTest, AWrongSecretIsRefusedAndTheJobStillStarts) {
  const int port = FreePort();
  std::vector<RendezvousOptions> options = {Options(0, 2, port), Options(1, 2, port),
                                            Options(1, 2, port)};
  options[2].secret = std::string(32, 'x');
  std::promise<absl::Status> stranger;
  std::thread thread([&] { stranger.set_value(Connect(options[2]).status()); });
  auto rank0 = std::async(std::launch::async, [&] { return Connect(options[0]); });
  const absl::Status refused = stranger.get_future().get();
  thread.join();
  EXPECT_EQ(KindOf(refused), ErrorKind::kPeer);
  EXPECT_NE(MessageOf(refused).find("secret"), std::string::npos) << refused;
  Result one = Connect(options[1]);
  Result zero = rank0.get();
  EXPECT_TRUE(one.ok()) << one.status();
  EXPECT_TRUE(zero.ok()) << zero.status();
}

TEST(RendezvousTest, GarbageIsIgnored) {
  const int port = FreePort();
  auto rank0 = std::async(std::launch::async, [&] { return Connect(Options(0, 2, port)); });
  const Deadline deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  for (int i = 0; i < 3; ++i) {
    absl::StatusOr<Socket> socket = Socket::Connect("127.0.0.1", port, deadline);
    while (!socket.ok()) socket = Socket::Connect("127.0.0.1", port, deadline);
    const std::string garbage(200, static_cast<char>('A' + i));
    (void)socket->WriteAll(garbage.data(), garbage.size(), deadline);
  }
  Result one = Connect(Options(1, 2, port));
  Result zero = rank0.get();
  EXPECT_TRUE(one.ok()) << one.status();
  EXPECT_TRUE(zero.ok()) << zero.status();
}

TEST(RendezvousTest, ADifferentWorldSizeNamesBothValuesOnBothRanks) {
  const int port = FreePort();
  const auto results = ConnectAll({Options(0, 2, port), Options(1, 3, port)});
  for (const Result& result : results) {
    EXPECT_EQ(KindOf(result.status()), ErrorKind::kPeer);
    EXPECT_NE(MessageOf(result.status()).find("world size 3"), std::string::npos)
        << result.status();
    EXPECT_NE(MessageOf(result.status()).find("has 2"), std::string::npos) << result.status();
  }
}

TEST(RendezvousTest, MissingRanksAreNamedAtTheTimeLimit) {
  RendezvousOptions options = Options(0, 3, FreePort());
  options.timeout_seconds = 0.2;
  const absl::Status status = Connect(options).status();
  EXPECT_NE(MessageOf(status).find("rank(s) 1, 2"), std::string::npos) << status;
}

TEST(RendezvousTest, ABadAddressIsExplained) {
  RendezvousOptions options = Options(1, 2, 1);
  options.address = "nowhere";
  EXPECT_NE(MessageOf(Connect(options).status()).find("host:port"), std::string::npos);
}

TEST(RendezvousTest, RankZeroListensOnItsOwnAddressAlone) {
  EXPECT_EQ(Socket::Listen(0, "127.0.0.3")->own_end()->host(), "127.0.0.3");
  for (const char* any : {"0.0.0.0", "::"}) {
    const absl::Status status = Socket::Listen(0, any).status();
    EXPECT_NE(MessageOf(status).find("every address"), std::string::npos) << status;
  }
  RendezvousOptions options = Options(0, 2, 1);
  options.address = "198.51.100.7:29500";  // reserved for documentation: nobody has it
  const absl::Status foreign = Connect(options).status();
  EXPECT_EQ(KindOf(foreign), ErrorKind::kPeer);
  EXPECT_NE(MessageOf(foreign).find("no address of this host"), std::string::npos) << foreign;
}

TEST(RendezvousTest, RanksMeetAtAnotherAddressOfTheHost) {
  const int port = *Socket::Listen(0, "127.0.0.3")->port();
  std::vector<RendezvousOptions> options;
  for (int r = 0; r < 3; ++r) {
    options.push_back(Options(r, 3, port));
    options.back().address = "127.0.0.3:" + std::to_string(port);
  }
  for (const Result& result : ConnectAll(options)) EXPECT_TRUE(result.ok()) << result.status();
}

TEST(RendezvousTest, ANameWithoutAnAddressIsTriedAgainAndNamed) {
  RendezvousOptions options = Options(1, 2, 1);
  options.address = "no-such-host.invalid:29500";
  options.timeout_seconds = 0.2;
  const absl::Status status = Connect(options).status();
  EXPECT_NE(MessageOf(status).find("no-such-host.invalid` has no address"), std::string::npos)
      << status;
}

TEST(WireTest, DecodeIsTotal) {
  const Announcement announcement{"f", {"a", "b"}, {{"c", 1, true, 64, 2, "x"}}, 7};
  const std::string bytes = Encode(announcement);
  EXPECT_EQ(Decode(bytes)->channels[0].name, "c");
  EXPECT_EQ(Decode(bytes)->first_channel, 7u);
  for (size_t cut = 0; cut < bytes.size(); ++cut) EXPECT_FALSE(Decode(bytes.substr(0, cut)).ok());
  uint64_t seed = 1;
  for (int i = 0; i < 20000; ++i) {
    std::string mutated = bytes;
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    mutated[(seed >> 33) % mutated.size()] = static_cast<char>(seed >> 20);
    (void)Decode(mutated);
  }
}

TEST(HandshakeTest, HmacMatchesRfc4231) {
  // RFC 4231, test case 2.
  const std::string mac = Hmac("Jefe", "what do ya want for nothing?");
  std::string hex;
  for (unsigned char c : mac) {
    constexpr char digits[] = "0123456789abcdef";
    hex += digits[c >> 4];
    hex += digits[c & 15];
  }
  EXPECT_EQ(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

}  // namespace
}  // namespace oneflow::comm
