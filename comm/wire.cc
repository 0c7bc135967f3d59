#include "comm/wire.h"

#include <map>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "comm/bytes.h"

namespace oneflow::comm {
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
  if (!reader.ok || !reader.done()) {
    return absl::InvalidArgumentError("a peer's announcement of channels is cut or malformed");
  }
  return announcement;
}

std::string Compare(const std::vector<Announcement>& by_rank) {
  const Announcement& first = by_rank[0];
  for (size_t r = 1; r < by_rank.size(); ++r) {
    const Announcement& other = by_rank[r];
    if (other.fingerprint == first.fingerprint) continue;
    for (size_t i = 0; i < std::max(first.rows.size(), other.rows.size()); ++i) {
      const std::string a = i < first.rows.size() ? first.rows[i] : "nothing";
      const std::string b = i < other.rows.size() ? other.rows[i] : "nothing";
      if (a == b) continue;
      return absl::StrCat("ranks 0 and ", r,
                          " run different programs: the first op that differs is `", a,
                          "` on rank 0 and `", b, "` on rank ", r,
                          "; every rank must run the same script with the same arguments");
    }
    return absl::StrCat("ranks 0 and ", r,
                        " compiled different plans of the same ops (fingerprints ",
                        first.fingerprint, " and ", other.fingerprint,
                        "); every rank must use the same build and options");
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
