// StepFinisher: the thread that waits for devices which run whole steps, so that nobody who launches one
// does.
//
// Owned by the executor. Threads: Push and Stop from the executor's caller; `finish` is called on its own
// thread, for one step at a time, in the order of Push. The thread begins with the first step. Invariant:
// Push allocates nothing. Read next: runtime/threaded_executor.h, runtime/devices/step_work.h.
#ifndef ONEFLOW_RUNTIME_STEP_FINISHER_H_
#define ONEFLOW_RUNTIME_STEP_FINISHER_H_

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

#include "runtime/io/invocation.h"
#include "runtime/plan_run.h"

namespace oneflow {

class StepFinisher {
 public:
  explicit StepFinisher(std::function<void(PlanRun*, int64_t step)> finish)
      : finish_(std::move(finish)) {}
  ~StepFinisher() { Stop(); }

  // The step has been launched. REQUIRES: fewer than Invocation::kWindow are in flight.
  void Push(PlanRun* run, int64_t step);
  // Finishes what was pushed, and joins the thread.
  void Stop();

 private:
  struct Entry {
    PlanRun* run = nullptr;
    int64_t step = 0;
  };
  void Loop();

  const std::function<void(PlanRun*, int64_t)> finish_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::array<Entry, Invocation::kWindow> entries_;  // a ring
  size_t first_ = 0;
  size_t count_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_STEP_FINISHER_H_
