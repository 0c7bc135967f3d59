#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <deque>
#include <future>
#include <string>
#include <thread>
#include <utility>

#include "base/status.h"
#include "comm/fake_verbs_for_test.h"
#include "comm/handshake.h"
#include "comm/notice_ring.h"
#include "comm/rendezvous.h"
#include "comm/socket.h"
#include "comm/world_for_test.h"

namespace oneflow::comm {
namespace {

// The paths that a message may take; what holds of one holds of all.
enum class Way { kTcp, kShared, kRdma, kSoftRoce };

class TransportTest : public testing::TestWithParam<Way> {
 protected:
  std::vector<std::unique_ptr<Transport>> World(int size) {
    switch (GetParam()) {
      case Way::kTcp:
        return comm::World(size, PathChoice::kTcp);
      case Way::kShared:
        return comm::World(size, PathChoice::kShared);
      case Way::kRdma:
        return comm::World(size, PathChoice::kRdma, [this](int rank) {
          return RdmaOptions{fabric_.verbs(rank), "", {}};
        });
      case Way::kSoftRoce:
        return comm::World(size, PathChoice::kRdma, [](int rank) {
          return RdmaOptions{nullptr, "rxe" + std::to_string(rank + 1), {}};
        });
    }
    return {};
  }
  bool shared() const { return GetParam() == Way::kShared; }
  bool rdma() const { return GetParam() == Way::kRdma || GetParam() == Way::kSoftRoce; }

 private:
  FakeFabric fabric_;
};

std::string NameOfWay(const testing::TestParamInfo<Way>& info) {
  constexpr const char* kNames[] = {"Tcp", "SharedMemory", "Rdma", "SoftRoce"};
  return kNames[static_cast<int>(info.param)];
}
INSTANTIATE_TEST_SUITE_P(Paths, TransportTest, testing::Values(Way::kTcp, Way::kShared, Way::kRdma),
                         NameOfWay);
// Over a device rxe1, rxe2, ... for each rank: tools/rdma_vm runs these in its guest.
INSTANTIATE_TEST_SUITE_P(DISABLED_Paths, TransportTest, testing::Values(Way::kSoftRoce), NameOfWay);

TEST_P(TransportTest, MessagesOfAChannelArriveInOrderInThePostedSlots) {
  Recorder recorders[2];
  const int64_t bytes = (1 << 20) - 3;
  std::vector<std::byte> source(static_cast<size_t>(bytes));  // outlives its channel
  auto world = World(2);
  std::vector<ChannelId> ids[2];
  Slots slots(world[1].get(), static_cast<size_t>(2 * bytes));
  EXPECT_EQ(slots.shared(), shared());
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
    if (shared()) {
      EXPECT_EQ(told_at_once, i + 1);
    }
    ASSERT_TRUE(recorders[1].WaitFor(&recorders[1].arrived, i + 1));
    for (int64_t at : {int64_t{0}, bytes / 2, bytes - 1}) {
      ASSERT_EQ(slots[static_cast<size_t>(i % 2 * bytes + at)], static_cast<std::byte>(i));
    }
    world[1]->Post(ids[1][0]);
  }
  EXPECT_EQ(world[1]->bytes_received(), kMessages * bytes);
  EXPECT_EQ(world[0]->bytes_sent(), kMessages * bytes);
}

// A ring's SEND: all messages of one source, by turns.
TEST_P(TransportTest, MessagesAreTakenFromWhereTheSendersRegionSays) {
  Recorder recorders[2];
  const int64_t bytes = 4096;
  const std::vector<int64_t> offsets = {2 * bytes, 0, 3 * bytes};
  std::vector<std::byte> source(static_cast<size_t>(4 * bytes));
  for (size_t i = 0; i < source.size(); ++i) source[i] = static_cast<std::byte>(i / 4096 + 1);
  auto world = World(2);
  std::vector<ChannelId> ids[2];
  Slots slots(world[1].get(), static_cast<size_t>(2 * bytes));
  std::thread other([&] {
    ids[1] = *world[1]->OpenChannels("f", {"row"},
                                     {{"c", 0, false, bytes, 2, "s", {slots.data(), bytes, 2}}},
                                     recorders[1].Callbacks());
  });
  ids[0] = *world[0]->OpenChannels(
      "f", {"row"}, {{"c", 1, true, bytes, 2, "s", {source.data(), 0, 1, 3, offsets}}},
      recorders[0].Callbacks());
  other.join();
  for (int i = 0; i < 7; ++i) {
    world[1]->Post(ids[1][0]);
    ASSERT_TRUE(recorders[0].WaitFor(&recorders[0].credits, i + 1));
    world[0]->Send(ids[0][0]);
    ASSERT_TRUE(recorders[1].WaitFor(&recorders[1].arrived, i + 1));
    const auto expected = static_cast<std::byte>(offsets[static_cast<size_t>(i % 3)] / bytes + 1);
    for (const int64_t at : {int64_t{0}, bytes - 1}) {
      EXPECT_EQ(slots[static_cast<size_t>(i % 2 * bytes + at)], expected) << "message " << i;
    }
  }
}

// What one rank says of its stretch otherwise than the others.
struct RingChange {
  int64_t bytes = 4096;
  int64_t members = 4;
  int64_t shift = 0;  // of a buffer
  bool shares = true;
  std::string to = "";
};

// A ring of four members at three ranks, of which the last has two: channels c0 to c2, each to the next rank.
struct Ring {
  static constexpr int64_t kBytes = 4096;
  static constexpr int kRanks = 3;
  explicit Ring(std::vector<std::unique_ptr<Transport>> ranks, const RingChange& at_1 = {})
      : world(std::move(ranks)) {
    const auto name = [](int r) { return "c" + std::to_string((r + kRanks) % kRanks); };
    std::vector<std::thread> threads;
    for (int r = 0; r < kRanks; ++r) {
      slots.push_back(std::make_unique<Slots>(world[static_cast<size_t>(r)].get(), kBytes));
      for (int i = 0; i < (r == 2 ? 2 : 1); ++i) AddBuffer(r, r == 1 ? at_1 : RingChange());
    }
    for (int r = 0; r < kRanks; ++r) {
      const RingChange change = r == 1 ? at_1 : RingChange();
      RingStretch stretch = {{}, change.bytes, change.members, name(r), (r + 1) % kRanks};
      if (!change.to.empty()) stretch.to = change.to;
      for (std::byte* base : OfRank(r)) stretch.buffers.push_back({base, 0, 1, 8});
      threads.emplace_back([=, this] {
        const auto at = static_cast<size_t>(r);
        ChannelSpec in = {name(r - 1), (r + kRanks - 1) % kRanks, false, 64, 1, ""};
        in.region = {slots[at]->data(), 64, 1};
        in.ring = stretch;
        ChannelSpec out = {name(r), (r + 1) % kRanks, true, 64, 1, ""};
        out.region = {OfRank(r)[0], 0, 1};
        ids[at] = *world[at]->OpenChannels("f", {}, {in, out}, recorders[at].Callbacks());
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  void AddBuffer(int r, const RingChange& change) {
    of.push_back(r);
    if (change.shares) {
      memory.push_back(std::make_unique<Slots>(world[static_cast<size_t>(r)].get(), 2 * kBytes));
      buffers.push_back(memory.back()->data() + change.shift);
    } else {
      private_memory.emplace_back(2 * kBytes);
      buffers.push_back(private_memory.back().data());
    }
  }
  std::vector<std::byte*> OfRank(int r) const {
    std::vector<std::byte*> bases;
    for (size_t i = 0; i < of.size(); ++i) {
      if (of[i] == r) bases.push_back(buffers[i]);
    }
    return bases;
  }
  // Each rank has all buffers, its own first: what one writes there, their owners find.
  void ExpectInPlace() {
    for (int r = 0; r < kRanks; ++r) {
      const std::vector<Region> here = world[static_cast<size_t>(r)]->InPlace(In(r));
      ASSERT_EQ(here.size(), buffers.size()) << r;
      EXPECT_TRUE(world[static_cast<size_t>(r)]->WritesDirectly(ids[static_cast<size_t>(r)][1]));
      for (size_t i = 0; i < here.size(); ++i) {
        const size_t owner = (static_cast<size_t>(r) + i) % buffers.size();
        const auto word = static_cast<std::byte>(16 * r + static_cast<int>(i) + 1);
        here[i].At(0)[kBytes - 1] = word;
        EXPECT_EQ(buffers[owner][kBytes - 1], word) << r << " " << i;
        EXPECT_EQ(here[i].per_slot, 8u);
      }
    }
  }
  void ExpectRound() {
    for (int r = 0; r < kRanks; ++r) {
      EXPECT_TRUE(world[static_cast<size_t>(r)]->InPlace(In(r)).empty()) << r;
    }
  }
  // A message of zeros from rank 0 to rank 1, whose slot has ones. True: it has come into the slot.
  bool Carries() {
    std::memset(slots[1]->data(), 1, 64);
    std::memset(buffers[0], 0, 64);
    world[1]->Post(In(1));
    EXPECT_TRUE(recorders[0].WaitFor(&recorders[0].credits, ++messages));
    world[0]->Send(ids[0][1]);
    EXPECT_TRUE(recorders[1].WaitFor(&recorders[1].arrived, messages));
    return (*slots[1])[63] == std::byte{0};
  }
  ChannelId In(int r) const { return ids[static_cast<size_t>(r)][0]; }

  Recorder recorders[kRanks];  // outlive the threads that call them
  std::vector<std::unique_ptr<Transport>> world;
  std::vector<std::unique_ptr<Slots>> slots, memory;
  std::deque<std::vector<std::byte>> private_memory;
  std::vector<int> of;  // by buffer, in the ring's order: its rank
  std::vector<std::byte*> buffers;
  std::vector<ChannelId> ids[kRanks];  // that from the rank before, and that to the next
  int messages = 0;
};

TEST_P(TransportTest, MessagesOfARingInPlaceCarryNothing) {
  Ring ring(World(Ring::kRanks));
  auto& world = ring.world;
  if (shared()) {
    ring.ExpectInPlace();
  } else {
    ring.ExpectRound();
  }
  EXPECT_EQ(ring.Carries(), !shared());
  EXPECT_EQ(world[1]->bytes_received(), 64u);
}

// What is not said alike by all, what nobody else can map, and what is no number's place, goes round.
TEST_P(TransportTest, ARingThatOneRankKnowsOtherwiseGoesRound) {
  for (const RingChange& change :
       {RingChange{.bytes = 8192}, RingChange{.members = 5}, RingChange{.shift = 4},
        RingChange{.shares = false}, RingChange{.to = "c0"}}) {
    Ring ring(World(Ring::kRanks), change);
    ring.ExpectRound();
    EXPECT_TRUE(ring.Carries());
  }
}

// Any rank's buffers may move, and all: the others follow. Into memory that they cannot map: they go round, until that has
// moved as well.
TEST_P(TransportTest, RingsFollowTheirBuffers) {
  if (!shared()) return;
  Ring ring(World(Ring::kRanks));
  auto& world = ring.world;
  bool can_be_mapped = true;
  for (const bool shares : {true, false, true}) {
    for (const std::vector<int>& movers : {std::vector<int>{0}, {2}, {0, 1, 2}}) {
      std::vector<std::byte*> before = ring.buffers;
      const std::vector<int> of = ring.of;
      ring.buffers.clear();
      ring.of.clear();
      for (size_t i = 0; i < of.size(); ++i) {
        const bool moves = std::find(movers.begin(), movers.end(), of[i]) != movers.end();
        if (moves) {
          ring.AddBuffer(of[i], {.shares = shares || of[i] != 2});
        } else {
          ring.of.push_back(of[i]);
          ring.buffers.push_back(before[i]);
        }
      }
      std::vector<std::thread> threads;
      for (int r = 0; r < Ring::kRanks; ++r) {
        threads.emplace_back([&, r] {
          if (std::find(movers.begin(), movers.end(), r) != movers.end()) {
            world[static_cast<size_t>(r)]->MoveRegion(
                ring.In(r), {ring.slots[static_cast<size_t>(r)]->data(), ring.OfRank(r)});
            world[static_cast<size_t>(r)]->MoveRegion(ring.ids[r][1], {ring.OfRank(r)[0]});
          }
          EXPECT_TRUE(world[static_cast<size_t>(r)]->OpenChannels("g", {}, {}, {}).ok());
        });
      }
      for (std::thread& thread : threads) thread.join();
      if (movers.back() == 2) can_be_mapped = shares;
      if (can_be_mapped) {
        ring.ExpectInPlace();
      } else {
        ring.ExpectRound();
      }
      EXPECT_EQ(ring.Carries(), !can_be_mapped);
    }
  }
}

TEST_P(TransportTest, AThreadThatLooksRunsTheCallbacksItself) {
  Recorder recorders[2];
  auto world = World(2);
  std::atomic<std::thread::id> ran_on;
  TransportCallbacks at_1 = recorders[1].Callbacks();
  std::atomic<int> arrived = 0;
  int itself = 0;  // callbacks that the thread that looks has run
  at_1.on_arrived = [&](ChannelId) {
    ran_on.store(std::this_thread::get_id());
    ++arrived;
  };
  OneWay way(&world, 8, 1, recorders[0].Callbacks(), at_1);
  for (int i = 0; i < 200; ++i) {
    // Now and then it sleeps for a message, so that both ways hand over to each other.
    const bool looks = i % 3 != 0;
    if (looks) world[1]->BeginLooking();
    world[1]->Post(way.in);
    ASSERT_TRUE(recorders[0].WaitFor(&recorders[0].credits, i + 1));
    std::memset(way.from.data(), i, 8);
    (void)world[0]->Send(way.out);
    while (arrived.load() <= i) {
      if (!looks || !world[1]->Look()) std::this_thread::yield();
    }
    if (looks) world[1]->EndLooking();
    ASSERT_EQ(way.to[7], static_cast<std::byte>(i));
    itself += looks && ran_on.load() == std::this_thread::get_id();
  }
  // Not all: the transport's thread looks too, after a bell and once a second.
  EXPECT_EQ(itself > 0, shared());
  EXPECT_EQ(world[1]->looking_suffices(), shared());
}

// Read by who looks for it, at once, on another core than the one that writes it.
TEST_P(TransportTest, AMessageIsThereWhenItIsSaidToBe) {
  constexpr int64_t kBytes = 8 << 20;
  constexpr int kMessages = 20;
  Recorder recorder;
  auto world = World(2);
  std::atomic<int> arrived = 0, wrong = 0;
  std::byte* slot = nullptr;
  TransportCallbacks at_1;
  at_1.on_credit = at_1.on_sent = [](ChannelId) {};
  at_1.on_arrived = [&](ChannelId) {
    const std::byte due = static_cast<std::byte>(arrived.load() + 1);
    if (slot[0] != due || slot[kBytes - 1] != due) ++wrong;
    ++arrived;
  };
  OneWay way(&world, kBytes, 1, recorder.Callbacks(), at_1);
  slot = way.to.data();
  std::thread reader([&] {
    world[1]->BeginLooking();
    for (int i = 0; i < kMessages; ++i) {
      world[1]->Post(way.in);
      while (arrived.load() <= i) (void)world[1]->Look();
    }
    world[1]->EndLooking();
  });
  int told_at_once = 0;
  for (int i = 0; i < kMessages; ++i) {
    ASSERT_TRUE(recorder.WaitFor(&recorder.credits, i + 1));
    ASSERT_TRUE(recorder.WaitFor(&recorder.sent, i - told_at_once));
    std::memset(way.from.data(), i + 1, way.from.size());
    if (world[0]->Send(way.out)) ++told_at_once;
  }
  reader.join();
  EXPECT_EQ(wrong.load(), 0);
}

// More than a ring of notices holds, while the reader is busy: the rest is told by frames.
TEST_P(TransportTest, NoMessageIsLostWhereThereIsNoRoomForItsNotice) {
  constexpr int kMessages = 3 * static_cast<int>(NoticeRing::kPlaces) / 2;
  Recorder recorders[2];
  auto world = World(2);
  std::promise<void> go_on;
  TransportCallbacks at_1 = recorders[1].Callbacks();
  at_1.on_arrived = [&, go = go_on.get_future().share(), callback = at_1.on_arrived](ChannelId id) {
    go.wait();
    callback(id);
  };
  OneWay way(&world, 4, kMessages, recorders[0].Callbacks(), at_1);
  for (int i = 0; i < kMessages; ++i) {
    std::memcpy(way.from.data() + 4 * i, &i, 4);
    world[1]->Post(way.in);
  }
  ASSERT_TRUE(recorders[0].WaitFor(&recorders[0].credits, kMessages));
  for (int i = 0; i < kMessages; ++i) (void)world[0]->Send(way.out);
  go_on.set_value();
  ASSERT_TRUE(recorders[1].WaitFor(&recorders[1].arrived, kMessages));
  EXPECT_EQ(std::memcmp(way.to.data(), way.from.data(), way.from.size()), 0);
}

TEST_P(TransportTest, MessagesFollowARegionThatHasMoved) {
  Recorder recorders[2];
  auto world = World(2);
  OneWay way(&world, 64, 1, recorders[0].Callbacks(), recorders[1].Callbacks());
  std::memset(way.from.data(), 5, 64);
  Slots elsewhere(world[1].get(), 1 << 20);
  world[1]->MoveRegion(way.in, {elsewhere.data() + 4096});
  std::thread other([&] { EXPECT_TRUE(world[1]->OpenChannels("g", {}, {}, {}).ok()); });
  EXPECT_TRUE(world[0]->OpenChannels("g", {}, {}, {}).ok());
  other.join();
  world[1]->Post(way.in);
  ASSERT_TRUE(recorders[0].WaitFor(&recorders[0].credits, 1));
  (void)world[0]->Send(way.out);
  ASSERT_TRUE(recorders[1].WaitFor(&recorders[1].arrived, 1));
  EXPECT_EQ(world[0]->WritesDirectly(way.out), shared() || rdma());
  EXPECT_EQ(elsewhere[4096 + 63], std::byte{5});
  EXPECT_EQ(way.to[0], std::byte{0});
}

// What a ring gathers: every second message is of a piece of the receiver's buffer.
TEST_P(TransportTest, MessagesLandWhereTheReceiverHasAPlaceForThem) {
  constexpr int64_t kBytes = 2 << 20, kPieces = 3;
  Recorder recorders[2];
  auto world = World(2);
  const bool lands = !shared() && !rdma();
  std::vector<std::byte> source(static_cast<size_t>(kBytes)), buffer(kPieces * source.size());
  std::vector<std::byte> other_buffer = buffer;
  Slots slots(world[1].get(), source.size());
  const Region landing = {buffer.data(), 0, 1, 6, {-1, 2 * kBytes, -1, 0, -1, kBytes}};
  ChannelId in = 0;
  std::thread other([&] {
    in = (*world[1]->OpenChannels(
        "f", {}, {{"c", 0, false, kBytes, 1, "s", {slots.data(), kBytes, 1}, {}, landing}},
        recorders[1].Callbacks()))[0];
  });
  const ChannelId out = (*world[0]->OpenChannels(
      "f", {}, {{"c", 1, true, kBytes, 1, "s", {source.data(), kBytes, 1}}},
      recorders[0].Callbacks()))[0];
  other.join();
  EXPECT_EQ(world[1]->Lands(in), lands);
  EXPECT_FALSE(world[0]->Lands(out));
  int told_at_once = 0;
  const auto all = [](const std::byte* at, int value) {
    return std::all_of(at, at + kBytes, [&](std::byte b) { return b == std::byte(value); });
  };
  for (int i = 0; i < 12; ++i) {
    if (i == 6) {
      world[1]->MoveRegion(in, {slots.data(), {}, other_buffer.data()});
      std::thread again([&] { EXPECT_TRUE(world[1]->OpenChannels("g", {}, {}, {}).ok()); });
      EXPECT_TRUE(world[0]->OpenChannels("g", {}, {}, {}).ok());
      again.join();
    }
    const std::byte* to = slots.data();
    if (lands && i % 2 == 1) {
      to = landing.At(i) - buffer.data() + (i < 6 ? buffer : other_buffer).data();
    }
    world[1]->Post(in);
    ASSERT_TRUE(recorders[0].WaitFor(&recorders[0].credits, i + 1));
    std::memset(source.data(), i + 1, source.size());
    if (world[0]->Send(out)) ++told_at_once;
    ASSERT_TRUE(recorders[1].WaitFor(&recorders[1].arrived, i + 1));
    EXPECT_TRUE(all(to, i + 1)) << i;
    EXPECT_EQ(all(slots.data(), i + 1), to == slots.data()) << i;
    ASSERT_TRUE(recorders[0].WaitFor(&recorders[0].sent, i + 1 - told_at_once));
  }
  world[0]->CloseChannels({out});
}

// Rank 1 offers memory, but says that its slots reach beyond: they are not written into, and it reads
// its messages from frames. (By RDMA the channel's bytes are all that is offered.)
TEST_P(TransportTest, SlotsThatAreNotInsideWhatIsOfferedAreNotWritten) {
  Recorder recorders[2];
  std::vector<std::byte> source(64, std::byte{9});  // outlives its channel
  auto world = World(2);
  Slots slots(world[1].get(), 4096);
  std::byte* base = slots.data() + 4096 - 64;
  ChannelId in = 0;
  std::thread other([&] {
    in = (*world[1]->OpenChannels("f", {}, {{"c", 0, false, 64, 2, "", {base, 64, 2}}},
                                  recorders[1].Callbacks()))[0];
  });
  const ChannelId out = (*world[0]->OpenChannels(
      "f", {}, {{"c", 1, true, 64, 2, "", {source.data(), 0, 1}}}, recorders[0].Callbacks()))[0];
  other.join();
  world[1]->Post(in);  // the first slot is inside
  ASSERT_TRUE(recorders[0].WaitFor(&recorders[0].credits, 1));
  (void)world[0]->Send(out);
  ASSERT_TRUE(recorders[1].WaitFor(&recorders[1].arrived, 1));
  EXPECT_EQ(base[63], std::byte{9});
  if (!rdma()) {
    EXPECT_FALSE(world[0]->WritesDirectly(out));
  }
}

TEST_P(TransportTest, AllGatherGivesEveryRanksBytesInRankOrder) {
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

TEST_P(TransportTest, DifferentProgramsFailOnAllRanksAndNameTheFirstRow) {
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

// Rank 1 knows a channel to rank 2 of which that one knows nothing: rank 0, which has no part in it, stops too.
TEST_P(TransportTest, AChannelWithoutItsOtherEndStopsAllRanks) {
  Recorder recorder;
  std::vector<std::byte> source(64);
  auto world = World(3);
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::future<absl::Status>> opened;
  for (int r = 0; r < 3; ++r) {
    opened.push_back(std::async(std::launch::async, [&, r] {
      std::vector<ChannelSpec> specs;
      if (r == 1) specs = {{"c", 2, true, 64, 1, "", {source.data(), 64, 1}}};
      return world[static_cast<size_t>(r)]->OpenChannels("f", {}, specs, {}).status();
    }));
  }
  for (auto& one : opened) {
    const absl::Status status = one.get();
    EXPECT_EQ(KindOf(status), ErrorKind::kPeer);
    EXPECT_NE(MessageOf(status).find("channel `c` from rank 1 to rank 2 is known to rank 1 alone"),
              std::string::npos)
        << status;
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
}

// Pairs of which one says more than fits into a piece; the others have done with theirs long before.
TEST_P(TransportTest, ACollectiveCallMayBeLongForSome) {
  auto world = World(3);
  std::vector<std::future<absl::Status>> calls;
  std::atomic<int> wrong = 0;
  for (int r = 0; r < 3; ++r) {
    calls.push_back(std::async(std::launch::async, [&, r]() -> absl::Status {
      for (int round = 0; round < 3; ++round) {
        const size_t sizes[] = {static_cast<size_t>(round), (4u << 20) - 8, 9u << 20};
        const size_t own = sizes[(r + round) % 3];
        const auto said = world[static_cast<size_t>(r)]->AllGather(std::string(own, 'x'));
        if (!said.ok()) return said.status();
        for (int from = 0; from < 3; ++from) {
          if ((*said)[static_cast<size_t>(from)].size() != sizes[(from + round) % 3]) ++wrong;
        }
      }
      return absl::OkStatus();
    }));
  }
  for (auto& call : calls) {
    const absl::Status status = call.get();
    EXPECT_TRUE(status.ok()) << status;
  }
  EXPECT_EQ(wrong.load(), 0);
}

TEST_P(TransportTest, ALostPeerIsNamedOnce) {
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

TEST_P(TransportTest, ACollectiveCallThatAPeerDoesNotMakeNamesIt) {
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

TEST(RendezvousTest, DescriptorsForAllRanksAreAllowedOrAskedFor) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  RendezvousOptions options = Options(0, 1 << 30, FreePort());
  if (before.rlim_max < (1u << 31)) {
    const absl::Status status = Connect(options).status();
    EXPECT_NE(MessageOf(status).find("needs 2147483712 descriptors"), std::string::npos) << status;
  }
  rlimit low = before;
  low.rlim_cur = 256;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  RendezvousOptions alone = Options(0, 2, FreePort());
  alone.timeout_seconds = 0.1;
  EXPECT_FALSE(Connect(alone).ok());
  rlimit after{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &after), 0);
  EXPECT_EQ(after.rlim_cur, std::min<rlim_t>(512 + 6 * 2, before.rlim_max));
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
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
