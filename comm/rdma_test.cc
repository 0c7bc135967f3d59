// RDMA over adapters in memory: who reaches whom, what waits for what, and adapters and peers that fail.
// What holds of every path stands in transport_test.cc.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <future>
#include <thread>

#include "base/status.h"
#include "comm/blame.h"
#include "comm/fake_verbs_for_test.h"
#include "comm/gathering_for_test.h"
#include "comm/rdma_peers.h"
#include "comm/world_for_test.h"

namespace oneflow::comm {
namespace {

using PathChoice::kRdma;

std::vector<std::unique_ptr<Transport>> RdmaWorld(FakeFabric* fabric, int size) {
  return World(size, kRdma, [fabric](int rank) {
    return RdmaOptions{fabric->verbs(rank), "", {}};
  });
}

// Two ranks whose only way is RDMA, and a channel from 0 to 1 of one message of 64 bytes.
struct RdmaPair {
  FakeFabric fabric;
  Recorder recorders[2];
  std::vector<std::unique_ptr<Transport>> world = RdmaWorld(&fabric, 2);
  OneWay way{&world, 64, 1, recorders[0].Callbacks(), recorders[1].Callbacks()};

  // 1 posts its slot, and 0 hears of it.
  bool Grants() {
    world[1]->Post(way.in);
    return recorders[0].WaitFor(&recorders[0].credits, 1);
  }
};

// ---- Transports.

TEST(RdmaTest, TheMemoryOfAChannelIsRegisteredWhileItIsOpen) {
  FakeFabric fabric;
  Recorder recorders[2];
  auto world = RdmaWorld(&fabric, 2);
  EXPECT_EQ(world[0]->paths()[1], "rdma (fake0:1 to fake1:1)");
  EXPECT_EQ(world[0]->paths()[0], "itself");
  EXPECT_EQ(fabric.memories(), 0u);
  {
    OneWay way(&world, 64, 2, recorders[0].Callbacks(), recorders[1].Callbacks());
    EXPECT_EQ(fabric.memories(), 2u);
    EXPECT_TRUE(world[0]->WritesDirectly(way.out));
    world[1]->CloseChannels({way.in});
    EXPECT_EQ(fabric.memories(), 1u);
  }
  EXPECT_EQ(fabric.memories(), 0u);
}

TEST(RdmaTest, WhatCannotBeRegisteredGoesByFrames) {
  FakeFabric::Limits limits;
  limits.most_memory = 100;
  FakeFabric fabric(limits);
  Recorder recorders[2];
  auto world = RdmaWorld(&fabric, 2);
  OneWay way(&world, 64, 1, recorders[0].Callbacks(), recorders[1].Callbacks());
  EXPECT_FALSE(world[0]->WritesDirectly(way.out));
  std::memset(way.from.data(), 3, 64);
  world[1]->Post(way.in);
  ASSERT_TRUE(recorders[0].WaitFor(&recorders[0].credits, 1));
  (void)world[0]->Send(way.out);
  ASSERT_TRUE(recorders[1].WaitFor(&recorders[1].arrived, 1));
  EXPECT_EQ(way.to[63], std::byte{3});
}

TEST(RdmaTest, AFullSendQueueIsWaitedFor) {
  constexpr int kMessages = 700;
  FakeFabric fabric;
  Recorder recorders[2];
  auto world = RdmaWorld(&fabric, 2);
  OneWay way(&world, 4, kMessages, recorders[0].Callbacks(), recorders[1].Callbacks());
  for (int i = 0; i < kMessages; ++i) {
    std::memcpy(way.from.data() + 4 * i, &i, 4);
    world[1]->Post(way.in);
  }
  ASSERT_TRUE(recorders[0].WaitFor(&recorders[0].credits, kMessages));
  fabric.Hold();
  for (int i = 0; i < kMessages; ++i) EXPECT_FALSE(world[0]->Send(way.out));
  fabric.Release();
  ASSERT_TRUE(recorders[1].WaitFor(&recorders[1].arrived, kMessages));
  ASSERT_TRUE(recorders[0].WaitFor(&recorders[0].sent, kMessages));
  EXPECT_EQ(std::memcmp(way.to.data(), way.from.data(), way.from.size()), 0);
  EXPECT_EQ(fabric.most_posted(), 256u);
}

// Without it the caller would write into, or free, what the adapter still reads.
TEST(RdmaTest, ClosingWaitsForTheAdapterToBeDoneWithASource) {
  RdmaPair pair;
  auto& [fabric, recorders, world, way] = pair;
  ASSERT_TRUE(pair.Grants());
  std::memset(way.from.data(), 6, 64);
  fabric.Hold();
  (void)world[0]->Send(way.out);
  auto closed = std::async(std::launch::async, [&] { world[0]->CloseChannels({way.out}); });
  EXPECT_EQ(closed.wait_for(std::chrono::milliseconds(100)), std::future_status::timeout);
  fabric.Release();
  closed.get();
  ASSERT_TRUE(recorders[1].WaitFor(&recorders[1].arrived, 1));
  EXPECT_EQ(way.to[63], std::byte{6});
  EXPECT_EQ(recorders[0].sent, 0);  // nobody is told of a closed channel
}

TEST(RdmaTest, WhoLeavesHasSentAllThatItOwes) {
  for (int round = 0; round < 20; ++round) {
    constexpr int kMessages = 50;
    FakeFabric::Limits limits;
    limits.seed = static_cast<uint64_t>(round);
    FakeFabric fabric(limits);
    Recorder recorders[2];
    auto world = RdmaWorld(&fabric, 2);
    std::vector<std::byte> to(8 * kMessages), from(to.size(), std::byte{1});
    ChannelId in = 0, out = 0;
    std::thread other([&] {
      in = (*world[1]->OpenChannels("f", {},
                                    {{"c", 0, false, 8, kMessages, "", {to.data(), 8, kMessages}}},
                                    recorders[1].Callbacks()))[0];
    });
    out = (*world[0]->OpenChannels("f", {},
                                   {{"c", 1, true, 8, kMessages, "", {from.data(), 8, kMessages}}},
                                   recorders[0].Callbacks()))[0];
    other.join();
    for (int i = 0; i < kMessages; ++i) world[1]->Post(in);
    ASSERT_TRUE(recorders[0].WaitFor(&recorders[0].credits, kMessages));
    for (int i = 0; i < kMessages; ++i) (void)world[0]->Send(out);
    world[0].reset();
    ASSERT_TRUE(recorders[1].WaitFor(&recorders[1].arrived, kMessages)) << recorders[1].error;
    EXPECT_EQ(to, from);
    world[1].reset();
    EXPECT_TRUE(recorders[1].error.ok()) << recorders[1].error;
  }
}

// What a failing adapter says is said of the peer that it does not reach, by either end's work.
class FailureTest : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Statuses, FailureTest, testing::Values(12, 13));

TEST_P(FailureTest, AnAdapterThatFailsLosesThePeerWithItsStatus) {
  for (const int failing : {0, 1}) {
    FakeFabric fabric;
    Recorder recorders[2];
    auto world = RdmaWorld(&fabric, 2);
    OneWay way(&world, 64, 2, recorders[0].Callbacks(), recorders[1].Callbacks());
    fabric.FailWork(failing, GetParam(), failing == 0 ? 1 : 0);
    world[1]->Post(way.in);  // its credit is work too
    if (failing == 0) {
      world[1]->Post(way.in);
      ASSERT_TRUE(recorders[0].WaitFor(&recorders[0].credits, 2));
      for (int i = 0; i < 2; ++i) (void)world[0]->Send(way.out);
      ASSERT_TRUE(recorders[1].WaitFor(&recorders[1].arrived, 1));
    }
    ASSERT_TRUE(recorders[failing].WaitForError());
    const absl::Status& error = recorders[failing].error;
    EXPECT_EQ(KindOf(error), ErrorKind::kPeer);
    EXPECT_EQ(BlamedRank(error), 1 - failing) << error;
    EXPECT_TRUE(Has(error, "lost rank " + std::to_string(1 - failing))) << error;
    EXPECT_TRUE(
        Has(error, "rdma by fake" + std::to_string(failing) + ":1: " + NameOfStatus(GetParam())))
        << error;
    // What is still called does no harm, and nothing waits for ever.
    (void)world[0]->Send(way.out);
    EXPECT_EQ(KindOf(world[failing]->AllGather("x").status()), ErrorKind::kPeer);
    // The other end may have nothing to send, and hears of it by TCP.
    ASSERT_TRUE(recorders[1 - failing].WaitForError());
    const absl::Status& heard = recorders[1 - failing].error;
    EXPECT_EQ(BlamedRank(heard), failing) << heard;
    EXPECT_TRUE(Has(heard, NameOfStatus(GetParam()))) << heard;
  }
}

TEST(RdmaTest, APeerThatIsNotReachedAnyMoreIsLost) {
  RdmaPair pair;
  auto& [fabric, recorders, world, way] = pair;
  fabric.Unplug(1);
  world[1]->Post(way.in);
  ASSERT_TRUE(recorders[1].WaitForError());
  EXPECT_EQ(BlamedRank(recorders[1].error), 0);
  EXPECT_TRUE(Has(recorders[1].error, "transport retry counter exceeded (status 12)"))
      << recorders[1].error;
}

// Its words come by TCP a little after its adapter has stopped; they are the cause.
TEST(RdmaTest, APeerThatFailsIsHeardBeforeItsAdapterIsBlamed) {
  RdmaPair pair;
  auto& [fabric, recorders, world, way] = pair;
  ASSERT_TRUE(pair.Grants());
  fabric.Unplug(1);
  (void)world[0]->Send(way.out);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  world[1]->Abort(MakeError(ErrorKind::kShape, "ShapeError at mlp.py:7"));
  ASSERT_TRUE(recorders[0].WaitForError());
  EXPECT_TRUE(Has(recorders[0].error, "rank 1 failed: ShapeError at mlp.py:7"))
      << recorders[0].error;
}

// By TCP it would be dropped; here the adapter keeps it out, and says so.
TEST(RdmaTest, AMessageIntoMemoryThatWasGivenBackIsKeptOut) {
  RdmaPair pair;
  auto& [fabric, recorders, world, way] = pair;
  ASSERT_TRUE(pair.Grants());
  std::memset(way.from.data(), 6, 64);
  world[1]->CloseChannels({way.in});
  (void)world[0]->Send(way.out);
  ASSERT_TRUE(recorders[0].WaitForError());
  EXPECT_TRUE(Has(recorders[0].error, "remote access error (status 10)")) << recorders[0].error;
  EXPECT_EQ(way.to[0], std::byte{0});
}

// ---- Who reaches whom.

struct RdmaMet {
  std::vector<std::unique_ptr<Neighbours>> neighbours;
  std::vector<std::unique_ptr<RdmaPeers>> ranks;
  std::vector<absl::Status> statuses;
  const std::string& path(int from, int to) const { return ranks[from]->paths()[to]; }
};

// Ranks that share no memory.
RdmaMet Meet(FakeFabric* fabric, const std::vector<PathChoice>& choices,
             const Gathering::Change& change = Unchanged) {
  const int size = static_cast<int>(choices.size());
  Gathering gathering(size, change);
  RdmaMet met;
  met.statuses.resize(choices.size());
  for (int r = 0; r < size; ++r) {
    met.neighbours.push_back(std::make_unique<Neighbours>(size));
    met.ranks.push_back(std::make_unique<RdmaPeers>(size));
  }
  std::vector<std::thread> threads;
  for (int r = 0; r < size; ++r) {
    threads.emplace_back([&, r] {
      RdmaOptions options{fabric->verbs(r), "", {}};
      options.probe_time = std::chrono::milliseconds(300);
      met.statuses[r] = met.ranks[r]->Meet(r, choices[r], std::move(options), *met.neighbours[r],
                                           gathering.Of(r));
      gathering.Leave(r);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return met;
}

using PathChoice::kAuto;

TEST(RdmaPeersTest, EachPairFindsItsOwnWay) {
  FakeFabric fabric;
  const RdmaMet met = Meet(&fabric, {kAuto, PathChoice::kTcp, kRdma, kAuto});
  EXPECT_FALSE(met.statuses[2].ok());
  EXPECT_TRUE(Has(met.statuses[0], "ONEFLOW_TRANSPORT=rdma on rank 2, but ranks 1 and 2 do not"))
      << met.statuses[0];
  const RdmaMet other = Meet(&fabric, {kAuto, PathChoice::kTcp, kAuto});
  for (const absl::Status& status : other.statuses) EXPECT_TRUE(status.ok()) << status;
  EXPECT_NE(other.ranks[0]->link(2), nullptr);
  EXPECT_NE(other.ranks[2]->link(0), nullptr);
  EXPECT_EQ(other.ranks[0]->link(1), nullptr);
  EXPECT_FALSE(other.ranks[1]->any());
  EXPECT_EQ(other.path(0, 2), "rdma (fake0:1 to fake2:1)");
  EXPECT_EQ(other.path(2, 0), "rdma (fake2:1 to fake0:1)");
}

TEST(RdmaPeersTest, WithoutAnAdapterThereIsTcpOrAReason) {
  FakeFabric fabric;
  fabric.PutDown(1);
  const RdmaMet met = Meet(&fabric, {kAuto, kAuto});
  for (const absl::Status& status : met.statuses) EXPECT_TRUE(status.ok()) << status;
  EXPECT_FALSE(met.ranks[0]->any());
  const RdmaMet forced = Meet(&fabric, {kRdma, kAuto});
  for (const absl::Status& status : forced.statuses) {
    EXPECT_EQ(KindOf(status), ErrorKind::kPeer);
    EXPECT_TRUE(Has(status,
                    "ONEFLOW_TRANSPORT=rdma on rank 0, but ranks 0 and 1 do not reach each "
                    "other by RDMA (rank 1: fake1:1 is not active)") ||
                Has(status, "(fake1:1 is not active)"))
        << status;
  }
}

// Ports that are up, and no way between them.
TEST(RdmaPeersTest, APairWhoseProbeFailsOrDoesNotComeUsesTcp) {
  for (const bool in_silence : {false, true}) {
    FakeFabric fabric;
    in_silence ? fabric.Swallow(1) : fabric.Unplug(1);
    const RdmaMet met = Meet(&fabric, {kAuto, kAuto, kAuto});
    for (const absl::Status& status : met.statuses) EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(met.ranks[0]->link(1), nullptr);
    EXPECT_EQ(met.ranks[1]->link(0), nullptr);
    EXPECT_NE(met.ranks[0]->link(2), nullptr);
  }
}

TEST(RdmaPeersTest, WhatIsCutOrChangedIsAnErrorOrAnotherPathNeverMore) {
  FakeFabric fabric;
  const int blamed = BlamedForTampering(120, 3, [&](const Gathering::Change& change) {
    return Meet(&fabric, {kAuto, kAuto}, change).statuses[0];
  });
  EXPECT_GE(blamed, 30);  // at least all that were cut
}

// ---- A link.

struct Linked {
  explicit Linked(FakeFabric* fabric) {
    for (int i = 0; i < 2; ++i) {
      links[i] = *RdmaLink::Make(*fabric->verbs(i)->Open("", {}));
    }
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(links[i]->Join(links[1 - i]->address()).ok());
  }
  // Takes until that many credits have come, or nothing did for a second.
  int Credits(int at, int most) {
    int credits = 0;
    auto until = std::chrono::steady_clock::now() + std::chrono::seconds(1);
    while (credits < most && std::chrono::steady_clock::now() < until) {
      (void)links[1 - at]->Take();
      const RdmaLink::Event event = links[at]->Take();
      if (event.kind == RdmaLink::Event::Kind::kCredit) ++credits;
      if (event.kind == RdmaLink::Event::Kind::kBroken) ADD_FAILURE() << event.wrong;
      if (event.kind != RdmaLink::Event::Kind::kNothing) {
        until = std::chrono::steady_clock::now() + std::chrono::seconds(1);
      }
    }
    return credits;
  }
  std::unique_ptr<RdmaLink> links[2];
};

TEST(RdmaLinkTest, NoMoreIsSentThanThePeerHasReceivesFor) {
  FakeFabric fabric;
  Linked linked(&fabric);
  constexpr int kCredits = 2000;
  for (int i = 0; i < kCredits; ++i) {
    ASSERT_TRUE(linked.links[0]->Push({ImmediateKind::kCredit, static_cast<uint32_t>(i)}));
  }
  // The peer takes nothing: this end goes on only as far as the window.
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(300);
  while (std::chrono::steady_clock::now() < until) {
    ASSERT_EQ(linked.links[0]->Take().kind, RdmaLink::Event::Kind::kNothing);
  }
  EXPECT_EQ(fabric.writes(), RdmaLink::kWindow);
  EXPECT_FALSE(linked.links[0]->idle());
  EXPECT_EQ(linked.Credits(1, kCredits), kCredits);
}

TEST(RdmaLinkTest, MoreRoomThanThereIsBreaksTheProtocol) {
  FakeFabric fabric;
  Linked linked(&fabric);
  ASSERT_TRUE(linked.links[0]->Push({ImmediateKind::kRoom, 1}));
  RdmaLink::Event event;
  for (int i = 0; i < 5000 && event.kind == RdmaLink::Event::Kind::kNothing; ++i) {
    event = linked.links[1]->Take();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ASSERT_EQ(event.kind, RdmaLink::Event::Kind::kBroken);
  EXPECT_NE(event.wrong.find("more room"), std::string::npos) << event.wrong;
  EXPECT_EQ(linked.links[1]->Take().kind, RdmaLink::Event::Kind::kNothing);  // once
  EXPECT_FALSE(linked.links[1]->Push({ImmediateKind::kCredit, 1}));
}

TEST(RdmaLinkTest, AddressesThatCannotBeAreRefused) {
  FakeFabric fabric;
  auto link = *RdmaLink::Make(*fabric.verbs(0)->Open("", {}));
  QueuePairAddress address = link->address();
  EXPECT_NE(address.number, 0u);
  address.mtu = 6;
  EXPECT_FALSE(link->Join(address).ok());
  address = link->address();
  address.number = 1u << 24;
  EXPECT_FALSE(link->Join(address).ok());
  address = link->address();
  address.link = 1;
  EXPECT_FALSE(link->Join(address).ok());
}

// Nobody can tell from one connection where the packets of another begin.
TEST(RdmaLinkTest, ConnectionsBeginAtRandomNumbers) {
  FakeFabric fabric;
  auto port = *fabric.verbs(0)->Open("", {});
  std::vector<uint32_t> numbers;
  for (int i = 0; i < 8; ++i) {
    numbers.push_back((*RdmaLink::Make(port))->address().sequence);
    EXPECT_EQ(numbers.back() >> 24, 0u);
  }
  std::sort(numbers.begin(), numbers.end());
  EXPECT_GE(std::unique(numbers.begin(), numbers.end()) - numbers.begin(), 7);
}

TEST(VerbsTest, MemoryOfAGpuIsRegisteredByItsExport) {
  FakeFabric fabric;
  auto port = *fabric.verbs(0)->Open("", {});
  auto memory = port->RegisterDmaBuffer(3, 0, 4096, 0x7f0000000000, Rights::kRemoteWrite);
  ASSERT_TRUE(memory.ok()) << memory.status();
  EXPECT_EQ(fabric.memories(), 1u);
  memory->reset();
  EXPECT_EQ(fabric.memories(), 0u);
}

// Whatever this machine has: an answer, in words, and no crash.
TEST(VerbsTest, TheSystemsLibraryOpensAPortOrSaysWhyNot) {
  const auto port = SystemVerbs()->Open("", {});
  if (port.ok()) {
    EXPECT_NE((*port)->name(), "");
  } else {
    EXPECT_NE(MessageOf(port.status()), "");
  }
  const auto none = SystemVerbs()->Open("no-such-adapter", {});
  EXPECT_FALSE(none.ok());
  EXPECT_NE(MessageOf(none.status()), "");
}

}  // namespace
}  // namespace oneflow::comm
