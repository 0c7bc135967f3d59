#include "runtime/watchdog.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "runtime/stall.h"

namespace oneflow {
namespace {

using Clock = std::chrono::steady_clock;

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

void Watchdog::Loop() {
  const auto look_every =
      std::chrono::duration<double>(std::clamp(options_.speak_seconds / 8, 0.001, 1.0));
  uint64_t firings = 0;
  Clock::time_point moved = Clock::now();  // when progress was last seen
  Clock::time_point spoke = moved;
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stop_changed_.wait_for(lock, look_every, [this] { return stop_; })) {
    const ThreadedExecutor::Progress progress = executor_->progress();
    if (!progress.in_flight || progress.firings != firings) {
      firings = progress.firings;
      moved = spoke = Clock::now();
      continue;
    }
    const double patience =
        std::max(options_.speak_seconds, 10 * 1e-9 * static_cast<double>(progress.median_step_ns));
    if (SecondsSince(spoke) < patience) continue;
    spoke = Clock::now();
    const double stalled = SecondsSince(moved);
    for (const RunSnapshot& run : executor_->Snapshot(/*only_in_flight=*/true)) {
      const Stall stall = FindStall(run);
      options_.speak(absl::StrFormat("oneflow: no progress for %.1f s in plan %s\n%s", stalled,
                                     run.program->plan().name(), stall.text));
      if (stall.missing_peer >= 0 && stalled >= std::max(options_.peer_seconds, patience)) {
        options_.give_up(
            MakeError(ErrorKind::kPeer, absl::StrFormat("rank %d owes a message for %.1f s\n%s",
                                                        stall.missing_peer, stalled, stall.text)));
      }
    }
  }
}

}  // namespace oneflow
