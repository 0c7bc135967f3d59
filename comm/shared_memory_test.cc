// Memory between processes: what is offered is opened only if it is what it is said to be, and what a
// peer writes into a ring of notices is at worst its own loss. Both sides are this process, which maps
// its own memory twice.
#include "comm/shared_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <random>
#include <thread>

#include "comm/neighbours.h"
#include "comm/notice_ring.h"
#include "comm/shared_link.h"

namespace oneflow::comm {
namespace {

uint64_t Self() { return static_cast<uint64_t>(getpid()); }

TEST(SharedMemoryTest, WhatOneWritesTheOtherReads) {
  const auto memory = *SharedMemory::Make("test", 10000);
  const auto peer = *PeerMemory::Open(Self(), memory->offer());
  ASSERT_NE(peer->data(), memory->data());
  std::byte* there = peer->Find(memory->data() + 9000, 1000);
  ASSERT_NE(there, nullptr);
  there[999] = std::byte{7};
  EXPECT_EQ(memory->data()[9999], std::byte{7});
}

TEST(SharedMemoryTest, NothingBeyondTheOfferIsFound) {
  const auto memory = *SharedMemory::Make("test", 10000);
  const auto peer = *PeerMemory::Open(Self(), memory->offer());
  const std::byte* base = memory->data();
  EXPECT_NE(peer->Find(base, 10000), nullptr);
  EXPECT_EQ(peer->Find(base, 10001), nullptr);
  EXPECT_EQ(peer->Find(base + 1, 10000), nullptr);
  EXPECT_EQ(peer->Find(base - 1, 1), nullptr);
  EXPECT_EQ(peer->Find(base + 9999, ~uint64_t{0}), nullptr);
  EXPECT_EQ(peer->Find(nullptr, 1), nullptr);
}

TEST(SharedMemoryTest, OffersThatLieAreRefused) {
  const auto memory = *SharedMemory::Make("test", 10000);
  const auto refused = [](const Offer& offer) { return !PeerMemory::Open(Self(), offer).ok(); };
  EXPECT_FALSE(refused(memory->offer()));
  Offer other = memory->offer();
  other.nonce[3] ^= 1;
  EXPECT_TRUE(refused(other)) << "another's memory";
  other = memory->offer();
  other.bytes = 1 << 20;
  EXPECT_TRUE(refused(other)) << "more than there is: touching it would be a signal";
  other.bytes = ~uint64_t{0};
  EXPECT_TRUE(refused(other));
  other = memory->offer();
  other.base = ~uint64_t{0} - 5;
  EXPECT_TRUE(refused(other)) << "addresses that wrap";
  other = memory->offer();
  other.descriptor = 1 << 20;
  EXPECT_TRUE(refused(other)) << "no descriptor";
  EXPECT_FALSE(PeerMemory::Open(1 << 30, memory->offer()).ok()) << "no process";
}

TEST(SharedMemoryTest, MemoryThatCouldShrinkIsRefused) {
  const Socket file(memfd_create("test", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(file.fd(), 2 * sysconf(_SC_PAGESIZE)), 0);
  Offer offer;
  offer.descriptor = static_cast<uint64_t>(file.fd());
  offer.base = 4096;
  offer.bytes = 100;  // and the page of the nonce
  const absl::Status status = PeerMemory::Open(Self(), offer).status();
  EXPECT_NE(status.ToString().find("could shrink"), std::string::npos) << status;
}

TEST(SharedMemoryTest, ADeviceOrPipeIsNotOpenedAsMemory) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const Socket read_end(ends[0]), write_end(ends[1]);
  EXPECT_FALSE(OpenOffered(Self(), static_cast<uint64_t>(ends[1]), S_IFREG).ok());
  EXPECT_TRUE(OpenOffered(Self(), static_cast<uint64_t>(ends[1]), S_IFIFO).ok());
}

// A ring in this process.
struct MemoryRing {
  MemoryRing() : memory(*SharedMemory::Make("test", sizeof(NoticeRing))) {}
  NoticeRing* ring() { return reinterpret_cast<NoticeRing*>(memory->data()); }
  std::unique_ptr<SharedMemory> memory;
  NoticeReader reader{ring()};
  NoticeWriter writer{ring()};
};

TEST(NoticeRingTest, NoticesComeInOrderForManyRounds) {
  MemoryRing r;
  Notice notice;
  uint32_t sent = 0, taken = 0;
  std::mt19937 random(1);
  while (taken < 5 * NoticeRing::kPlaces) {
    for (uint32_t n = random() % 700; n > 0; --n, ++sent) {
      if (!r.writer.Put({sent % 3 == 0 ? NoticeKind::kCredit : NoticeKind::kData, sent})) break;
    }
    for (uint32_t n = random() % 700; n > 0 && taken < sent; --n, ++taken) {
      ASSERT_TRUE(r.reader.HasNews());
      ASSERT_EQ(r.reader.Take(&notice), NoticeReader::Found::kNotice);
      ASSERT_EQ(notice.channel, taken);
      ASSERT_EQ(notice.kind == NoticeKind::kCredit, taken % 3 == 0);
    }
    if (taken == sent) {
      ASSERT_EQ(r.reader.Take(&notice), NoticeReader::Found::kNothing);
      ASSERT_FALSE(r.reader.HasNews());
    }
  }
}

TEST(NoticeRingTest, AFullRingSaysSo) {
  MemoryRing r;
  uint32_t sent = 0;
  while (r.writer.Put({NoticeKind::kData, sent})) ASSERT_LE(++sent, NoticeRing::kPlaces);
  EXPECT_EQ(sent, NoticeRing::kPlaces);
  Notice notice;
  for (uint32_t i = 0; i < sent; ++i) {
    ASSERT_EQ(r.reader.Take(&notice), NoticeReader::Found::kNotice);
  }
  EXPECT_TRUE(r.writer.Put({NoticeKind::kData, 0}));
}

// A reader that lies about how far it is harms nobody but itself.
TEST(NoticeRingTest, WhatThePeerClaimsToHaveReadIsNotBelievedBeyondReason) {
  MemoryRing r;
  for (uint32_t i = 0; i < NoticeRing::kPlaces; ++i) {
    ASSERT_TRUE(r.writer.Put({NoticeKind::kData, i}));
  }
  for (uint64_t claim : {~uint64_t{0}, uint64_t{NoticeRing::kPlaces} + 1, uint64_t{1} << 40}) {
    r.ring()->taken.store(claim);
    EXPECT_FALSE(r.writer.Put({NoticeKind::kData, 0})) << claim;
  }
}

TEST(NoticeRingTest, WhatIsNoNoticeIsSeenAtOnce) {
  MemoryRing r;
  Notice notice;
  ASSERT_TRUE(r.writer.Put({NoticeKind::kData, 5}));
  ASSERT_EQ(r.reader.Take(&notice), NoticeReader::Found::kNotice);
  // The notice that is due has number 2 in its upper half; before it there is 0.
  for (uint64_t number : {uint64_t{1}, uint64_t{3}, uint64_t{0xffffffff}}) {
    r.ring()->places[1].store(number << 32 | 5);
    EXPECT_TRUE(r.reader.HasNews());
    EXPECT_EQ(r.reader.Take(&notice), NoticeReader::Found::kBroken) << number;
  }
  r.ring()->places[1].store(uint64_t{2} << 32 | 9);
  EXPECT_EQ(r.reader.Take(&notice), NoticeReader::Found::kNotice);
  EXPECT_EQ(notice.channel, 9u);
}

TEST(NoticeRingTest, AReaderThatSleepsIsRungOnce) {
  MemoryRing r;
  Notice notice;
  EXPECT_TRUE(r.reader.Arm());
  ASSERT_TRUE(r.writer.Put({NoticeKind::kData, 1}));
  EXPECT_TRUE(r.writer.MustRing());
  ASSERT_TRUE(r.writer.Put({NoticeKind::kData, 2}));
  EXPECT_FALSE(r.writer.MustRing()) << "it is awake";
  EXPECT_FALSE(r.reader.Arm()) << "there is something to read first";
  while (r.reader.Take(&notice) == NoticeReader::Found::kNotice) {
  }
  EXPECT_TRUE(r.reader.Arm());
  r.reader.Disarm();
  ASSERT_TRUE(r.writer.Put({NoticeKind::kData, 3}));
  EXPECT_FALSE(r.writer.MustRing()) << "it looks";
}

// Two links that have joined each other.
struct Links {
  Links() {
    EXPECT_TRUE(one->Join(two->offer()).ok());
    EXPECT_TRUE(two->Join(one->offer()).ok());
  }
  std::unique_ptr<SharedLink> one = *SharedLink::Make();
  std::unique_ptr<SharedLink> two = *SharedLink::Make();
};

TEST(SharedLinkTest, ASleeperHearsTheBell) {
  Links links;
  char byte;
  EXPECT_EQ(read(links.two->bell(), &byte, 1), -1) << "the nonce is gone";
  EXPECT_TRUE(links.two->inbox().Arm());
  EXPECT_TRUE(links.one->Notify({NoticeKind::kData, 3}));
  EXPECT_TRUE(links.one->Notify({NoticeKind::kData, 4}));
  EXPECT_EQ(read(links.two->bell(), &byte, 1), 1);
  EXPECT_EQ(read(links.two->bell(), &byte, 1), -1);
}

TEST(SharedLinkTest, AnInboxThatIsAnothersIsNotJoined) {
  const auto one = *SharedLink::Make(), two = *SharedLink::Make();
  InboxOffer offer = two->offer();
  offer.bell.nonce = one->offer().bell.nonce;
  EXPECT_FALSE(one->Join(offer).ok());
  offer = two->offer();
  offer.ring.bytes = 64;
  EXPECT_FALSE(one->Join(offer).ok());
}

TEST(SharedLinkTest, MemoryIsMappedOnceAndGoesWithItsLastUser) {
  Links links;
  const auto memory = *SharedMemory::Make("test", 8192);
  links.one->SetOffers({memory->offer()});
  auto first = links.one->Map(memory->data(), 100);
  auto second = links.one->Map(memory->data() + 4096, 4096);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->memory, second->memory);
  EXPECT_FALSE(links.one->Map(memory->data() + 4096, 4097));
  const std::weak_ptr<PeerMemory> mapping = first->memory;
  first.reset();
  second.reset();
  EXPECT_TRUE(mapping.expired());
}

}  // namespace
}  // namespace oneflow::comm
