// A transport against a peer that the test plays itself, with plain sockets: it stops reading, resets
// its connections, leaves in the middle.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <future>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/crc32c.h"
#include "base/status.h"
#include "comm/blame.h"
#include "comm/frame.h"
#include "comm/tcp_transport.h"

namespace oneflow::comm {
namespace {

std::pair<Socket, Socket> SocketPair() {
  const Deadline deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  const Socket listener = *Socket::Listen(0);
  Socket near = *Socket::Connect("127.0.0.1", *listener.port(), deadline);
  Socket far = *listener.Accept(deadline);
  return {std::move(near), std::move(far)};
}

void Reset(Socket* socket) {
  const linger at_once{1, 0};
  setsockopt(socket->fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  socket->Close();
}

// Rank 0 of two, and the far ends of its connections.
struct Watched {
  Watched() {
    Links links{std::vector<Socket>(2), std::vector<Socket>(2)};
    std::tie(links.data[1], data) = SocketPair();
    std::tie(links.beats[1], beats) = SocketPair();
    transport = MakeTcpTransport(0, std::move(links), 20, nullptr);
  }
  Socket data;
  Socket beats;
  std::unique_ptr<Transport> transport;
};

// The outbox is blocked, the thread is told that it may write, and the peer is lost: in any order.
TEST(LostPeerTest, AResetWhileMuchIsToBeWrittenIsAnErrorOfThePeer) {
  for (int round = 0; round < 12; ++round) {
    Watched pair;
    auto said = std::async(std::launch::async,
                           [&] { return pair.transport->AllGather(std::string(6 << 20, 'x')); });
    std::string some(256 << 10, '\0');
    for (int reads = 0; reads < round % 4; ++reads) {
      (void)recv(pair.data.fd(), some.data(), some.size(), MSG_WAITALL);
    }
    Reset(&pair.data);
    const absl::Status status = said.get().status();
    EXPECT_EQ(KindOf(status), ErrorKind::kPeer) << status;
    EXPECT_EQ(BlamedRank(status), 1);
    // What is still called does no harm.
    EXPECT_EQ(KindOf(pair.transport->AllGather("x").status()), ErrorKind::kPeer);
  }
}

// A frame of a collective call's only piece.
std::string ControlFrame(uint32_t number, const std::string& words) {
  const uint64_t length = words.size();
  const std::string payload =
      std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + words;
  FrameHeader header;
  header.type = static_cast<uint32_t>(FrameType::kControl);
  header.channel = number;
  header.bytes = payload.size();
  header.sequence = number;
  header.crc = header.ExpectedCrc();
  const uint32_t crc = Crc32c(payload.data(), payload.size());
  return std::string(reinterpret_cast<const char*>(&header), sizeof(header)) + payload +
         std::string(reinterpret_cast<const char*>(&crc), sizeof(crc));
}

// What a rank says of how it is reached goes to each apart: of nonsense that rank 0 alone has heard it tells rank 2.
TEST(LostPeerTest, WhoTalksNonsenseToOneRankIsKnownToAll) {
  Links links{std::vector<Socket>(3), std::vector<Socket>(3), std::vector<HostId>(3)};
  Socket data[3], beats[3];
  for (size_t r : {1u, 2u}) {
    std::tie(links.data[r], data[r]) = SocketPair();
    std::tie(links.beats[r], beats[r]) = SocketPair();
  }
  const std::string nonsense = ControlFrame(0, "x"), sense = ControlFrame(0, std::string(24, '\0'));
  ASSERT_GT(send(data[1].fd(), nonsense.data(), nonsense.size(), 0), 0);
  ASSERT_GT(send(data[2].fd(), sense.data(), sense.size(), 0), 0);
  const auto made = MakeTransport(0, std::move(links), 20, nullptr, PathChoice::kTcp, {});
  EXPECT_EQ(BlamedRank(made.status()), 1) << made.status();
  const Deadline deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  FrameHeader header;
  std::string payload;
  do {
    ASSERT_TRUE(data[2].ReadAll(&header, sizeof(header), deadline).ok());
    payload.resize(header.bytes > 0 ? header.bytes + 4 : 0);
    ASSERT_TRUE(data[2].ReadAll(payload.data(), payload.size(), deadline).ok());
  } while (header.frame_type() == FrameType::kControl);
  EXPECT_EQ(header.frame_type(), FrameType::kAbort);
  EXPECT_EQ(header.channel, 1u);
  EXPECT_NE(payload.find("rank 1 broke the protocol"), std::string::npos) << payload;
}

// Callbacks belong to a session that is gone once OpenChannels has failed.
TEST(LostPeerTest, ChannelsThatCouldNotBeOpenedCallNobody) {
  std::atomic<int> calls = 0;
  {
    Watched pair;
    TransportCallbacks callbacks;
    callbacks.on_credit = callbacks.on_sent = callbacks.on_arrived = [&](ChannelId) { ++calls; };
    callbacks.on_left = [&](int) { ++calls; };
    auto opened = std::async(std::launch::async, [&] {
      const absl::Status status =
          pair.transport->OpenChannels("f", {}, {{"c", 1, false, 64, 1, ""}}, std::move(callbacks))
              .status();
      calls = 0;
      return status;
    });
    const std::string frame = ControlFrame(0, "none");  // no announcement
    ASSERT_EQ(send(pair.data.fd(), frame.data(), frame.size(), 0),
              static_cast<ssize_t>(frame.size()));
    const absl::Status status = opened.get();
    EXPECT_EQ(KindOf(status), ErrorKind::kPeer) << status;
    EXPECT_NE(MessageOf(status).find("cut or malformed"), std::string::npos) << status;
    Reset(&pair.data);
    EXPECT_EQ(KindOf(pair.transport->AllGather("x").status()), ErrorKind::kPeer);
  }
  EXPECT_EQ(calls, 0);
}

TEST(LostPeerTest, WhoIsToBlameSurvivesContext) {
  EXPECT_EQ(*BlamedRank(PeerFailure(3, "x")), 3);
  EXPECT_EQ(BlamedRank(absl::InternalError("x")), std::nullopt);
  EXPECT_EQ(*BlamedRank(WithContext(PeerFailure(3, "x"), "here")), 3);
}

}  // namespace
}  // namespace oneflow::comm
