#include "comm/rdma_link.h"

#include <sys/random.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace oneflow::comm {
namespace {

constexpr uint32_t kMostWrites = 256;
// Room is told by quarters of the window; one telling is on its way for each, and the probe.
constexpr uint32_t kRoomStep = RdmaLink::kWindow / 4;
constexpr uint32_t kAside = 8;
constexpr size_t kBatch = 16;
constexpr uint32_t kValueBits = 30;
constexpr uint32_t kValueMask = (1u << kValueBits) - 1;

uint32_t Immediate(ImmediateKind kind, uint32_t value) {
  return static_cast<uint32_t>(kind) << kValueBits | (value & kValueMask);
}

}  // namespace

absl::StatusOr<std::unique_ptr<RdmaLink>> RdmaLink::Make(std::shared_ptr<RdmaPort> port) {
  std::unique_ptr<RdmaLink> link(new RdmaLink(std::move(port)));
  link->receives_ = kWindow + kAside;
  if (link->port_->most_work() < link->receives_) {
    return absl::UnavailableError(absl::StrCat(link->port_->name(), " takes ",
                                               link->port_->most_work(), " receives, fewer than ",
                                               link->receives_));
  }
  const uint32_t writes = std::min(kMostWrites, link->port_->most_work());
  link->posted_.resize(writes);
  OF_ASSIGN_OR_RETURN(link->completions_,
                      link->port_->MakeCompletionQueue(writes + link->receives_));
  OF_ASSIGN_OR_RETURN(
      link->pair_, link->port_->MakeQueuePair(link->completions_.get(), writes, link->receives_));
  link->address_ = link->port_->address();
  link->address_.number = link->pair_->number();
  // Not to be guessed by whoever can inject packets into the fabric.
  uint32_t random = 0;
  if (getrandom(&random, sizeof(random), 0) != sizeof(random)) {
    return absl::UnavailableError("the system gives no random numbers");
  }
  link->address_.sequence = random & 0xffffff;
  link->found_.resize(kBatch);
  return link;
}

RdmaLink::~RdmaLink() {
  if (pair_ != nullptr) pair_->Stop();
}

absl::Status RdmaLink::Join(const QueuePairAddress& peer) {
  if (peer.link != address_.link) {
    return absl::InvalidArgumentError("one port is of InfiniBand, the other of Ethernet");
  }
  if (peer.mtu < 1 || peer.mtu > 5 || peer.number >> 24 != 0 || peer.sequence >> 24 != 0) {
    return absl::InvalidArgumentError("its address is no queue pair's");
  }
  OF_RETURN_IF_ERROR(pair_->Connect(address_.sequence, peer));
  for (uint32_t i = 0; i < receives_; ++i) OF_RETURN_IF_ERROR(pair_->PostReceive(i));
  std::lock_guard lock(mutex_);
  room_ = kWindow;
  return completions_->Arm();
}

absl::StatusOr<bool> RdmaLink::Probed() {
  const Event event = Take();
  if (event.kind == Event::Kind::kBroken) return absl::UnavailableError(event.wrong);
  if (event.kind != Event::Kind::kNothing) {
    return absl::InvalidArgumentError("its first word is another");
  }
  return probed_ && answered_;
}

bool RdmaLink::Push(const Order& order) {
  std::lock_guard lock(mutex_);
  if (closed_.load()) return true;
  if (!broken_.empty()) return false;
  Order now = order;
  if (!waiting_.empty() || !Go(&now)) waiting_.push_back(now);
  return broken_.empty();
}

void RdmaLink::Drain() {
  if (closed_.load()) return;
  // First what the peer may be waiting for itself, which needs no room.
  if (broken_.empty() && owed_room_ >= kRoomStep && posted_count_ < posted_.size()) {
    RemoteWrite write;
    write.immediate = Immediate(ImmediateKind::kRoom, owed_room_);
    owed_room_ = 0;
    Post(write, {});
  }
  while (!waiting_.empty() && Go(&waiting_.front())) waiting_.pop_front();
}

bool RdmaLink::Go(Order* order) {
  const bool is_message = order->kind == ImmediateKind::kMessage;
  while (broken_.empty() && posted_count_ < posted_.size()) {
    RemoteWrite write;
    write.bytes = std::min(order->bytes - order->begun, port_->longest_write());
    write.source = order->source + order->begun;
    write.local_key = order->local_key;
    write.address = order->address + order->begun;
    write.remote_key = order->remote_key;
    const bool ends = order->begun + write.bytes == order->bytes;
    if (ends && room_ == 0) return false;
    if (ends) write.immediate = Immediate(order->kind, order->remote);
    if (!Post(write, {order->channel, is_message, is_message && ends})) return false;
    order->begun += write.bytes;
    if (!ends) continue;
    --room_;
    return true;
  }
  return false;
}

bool RdmaLink::Post(const RemoteWrite& write, const Posted& posted) {
  RemoteWrite numbered = write;
  numbered.id = first_posted_ + posted_count_;
  if (const absl::Status status = pair_->PostWrite(numbered); !status.ok()) {
    Break(MessageOf(status));
    return false;
  }
  posted_[numbered.id % posted_.size()] = posted;
  ++posted_count_;
  return true;
}

void RdmaLink::Break(const std::string& wrong) {
  if (!broken_.empty()) return;
  broken_ = absl::StrCat("rdma by ", port_->name(), ": ", wrong);
  pair_->Stop();
}

RdmaLink::Event RdmaLink::Take() {
  while (!told_ && !closed_.load()) {
    if (next_ == count_) {
      const absl::StatusOr<size_t> count = completions_->Poll(found_.data(), found_.size());
      next_ = 0;
      count_ = count.ok() ? *count : 0;
      std::lock_guard lock(mutex_);
      if (!count.ok()) Break(MessageOf(count.status()));
      if (count_ == 0) return broken_.empty() ? Event{} : TellBroken();
    }
    const Completion& found = found_[next_++];
    if (found.status != Completion::kSuccess) {
      std::lock_guard lock(mutex_);
      Break(NameOfStatus(found.status));
      return TellBroken();
    }
    const Event event = found.received ? TakeReceived(found.immediate) : TakeWritten(found.id);
    if (event.kind != Event::Kind::kNothing) return event;
  }
  return {};
}

RdmaLink::Event RdmaLink::TellBroken() {
  told_ = true;
  waiting_.clear();
  return {Event::Kind::kBroken, 0, broken_};
}

RdmaLink::Event RdmaLink::TakeReceived(uint32_t immediate) {
  const auto kind = static_cast<ImmediateKind>(immediate >> kValueBits);
  const uint32_t value = immediate & kValueMask;
  const absl::Status posted = pair_->PostReceive(0);
  std::lock_guard lock(mutex_);
  if (!posted.ok()) Break(MessageOf(posted));
  if (kind == ImmediateKind::kRoom) {
    if (value > kWindow - room_) {
      Break("the peer broke the protocol: it gives more room than there is");
    } else {
      room_ += value;
    }
  } else {
    ++owed_room_;
  }
  Drain();
  switch (kind) {
    case ImmediateKind::kMessage:
      return {Event::Kind::kMessage, value, ""};
    case ImmediateKind::kCredit:
      return {Event::Kind::kCredit, value, ""};
    case ImmediateKind::kProbe:
      answered_ = true;
      return {};
    case ImmediateKind::kRoom:
      return {};
  }
  return {};
}

RdmaLink::Event RdmaLink::TakeWritten(uint64_t id) {
  std::lock_guard lock(mutex_);
  if (posted_count_ == 0 || id != first_posted_) {
    Break("the adapter completes work out of order");
    return {};
  }
  const Posted posted = posted_[id % posted_.size()];
  --posted_count_;
  ++first_posted_;
  probed_ = true;
  Drain();
  if (!posted.reports) return {};
  return {Event::Kind::kSent, posted.channel, ""};
}

void RdmaLink::Arm() {
  const absl::Status armed = completions_->Arm();
  std::lock_guard lock(mutex_);
  if (!armed.ok()) Break(MessageOf(armed));
}

void RdmaLink::Forget(const std::vector<ChannelId>& channels) {
  std::lock_guard lock(mutex_);
  std::erase_if(waiting_, [&](const Order& order) {
    return order.kind == ImmediateKind::kMessage &&
           std::find(channels.begin(), channels.end(), order.channel) != channels.end();
  });
}

bool RdmaLink::Busy(ChannelId channel) const {
  std::lock_guard lock(mutex_);
  if (closed_.load() || !broken_.empty()) return false;
  for (uint64_t id = first_posted_; id < first_posted_ + posted_count_; ++id) {
    const Posted& posted = posted_[id % posted_.size()];
    if (posted.has_source && posted.channel == channel) return true;
  }
  return false;
}

bool RdmaLink::idle() const {
  std::lock_guard lock(mutex_);
  return closed_.load() || !broken_.empty() || (waiting_.empty() && posted_count_ == 0);
}

void RdmaLink::Close() {
  std::lock_guard lock(mutex_);
  if (closed_.exchange(true)) return;
  waiting_.clear();
  pair_->Stop();
}

}  // namespace oneflow::comm
