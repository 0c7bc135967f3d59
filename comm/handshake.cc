#include "comm/handshake.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"

namespace oneflow::comm {
namespace {

constexpr uint32_t kMagic = 0x4f464c57;  // "OFLW"
constexpr uint32_t kVersion = 8;
constexpr size_t kMac = 32;
constexpr uint32_t kLongestRefusal = 400;

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
  hello.magic = kMagic;
  hello.version = kVersion;
  hello.world_size = self.world_size;
  hello.rank = self.rank;
  hello.epoch = self.epoch;
  unsigned int size = 0;
  EVP_Digest(self.job.data(), self.job.size(), hello.job, &size, EVP_sha256(), nullptr);
  FillRandom(hello.nonce, sizeof(hello.nonce));
  return hello;
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

absl::Status Introduce(const Socket& socket, const Identity& self, uint32_t peer, Purpose purpose,
                       Deadline deadline) {
  Hello hello = HelloOf(self);
  hello.peer = peer;
  hello.purpose = static_cast<uint32_t>(purpose);
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

absl::Status Acceptance::Take(const std::string& bytes, std::string* answer) {
  answer->clear();
  if (step_++ == 0) {
    std::memcpy(&hello_, bytes.data(), sizeof(hello_));
    if (hello_.magic != kMagic) return absl::UnauthenticatedError("not a oneflow peer");
    uint8_t nonce[32];
    FillRandom(nonce, sizeof(nonce));
    said_ = bytes + AsText(nonce, sizeof(nonce));
    own_mac_ = Hmac(self_->secret, "acceptor" + said_);
    *answer = AsText(nonce, sizeof(nonce)) + own_mac_;
    return absl::OkStatus();
  }
  const std::string expected = Hmac(self_->secret, "connector" + said_ + own_mac_);
  if (CRYPTO_memcmp(expected.data(), bytes.data(), kMac) != 0) {
    return absl::UnauthenticatedError("a peer without the job's secret");
  }
  const absl::Status judged = Judge(answer);
  proven_ = judged.ok();
  return judged;
}

// From here the peer is one of ours: differences are errors that name both values.
absl::Status Acceptance::Judge(std::string* answer) const {
  const auto differs = [&](const char* what, uint64_t theirs, uint64_t ours) {
    return absl::StrCat("rank ", hello_.rank, " has ", what, " ", theirs, " but rank ", self_->rank,
                        " has ", ours, "; start all ranks with the same launcher and build");
  };
  std::string why;
  if (hello_.version != kVersion) {
    why = differs("protocol version", hello_.version, kVersion);
  } else if (hello_.epoch == self_->epoch && hello_.world_size != self_->world_size) {
    why = differs("world size", hello_.world_size, self_->world_size);
  }
  if (!why.empty()) {
    *answer = No(why);
    return MakeError(ErrorKind::kPeer, why);
  }
  const Hello mine = HelloOf(*self_);
  if (hello_.epoch != self_->epoch) {
    why = differs("epoch", hello_.epoch, self_->epoch);
  } else if (std::memcmp(hello_.job, mine.job, sizeof(mine.job)) != 0) {
    why = absl::StrCat("rank ", hello_.rank, " belongs to another job id");
  } else if (hello_.peer != self_->rank) {
    why = absl::StrCat("rank ", hello_.rank, " asked for rank ", hello_.peer, ", this is rank ",
                       self_->rank);
  } else if (hello_.rank >= self_->world_size || hello_.rank == self_->rank) {
    why = absl::StrCat("this process says it is rank ", hello_.rank,
                       ", which is taken or out of range for world size ", self_->world_size,
                       "; every process needs its own RANK");
  } else if (hello_.purpose > static_cast<uint32_t>(Purpose::kBeats)) {
    why = absl::StrCat("a connection of the unknown purpose ", hello_.purpose);
  }
  if (why.empty()) return absl::OkStatus();
  *answer = No(why);
  return absl::AbortedError(why);
}

std::string Acceptance::Yes() { return std::string(sizeof(uint32_t), '\0'); }

std::string Acceptance::No(const std::string& why) {
  const uint32_t size = std::min<uint32_t>(kLongestRefusal, static_cast<uint32_t>(why.size()));
  return AsText(&size, sizeof(size)) + why.substr(0, size);
}

}  // namespace oneflow::comm
