#include "comm/ring_binding.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "comm/binding.h"
#include "comm/blame.h"

namespace oneflow::comm {
namespace {

// Kernels read and write there: numbers of at most 8 bytes.
bool IsAligned(const Region& region) {
  return reinterpret_cast<uintptr_t>(region.base) % 8 == 0 && region.stride % 8 == 0;
}

// Where a buffer of another rank lies here, its first `bytes` in each of its slots; base nullptr: nowhere.
void MapBuffer(const Region& said, int64_t bytes, SharedLink* link, Region* buffer,
               std::shared_ptr<PeerMemory>* memory) {
  *buffer = said;
  buffer->base = nullptr;
  memory->reset();
  const std::optional<uint64_t> span = SpanOf(said, static_cast<uint64_t>(bytes));
  if (!IsAligned(said) || !span) return;
  std::optional<SharedLink::Target> target = link->Map(said.base, *span);
  if (!target) return;
  buffer->base = target->base;
  *memory = std::move(target->memory);
}

// Stretches by their rank and the name and source of the channel that leads to them.
using Stretches = std::map<std::tuple<int, std::string, int>, const Announcement::Ring*>;

// The ring of a stretch, whose own is `first`; nullptr if it is not closed, or one of its ranks is elsewhere or has two stretches.
std::unique_ptr<SharedRing> FindRing(int rank, const Announcement::Ring& first,
                                     const Stretches& said, const Neighbours& neighbours) {
  auto ring = std::make_unique<SharedRing>();
  std::set<int> ranks;
  int64_t members = 0;
  const Announcement::Ring* at = &first;
  for (int of = rank;;) {
    if (!ranks.insert(of).second || at->stretch.members != first.stretch.members ||
        at->stretch.bytes != first.stretch.bytes) {
      return nullptr;
    }
    SharedRing::Stretch& stretch = ring->stretches.emplace_back();
    stretch.rank = of;
    stretch.number = at->number;
    stretch.buffers = at->stretch.buffers;
    stretch.memory.resize(stretch.buffers.size());
    members += static_cast<int64_t>(stretch.buffers.size());
    if (of != rank) {
      SharedLink* link = neighbours.link(of);
      for (size_t i = 0; i < stretch.buffers.size(); ++i) {
        MapBuffer(at->stretch.buffers[i], first.stretch.bytes, link, &stretch.buffers[i],
                  &stretch.memory[i]);
      }
    }
    const int next = at->stretch.to_peer;
    if (next == rank && at->stretch.to == first.from && of == first.from_peer) break;
    const auto found = said.find({next, at->stretch.to, of});
    if (found == said.end()) return nullptr;
    at = found->second;
    of = next;
  }
  return members == first.stretch.members ? std::move(ring) : nullptr;
}

// The stretch that a channel of this rank leads to, as others hear of it.
Announcement::Ring RingAt(ChannelId id, const Channel& channel) {
  return {id, channel.name, channel.peer, channel.ring};
}

}  // namespace

void AnnounceRings(const std::vector<ChannelId>& opened, const std::vector<ChannelId>& moved,
                   const Neighbours& neighbours, const ChannelTable& channels,
                   std::vector<Announcement>* own,
                   std::vector<std::vector<const std::byte*>>* offered) {
  const auto offer = [&](size_t to, const Channel& channel) {
    for (const Region& buffer : channel.ring.buffers) (*offered)[to].push_back(buffer.base);
  };
  for (const ChannelId id : opened) {
    const Channel& channel = *channels.Find(id);
    if (!channel.ring.any() || neighbours.link(channel.peer) == nullptr ||
        neighbours.link(channel.ring.to_peer) == nullptr) {
      continue;
    }
    for (size_t r = 0; r < own->size(); ++r) {
      if (neighbours.link(static_cast<int>(r)) == nullptr) continue;
      (*own)[r].rings.push_back(RingAt(id, channel));
      offer(r, channel);
    }
  }
  for (const ChannelId id : moved) {
    const Channel& channel = *channels.Find(id);
    if (channel.shared_ring == nullptr) continue;
    Announcement::MovedRing one = {id, {}};
    for (const Region& buffer : channel.ring.buffers) one.buffers.push_back(buffer.base);
    for (size_t i = 1; i < channel.shared_ring->stretches.size(); ++i) {
      const auto peer = static_cast<size_t>(channel.shared_ring->stretches[i].rank);
      (*own)[peer].moved_rings.push_back(one);
      offer(peer, channel);
    }
  }
}

void BindRings(int rank, const std::vector<Announcement>& own, const std::vector<Announcement>& all,
               const Neighbours& neighbours, ChannelTable* channels, MappedBy* mapped) {
  Stretches said;
  std::map<std::pair<int, uint32_t>, const Announcement::MovedRing*> moved;
  for (size_t r = 0; r < all.size(); ++r) {
    const int peer = static_cast<int>(r);
    if (neighbours.link(peer) == nullptr) continue;
    for (const Announcement::Ring& ring : all[r].rings) {
      said[{peer, ring.from, ring.from_peer}] = &ring;
    }
    for (const Announcement::MovedRing& one : all[r].moved_rings) moved[{peer, one.number}] = &one;
  }
  std::map<std::pair<std::string, int>, ChannelId> senders;
  std::set<ChannelId> touched;
  for (size_t r = 0; r < own.size(); ++r) {
    for (const Announcement::End& end : own[r].channels) {
      if (end.spec.sends) senders[{end.spec.name, static_cast<int>(r)}] = end.number;
    }
    // All that have moved here, whoever hears of it.
    for (const Announcement::MovedRing& one : own[r].moved_rings) touched.insert(one.number);
  }
  for (size_t r = 0; r < own.size(); ++r) {
    for (const Announcement::End& end : own[r].channels) {
      Channel* channel = channels->Find(end.number);
      const auto to = senders.find({channel->ring.to, channel->ring.to_peer});
      if (!channel->ring.any() || to == senders.end()) continue;
      channel->shared_ring = FindRing(rank, RingAt(end.number, *channel), said, neighbours);
      if (channel->shared_ring == nullptr) continue;
      channel->shared_ring->to = to->second;
      touched.insert(end.number);
    }
  }
  for (ChannelId id = 0; id < channels->size(); ++id) {
    Channel* channel = channels->Find(id);
    SharedRing* ring = channel->shared_ring.get();
    if (ring == nullptr) continue;
    for (SharedRing::Stretch& stretch : ring->stretches) {
      const auto found = moved.find({stretch.rank, stretch.number});
      if (found == moved.end()) continue;
      touched.insert(id);
      for (size_t i = 0; i < stretch.buffers.size(); ++i) {
        Region now = stretch.buffers[i];
        now.base = i < found->second->buffers.size() ? found->second->buffers[i] : nullptr;
        MapBuffer(now, channel->ring.bytes, neighbours.link(stretch.rank), &stretch.buffers[i],
                  &stretch.memory[i]);
      }
    }
    if (!touched.contains(id)) continue;
    ring->stretches.front().buffers = channel->ring.buffers;
    channel->in_place = channels->Find(ring->to)->in_place = false;
    if (!ring->mapped()) continue;
    for (size_t i = 1; i < ring->stretches.size(); ++i) {
      (*mapped)[static_cast<size_t>(ring->stretches[i].rank)].push_back(ring->stretches[i].number);
    }
  }
}

absl::Status SettleRings(const MappedBy& mapped, ChannelTable* channels) {
  std::map<ChannelId, std::set<int>> by_ring;
  for (size_t r = 0; r < mapped.size(); ++r) {
    const int rank = static_cast<int>(r);
    for (const uint32_t number : mapped[r]) {
      const Channel* channel = channels->Find(number);
      const SharedRing* ring = channel != nullptr ? channel->shared_ring.get() : nullptr;
      const auto is_of_rank = [rank](const SharedRing::Stretch& one) { return one.rank == rank; };
      if (ring == nullptr ||
          std::none_of(ring->stretches.begin() + 1, ring->stretches.end(), is_of_rank)) {
        return PeerFailure(rank,
                           absl::StrCat("rank ", rank, " broke the protocol: it maps the ring ",
                                        "of channel ", number, ", which it has no part in"));
      }
      by_ring[number].insert(rank);
    }
  }
  for (const auto& [id, ranks] : by_ring) {
    Channel* channel = channels->Find(id);
    SharedRing& ring = *channel->shared_ring;
    channel->in_place = ring.mapped() && ranks.size() == ring.stretches.size() - 1;
    channels->Find(ring.to)->in_place = channel->in_place;
  }
  return absl::OkStatus();
}

std::vector<Region> BuffersInPlace(const Channel& channel) {
  std::vector<Region> buffers;
  if (!channel.in_place || channel.shared_ring == nullptr) return buffers;
  for (const SharedRing::Stretch& stretch : channel.shared_ring->stretches) {
    buffers.insert(buffers.end(), stretch.buffers.begin(), stretch.buffers.end());
  }
  return buffers;
}

}  // namespace oneflow::comm
