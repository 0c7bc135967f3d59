#include "comm/binding.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "comm/blame.h"

namespace oneflow::comm {
namespace {

// The slots of the other end, if they are mapped here.
SharedLink::Target MapTarget(const Channel& channel, const Neighbours& neighbours) {
  SharedLink* link = neighbours.link(channel.peer);
  if (link == nullptr || !channel.sends) return {};
  const Region& slots = channel.remote_region;
  int64_t span = 0;
  if (slots.stride < 0 || slots.stride > std::numeric_limits<int64_t>::max() / slots.slots ||
      __builtin_add_overflow(int64_t{slots.slots - 1} * slots.stride,
                             static_cast<int64_t>(channel.bytes), &span)) {
    return {};
  }
  return link->Map(slots.base, static_cast<uint64_t>(span)).value_or(SharedLink::Target{});
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

void BindChannels(int rank, const std::vector<Announcement>& all, const std::vector<ChannelId>& ids,
                  const Neighbours& neighbours, ChannelTable* channels) {
  for (size_t r = 0; r < all.size(); ++r) {
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
    }
  }
  for (ChannelId id : ids) channels->Find(id)->bound.store(true);
}

}  // namespace oneflow::comm
