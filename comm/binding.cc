#include "comm/binding.h"

#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "comm/blame.h"

namespace oneflow::comm {
namespace {

// From the first byte of a region's slots to the last; none if that cannot be.
std::optional<uint64_t> SpanOf(const Region& slots, uint64_t bytes) {
  int64_t span = 0;
  if (slots.stride < 0 || slots.stride > std::numeric_limits<int64_t>::max() / slots.slots ||
      __builtin_add_overflow(int64_t{slots.slots - 1} * slots.stride, static_cast<int64_t>(bytes),
                             &span)) {
    return std::nullopt;
  }
  return static_cast<uint64_t>(span);
}

// The slots of the other end, if they are mapped here.
SharedLink::Target MapTarget(const Channel& channel, const Neighbours& neighbours) {
  SharedLink* link = neighbours.link(channel.peer);
  if (link == nullptr || !channel.sends) return {};
  const std::optional<uint64_t> span = SpanOf(channel.remote_region, channel.bytes);
  if (!span) return {};
  return link->Map(channel.remote_region.base, *span).value_or(SharedLink::Target{});
}

// The key of the other end's slots, if this rank's adapter may write there and read the source.
std::optional<uint32_t> KeyOf(const Channel& channel, const std::map<uint32_t, uint32_t>& keys) {
  const auto found = keys.find(channel.remote);
  if (!channel.sends || channel.registered == nullptr || found == keys.end() ||
      !SpanOf(channel.remote_region, channel.bytes)) {
    return std::nullopt;
  }
  return found->second;
}

}  // namespace

absl::StatusOr<std::vector<Announcement>> Agreement(const std::vector<std::string>& said) {
  std::vector<Announcement> all;
  for (size_t r = 0; r < said.size(); ++r) {
    absl::StatusOr<Announcement> announcement = Decode(said[r]);
    if (!announcement.ok()) {
      return PeerFailure(
          static_cast<int>(r),
          absl::StrCat("rank ", r, " broke the protocol: ", MessageOf(announcement.status())));
    }
    all.push_back(*std::move(announcement));
  }
  if (const std::string difference = Compare(all); !difference.empty()) {
    const std::optional<int> odd = OddRank(all);
    return odd ? PeerFailure(*odd, difference) : MakeError(ErrorKind::kPeer, difference);
  }
  return all;
}

absl::Status RegisterRegion(const RdmaPeers& rdma, Channel* channel) {
  RdmaLink* link = rdma.link(channel->peer);
  channel->registered.reset();
  if (link == nullptr || channel->bytes == 0) return absl::OkStatus();
  const std::optional<uint64_t> span = SpanOf(channel->region, channel->bytes);
  if (!span || channel->region.base == nullptr) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<RegisteredMemory>> made = link->port().Register(
      channel->region.base, *span, channel->sends ? Rights::kNone : Rights::kRemoteWrite);
  if (!made.ok()) return made.status();
  channel->registered = *std::move(made);
  return absl::OkStatus();
}

void BindChannels(int rank, const std::vector<Announcement>& all, const std::vector<ChannelId>& ids,
                  const Neighbours& neighbours, const RdmaPeers& rdma, ChannelTable* channels) {
  std::vector<std::map<uint32_t, uint32_t>> keys(all.size());  // by rank, by its number
  for (size_t r = 0; r < all.size(); ++r) {
    if (rdma.link(static_cast<int>(r)) != nullptr) {
      keys[r] = {all[r].keys.begin(), all[r].keys.end()};
    }
    SharedLink* link = neighbours.link(static_cast<int>(r));
    if (link != nullptr) link->SetOffers(all[r].memory);
  }
  for (uint32_t id = 0; id < channels->size(); ++id) {
    Channel* channel = channels->Find(id);
    if (!channel->bound.load()) continue;
    for (const auto& [moved, base] : all[static_cast<size_t>(channel->peer)].moved) {
      if (moved != channel->remote) continue;
      channel->remote_region.base = base;
      channel->target = MapTarget(*channel, neighbours);
      channel->remote_key = KeyOf(*channel, keys[static_cast<size_t>(channel->peer)]);
    }
  }
  const std::vector<ChannelSpec>& own = all[static_cast<size_t>(rank)].channels;
  for (size_t i = 0; i < ids.size(); ++i) {
    const Announcement& other = all[static_cast<size_t>(own[i].peer)];
    for (size_t j = 0; j < other.channels.size(); ++j) {
      const ChannelSpec& end = other.channels[j];
      if (end.name != own[i].name || end.peer != rank || end.sends == own[i].sends) continue;
      Channel* channel = channels->Find(ids[i]);
      channel->remote = other.first_channel + static_cast<uint32_t>(j);
      channel->remote_region = end.region;
      channel->target = MapTarget(*channel, neighbours);
      channel->remote_key = KeyOf(*channel, keys[static_cast<size_t>(own[i].peer)]);
    }
  }
  for (ChannelId id : ids) channels->Find(id)->bound.store(true);
}

}  // namespace oneflow::comm
