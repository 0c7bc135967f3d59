#include "runtime/actor.h"

#include "absl/strings/str_cat.h"

namespace oneflow {
namespace {

bool IsFirst(int64_t ordinal, uint32_t inner) { return inner == 1 || ordinal % inner == 0; }
bool IsLast(int64_t ordinal, uint32_t inner) { return inner == 1 || ordinal % inner == inner - 1; }

template <typename T>
void AppendCounts(std::string* text, const char* name, const std::vector<T>& counts) {
  if (counts.empty()) return;
  absl::StrAppend(text, " ", name, ":");
  for (size_t i = 0; i < counts.size(); ++i) absl::StrAppend(text, i == 0 ? "" : ",", counts[i]);
}

}  // namespace

size_t ActorSpec::MaxMessages() const {
  size_t count = inputs.size() + waiters.size();
  for (const Output& output : outputs) count += output.consumers.size();
  return count;
}

Actor::Actor(const ActorSpec* spec)
    : spec_(spec), ready_(spec->inputs.size()), credits_(spec->credits), done_(spec->after.size()) {
  for (const ActorSpec::Output& output : spec->outputs) {
    for (size_t i = 0; i < output.consumers.size(); ++i) {
      credits_[output.first_credit + i] = static_cast<int32_t>(output.slots);
    }
  }
}

void Actor::Step(const Message& message, Effects* effects) {
  effects->Clear();
  switch (message.kind) {
    case MessageKind::kReady:
      ++ready_[message.port];
      break;
    case MessageKind::kFree:
      ++credits_[message.port];
      break;
    case MessageKind::kDone:
      ++done_[message.port];
      break;
    case MessageKind::kTurn:
      turn_ = true;
      break;
    case MessageKind::kCredit:
      ++peer_slots_;
      break;
    case MessageKind::kEnqueued:
      Enqueue(effects);
      break;
    case MessageKind::kFired:
    case MessageKind::kArrived:
      Complete(effects);
      break;
    case MessageKind::kLaunch:
    case MessageKind::kStreamDone:
      return;  // for streams, not for actors
    case MessageKind::kAbort:
      aborted_ = true;
      return;
  }
  if (turn_ && !aborted_ && CanFire()) Begin(effects);
}

bool Actor::AfterHolds(size_t edge) const {
  const ActorSpec::After& after = spec_->after[edge];
  return done_[edge] + after.lag > started_ / after.inner;
}

bool Actor::CanFire() const {
  if (spec_->sends && peer_slots_ == 0) return false;
  for (int32_t count : ready_) {
    if (count == 0) return false;
  }
  for (const ActorSpec::Output& output : spec_->outputs) {
    if (!IsFirst(started_, output.inner)) continue;  // holds its credit already
    for (size_t i = 0; i < output.consumers.size(); ++i) {
      if (credits_[output.first_credit + i] == 0) return false;
    }
  }
  for (size_t i = 0; i < done_.size(); ++i) {
    if (!AfterHolds(i)) return false;
  }
  return true;
}

void Actor::Begin(Effects* effects) {
  for (const ActorSpec::Output& output : spec_->outputs) {
    if (!IsFirst(started_, output.inner)) continue;
    for (size_t i = 0; i < output.consumers.size(); ++i) --credits_[output.first_credit + i];
  }
  for (size_t i = 0; i < ready_.size(); ++i) {
    if (IsLast(started_, spec_->inputs[i].inner)) --ready_[i];  // its own to the end of this firing
  }
  if (spec_->sends) --peer_slots_;
  turn_ = false;
  effects->fire = true;
  effects->started = started_++;
  // A posted slot waits for the network, not for the stream: the next post may follow at once.
  if (spec_->receives) effects->turn_ended = true;
}

void Actor::Enqueue(Effects* effects) {
  effects->turn_ended = true;
  Tell(enqueued_++, /*enqueued=*/true, /*finished=*/false, effects);
}

void Actor::Complete(Effects* effects) {
  const int64_t ordinal = finished_++;
  effects->completed = true;
  effects->finished = ordinal;
  const bool both = enqueued_ == ordinal;  // its device answers at once
  if (both) {
    ++enqueued_;
    if (!spec_->receives) effects->turn_ended = true;
  }
  Tell(ordinal, /*enqueued=*/both, /*finished=*/true, effects);
}

void Actor::Tell(int64_t ordinal, bool enqueued, bool finished, Effects* effects) const {
  const auto say = [&](MessageKind kind, uint32_t inner, const Address& to) {
    if (!(to.enqueued ? enqueued : finished) || !IsLast(ordinal, inner)) return;
    effects->messages.push_back({kind, 0, to.task, to.port});
  };
  for (const ActorSpec::Input& input : spec_->inputs) {
    say(MessageKind::kFree, input.inner, input.producer);
  }
  for (const ActorSpec::Output& output : spec_->outputs) {
    for (const Address& consumer : output.consumers) {
      say(MessageKind::kReady, output.inner, consumer);
    }
  }
  for (const ActorSpec::Waiter& waiter : spec_->waiters) {
    say(MessageKind::kDone, waiter.inner, waiter.address);
  }
}

std::vector<Actor::Missing> Actor::WhatIsMissing() const {
  std::vector<Missing> missing;
  if (!turn_) missing.push_back({Missing::kTurn, 0});
  for (uint32_t i = 0; i < ready_.size(); ++i) {
    if (ready_[i] == 0) missing.push_back({Missing::kInput, i});
  }
  for (const ActorSpec::Output& output : spec_->outputs) {
    if (!IsFirst(started_, output.inner)) continue;
    for (uint32_t i = 0; i < output.consumers.size(); ++i) {
      if (credits_[output.first_credit + i] == 0) {
        missing.push_back({Missing::kCredit, output.first_credit + i});
      }
    }
  }
  for (uint32_t i = 0; i < done_.size(); ++i) {
    if (!AfterHolds(i)) missing.push_back({Missing::kAfter, i});
  }
  if (spec_->sends && peer_slots_ == 0) missing.push_back({Missing::kPeerPost, 0});
  return missing;
}

std::string Actor::ToString() const {
  std::string text = absl::StrCat(started_, "/");
  if (enqueued_ > finished_) absl::StrAppend(&text, enqueued_, "/");
  absl::StrAppend(&text, finished_);
  AppendCounts(&text, "in", ready_);
  AppendCounts(&text, "out", credits_);
  AppendCounts(&text, "after", done_);
  if (spec_->sends) absl::StrAppend(&text, " peer:", peer_slots_);
  if (turn_) absl::StrAppend(&text, " turn");
  if (aborted_) absl::StrAppend(&text, " aborted");
  return text;
}

}  // namespace oneflow
