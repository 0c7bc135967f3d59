// Threads that wait for each other look before they park: as long as cores and patience allow, and no
// longer.
#include "runtime/spinning.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <limits>
#include <thread>

#include "runtime/mailbox.h"
#include "runtime/plans_for_test.h"
#include "runtime/session.h"

namespace oneflow {
namespace {

constexpr int64_t kForever = std::numeric_limits<int64_t>::max();

// Of `steps` steps, and more until so many messages were borrowed, in which every firing waits for the
// other thread.
Session::Waits WaitsOfPingPong(int cores, int64_t patience_ns, int steps, uint64_t borrowed = 0) {
  const kernels::KernelTable table = TestKernels();
  SessionOptions options;
  options.cores = cores;
  options.patience_ns = patience_ns;
  std::unique_ptr<Session> session = SessionWith(&table, options);
  const PlanId plan = *session->Load(PingPongPlan(20));
  for (int step = 0; step < steps || session->waits().borrowed < borrowed; ++step) {
    const float x = static_cast<float>(step);
    EXPECT_EQ(ValuesOf((*session->Fetch(*session->Launch(plan, {Filled({4, 4}, x)})))[0])[0],
              x + 20);
  }
  return session->waits();
}

// Whatever else the machine does: their patience has no end, so only a lack of cores parks them.
TEST(SpinningTest, TwoThreadsInTurnDoNotPark) {
  const Session::Waits waits = WaitsOfPingPong(/*cores=*/8, kForever, 50);
  EXPECT_GT(waits.all, 50u);
  EXPECT_EQ(waits.parked, 0u);
}

TEST(SpinningTest, WithoutPatienceTheyParkAtOnce) {
  const Session::Waits waits = WaitsOfPingPong(/*cores=*/8, 0, 50);
  EXPECT_GT(waits.parked, 50u);
  EXPECT_EQ(waits.borrowed, 0u);
}

// Once its thread has parked, movement wakes it no more: only the compute thread parks again.
TEST(SpinningTest, WithoutCoresShortMovementRunsWhereItIsBrought) {
  const Session::Waits waits = WaitsOfPingPong(/*cores=*/0, kForever, 50, /*borrowed=*/1000);
  EXPECT_LT(waits.parked, waits.borrowed);
}

TEST(SpinningTest, ABorrowedMailboxHasOneReader) {
  Cores cores(1);
  Mailbox mailbox(&cores, Mailbox::Reader::kParked);
  mailbox.Reserve(2);
  std::vector<Message> messages;
  EXPECT_TRUE(mailbox.Push({MessageKind::kTurn, 0, 1, 0}, /*borrow=*/true));
  mailbox.Drain(&messages);
  // What others push meanwhile is the borrower's too.
  EXPECT_FALSE(mailbox.Push({MessageKind::kTurn, 0, 2, 0}, /*borrow=*/true));
  EXPECT_FALSE(mailbox.GiveBack(/*wake=*/false));
  mailbox.Drain(&messages);
  EXPECT_TRUE(mailbox.GiveBack(/*wake=*/false));
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[1].task, 2u);
  EXPECT_TRUE(mailbox.Push({MessageKind::kTurn, 0, 3, 0}, /*borrow=*/true));
}

// What is too long for a stranger's thread goes to the host's own.
TEST(SpinningTest, ABorrowerMayLeaveTheRestToTheThread) {
  Cores cores(1);
  cores.Hold(1);
  Mailbox mailbox(&cores, Mailbox::Reader::kAwake);
  mailbox.Reserve(1);
  Patience none(0);
  std::thread owner([&] { mailbox.Wait(/*threads=*/1, &none); });
  while (mailbox.parks() == 0) std::this_thread::yield();
  while (!mailbox.Push({}, /*borrow=*/true)) std::this_thread::yield();
  EXPECT_EQ(cores.held(), 0);
  EXPECT_TRUE(mailbox.GiveBack(/*wake=*/true));
  owner.join();
  EXPECT_EQ(cores.held(), 1);
}

TEST(SpinningTest, OneWhoLooksMakesRoomForOneWhoIsWoken) {
  Cores cores(2);
  cores.Hold(2);  // two readers
  Mailbox looking(&cores, Mailbox::Reader::kAwake), parked(&cores, Mailbox::Reader::kAwake);
  looking.Reserve(1);
  parked.Reserve(1);
  Patience none(0), endless(kForever, 0);
  std::thread second([&] {
    parked.Wait(/*threads=*/2, &none);  // with one more of its team
  });
  while (parked.parks() == 0) std::this_thread::yield();
  EXPECT_EQ(cores.held(), 0);
  cores.Hold(1);
  std::thread first([&] { looking.Wait(/*threads=*/1, &endless); });
  while (looking.waits() == 0) std::this_thread::yield();
  EXPECT_EQ(looking.parks(), 0u);
  parked.Push({});
  second.join();
  while (looking.parks() == 0) std::this_thread::yield();
  EXPECT_EQ(cores.held(), 2);
  looking.Push({});
  first.join();
  EXPECT_EQ(cores.held(), 3);
}

// Other ranks, of which only a look hears: the third finds a message for `mailbox`.
class Whispers : public comm::Transport {
 public:
  int rank() const override { return 0; }
  int world_size() const override { return 2; }
  absl::StatusOr<std::vector<comm::ChannelId>> OpenChannels(const std::string&,
                                                            const std::vector<std::string>&,
                                                            const std::vector<comm::ChannelSpec>&,
                                                            comm::TransportCallbacks) override {
    return std::vector<comm::ChannelId>();
  }
  void MoveRegion(comm::ChannelId, const comm::MovedTo&) override {}
  comm::Region RemoteRegion(comm::ChannelId) const override { return {}; }
  void Post(comm::ChannelId) override {}
  bool Send(comm::ChannelId) override { return true; }
  void CloseChannels(const std::vector<comm::ChannelId>&) override {}
  void Abort(const absl::Status&) override {}
  absl::StatusOr<std::vector<std::string>> AllGather(const std::string& bytes) override {
    return std::vector<std::string>(2, bytes);
  }
  uint64_t bytes_received() const override { return 0; }
  uint64_t bytes_sent() const override { return 0; }

  void BeginLooking() override { ++lookers; }
  void EndLooking() override {
    --lookers;
    if (looks < 3 && !mailbox->HasMessages()) mailbox->Push({});  // else it would wait for ever
  }
  bool Look() override {
    EXPECT_EQ(lookers, 1);
    if (++looks != 3) return false;
    mailbox->Push({});
    return true;
  }
  bool StandIn(const std::function<bool()>& done) override {
    if (somebody_stands_in) return false;
    if (comes_in) mailbox->Push({});
    // Sleeps until it is roused.
    for (stands_in = true; rouses == 0 || !done();) std::this_thread::yield();
    return true;
  }
  void Rouse() override { ++rouses; }

  Mailbox* mailbox = nullptr;
  int lookers = 0;
  int looks = 0;
  bool somebody_stands_in = false, comes_in = false;
  std::atomic<bool> stands_in = false;
  std::atomic<int> rouses = 0;
};

TEST(SpinningTest, WhoWaitsHearsOtherRanks) {
  Cores cores(1);
  cores.Hold(1);
  Whispers whispers;
  Mailbox mailbox(&cores, Mailbox::Reader::kAwake, &whispers);
  whispers.mailbox = &mailbox;
  mailbox.Reserve(1);
  Patience long_enough(1'000'000'000);  // the third look comes at once
  mailbox.Wait(/*threads=*/1, &long_enough);
  EXPECT_TRUE(mailbox.HasMessages());
  EXPECT_EQ(mailbox.parks(), 0u);
  EXPECT_EQ(whispers.looks, 3);
  EXPECT_EQ(whispers.lookers, 0) << "peers must wake this rank again";
}

TEST(SpinningTest, WhoParksAtOnceIsNotTakenForOneWhoLooks) {
  Cores cores(1);
  cores.Hold(1);
  Whispers whispers;
  Mailbox mailbox(&cores, Mailbox::Reader::kAwake, &whispers);
  mailbox.Reserve(1);
  Patience none(0);
  std::thread reader([&] { mailbox.Wait(/*threads=*/1, &none); });
  while (mailbox.parks() == 0) std::this_thread::yield();
  mailbox.Push({});
  reader.join();
  EXPECT_EQ(whispers.looks, 0);
}

TEST(SpinningTest, WhoParksStandsInForTheTransport) {
  for (const bool comes_in : {true, false}) {
    Cores cores(1);
    cores.Hold(1);
    Whispers whispers;
    Mailbox mailbox(&cores, Mailbox::Reader::kAwake, &whispers);
    whispers.mailbox = &mailbox;
    whispers.comes_in = comes_in;
    mailbox.Reserve(1);
    Patience none(0);
    std::thread reader([&] { mailbox.Wait(/*threads=*/1, &none, /*stands_in=*/true); });
    if (!comes_in) {
      while (!whispers.stands_in) std::this_thread::yield();
      EXPECT_EQ(cores.held(), 0);
      mailbox.Push({});
    }
    reader.join();
    EXPECT_TRUE(whispers.stands_in);
    EXPECT_EQ(whispers.rouses, 1);
    EXPECT_EQ(mailbox.parks(), 1u);
    EXPECT_EQ(cores.held(), 1);
  }
}

TEST(SpinningTest, WhoCannotStandInParks) {
  Cores cores(1);
  cores.Hold(1);
  Whispers whispers;
  whispers.somebody_stands_in = true;
  Mailbox mailbox(&cores, Mailbox::Reader::kAwake, &whispers);
  mailbox.Reserve(1);
  Patience none(0);
  std::thread reader([&] { mailbox.Wait(/*threads=*/1, &none, /*stands_in=*/true); });
  while (mailbox.parks() == 0) std::this_thread::yield();
  mailbox.Push({});
  reader.join();
  EXPECT_FALSE(whispers.stands_in);
}

TEST(SpinningTest, PatienceFollowsTheWaits) {
  Patience patience(1600);
  EXPECT_EQ(patience.ns(true), 1600);
  patience.Waited(1601);
  EXPECT_EQ(patience.ns(true), 800);
  for (int i = 0; i < 10; ++i) patience.Waited(1'000'000);
  EXPECT_EQ(patience.ns(true), 100);
  EXPECT_EQ(patience.ns(false), 100);
  patience.Waited(1600);  // parked, but looking would have seen it
  EXPECT_EQ(patience.ns(true), 1600);
  EXPECT_EQ(patience.ns(false), 100);
}

TEST(SpinningTest, RanksShareAHost) {
  const int cores = CoresOfRank(1, /*looking_suffices=*/false);
  EXPECT_GE(cores, 1);
  EXPECT_EQ(CoresOfRank(2, /*looking_suffices=*/false), cores / 2 - 1);
  EXPECT_EQ(CoresOfRank(2, /*looking_suffices=*/true), cores / 2);
  EXPECT_LE(CoresOfRank(cores + 1, /*looking_suffices=*/true), 0);  // none looks
}

}  // namespace
}  // namespace oneflow
