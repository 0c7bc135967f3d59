// Stall: says from the plan and the actors who holds everybody up: for the watchdog and for
// deadlocks in virtual time.
//
// Pure functions on copies. Threads: any. Read next: runtime/watchdog.h,
// runtime/virtual_runtime.cc.
#ifndef ONEFLOW_RUNTIME_STALL_H_
#define ONEFLOW_RUNTIME_STALL_H_

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "runtime/actor.h"
#include "runtime/program.h"
#include "runtime/stream_order.h"

namespace oneflow {

// A plan that runs, as it was at one moment.
struct RunSnapshot {
  const Program* program = nullptr;
  std::vector<Actor> actors;        // by task
  std::vector<int64_t> turns;       // by stream: whose turn it is, or StreamOrder::kNobody
  std::vector<uint32_t> stream_of;  // by task
  std::vector<int64_t> running_ns;  // by task: for how long its work runs, -1 if it does not
  int64_t launched = 0;             // steps
  int64_t completed = 0;
};

// The culprit of a stall on one rank.
struct Stall {
  std::string text;  // several lines: rank, op, step, micro-batch, user line, neighbours' state
  int missing_peer = -1;  // rank that owes a message; -1 if the cause is here, or nobody can tell
  // Of a step that devices run as a whole: the ranks that it has calls with, any of which may be missing.
  std::set<int> peers;
};

// REQUIRES: a step is in flight. The first firing by stamp that is not over is the culprit: by the
// verifier's proof everything that it waits for here is done, so it either runs or a peer owes it a
// message.
Stall FindStall(const RunSnapshot& run);

// "rank 0 step 3 micro 1 matmul.3 (mlp.py:8): waits for a credit of r4 from relu.2".
std::string DescribeActor(const RunSnapshot& run, uint32_t task);
// One line per actor.
std::string DescribeRun(const RunSnapshot& run);

// Who waits for whom over all ranks (one snapshot per rank), as a cycle of lines; empty if there is
// none.
std::string WaitForCycle(const std::vector<RunSnapshot>& ranks);

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_STALL_H_
