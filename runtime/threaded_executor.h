// ThreadedExecutor: delivers messages and calls kernels with threads: per CPU device one for
// compute and one for movement; receives hold none, and what a device does later holds its own.
//
// Owned by a session. Threads: its methods from the session's caller (Fail from any). Invariant: a
// steady step allocates nothing. After Fail nothing more is started and every wait returns the
// first cause. Read next: runtime/worker.h, runtime/session.cc.
#ifndef ONEFLOW_RUNTIME_THREADED_EXECUTOR_H_
#define ONEFLOW_RUNTIME_THREADED_EXECUTOR_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "comm/transport.h"
#include "runtime/devices/device_set.h"
#include "runtime/plan_run.h"
#include "runtime/stall.h"
#include "runtime/step_finisher.h"
#include "runtime/worker.h"

namespace oneflow {

class ThreadedExecutor : public StepListener {
 public:
  // How its threads wait for messages (runtime/spinning.h).
  struct Waiting {
    int cores = 0;  // that its threads may hold
    int64_t patience_ns = Patience::kMostNs;
  };
  // `transport` may be nullptr; both outlive the executor.
  ThreadedExecutor(const DeviceSet* devices, comm::Transport* transport, size_t trace_capacity,
                   const Waiting& waiting);
  ~ThreadedExecutor() override;

  // Actors, workers and mailboxes for a plan. REQUIRES: nothing runs, and fewer than 65,536 runs are
  // there. `program` outlives the run. Channels are bound later (BindChannels), before the first
  // Launch.
  // `runner`: of a program that runs in whole steps, else nullptr.
  PlanRun* AddProgram(Program* program, std::unique_ptr<StepRunner> runner = nullptr);
  // Ends a run; its number is free unless slices of a trace carry it. REQUIRES: nothing runs, its
  // channels are closed.
  void RemoveProgram(PlanRun* run);
  // Given to runs so far, those that are free again included.
  size_t numbers() const { return runs_.size(); }
  // Numbers of Plan.channels. Callbacks of the transport go to OnCredit, OnSent, OnArrived of this
  // run.
  void BindChannels(PlanRun* run, std::vector<comm::ChannelId> channels);
  // From the transport's thread, also before BindChannels.
  void OnChannel(PlanRun* run, MessageKind kind, comm::ChannelId channel);

  // Starts the next step. REQUIRES: the invocation entry of that step is filled, fewer than kWindow
  // steps are in flight, and no other run has one.
  void Launch(PlanRun* run);
  // True if Launch itself reads the inputs.
  static bool ReadsInputs(const PlanRun& run) { return run.runner != nullptr; }
  // True if the FEEDs of the next step would run at once. REQUIRES: as Launch.
  bool CanFeedAtOnce(PlanRun* run);
  // Waits until `reached`, called under the progress lock, is true. The first failure if there is
  // one.
  absl::Status WaitUntil(const std::function<bool()>& reached);
  // Waits until no step is in flight, the run failed, or `limit` is over. True if none is.
  bool WaitUntilQuiet(std::chrono::milliseconds limit);
  // True if no step is in flight. REQUIRES: called by the predicate of WaitUntil.
  bool Quiet() const;

  // Stops everything with this cause, unless there is one already. True if it is the first. What devices wait
  // for of other ranks is given up.
  bool Fail(const absl::Status& cause);
  absl::Status failure() const;
  // Ends and joins all threads.
  void Stop();

  // For the watchdog and reports.
  struct Progress {
    bool in_flight = false;
    uint64_t firings = 0;
    int64_t median_step_ns = 0;
  };
  Progress progress() const;
  // Copies of all actors that have a step in flight (or of all), taken worker by worker.
  std::vector<RunSnapshot> Snapshot(bool only_in_flight) const;
  const std::vector<std::unique_ptr<ActorHost>>& hosts() const { return hosts_; }
  // Of steps that ran as a whole.
  std::vector<ActorHost::Counts> step_counts() const;
  std::vector<TraceSlice> TraceSlices() const;

  void StreamFinished(PlanRun* run, int64_t step) override;
  void OutputsFetched(PlanRun* run, int64_t step) override;
  void InputsFed() override;
  void WrongData(PlanRun* run, uint32_t task, int64_t step) override;
  void Failed(const absl::Status& cause) override;

 private:
  bool HasPeers() const { return transport_ != nullptr && transport_->world_size() > 1; }
  ActorHost* HostOf(const Program& program, uint32_t stream);
  void FinishStep(PlanRun* run, int64_t step);
  // Of a step that ran as a whole. REQUIRES: progress_mutex_ is held.
  void CountStep(const Program& program, int64_t busy_ns);
  // Of a step that is over. REQUIRES: as CountStep.
  void CountDuration(int64_t launched_ns);
  std::unique_ptr<ActorHost> MakeHost(const plan::DeviceProto& device, Program::Lane lane) const;

  // Where a channel's callbacks go, and those that came before that was known.
  struct ChannelEnds {
    std::map<comm::ChannelId, uint32_t> task_of;
    std::vector<std::pair<MessageKind, comm::ChannelId>> early;
    bool bound = false;
  };
  void DeliverToChannel(PlanRun* run, MessageKind kind, uint32_t task);

  const DeviceSet* devices_;
  comm::Transport* transport_;
  const size_t trace_capacity_;
  std::atomic<bool> halted_{false};
  Cores cores_;
  const ActorHost::Surroundings around_;
  // Guards the two lists against a watchdog that looks while a plan is loaded. Taken before all
  // other locks.
  mutable std::mutex lists_mutex_;
  std::vector<std::unique_ptr<ActorHost>> hosts_;
  std::map<std::pair<int64_t, Program::Lane>, ActorHost*> host_of_;  // (global device or -1, lane)
  std::vector<std::unique_ptr<PlanRun>> runs_;  // by number; nullptr: it has gone
  std::vector<uint16_t> free_;                  // numbers

  std::mutex channels_mutex_;
  std::vector<std::unique_ptr<ChannelEnds>> channels_;  // by run

  mutable std::mutex progress_mutex_;
  std::condition_variable progress_changed_;
  absl::Status failure_;
  std::vector<int64_t> step_ns_;  // of the last steps, a ring
  uint64_t steps_ = 0;
  std::vector<ActorHost::Counts> step_counts_;  // of steps that ran as a whole
  int64_t last_finish_ns_ = 0;                  // of such a step
  StepFinisher finisher_;                       // last: it calls this object
};

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_THREADED_EXECUTOR_H_
