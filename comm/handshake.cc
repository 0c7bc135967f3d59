#include "comm/handshake.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"

namespace oneflow::comm {
namespace {

constexpr uint32_t kMagic = 0x4f464c57;  // "OFLW"
constexpr uint32_t kVersion = 1;
constexpr size_t kMac = 32;
constexpr uint32_t kLongestRefusal = 400;

struct Hello {
  uint32_t magic = kMagic;
  uint32_t version = kVersion;
  uint32_t world_size = 0;
  uint32_t rank = 0;
  uint64_t epoch = 0;
  uint8_t job[32] = {};
  uint8_t nonce[32] = {};
};
static_assert(sizeof(Hello) == 88);

struct Answer {
  uint8_t nonce[32];
  uint8_t mac[kMac];
};

void FillRandom(uint8_t* bytes, size_t count) {
  OF_CHECK(RAND_bytes(bytes, static_cast<int>(count)) == 1) << "no entropy";
}

std::string AsText(const void* data, size_t bytes) {
  return {static_cast<const char*>(data), bytes};
}

Hello HelloOf(const Identity& self) {
  Hello hello;
  hello.world_size = self.world_size;
  hello.rank = self.rank;
  hello.epoch = self.epoch;
  unsigned int size = 0;
  EVP_Digest(self.job.data(), self.job.size(), hello.job, &size, EVP_sha256(), nullptr);
  FillRandom(hello.nonce, sizeof(hello.nonce));
  return hello;
}

absl::Status Refuse(const Socket& socket, const std::string& why, Deadline deadline) {
  const uint32_t size = std::min<uint32_t>(kLongestRefusal, static_cast<uint32_t>(why.size()));
  (void)socket.WriteAll(&size, sizeof(size), deadline);
  (void)socket.WriteAll(why.data(), size, deadline);
  return MakeError(ErrorKind::kPeer, why);
}

}  // namespace

std::string Hmac(const std::string& secret, const std::string& text) {
  unsigned char mac[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  OF_CHECK(HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
                reinterpret_cast<const unsigned char*>(text.data()), text.size(), mac,
                &size) != nullptr);
  return AsText(mac, size);
}

absl::Status Introduce(const Socket& socket, const Identity& self, Deadline deadline) {
  const Hello hello = HelloOf(self);
  OF_RETURN_IF_ERROR(socket.WriteAll(&hello, sizeof(hello), deadline));
  Answer answer;
  OF_RETURN_IF_ERROR(socket.ReadAll(&answer, sizeof(answer), deadline));
  const std::string said = AsText(&hello, sizeof(hello)) + AsText(answer.nonce, 32);
  const std::string expected = Hmac(self.secret, "acceptor" + said);
  if (CRYPTO_memcmp(expected.data(), answer.mac, kMac) != 0) {
    return MakeError(
        ErrorKind::kPeer,
        "the process at the job's address does not know the job's secret: another job uses the "
        "same port; choose another --master-port");
  }
  const std::string mac = Hmac(self.secret, "connector" + said + AsText(answer.mac, kMac));
  OF_RETURN_IF_ERROR(socket.WriteAll(mac.data(), mac.size(), deadline));
  uint32_t refusal = 0;
  OF_RETURN_IF_ERROR(socket.ReadAll(&refusal, sizeof(refusal), deadline));
  if (refusal == 0) return absl::OkStatus();
  std::string why(std::min(refusal, kLongestRefusal), '\0');
  OF_RETURN_IF_ERROR(socket.ReadAll(why.data(), why.size(), deadline));
  return MakeError(ErrorKind::kPeer, why);
}

absl::StatusOr<uint32_t> Admit(const Socket& socket, const Identity& self, Deadline deadline) {
  Hello hello;
  OF_RETURN_IF_ERROR(socket.ReadAll(&hello, sizeof(hello), deadline));
  if (hello.magic != kMagic) return absl::UnauthenticatedError("not a oneflow peer");
  Answer answer;
  FillRandom(answer.nonce, sizeof(answer.nonce));
  const std::string said = AsText(&hello, sizeof(hello)) + AsText(answer.nonce, 32);
  const std::string own = Hmac(self.secret, "acceptor" + said);
  std::memcpy(answer.mac, own.data(), kMac);
  OF_RETURN_IF_ERROR(socket.WriteAll(&answer, sizeof(answer), deadline));
  char mac[kMac];
  OF_RETURN_IF_ERROR(socket.ReadAll(mac, kMac, deadline));
  const std::string expected = Hmac(self.secret, "connector" + said + own);
  if (CRYPTO_memcmp(expected.data(), mac, kMac) != 0) {
    return absl::UnauthenticatedError("a peer without the job's secret");
  }
  // From here the peer is one of ours: differences are errors that name both values.
  const Hello mine = HelloOf(self);
  const auto differs = [&](const char* what, uint64_t theirs, uint64_t ours) {
    return Refuse(
        socket,
        absl::StrCat("rank ", hello.rank, " has ", what, " ", theirs, " but rank ", self.rank,
                     " has ", ours, "; start all ranks with the same launcher and build"),
        deadline);
  };
  if (hello.version != kVersion) return differs("protocol version", hello.version, kVersion);
  if (hello.world_size != self.world_size) {
    return differs("world size", hello.world_size, self.world_size);
  }
  if (hello.epoch != self.epoch) return differs("epoch", hello.epoch, self.epoch);
  if (std::memcmp(hello.job, mine.job, sizeof(mine.job)) != 0) {
    return Refuse(socket, absl::StrCat("rank ", hello.rank, " belongs to another job id"),
                  deadline);
  }
  if (hello.rank >= self.world_size || hello.rank == self.rank) {
    return Refuse(socket,
                  absl::StrCat("rank ", hello.rank, " is taken or out of range for world size ",
                               self.world_size, "; every process needs its own RANK"),
                  deadline);
  }
  const uint32_t accepted = 0;
  OF_RETURN_IF_ERROR(socket.WriteAll(&accepted, sizeof(accepted), deadline));
  return hello.rank;
}

}  // namespace oneflow::comm
