#include "runtime/watchdog.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "comm/blame.h"
#include "runtime/stall.h"

namespace oneflow {
namespace {

using Clock = std::chrono::steady_clock;
constexpr double kLookWhenPeersLeft = 0.1;
constexpr double kLongStep = 5;  // and ten times the median

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace

Watchdog::Watchdog(Options options, const ThreadedExecutor* executor)
    : options_(std::move(options)), executor_(executor), thread_([this] { Loop(); }) {}

Watchdog::~Watchdog() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  stop_changed_.notify_all();
  thread_.join();
}

void Watchdog::PeerLeft(int rank) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    left_.insert(rank);
  }
  stop_changed_.notify_all();
}

void Watchdog::LookForOwedMessages(double stalled, double long_step) {
  for (const RunSnapshot& run : executor_->Snapshot(/*only_in_flight=*/true)) {
    const Stall stall = FindStall(run);
    if (!stall.peers.empty()) {
      if (stalled < long_step) continue;
      for (const int rank : stall.peers) {
        if (!left_.contains(rank)) continue;
        options_.give_up(comm::PeerFailure(
            rank, absl::StrFormat("rank %d ended and a step that has calls with it is not over "
                                  "after %.1f s; every rank must run the same steps\n%s",
                                  rank, stalled, stall.text)));
      }
      continue;
    }
    if (!left_.contains(stall.missing_peer)) continue;
    options_.give_up(comm::PeerFailure(
        stall.missing_peer,
        absl::StrFormat("rank %d ended and owes a message; every rank must run the same steps\n%s",
                        stall.missing_peer, stall.text)));
  }
}

void Watchdog::Loop() {
  const double usual = std::clamp(options_.speak_seconds / 8, 0.001, 1.0);
  uint64_t firings = 0;
  Clock::time_point moved = Clock::now();  // when progress was last seen
  Clock::time_point spoke = moved;
  std::unique_lock<std::mutex> lock(mutex_);
  size_t known = 0;  // peers that have left
  while (true) {
    // What a peer that has left owes will never come: no need to wait long.
    const double wait = left_.empty() ? usual : std::min(usual, kLookWhenPeersLeft);
    stop_changed_.wait_for(lock, std::chrono::duration<double>(wait),
                           [&] { return stop_ || left_.size() > known; });
    if (stop_) return;
    known = left_.size();
    const ThreadedExecutor::Progress progress = executor_->progress();
    if (!progress.in_flight || progress.firings != firings) {
      firings = progress.firings;
      moved = spoke = Clock::now();
      continue;
    }
    const double ten_steps = 10 * 1e-9 * static_cast<double>(progress.median_step_ns);
    if (!left_.empty() && SecondsSince(moved) >= kLookWhenPeersLeft) {
      LookForOwedMessages(SecondsSince(moved), std::max(kLongStep, ten_steps));
    }
    const double patience = std::max(options_.speak_seconds, ten_steps);
    if (SecondsSince(spoke) < patience) continue;
    spoke = Clock::now();
    const double stalled = SecondsSince(moved);
    for (const RunSnapshot& run : executor_->Snapshot(/*only_in_flight=*/true)) {
      const Stall stall = FindStall(run);
      options_.speak(absl::StrFormat("oneflow: no progress for %.1f s in plan %s\n%s", stalled,
                                     run.program->plan().name(), stall.text));
      if (stall.missing_peer >= 0 && stalled >= std::max(options_.peer_seconds, patience)) {
        options_.give_up(comm::PeerFailure(
            stall.missing_peer, absl::StrFormat("rank %d owes a message for %.1f s\n%s",
                                                stall.missing_peer, stalled, stall.text)));
      }
    }
  }
}

}  // namespace oneflow
