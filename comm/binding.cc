#include "comm/binding.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "comm/blame.h"
#include "comm/streaming_copy.h"

namespace oneflow::comm {
namespace {

// From the first byte of a region's messages to the last; none if that cannot be.
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

// The slots of the other end, if they are mapped here.
SharedLink::Target MapTarget(const Channel& channel, const Neighbours& neighbours) {
  SharedLink* link = neighbours.link(channel.peer);
  if (link == nullptr || !channel.sends) return {};
  const std::optional<uint64_t> span = SpanOf(channel.remote_region, channel.bytes);
  if (!span) return {};
  return link->Map(channel.remote_region.base, *span).value_or(SharedLink::Target{});
}

// Kernels read where it lies: numbers of at most 8 bytes.
bool IsAligned(const Region& region) {
  return reinterpret_cast<uintptr_t>(region.base) % 8 == 0 && region.stride % 8 == 0;
}

// The other end's buffer, as it announces it, if both ends go round in the same way and it is mapped here.
SharedLink::Target MapRing(const Channel& channel, const RingBuffer& ring,
                           const Neighbours& neighbours) {
  SharedLink* link = neighbours.link(channel.peer);
  const std::vector<int64_t>& offsets = channel.ring.buffer.offsets;
  if (link == nullptr || offsets.empty() || ring.buffer.offsets != offsets ||
      ring.lent != channel.ring.lent || !IsAligned(ring.buffer)) {
    return {};
  }
  const std::optional<uint64_t> span = SpanOf(ring.buffer, channel.bytes);
  if (!span) return {};
  return link->Map(ring.buffer.base, *span).value_or(SharedLink::Target{});
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
  // That the rank may write, and rings' buffers, which it may read too.
  std::vector<std::vector<const std::byte*>> slots(world_size);
  for (Announcement& one : own) one.digest = digest;
  const auto open_slots = [&](ChannelId id) {
    const Channel& channel = *channels.Find(id);
    const size_t peer = static_cast<size_t>(channel.peer);
    const bool shares = neighbours.link(channel.peer) != nullptr;
    if (shares && channel.ring.any()) slots[peer].push_back(channel.ring.buffer.base);
    if (channel.sends) return;
    if (shares) slots[peer].push_back(channel.region.base);
    if (channel.registered == nullptr) return;
    own[peer].keys.push_back({id, channel.registered->remote_key()});
  };
  for (const ChannelId id : moved) {
    const Channel& channel = *channels.Find(id);
    own[static_cast<size_t>(channel.peer)].moved.push_back(
        {id, channel.region.base, channel.ring.buffer.base});
    open_slots(id);
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    Announcement& to_peer = own[static_cast<size_t>(specs[i].peer)];
    to_peer.channels.push_back({ids[i], specs[i]});
    if (neighbours.link(specs[i].peer) == nullptr) to_peer.channels.back().spec.ring = {};
    open_slots(ids[i]);
  }
  for (size_t r = 0; r < world_size; ++r) {
    if (!slots[r].empty()) own[r].memory = neighbours.OffersOf(slots[r]);
  }
  return own;
}

MappedBy BindChannels(const std::vector<Announcement>& own, const std::vector<Announcement>& all,
                      const Neighbours& neighbours, const RdmaPeers& rdma, ChannelTable* channels) {
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
  // Its messages need slots until the other end has said the same.
  const auto offer_ring = [&](Channel* channel) {
    channel->in_place = false;
    if (channel->remote_ring.buffer.base == nullptr) return;
    mapped[static_cast<size_t>(channel->peer)].push_back(channel->remote);
  };
  const auto bind = [&](Channel* channel, const Region& region, const RingBuffer& ring) {
    channel->remote_region = region;
    channel->target = MapTarget(*channel, neighbours);
    channel->remote_key = KeyOf(*channel, keys[static_cast<size_t>(channel->peer)]);
    const SharedLink::Target mapped_ring = MapRing(*channel, ring, neighbours);
    channel->remote_ring = ring;
    channel->remote_ring.buffer.base = mapped_ring.base;
    channel->ring_memory = mapped_ring.memory;
    offer_ring(channel);
  };
  for (size_t r = 0; r < own.size(); ++r) {
    for (const Announcement::Moved& one : own[r].moved) {
      Channel* channel = channels->Find(one.number);
      // What has moved at both ends is bound anew below.
      if (!moved[r].contains(channel->remote)) offer_ring(channel);
    }
  }
  for (uint32_t id = 0; any_moved && id < channels->size(); ++id) {
    Channel* channel = channels->Find(id);
    if (!channel->bound.load()) continue;
    const auto& of_peer = moved[static_cast<size_t>(channel->peer)];
    const auto found = of_peer.find(channel->remote);
    if (found == of_peer.end()) continue;
    Region region = channel->remote_region;
    region.base = found->second->base;
    RingBuffer ring = channel->remote_ring;
    ring.buffer.base = found->second->ring_base;
    bind(channel, region, ring);
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
      bind(channel, other.spec.region, other.spec.ring);
      channel->bound.store(true);
    }
  }
  return mapped;
}

absl::Status SettleRings(const MappedBy& mapped, ChannelTable* channels) {
  for (size_t r = 0; r < mapped.size(); ++r) {
    const int rank = static_cast<int>(r);
    for (const uint32_t number : mapped[r]) {
      Channel* channel = channels->Find(number);
      if (channel == nullptr || !channel->bound.load() || channel->peer != rank ||
          !channel->ring.any()) {
        return PeerFailure(rank, absl::StrCat("rank ", rank, " broke the protocol: it maps the ",
                                              "buffer of channel ", number, ", which offers none"));
      }
      channel->in_place = channel->remote_ring.buffer.base != nullptr;
    }
  }
  return absl::OkStatus();
}

void Deliver(const Channel& channel, int64_t message, const std::byte* source) {
  if (!channel.in_place) {
    const Region& slots = channel.remote_region;
    std::memcpy(channel.target.base + (slots.At(message) - slots.base), source, channel.bytes);
    return;
  }
  if (channel.ring.Lends(message)) return;
  // A whole sum stays there; a slot is read at once.
  StreamingCopy(channel.remote_ring.buffer.At(message), source, channel.bytes);
}

}  // namespace oneflow::comm
