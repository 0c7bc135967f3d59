// The bytes that OpenChannels exchanges: length-prefixed, little-endian, total on arbitrary input.
//
// Values. Threads: any. Read next: comm/tcp_transport.cc.
#ifndef ONEFLOW_COMM_WIRE_H_
#define ONEFLOW_COMM_WIRE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "comm/shared_memory.h"
#include "comm/transport.h"

namespace oneflow::comm {

// What one rank says when channels are opened.
struct Announcement {
  std::string fingerprint;
  std::vector<std::string> rows;
  std::vector<ChannelSpec> channels;
  uint32_t first_channel = 0;  // number of channels[0] at the rank that says this
  // Earlier channels whose region has moved: number at the rank that says this, and new base.
  std::vector<std::pair<uint32_t, std::byte*>> moved = {};
  // Memory of this rank that others of its host may map, all of it that there is.
  std::vector<Offer> memory = {};
  // Channels of this rank whose slots their sender may write by RDMA: number, and key of the slots. Of
  // those that are opened or have moved.
  std::vector<std::pair<uint32_t, uint32_t>> keys = {};
};

std::string Encode(const Announcement& announcement);
absl::StatusOr<Announcement> Decode(const std::string& bytes);

// Empty if all announcements fit together, else one sentence for all ranks: the fingerprint's first
// differing row, or the channel whose ends differ. Pure, so every rank comes to the same words.
std::string Compare(const std::vector<Announcement>& by_rank);

// The first rank that runs something else than more than half of all ranks; none if all agree, or if
// no program has a majority.
std::optional<int> OddRank(const std::vector<Announcement>& by_rank);

}  // namespace oneflow::comm

#endif  // ONEFLOW_COMM_WIRE_H_
