#include "comm/wire.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "comm/bytes.h"

namespace oneflow::comm {
namespace {

// Ranks with the fingerprint of rank `r`.
size_t Followers(const std::vector<Announcement>& by_rank, size_t r) {
  size_t count = 0;
  for (const Announcement& one : by_rank) count += one.fingerprint == by_rank[r].fingerprint;
  return count;
}

// The lowest rank whose fingerprint no other has more followers than.
size_t RankOfMost(const std::vector<Announcement>& by_rank) {
  size_t most = 0;
  for (size_t r = 1; r < by_rank.size(); ++r) {
    if (Followers(by_rank, r) > Followers(by_rank, most)) most = r;
  }
  return most;
}

// Ranks `a` and `b`, whose fingerprints differ, in one sentence; `a` is one of the most.
std::string ComparePrograms(const std::vector<Announcement>& by_rank, size_t a, size_t b) {
  const std::string both = absl::StrCat("ranks ", std::min(a, b), " and ", std::max(a, b));
  const size_t count = Followers(by_rank, a);
  const std::string others =
      count > 1 ? absl::StrCat(" (", count, " of ", by_rank.size(), " ranks do as rank ", a, ")")
                : "";
  const std::vector<std::string>& mine = by_rank[a].rows;
  const std::vector<std::string>& yours = by_rank[b].rows;
  for (size_t i = 0; i < std::max(mine.size(), yours.size()); ++i) {
    const std::string x = i < mine.size() ? mine[i] : "nothing";
    const std::string y = i < yours.size() ? yours[i] : "nothing";
    if (x == y) continue;
    return absl::StrCat(both, " run different programs", others, ": the first op that differs is `",
                        x, "` on rank ", a, " and `", y, "` on rank ", b,
                        "; every rank must run the same script with the same arguments");
  }
  return absl::StrCat(both, " compiled different plans of the same ops", others, " (fingerprints ",
                      by_rank[a].fingerprint, " and ", by_rank[b].fingerprint,
                      "); every rank must use the same build and options");
}

}  // namespace

std::string Encode(const Announcement& announcement) {
  ByteWriter writer;
  writer.Text(announcement.fingerprint);
  writer.Integer(announcement.rows.size());
  for (const std::string& row : announcement.rows) writer.Text(row);
  writer.Integer(announcement.first_channel);
  writer.Integer(announcement.channels.size());
  for (const ChannelSpec& channel : announcement.channels) {
    writer.Text(channel.name);
    writer.Integer(channel.peer);
    writer.Integer(channel.sends ? 1 : 0);
    writer.Integer(channel.bytes);
    writer.Integer(channel.slots);
    writer.Text(channel.check);
    writer.Integer(reinterpret_cast<uint64_t>(channel.region.base));
    writer.Integer(static_cast<uint64_t>(channel.region.stride));
    writer.Integer(channel.region.slots);
    writer.Integer(channel.region.per_slot);
  }
  writer.Integer(announcement.moved.size());
  for (const auto& [channel, base] : announcement.moved) {
    writer.Integer(channel);
    writer.Integer(reinterpret_cast<uint64_t>(base));
  }
  writer.Integer(announcement.memory.size());
  for (const Offer& offer : announcement.memory) offer.Write(&writer);
  writer.Integer(announcement.keys.size());
  for (const auto& [channel, key] : announcement.keys) {
    writer.Integer(channel);
    writer.Integer(key);
  }
  return writer.bytes;
}

absl::StatusOr<Announcement> Decode(const std::string& bytes) {
  ByteReader reader(bytes);
  Announcement announcement;
  announcement.fingerprint = reader.Text();
  for (uint64_t i = reader.Count(); i > 0 && reader.ok; --i)
    announcement.rows.push_back(reader.Text());
  announcement.first_channel = static_cast<uint32_t>(reader.Integer());
  for (uint64_t i = reader.Count(); i > 0 && reader.ok; --i) {
    ChannelSpec channel;
    channel.name = reader.Text();
    channel.peer = static_cast<int>(reader.Integer());
    channel.sends = reader.Integer() != 0;
    channel.bytes = static_cast<int64_t>(reader.Integer());
    channel.slots = static_cast<int>(reader.Integer());
    channel.check = reader.Text();
    channel.region.base = reader.Address();
    channel.region.stride = static_cast<int64_t>(reader.Integer());
    channel.region.slots = static_cast<uint32_t>(reader.Integer());
    channel.region.per_slot = static_cast<uint32_t>(reader.Integer());
    if (channel.region.slots == 0 || channel.region.per_slot == 0) reader.ok = false;
    announcement.channels.push_back(std::move(channel));
  }
  for (uint64_t i = reader.Count(); i > 0 && reader.ok; --i) {
    const uint32_t channel = static_cast<uint32_t>(reader.Integer());
    announcement.moved.push_back({channel, reader.Address()});
  }
  for (uint64_t i = reader.Count(); i > 0 && reader.ok; --i) {
    announcement.memory.push_back(Offer::Read(&reader));
  }
  for (uint64_t i = reader.Count(); i > 0 && reader.ok; --i) {
    const uint32_t channel = static_cast<uint32_t>(reader.Integer());
    announcement.keys.push_back({channel, static_cast<uint32_t>(reader.Integer())});
  }
  if (!reader.ok || !reader.done()) {
    return absl::InvalidArgumentError("a peer's announcement of channels is cut or malformed");
  }
  return announcement;
}

std::optional<int> OddRank(const std::vector<Announcement>& by_rank) {
  const size_t most = RankOfMost(by_rank);
  if (2 * Followers(by_rank, most) <= by_rank.size()) return std::nullopt;
  for (size_t r = 0; r < by_rank.size(); ++r) {
    if (by_rank[r].fingerprint != by_rank[most].fingerprint) return static_cast<int>(r);
  }
  return std::nullopt;
}

std::string Compare(const std::vector<Announcement>& by_rank) {
  const size_t most = RankOfMost(by_rank);
  for (size_t r = 0; r < by_rank.size(); ++r) {
    if (by_rank[r].fingerprint == by_rank[most].fingerprint) continue;
    return ComparePrograms(by_rank, most, r);
  }
  // Channels: (name, source, destination) -> the two ends.
  std::map<std::tuple<std::string, int, int>, std::pair<const ChannelSpec*, const ChannelSpec*>>
      ends;
  for (size_t r = 0; r < by_rank.size(); ++r) {
    for (const ChannelSpec& channel : by_rank[r].channels) {
      const int self = static_cast<int>(r);
      auto& pair = channel.sends ? ends[{channel.name, self, channel.peer}]
                                 : ends[{channel.name, channel.peer, self}];
      (channel.sends ? pair.first : pair.second) = &channel;
    }
  }
  for (const auto& [key, pair] : ends) {
    const auto& [name, source, destination] = key;
    const auto [send, receive] = pair;
    const std::string what =
        absl::StrCat("channel `", name, "` from rank ", source, " to rank ", destination);
    if (send == nullptr || receive == nullptr) {
      return absl::StrCat(what, " is known to rank ", send == nullptr ? destination : source,
                          " alone");
    }
    if (send->bytes != receive->bytes || send->slots != receive->slots ||
        send->check != receive->check) {
      return absl::StrCat(what, " differs: ", send->bytes, " bytes, ", send->slots, " slots, ",
                          send->check, " at its source; ", receive->bytes, " bytes, ",
                          receive->slots, " slots, ", receive->check, " at its destination");
    }
  }
  return "";
}

}  // namespace oneflow::comm
