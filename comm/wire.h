// The bytes that OpenChannels exchanges: length-prefixed, little-endian, total on arbitrary input.
//
// Values. Threads: any. Read next: comm/agreement.h.
#ifndef ONEFLOW_COMM_WIRE_H_
#define ONEFLOW_COMM_WIRE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "comm/shared_memory.h"
#include "comm/transport.h"

namespace oneflow::comm {

// What a rank is about to run: a fingerprint, and a row for each logical node, "hash location".
struct RankProgram {
  std::string fingerprint;
  std::vector<std::string> rows;
};

// Of the fingerprint and the rows' hashes: ranks with the same digest run the same. Where the user wrote
// an op is said, not compared.
using Digest = std::array<char, 32>;
Digest DigestOf(const RankProgram& program);

std::string Encode(const RankProgram& program);
absl::StatusOr<RankProgram> DecodeProgram(const std::string& bytes);

// What one rank says to another when channels are opened: of their own channels alone, but for the digest.
struct Announcement {
  Digest digest{};
  struct End {
    uint32_t number = 0;  // of the channel at the rank that says this
    ChannelSpec spec;     // whose peer is the one that hears it, and is not sent
  };
  std::vector<End> channels = {};
  // Earlier channels whose region has moved.
  struct Moved {
    uint32_t number = 0;        // at the rank that says this
    std::byte* base = nullptr;  // where its region is now
    bool operator==(const Moved&) const = default;
  };
  std::vector<Moved> moved = {};
  // Stretches of rings, to all ranks of the host.
  struct Ring {
    uint32_t number = 0;  // of the channel that leads there, at the rank that says this; a receiver
    std::string from;     // its name
    int from_peer = 0;
    RingStretch stretch;
  };
  std::vector<Ring> rings = {};
  // Earlier ones whose buffers have moved, to the ranks of their ring.
  struct MovedRing {
    uint32_t number = 0;  // as above
    std::vector<std::byte*> buffers;
    bool operator==(const MovedRing&) const = default;
  };
  std::vector<MovedRing> moved_rings = {};
  // Memory of this rank that holds slots or buffers of the above, and that the other may map.
  std::vector<Offer> memory = {};
  // Channels of this rank whose slots the other may write by RDMA: number, and key of the slots. Of
  // those above.
  std::vector<std::pair<uint32_t, uint32_t>> keys = {};
};

std::string Encode(const Announcement& announcement);
absl::StatusOr<Announcement> Decode(const std::string& bytes);

// What one rank says to another when all has been announced.
struct Verdict {
  std::string objection = {};  // against the job, the same to all; empty: none
  // Stretches of the rank that hears this, by the numbers of the channels that lead there, all of whose ring is mapped by
  // the one that says it.
  std::vector<uint32_t> mapped = {};
};

std::string Encode(const Verdict& verdict);
absl::StatusOr<Verdict> DecodeVerdict(const std::string& bytes);

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_WIRE_H_
