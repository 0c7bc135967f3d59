// Long messages over TCP: lent to the kernel, and given back when the peer has them.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "comm/frame_reader.h"
#include "comm/outbox.h"
#include "comm/page_lender.h"
#include "comm/world_for_test.h"

namespace oneflow::comm {
namespace {

using std::chrono_literals::operator""s;

// The two ends of a connection.
struct Connected {
  Connected() {
    const Socket listener = *Socket::Listen(0);
    const Deadline deadline = std::chrono::steady_clock::now() + 20s;
    Socket one = *Socket::Connect("127.0.0.1", *listener.port(), deadline);
    reader = *listener.Accept(deadline);
    EXPECT_TRUE(one.SetNonBlocking().ok() && reader.SetNonBlocking().ok());
    writer = std::move(one);
  }
  Socket writer, reader;
};

std::string Numbers(size_t bytes) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(i * 2654435761u >> 24);
  return text;
}

std::string ReadAll(const Socket& socket, size_t bytes) {
  std::string text(bytes, '\0');
  EXPECT_TRUE(socket.ReadAll(text.data(), bytes, std::chrono::steady_clock::now() + 20s).ok());
  return text;
}

TEST(PageLenderTest, WhatIsLentArrives) {
  Connected pair;
  const std::string text = Numbers(3 << 20);
  std::string came;
  std::thread other([&] { came = ReadAll(pair.reader, text.size() - 5); });
  PageLender lender;
  for (size_t at = 5; at < text.size();) {
    ASSERT_TRUE(lender.Lend(text.data() + at, text.size() - at));
    while (lender.lent() > 0) {
      pollfd full{pair.writer.fd(), POLLOUT, 0};
      ASSERT_EQ(poll(&full, 1, 20000), 1);
      const ssize_t n = lender.Write(pair.writer.fd());
      if (n > 0) at += static_cast<size_t>(n);
    }
  }
  other.join();
  EXPECT_EQ(came, text.substr(5));
}

// What makes lending worth it, and its rule necessary: the reader sees what the pages hold when it reads.
TEST(PageLenderTest, NothingIsCopied) {
  Connected pair;
  std::string text = Numbers(16 << 10);
  PageLender lender;
  ASSERT_TRUE(lender.Lend(text.data(), text.size()));
  ASSERT_EQ(lender.Write(pair.writer.fd()), static_cast<ssize_t>(text.size()));
  std::fill(text.begin(), text.end(), 'n');
  EXPECT_EQ(ReadAll(pair.reader, text.size()), text);
}

TEST(PageLenderTest, PagesOutliveTheirMapping) {
  Connected pair;
  const size_t bytes = 64 << 10;
  void* pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(pages, MAP_FAILED);
  std::memset(pages, 'p', bytes);
  PageLender lender;
  ASSERT_TRUE(lender.Lend(static_cast<char*>(pages), bytes));
  size_t written = 0;
  while (lender.lent() > 0) written += static_cast<size_t>(lender.Write(pair.writer.fd()));
  munmap(pages, bytes);
  EXPECT_EQ(ReadAll(pair.reader, written), std::string(bytes, 'p'));
}

// SIGPIPE would end this process.
TEST(PageLenderTest, AConnectionThatHasEndedIsAnErrorNotASignal) {
  Connected pair;
  ASSERT_EQ(shutdown(pair.writer.fd(), SHUT_RDWR), 0);
  const std::string text = Numbers(4096);
  PageLender lender;
  ASSERT_TRUE(lender.Lend(text.data(), text.size()));
  EXPECT_EQ(lender.Write(pair.writer.fd()), -1);
  EXPECT_EQ(errno, EPIPE);
  sigset_t pending;
  sigpending(&pending);
  EXPECT_EQ(sigismember(&pending, SIGPIPE), 0);
}

TEST(PageLenderTest, MemoryWithoutPagesIsNotLentAndOtherStillIs) {
  PageLender lender;
  EXPECT_FALSE(lender.Lend(reinterpret_cast<const char*>(8), 4096));
  const std::string text = Numbers(4096);
  EXPECT_TRUE(lender.Lend(text.data(), text.size()));
}

TEST(PageLenderTest, AProcessWithoutDescriptorsLendsLater) {
  PageLender lender;
  const std::string text = Numbers(4096);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 0;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const bool lent = lender.Lend(text.data(), text.size());
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_FALSE(lent);
  EXPECT_TRUE(lender.Lend(text.data(), text.size()));
}

// What comes out of an outbox.
class Sink final : public FrameSink {
 public:
  std::string BeginFrame(const FrameHeader& header, char** target) override {
    payload.assign(header.bytes, '\0');
    *target = payload.data();
    return "";
  }
  void TakeLent(const FrameHeader&) override { ++lent; }
  std::string EndFrame(const FrameHeader&, std::string) override {
    ++frames;
    return "";
  }
  std::string payload;
  int lent = 0, frames = 0;
};

class LongMessageTest : public testing::Test {
 protected:
  static constexpr ChannelId kChannel = 7;

  LongMessageTest() { outbox_.Open(pair_.writer.fd()); }
  void Push(const std::string& text) {
    OutFrame frame;
    frame.bytes = text.size();
    frame.payload = text.data();
    frame.sender = kChannel;
    bool written = true;
    EXPECT_EQ(outbox_.Push(std::move(frame), true, &written, &finished_), Outbox::Next::kLeft);
    EXPECT_FALSE(written);
  }
  // Writes and reads by turns until so many frames, or words of what is lent, have come.
  void Move(const int& count, int until) {
    for (int turn = 0; count < until && turn < 20000; ++turn) {
      outbox_.Write(/*writable=*/true, ~uint64_t{0}, &finished_);
      std::string wrong;
      const FrameReader::End end = reader_.Read(pair_.reader.fd(), &sink_, &wrong);
      ASSERT_TRUE(end == FrameReader::End::kDrained || end == FrameReader::End::kMore) << wrong;
      if (end == FrameReader::End::kDrained) std::this_thread::yield();
    }
    EXPECT_EQ(count, until);
  }

  Connected pair_;
  Outbox outbox_;
  FrameReader reader_;
  Sink sink_;
  Outbox::Finished finished_;
};

TEST_F(LongMessageTest, IsOverWhenThePeerHasTakenItNotWhenItIsWritten) {
  const std::string text = Numbers((5 << 20) + 3);
  Push(text);
  Move(sink_.frames, 1);
  EXPECT_EQ(sink_.payload, text);
  EXPECT_EQ(sink_.lent, 1);
  EXPECT_TRUE(finished_.empty());
  EXPECT_TRUE(outbox_.Lends(kChannel));
  EXPECT_FALSE(outbox_.Lends(kChannel + 1));
  EXPECT_FALSE(outbox_.Taken(kChannel + 1, &finished_));
  EXPECT_TRUE(outbox_.Taken(kChannel, &finished_));
  EXPECT_EQ(finished_, Outbox::Finished{kChannel});
  EXPECT_FALSE(outbox_.Lends(kChannel));
  EXPECT_FALSE(outbox_.Taken(kChannel, &finished_)) << "it said so twice";
}

TEST_F(LongMessageTest, IsNotOverBeforeItsEndIsWritten) {
  const std::string text = Numbers(24 << 20);  // more than a connection holds
  Push(text);
  Push(text);
  outbox_.Write(true, ~uint64_t{0}, &finished_);
  EXPECT_TRUE(outbox_.Taken(kChannel, &finished_));  // the word may overtake the end
  EXPECT_TRUE(finished_.empty());
  Move(sink_.frames, 1);
  EXPECT_EQ(finished_, Outbox::Finished{kChannel});
  EXPECT_TRUE(outbox_.Lends(kChannel)) << "the second one";
  Move(sink_.frames, 2);
  EXPECT_EQ(sink_.payload, text);
  EXPECT_EQ(finished_.size(), 1u);
}

TEST_F(LongMessageTest, OthersAreOverWhenTheyAreWritten) {
  const std::string text = Numbers(kLongMessage - 1);
  Push(text);
  Move(sink_.frames, 1);
  EXPECT_EQ(finished_, Outbox::Finished{kChannel});
  EXPECT_EQ(sink_.lent, 0);
  EXPECT_FALSE(outbox_.Lends(kChannel));
}

TEST_F(LongMessageTest, GoesOnFromACopyWhenItsChannelIsForgotten) {
  const std::string text = Numbers(24 << 20);
  std::string source = text;
  Push(source);
  outbox_.Write(true, ~uint64_t{0}, &finished_);  // as much as the connection holds
  outbox_.Forget({kChannel});
  ASSERT_TRUE(outbox_.Lends(kChannel)) << "its beginning stays lent";
  std::fill(source.begin() + (16 << 20), source.end(), 'x');
  Move(sink_.frames, 1);
  EXPECT_EQ(sink_.payload, text);
  EXPECT_TRUE(outbox_.Taken(kChannel, &finished_));
}

TEST_F(LongMessageTest, IsCopiedWhereNothingCanBeLent) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 0;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  std::string text = Numbers(2 << 20);
  Push(text);
  outbox_.Write(true, ~uint64_t{0}, &finished_);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  Move(sink_.frames, 1);
  EXPECT_EQ(sink_.payload, text);
  EXPECT_TRUE(outbox_.Taken(kChannel, &finished_));
  EXPECT_EQ(finished_, Outbox::Finished{kChannel});
}

TEST(LongMessagesTest, ASourceMayBeWrittenOverAsSoonAsItIsSaidToBeFree) {
  constexpr int64_t kBytes = 4 << 20;
  constexpr int kMessages = 60;
  Recorder at_0, at_1;
  auto world = World(2, PathChoice::kTcp);
  OneWay way(&world, kBytes, 2, at_0.Callbacks(), at_1.Callbacks());
  world[1]->Post(way.in);
  world[1]->Post(way.in);
  std::thread sender([&] {
    for (int i = 0; i < kMessages; ++i) {
      ASSERT_TRUE(at_0.WaitFor(&at_0.credits, i + 1));
      std::byte* source = way.from.data() + i % 2 * kBytes;
      std::memset(source, i, kBytes);
      EXPECT_FALSE(world[0]->Send(way.out));
      ASSERT_TRUE(at_0.WaitFor(&at_0.sent, i + 1));
      std::memset(source, 0xee, kBytes);
    }
  });
  for (int i = 0; i < kMessages && !testing::Test::HasFailure(); ++i) {
    EXPECT_TRUE(at_1.WaitFor(&at_1.arrived, i + 1));
    const std::byte* slot = way.to.data() + i % 2 * kBytes;
    EXPECT_TRUE(std::all_of(slot, slot + kBytes, [i](std::byte byte) {
      return byte == static_cast<std::byte>(i);
    })) << i;
    world[1]->Post(way.in);
  }
  sender.join();
}

// The caller frees or uses the source then, and the peer would find the message damaged.
TEST(LongMessagesTest, ChannelsAreClosedWhenThePeerHasWhatTheyLent) {
  constexpr int64_t kBytes = 8 << 20;
  auto world = World(2, PathChoice::kTcp);
  std::atomic<bool> held{true};
  Recorder at_0, at_1;
  TransportCallbacks callbacks = at_1.Callbacks();
  const auto arrived = callbacks.on_arrived;
  // The reader of rank 1 stands still with the first message.
  callbacks.on_arrived = [&](ChannelId id) {
    while (held.load()) std::this_thread::yield();
    arrived(id);
  };
  {
    OneWay way(&world, kBytes, 2, at_0.Callbacks(), callbacks);
    world[1]->Post(way.in);
    world[1]->Post(way.in);
    ASSERT_TRUE(at_0.WaitFor(&at_0.credits, 2));
    world[0]->Send(way.out);
    ASSERT_TRUE(at_0.WaitFor(&at_0.sent, 1));
    world[0]->Send(way.out);
    const auto soon = std::chrono::milliseconds(100);
    std::this_thread::sleep_for(soon);  // so that it has begun: else there is nothing to wait for
    std::thread closing([&] {
      world[0]->CloseChannels({way.out});
      std::fill(way.from.begin(), way.from.end(), std::byte{0xee});
    });
    // So that a call which does not wait is over before the reader goes on; one that waits is right at any time.
    std::this_thread::sleep_for(soon);
    held.store(false);
    closing.join();
    world[1]->CloseChannels({way.in});
  }
  std::thread other([&] { EXPECT_TRUE(world[1]->AllGather("b").ok()); });
  const auto all = world[0]->AllGather("a");
  other.join();
  EXPECT_TRUE(all.ok()) << all.status();
}

}  // namespace
}  // namespace oneflow::comm
