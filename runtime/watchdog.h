// Watchdog: speaks when a step in flight makes no progress, naming the culprit from the plan.
//
// Owned by a session. Threads: one of its own, which only looks. It speaks after max(speak_seconds,
// 10 x the median step) and again at that interval; a peer that owes a message for longer than
// `peer_seconds`, or has left in peace and owes one, is given up: then it reports a PeerError. Read
// next: runtime/stall.h.
#ifndef ONEFLOW_RUNTIME_WATCHDOG_H_
#define ONEFLOW_RUNTIME_WATCHDOG_H_

#include <condition_variable>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "runtime/threaded_executor.h"

namespace oneflow {

class Watchdog {
 public:
  struct Options {
    double speak_seconds = 30;
    double peer_seconds = 120;
    std::function<void(const std::string&)> speak;     // one report
    std::function<void(const absl::Status&)> give_up;  // a peer is missing
  };
  // Looks from now on. `executor` outlives the watchdog.
  Watchdog(Options options, const ThreadedExecutor* executor);
  ~Watchdog();

  // That rank sends nothing any more. From any thread; does not block.
  void PeerLeft(int rank);

 private:
  void Loop();
  // Gives up a peer that has left, if the step in flight waits for it. `stalled`: for how long nothing has moved;
  // `long_step`: what no step takes that devices run as a whole, for it tells nothing while it runs.
  void LookForOwedMessages(double stalled, double long_step);

  const Options options_;
  const ThreadedExecutor* const executor_;
  std::mutex mutex_;
  std::set<int> left_;
  std::condition_variable stop_changed_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_WATCHDOG_H_
