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
struct Pair {
  Pair() {
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
    Pair pair;
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

// Callbacks belong to a session that is gone once OpenChannels has failed.
TEST(LostPeerTest, ChannelsThatCouldNotBeOpenedCallNobody) {
  std::atomic<int> calls = 0;
  {
    Pair pair;
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
    // A piece that is no announcement: a length of 4, and four bytes.
    std::string frame = std::string("\3\0\0\0", 4) + std::string(4, '\0');
    const uint64_t length = 12;
    frame.append(reinterpret_cast<const char*>(&length), 8).append(4, '\0');
    const uint32_t header_crc = Crc32c(frame.data(), frame.size());
    frame.append(reinterpret_cast<const char*>(&header_crc), 4);
    const std::string payload = std::string("\4", 1) + std::string(7, '\0') + "none";
    const uint32_t payload_crc = Crc32c(payload.data(), payload.size());
    frame.append(payload).append(reinterpret_cast<const char*>(&payload_crc), 4);
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
