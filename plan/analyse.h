// AnalysePlan: peak memory to the byte with what is alive at the peak, the lower bound, predicted step
// time with the critical cycle.
//
// Pure. Threads: any. Read next: tools/plan_tool.cc.
#ifndef ONEFLOW_PLAN_ANALYSE_H_
#define ONEFLOW_PLAN_ANALYSE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "plan/plan.pb.h"

namespace oneflow {

// A register (or one of its slots) alive at a moment.
struct LiveRegister {
  uint32_t register_id = 0;
  int64_t bytes = 0;
  std::string name;      // of its producer
  std::string location;  // short user line
};

// Memory of one device of the rank.
struct DeviceMemory {
  uint32_t device = 0;           // index in Plan.devices
  int64_t arena_bytes = 0;       // highest planned byte: the peak
  int64_t lower_bound = 0;       // max over the order of the live bytes
  int64_t state_bytes = 0;
  std::string peak_task;         // firing at which the live bytes are highest
  std::vector<LiveRegister> live_at_peak;  // largest first
};

// One hop of the critical cycle.
struct CycleHop {
  uint32_t task = 0;
  int64_t duration_ns = 0;
};

struct PlanAnalysis {
  std::vector<DeviceMemory> memory;
  int64_t step_ns = 0;                    // maximum cycle ratio of the timed marked graph
  std::vector<CycleHop> critical_cycle;   // the explanation of the bottleneck
  int64_t flops_per_step = 0;
  int64_t moved_bytes_per_step = 0;
};

PlanAnalysis AnalysePlan(const plan::Plan& plan);

// The analysis as the text that plan.summary() shows.
std::string Summary(const plan::Plan& plan, const PlanAnalysis& analysis);

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_ANALYSE_H_
