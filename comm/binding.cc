#include "comm/binding.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "comm/ring_binding.h"

namespace oneflow::comm {
namespace {

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

std::optional<uint64_t> SpanOf(const Region& slots, uint64_t bytes) {
  int64_t span = 0;
  if (!slots.offsets.empty()) {
    bytes += static_cast<uint64_t>(*std::max_element(slots.offsets.begin(), slots.offsets.end()));
  }
  if (slots.stride < 0 || slots.stride > std::numeric_limits<int64_t>::max() / slots.slots ||
      __builtin_add_overflow(int64_t{slots.slots - 1} * slots.stride, static_cast<int64_t>(bytes),
                             &span)) {
    return std::nullopt;
  }
  return static_cast<uint64_t>(span);
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

std::vector<Announcement> AnnounceChannels(size_t world_size, const Digest& digest,
                                           const std::vector<ChannelId>& ids,
                                           const std::vector<ChannelSpec>& specs,
                                           const std::vector<ChannelId>& moved,
                                           const Neighbours& neighbours,
                                           const ChannelTable& channels) {
  std::vector<Announcement> own(world_size);
  std::vector<std::vector<const std::byte*>> slots(world_size);  // that the rank may write
  for (Announcement& one : own) one.digest = digest;
  const auto open_slots = [&](ChannelId id) {
    const Channel& channel = *channels.Find(id);
    const size_t peer = static_cast<size_t>(channel.peer);
    if (channel.sends) return;
    if (neighbours.link(channel.peer) != nullptr) slots[peer].push_back(channel.region.base);
    if (channel.registered == nullptr) return;
    own[peer].keys.push_back({id, channel.registered->remote_key()});
  };
  for (const ChannelId id : moved) {
    const Channel& channel = *channels.Find(id);
    own[static_cast<size_t>(channel.peer)].moved.push_back({id, channel.region.base});
    open_slots(id);
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    own[static_cast<size_t>(specs[i].peer)].channels.push_back({ids[i], specs[i]});
    open_slots(ids[i]);
  }
  AnnounceRings(ids, moved, neighbours, channels, &own, &slots);
  for (size_t r = 0; r < world_size; ++r) {
    if (!slots[r].empty()) own[r].memory = neighbours.OffersOf(slots[r]);
  }
  return own;
}

MappedBy BindChannels(int rank, const std::vector<Announcement>& own,
                      const std::vector<Announcement>& all, const Neighbours& neighbours,
                      const RdmaPeers& rdma, ChannelTable* channels) {
  // By rank, by its number.
  std::vector<std::map<uint32_t, const Announcement::Moved*>> moved(all.size());
  std::vector<std::map<uint32_t, uint32_t>> keys(all.size());
  MappedBy mapped(all.size());
  bool any_moved = false;
  for (size_t r = 0; r < all.size(); ++r) {
    if (rdma.link(static_cast<int>(r)) != nullptr) {
      keys[r] = {all[r].keys.begin(), all[r].keys.end()};
    }
    SharedLink* link = neighbours.link(static_cast<int>(r));
    if (link != nullptr) link->SetOffers(all[r].memory);
    for (const Announcement::Moved& one : all[r].moved) moved[r][one.number] = &one;
    any_moved |= !moved[r].empty();
  }
  const auto bind = [&](Channel* channel, const Region& region) {
    channel->remote_region = region;
    channel->target = MapTarget(*channel, neighbours);
    channel->remote_key = KeyOf(*channel, keys[static_cast<size_t>(channel->peer)]);
  };
  for (uint32_t id = 0; any_moved && id < channels->size(); ++id) {
    Channel* channel = channels->Find(id);
    if (!channel->bound.load()) continue;
    const auto& of_peer = moved[static_cast<size_t>(channel->peer)];
    const auto found = of_peer.find(channel->remote);
    if (found == of_peer.end()) continue;
    Region region = channel->remote_region;
    region.base = found->second->base;
    bind(channel, region);
  }
  for (size_t r = 0; r < all.size(); ++r) {
    std::map<std::pair<std::string, bool>, const Announcement::End*> theirs;
    for (const Announcement::End& end : all[r].channels) {
      theirs[{end.spec.name, end.spec.sends}] = &end;
    }
    for (const Announcement::End& end : own[r].channels) {
      const Announcement::End& other = *theirs.at({end.spec.name, !end.spec.sends});
      Channel* channel = channels->Find(end.number);
      channel->remote = other.number;
      bind(channel, other.spec.region);
      channel->bound.store(true);
    }
  }
  BindRings(rank, own, all, neighbours, channels, &mapped);
  return mapped;
}

void Deliver(const Channel& channel, int64_t message, const std::byte* source) {
  if (channel.in_place) return;
  const Region& slots = channel.remote_region;
  std::memcpy(channel.target.base + (slots.At(message) - slots.base), source, channel.bytes);
}

}  // namespace oneflow::comm
