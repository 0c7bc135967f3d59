// PlanMemory: an offset in its device's arena for every register, and the `after` edges that keep
// registers apart which share bytes.
//
//   r1 [t1..t3]  64 KiB         r1 at A+0x00000
//   r2 [t2..t4]  32 KiB    ->   r2 at A+0x10000
//   r3 [t4..t6]  64 KiB         r3 at A+0x00000   t4 after {t3}, only if t3's stream differs
//
// Time is the order of stamps over one step, which every edge raises. Two registers whose busy
// intervals are disjoint may share bytes; where streams and data do not already order the last
// access of one before the first of the other, an edge is added, also across the wrap of the step,
// unless it follows from those added before it. Only neighbours in a byte's history are looked at.
// Edges raise the stamp, so they cannot deadlock. What another rank fills begins where its SEND
// stands; feeds share nothing, they run ahead. Where a kernel allows, the last reader of a register
// writes its result over it. Largest first and earliest first are both tried; the smaller arena is
// kept. Runs last: it needs the slots.
// Pure; edits the draft of one call. Read next: plan/happens_before.h, plan/verify_memory.cc.
#ifndef ONEFLOW_COMPILER_LOWER_MEMORY_PLANNER_H_
#define ONEFLOW_COMPILER_LOWER_MEMORY_PLANNER_H_

#include "compiler/lower/draft.h"

namespace oneflow {

// Whether the devices have that much is asked later (plan/memory_limit.h).
void PlanMemory(Draft* draft);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_LOWER_MEMORY_PLANNER_H_
