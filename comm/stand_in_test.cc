// Threads that stand in for the transport's (Transport::StandIn): who is woken, what is held back and when it goes.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "comm/world_for_test.h"

namespace oneflow::comm {
namespace {

// How often the threads of this process have slept, but for this one and those named.
int64_t SleepsOfOthers(const std::vector<pid_t>& but) {
  int64_t sleeps = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    const pid_t id = std::stoi(task.path().filename());
    if (id == gettid() || std::find(but.begin(), but.end(), id) != but.end()) continue;
    std::ifstream status(task.path() / "status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("voluntary_ctxt_switches:")) sleeps += std::stoll(line.substr(24));
    }
  }
  return sleeps;
}

// Counts callbacks; one may wait for them standing in.
struct Counts {
  std::atomic<int> credits{0}, sent{0}, arrived{0}, errors{0};
  Transport* transport = nullptr;

  TransportCallbacks Callbacks(Transport* of) {
    transport = of;
    const auto add = [this](std::atomic<int>* count) {
      ++*count;
      transport->Rouse();
    };
    return {[=, this](ChannelId) { add(&credits); }, [=, this](ChannelId) { add(&sent); },
            [=, this](ChannelId) { add(&arrived); },
            [=, this](const absl::Status&) { add(&errors); }, [](int) {}};
  }
  void StandInFor(const std::atomic<int>& count, int value) {
    ASSERT_TRUE(transport->StandIn([&] { return count.load() >= value || errors.load() > 0; }));
    ASSERT_EQ(errors.load(), 0);
  }
};

class StandInTest : public testing::TestWithParam<PathChoice> {
 protected:
  StandInTest() : world_(World(2, GetParam())) {}
  TransportCallbacks At(int rank) {
    return counts_[rank].Callbacks(world_[static_cast<size_t>(rank)].get());
  }
  // Posts and waits until the other one has all credits.
  void PostAll(ChannelId channel, int count) {
    for (int i = 0; i < count; ++i) world_[1]->Post(channel);
    while (counts_[0].credits.load() < count) std::this_thread::yield();
  }

  std::vector<std::unique_ptr<Transport>> world_;
  Counts counts_[2];
};

std::string NameOfChoice(const testing::TestParamInfo<PathChoice>& info) {
  return info.param == PathChoice::kTcp ? "Tcp" : "SharedMemory";
}
INSTANTIATE_TEST_SUITE_P(Paths, StandInTest, testing::Values(PathChoice::kTcp, PathChoice::kShared),
                         NameOfChoice);

TEST_P(StandInTest, AMessageWakesNobodyElse) {
  constexpr int kMessages = 60;
  OneWay way(&world_, 8, kMessages, At(0), At(1));
  PostAll(way.in, kMessages);
  std::atomic<int> asked = 0;
  std::atomic<pid_t> id = 0;
  std::thread stand_in([&] {
    id = gettid();
    const auto done = [&] {
      ++asked;
      return counts_[1].arrived.load() == kMessages;
    };
    EXPECT_TRUE(world_[1]->StandIn(done));
  });
  while (asked.load() < 3) std::this_thread::yield();
  const int64_t before = SleepsOfOthers({id});
  for (int i = 0; i < kMessages; ++i) {
    (void)world_[0]->Send(way.out);
    while (counts_[1].arrived.load() <= i) std::this_thread::yield();
    // Whoever else was woken runs, and sleeps again.
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  // Beats sleep now and then.
  EXPECT_LT(SleepsOfOthers({id}) - before, kMessages / 3);
  stand_in.join();
}

TEST_P(StandInTest, OneThreadAtATimeStandsIn) {
  OneWay way(&world_, 8, 1, At(0), At(1));
  PostAll(way.in, 1);
  std::atomic<int> asked = 0;
  std::thread stand_in([&] {
    EXPECT_TRUE(world_[1]->StandIn([&] { return ++asked > 2 && counts_[1].arrived.load() > 0; }));
  });
  while (asked.load() < 3) std::this_thread::yield();
  EXPECT_FALSE(world_[1]->StandIn([] { return false; }));
  (void)world_[0]->Send(way.out);
  stand_in.join();
  // And when it has left, the next one may.
  std::atomic<bool> over = false;
  std::thread next([&] { EXPECT_TRUE(world_[1]->StandIn([&] { return over.load(); })); });
  over = true;
  world_[1]->Rouse();
  next.join();
}

// Neither side loses a call of Rouse, whatever it does meanwhile.
TEST_P(StandInTest, EveryRouseIsHeard) {
  std::atomic<int> turn = 0;
  constexpr int kTurns = 2000;
  std::thread other([&] {
    for (int i = 1; i < kTurns; i += 2) {
      ASSERT_TRUE(world_[1]->StandIn([&] { return turn.load() >= i; }));
      ++turn;
      world_[0]->Rouse();
    }
  });
  for (int i = 0; i < kTurns; i += 2) {
    ASSERT_TRUE(world_[0]->StandIn([&] { return turn.load() >= i; }));
    ++turn;
    world_[1]->Rouse();
  }
  other.join();
}

// Both ways at once, longer than a turn and a socket's buffer.
TEST_P(StandInTest, LongMessagesCrossEachOther) {
  constexpr int64_t kBytes = (3 << 20) - 3;
  constexpr int kMessages = 20;
  std::vector<std::thread> ranks;
  for (int rank : {0, 1}) {
    ranks.emplace_back([&, rank] {
      Transport* transport = world_[static_cast<size_t>(rank)].get();
      Counts& counts = counts_[rank];
      std::vector<std::byte> from(kBytes);
      Slots to(transport, 2 * kBytes);
      const auto name = [](int sender) { return "from " + std::to_string(sender); };
      const std::vector<ChannelId> ids = *transport->OpenChannels(
          "f", {},
          {{name(1 - rank), 1 - rank, false, kBytes, 2, "", {to.data(), kBytes, 2}},
           {name(rank), 1 - rank, true, kBytes, 2, "", {from.data(), kBytes, 1}}},
          At(rank));
      transport->Post(ids[0]);
      transport->Post(ids[0]);
      for (int i = 0; i < kMessages; ++i) {
        counts.StandInFor(counts.credits, i + 1);
        std::memset(from.data(), 2 * i + rank, from.size());
        if (transport->Send(ids[1])) ++counts.sent;
        counts.StandInFor(counts.arrived, i + 1);
        const std::byte due = static_cast<std::byte>(2 * i + 1 - rank);
        for (size_t at : {size_t{0}, size_t{1} << 20, size_t{kBytes - 1}}) {
          ASSERT_EQ(to[static_cast<size_t>(i % 2 * kBytes) + at], due) << i;
        }
        transport->Post(ids[0]);
        counts.StandInFor(counts.sent, i + 1);
      }
      EXPECT_TRUE(transport->AllGather("").ok());
      transport->CloseChannels(ids);
    });
  }
  for (std::thread& rank : ranks) rank.join();
}

TEST_P(StandInTest, OneWhoStandsInHearsThatAPeerIsLost) {
  OneWay way(&world_, 8, 1, At(0), At(1));
  PostAll(way.in, 1);
  std::thread stand_in(
      [&] { EXPECT_TRUE(world_[1]->StandIn([&] { return counts_[1].errors.load() > 0; })); });
  world_[0]->Abort(absl::InternalError("enough"));
  stand_in.join();
}

// What is held goes by frames.
class HeldCreditsTest : public StandInTest {
 protected:
  // The other end has two credits, of which it uses one; then a thread that stands in for it takes the message and
  // posts again.
  void TakeOneAndPost(OneWay* way) {
    int asked = 0;
    ASSERT_TRUE(world_[1]->StandIn([&] { return ++asked > 1; }));
    (void)world_[0]->Send(way->out);
    counts_[1].StandInFor(counts_[1].arrived, 1);
    world_[1]->Post(way->in);
  }
  bool ThirdCreditComes() {
    for (int i = 0; i < 10'000 && counts_[0].credits.load() < 3; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return counts_[0].credits.load() == 3;
  }
};
INSTANTIATE_TEST_SUITE_P(Paths, HeldCreditsTest, testing::Values(PathChoice::kTcp), NameOfChoice);

TEST_P(HeldCreditsTest, AnAnswerBringsTheCreditOfItsQuestion) {
  constexpr int kTrips = 200;
  int alone = 0;  // times that a credit was there before its answer
  std::vector<std::thread> ranks;
  for (int rank : {0, 1}) {
    ranks.emplace_back([&, rank] {
      Transport* transport = world_[static_cast<size_t>(rank)].get();
      Counts& counts = counts_[rank];
      std::byte from[64] = {}, to[128] = {};
      const auto name = [](int sender) { return "from " + std::to_string(sender); };
      const std::vector<ChannelId> ids =
          *transport->OpenChannels("f", {},
                                   {{name(1 - rank), 1 - rank, false, 64, 2, "", {to, 64, 2}},
                                    {name(rank), 1 - rank, true, 64, 2, "", {from, 64, 1}}},
                                   At(rank));
      transport->Post(ids[0]);
      transport->Post(ids[0]);
      counts.StandInFor(counts.credits, 2);
      for (int i = 0; i < kTrips; ++i) {
        if (rank == 0) (void)transport->Send(ids[1]);
        ASSERT_TRUE(transport->StandIn([&] {
          if (rank == 0 && counts.arrived.load() == i && counts.credits.load() > 2 + i) ++alone;
          return counts.arrived.load() > i;
        }));
        transport->Post(ids[0]);
        if (rank == 1) (void)transport->Send(ids[1]);
      }
      EXPECT_TRUE(transport->AllGather("").ok());
      transport->CloseChannels(ids);
    });
  }
  for (std::thread& rank : ranks) rank.join();
  // Where the own thread was faster it may be seen between two callbacks.
  EXPECT_LT(alone, kTrips / 4);
}

TEST_P(HeldCreditsTest, AHeldCreditGoesWhenItsThreadSleeps) {
  OneWay way(&world_, 8, 2, At(0), At(1));
  PostAll(way.in, 2);
  TakeOneAndPost(&way);
  std::atomic<bool> over = false;
  std::thread stand_in([&] { EXPECT_TRUE(world_[1]->StandIn([&] { return over.load(); })); });
  EXPECT_TRUE(ThirdCreditComes());
  over = true;
  world_[1]->Rouse();
  stand_in.join();
}

TEST_P(HeldCreditsTest, AHeldCreditGoesWhenItsPeerHasNoOther) {
  OneWay way(&world_, 8, 2, At(0), At(1));
  PostAll(way.in, 2);
  TakeOneAndPost(&way);
  (void)world_[0]->Send(way.out);
  // Its thread has something else to do.
  EXPECT_TRUE(ThirdCreditComes());
  while (counts_[1].arrived.load() < 2) std::this_thread::yield();
}

}  // namespace
}  // namespace oneflow::comm
