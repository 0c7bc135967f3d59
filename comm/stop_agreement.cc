#include "comm/stop_agreement.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace oneflow::comm {

StopAgreement::StopAgreement(int rank, int world_size, Say say)
    : rank_(rank), say_(std::move(say)), answered_(static_cast<size_t>(world_size)) {}

void StopAgreement::Ask() {
  std::lock_guard lock(mutex_);
  if (asked_ || held_) return;
  asked_ = true;
  if (rank_ == 0) {
    Hold();
  } else {
    say_(0, StopWord::kAsk, 0);
  }
}

Boundary StopAgreement::PassBoundary(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  const bool decided =
      changed_.wait_for(lock, limit, [this] { return !held_ || failed_ || stop_at_ > 0; });
  if (!decided) return Boundary::kNotDecided;
  ++passed_;
  return !failed_ && passed_ == stop_at_ ? Boundary::kStop : Boundary::kGoOn;
}

void StopAgreement::Hold() {
  held_ = true;
  most_passed_ = passed_;
  answered_[0] = true;
  for (size_t r = 1; r < answered_.size(); ++r) {
    if (!answered_[r]) say_(static_cast<int>(r), StopWord::kHold, 0);
  }
  DecideIfAllAnswered();
}

void StopAgreement::DecideIfAllAnswered() {
  if (!held_ || stop_at_ > 0 ||
      !std::all_of(answered_.begin(), answered_.end(), [](bool answered) { return answered; })) {
    return;
  }
  stop_at_ = most_passed_ + 1;
  for (size_t r = 1; r < answered_.size(); ++r) {
    say_(static_cast<int>(r), StopWord::kStop, stop_at_);
  }
  changed_.notify_all();
}

std::string StopAgreement::Hear(int from, uint32_t word, uint64_t number) {
  std::lock_guard lock(mutex_);
  const bool to_leader = rank_ == 0, of_leader = from == 0;
  switch (static_cast<StopWord>(word)) {
    case StopWord::kAsk:
      if (!to_leader) break;
      if (!held_) Hold();
      return "";
    case StopWord::kHold:
      if (!of_leader || held_) break;
      held_ = true;
      say_(0, StopWord::kPassed, passed_);
      return "";
    case StopWord::kPassed:
      if (!to_leader || !held_ || answered_[static_cast<size_t>(from)]) break;
      answered_[static_cast<size_t>(from)] = true;
      most_passed_ = std::max(most_passed_, number);
      DecideIfAllAnswered();
      return "";
    case StopWord::kStop:
      if (!of_leader || !held_ || stop_at_ > 0) break;
      if (number <= passed_) {
        return absl::StrCat("it stops at step boundary ", number, ", and this rank has passed ",
                            passed_);
      }
      stop_at_ = number;
      changed_.notify_all();
      return "";
  }
  return absl::StrCat("the word ", word, " of where to stop, which is not its to say now");
}

void StopAgreement::Left(int rank) {
  std::lock_guard lock(mutex_);
  answered_[static_cast<size_t>(rank)] = true;
  if (rank_ == 0) {
    DecideIfAllAnswered();
  } else if (rank == 0 && stop_at_ == 0) {
    failed_ = true;  // nobody is left to say where
    changed_.notify_all();
  }
}

void StopAgreement::Fail() {
  std::lock_guard lock(mutex_);
  failed_ = true;
  changed_.notify_all();
}

}  // namespace oneflow::comm
