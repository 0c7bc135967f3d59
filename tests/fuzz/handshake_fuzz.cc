// Any bytes as the two messages of a peer that wants in, and as what an acceptor answers: nobody is
// proven without the secret, nor with a field that does not fit; no answer is longer than it may be.
//
// Input: a byte that says whether the peer knows the secret and which fields of its hello are as they
// should be (of its job's hash, but for the bits that the hello has); the hello (96 bytes); its proof (32
// bytes); the rest is what an acceptor answers. If that byte is 128 or more, instead: a byte of what the
// acceptor is, two of which of its bytes is changed on the way, one of how: then a whole handshake is made,
// and both ends are sure of each other if and only if they should be.
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "base/check.h"
#include "base/status.h"
#include "comm/handshake.h"
#include "tests/fuzz/comm_fuzz.h"

namespace oneflow::comm {
namespace {

constexpr size_t kLongestAnswer = 4 + 400;

Identity Acceptor() { return {1, 4, 7, "job", "a secret of more than 16 bytes"}; }

// A hello that is welcome, as rank 2 sends it to rank 1; taken from the connector itself.
const Hello& Welcome() {
  static const Hello hello = [] {
    Identity self = Acceptor();
    self.rank = 2;
    int ends[2];
    OF_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    const Socket connector(ends[0]);
    shutdown(ends[1], SHUT_WR);  // nobody answers
    (void)Introduce(connector, self, 1, Purpose::kData,
                    std::chrono::steady_clock::now() + std::chrono::seconds(1));
    Hello sent;
    OF_CHECK(read(ends[1], &sent, sizeof(sent)) == sizeof(sent));
    close(ends[1]);
    return sent;
  }();
  return hello;
}

// A connector and an acceptor of which one may be another, by a connection that may change a byte of the acceptor's. Its
// last answer is no secret and bears no mac: what it becomes on the way is believed.
void FuzzWhole(FuzzInput input) {
  Identity acceptor = Acceptor();
  const uint8_t what = input.Next<uint8_t>();
  const uint16_t changed = input.Next<uint16_t>() % 512;
  const uint8_t change = input.Next<uint8_t>();
  if (what & 1) acceptor.secret += "another";
  if (what & 2) acceptor.world_size = 5;
  if (what & 4) acceptor.epoch = 8;
  if (what & 8) acceptor.job = "another job";
  if (what & 16) acceptor.rank = 3;
  Identity connector = Acceptor();
  connector.rank = 2;
  int ends[2];
  OF_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  const Socket near(ends[0]);
  const Socket far(ends[1]);
  const Deadline deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  Acceptance acceptance(acceptor);
  std::string said;  // by the acceptor
  std::thread accepting([&] {
    std::string answer;
    while (!acceptance.proven()) {
      std::string bytes(acceptance.wanted(), '\0');
      if (!far.ReadAll(bytes.data(), bytes.size(), deadline).ok())
        return;  // it does not believe us
      const absl::Status taken = acceptance.Take(bytes, &answer);
      if (acceptance.proven()) answer = Acceptance::Yes();
      const size_t begin = said.size();
      said += answer;
      if (begin <= changed && changed < said.size()) said[changed] ^= static_cast<char>(change);
      OF_CHECK(far.WriteAll(said.data() + begin, said.size() - begin, deadline).ok());
      if (!taken.ok()) break;
    }
    shutdown(ends[1], SHUT_WR);
  });
  const absl::Status met = Introduce(near, connector, 1, Purpose::kData, deadline);
  shutdown(ends[0], SHUT_RDWR);
  accepting.join();
  const bool believed = (what & 1) == 0 && (changed >= 64 || change == 0);
  OF_CHECK(acceptance.proven() == (believed && (what & 31) == 0));
  const bool welcomed = said.size() >= 68 && said.compare(64, 4, Acceptance::Yes()) == 0;
  OF_CHECK(met.ok() == (believed && welcomed)) << met.message();
}

}  // namespace

void FuzzHandshake(const uint8_t* data, size_t size) {
  const Identity self = Acceptor();
  FuzzInput input{data, size};
  const uint8_t how = input.Next<uint8_t>();
  if (how & 128) return FuzzWhole(input);
  Hello hello = input.Next<Hello>();
  if (how & 2) hello.magic = Welcome().magic;
  if (how & 4) hello.version = Welcome().version;
  if (how & 8) hello.world_size = Welcome().world_size;
  if (how & 16) hello.epoch = Welcome().epoch;
  for (size_t i = 0; how & 32 && i < sizeof(hello.job); ++i) hello.job[i] ^= Welcome().job[i];
  if (how & 64) hello.peer = Welcome().peer;
  const std::string first(reinterpret_cast<const char*>(&hello), sizeof(hello));
  Acceptance acceptance(self);
  OF_CHECK(acceptance.wanted() == sizeof(Hello));
  std::string answer;
  const absl::Status greeted = acceptance.Take(first, &answer);
  OF_CHECK(!acceptance.proven());
  OF_CHECK(greeted.ok() == (hello.magic == Welcome().magic));
  OF_CHECK(answer.size() == (greeted.ok() ? 64u : 0u));
  if (greeted.ok()) {
    const bool knows = (how & 1) != 0;
    OF_CHECK(acceptance.wanted() == 32);
    std::string proof(32, '\0');
    input.Copy(proof.data(), proof.size());
    if (knows) proof = Hmac(self.secret, "connector" + first + answer);
    const absl::Status judged = acceptance.Take(proof, &answer);
    const bool fits = hello.version == Welcome().version && hello.world_size == self.world_size &&
                      hello.epoch == self.epoch && hello.peer == self.rank &&
                      hello.rank < self.world_size && hello.rank != self.rank &&
                      hello.purpose <= 1 &&
                      std::memcmp(hello.job, Welcome().job, sizeof(hello.job)) == 0;
    OF_CHECK(acceptance.proven() == (knows && fits));
    OF_CHECK(judged.ok() == acceptance.proven());
    OF_CHECK(knows || answer.empty()) << "a stranger was answered";
    OF_CHECK(answer.size() <= kLongestAnswer);
  }
  // The connector, whatever answers it.
  int ends[2];
  OF_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  const Socket connector(ends[0]);
  const std::string said = input.Text(4096);
  OF_CHECK(write(ends[1], said.data(), said.size()) == static_cast<ssize_t>(said.size()));
  shutdown(ends[1], SHUT_WR);
  const absl::Status met = Introduce(connector, self, 2, Purpose::kBeats,
                                     std::chrono::steady_clock::now() + std::chrono::seconds(10));
  OF_CHECK(!met.ok()) << "an acceptor without the secret was believed";
  close(ends[1]);
}

}  // namespace oneflow::comm
