#include "comm/reception.h"

#include "absl/strings/str_cat.h"

namespace oneflow::comm {
namespace {

std::string Unknown(const char* what, uint32_t id) {
  return absl::StrCat(what, " for channel ", id, ", which it has no part in");
}

std::string WithoutSlot(const Channel& channel) {
  return absl::StrCat("a message on channel `", channel.name,
                      "` without a slot that was posted for it");
}

}  // namespace

Channel* Reception::Find(int rank, uint32_t id, bool sends) const {
  Channel* channel = channels_->Find(id);
  if (channel == nullptr || !channel->bound.load() || channel->peer != rank ||
      channel->sends != sends) {
    return nullptr;
  }
  return channel;
}

std::string Reception::BeginMessage(int rank, const FrameHeader& header, char** target) {
  Channel* channel = Find(rank, header.channel, /*sends=*/false);
  if (channel == nullptr) return Unknown("a message", header.channel);
  if (header.bytes != channel->bytes) {
    return absl::StrCat("a message of ", header.bytes, " bytes on channel `", channel->name,
                        "`, whose messages have ", channel->bytes);
  }
  if (channel->closed.load()) return "";
  if (channel->arrived >= channel->posted.load()) return WithoutSlot(*channel);
  *target = reinterpret_cast<char*>(channel->PlaceOf(channel->arrived));
  return "";
}

std::string Reception::TakeMessage(int rank, uint32_t id) {
  Channel* channel = Find(rank, id, /*sends=*/false);
  if (channel == nullptr) return Unknown("a message", id);
  bytes_ += channel->bytes;
  if (channel->closed.load()) return "";
  if (channel->arrived >= channel->posted.load()) return WithoutSlot(*channel);
  ++channel->arrived;
  counted_(rank);
  channel->callbacks->on_arrived(id);
  return "";
}

std::string Reception::TakeCredit(int rank, uint32_t id) {
  Channel* channel = Find(rank, id, /*sends=*/true);
  if (channel == nullptr) return Unknown("a credit", id);
  if (channel->closed.load()) return "";
  if (++channel->granted - channel->sent.load() > channel->slots) {
    return absl::StrCat("more credits on channel `", channel->name, "` than it has slots (",
                        channel->slots, ")");
  }
  channel->callbacks->on_credit(id);
  return "";
}

const Channel* Reception::Owed(int rank) const {
  for (uint32_t id = 0; id < channels_->size(); ++id) {
    const Channel* channel = channels_->Find(id);
    if (channel->peer != rank || channel->sends || channel->closed.load()) continue;
    if (channel->posted.load() > channel->arrived) return channel;
  }
  return nullptr;
}

std::vector<std::shared_ptr<TransportCallbacks>> Reception::OpenGroups() const {
  std::vector<std::shared_ptr<TransportCallbacks>> groups;
  for (uint32_t id = 0; id < channels_->size(); ++id) {
    const Channel* channel = channels_->Find(id);
    if (channel->closed.load() || channel->callbacks == nullptr) continue;
    if (groups.empty() || groups.back() != channel->callbacks) {
      groups.push_back(channel->callbacks);
    }
  }
  return groups;
}

}  // namespace oneflow::comm
