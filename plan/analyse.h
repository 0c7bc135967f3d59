// AnalysePlan: peak memory to the byte with what is alive at the peak, the lower bound, predicted
// step time with the critical cycle.
//
// Pure. Threads: any. Predicted times are of this rank alone: other ranks answer at once. Where
// devices share cores they are a lower bound. Read next: plan/cycle_ratio.h,
// tools/plan_tool_main.cc.
#ifndef ONEFLOW_PLAN_ANALYSE_H_
#define ONEFLOW_PLAN_ANALYSE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "plan/plan.pb.h"
#include "plan/target.pb.h"

namespace oneflow {

// A register (or one of its slots) alive at a moment.
struct LiveRegister {
  uint32_t register_id = 0;
  int64_t bytes = 0;
  std::string name;      // of its producer
  std::string location;  // short user line
  bool workspace = false;
};

// Memory of one device of the rank.
struct DeviceMemory {
  uint32_t device = 0;      // index in Plan.devices
  int64_t arena_bytes = 0;  // highest planned byte: the peak
  int64_t lower_bound = 0;  // max over the order of stamps of the live bytes
  int64_t state_bytes = 0;
  int64_t workspace_bytes = 0;             // of the live bytes where they are highest
  std::string peak_task;                   // firing at which the live bytes are highest
  std::vector<LiveRegister> live_at_peak;  // largest first
};

// What the kernels of the plan's ops (TaskKind COMPUTE) take of a device in a step. What a step takes
// beyond the busiest device's is movement that nothing hides.
struct DeviceWork {
  uint32_t device = 0;  // index in Plan.devices
  int64_t compute_ns = 0;
  int64_t flops = 0;
};

// One hop of the critical cycle: firings of one task that follow each other on it.
struct CycleHop {
  uint32_t task = 0;
  int64_t duration_ns = 0;  // together
};

// What the reshards of one declared change bring from other devices in a step.
struct MovedBytes {
  std::string change;  // Task.reshard: "P->B on dp"
  int64_t tasks = 0;   // all that work on it
  int64_t bytes = 0;   // that arrive
};

struct PlanAnalysis {
  std::vector<DeviceMemory> memory;
  std::vector<DeviceWork> work;
  int64_t step_ns = 0;  // maximum cycle ratio of the timed marked graph
  std::vector<CycleHop>
      critical_cycle;  // the explanation of the bottleneck; repeats every `cycle_steps`
  int64_t cycle_steps = 1;
  int64_t flops_per_step = 0;
  int64_t moved_bytes_per_step = 0;  // that arrive from another device
  std::vector<MovedBytes> moved;     // by change, most bytes first
  int64_t period = 1;                // PeriodOf
};

// Steps after which every firing finds its slots where they were: a device that records a step needs
// one recording for each (docs/decisions/0006-period.md). 0 if there are more than kMaxPeriod.
// REQUIRES: proof 1.
constexpr int64_t kMaxPeriod = 1 << 20;
int64_t PeriodOf(const plan::Plan& plan);

// "cuda:0"; `device` as in Plan.devices.
std::string DeviceName(const plan::Plan& plan, uint32_t device);

// REQUIRES: VerifyPlan(plan).
PlanAnalysis AnalysePlan(const plan::Plan& plan);
// Its `memory` alone: linear, while the search for the critical cycle takes many rounds.
std::vector<DeviceMemory> AnalyseMemory(const plan::Plan& plan);

// The analysis as the text that plan.summary() shows.
std::string Summary(const plan::Plan& plan, const PlanAnalysis& analysis);

// The links of a target as a table, a level a row from the innermost outwards:
//
//   link     devices  ranks  latency  rate
//   memory   1        1      0 ns     10.0 GB/s
//   process  2        1      5.00 us  10.0 GB/s
//   network  4        2      40.0 us  2.00 GB/s
//
// `devices` and `ranks`: how many one group of the level joins at most.
std::string LinksText(const plan::Target& target);

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_ANALYSE_H_
