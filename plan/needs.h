// Needs: what an edge of a plan waits for: that the other firing is *enqueued* on its device, or that
// it is *finished* (docs/plan_format.md, "Enqueued and finished").
//
//   d0 async:  t3 matmul -> t4 relu  enqueued: the device runs t4 behind an event of t3
//              t4 relu   -> t9 fetch finished: the host reads the bytes
//
// Pure functions. Threads: any. Invariant: a plan may say finished where enqueued would do, never the
// other way round (ProveCompletions). Read next: plan/verify_completions.cc, runtime/actor.h.
#ifndef ONEFLOW_PLAN_NEEDS_H_
#define ONEFLOW_PLAN_NEEDS_H_

#include <cstdint>
#include <string>

#include "plan/plan.pb.h"

namespace oneflow {

// True if the task is put into a stream of its device; the host itself does the others (FEED, FETCH,
// SEND, RECV), and begins them only when what they wait for is finished.
bool IsDeviceWork(const plan::Task& task);

// True if an output of the task is a state.
bool WritesState(const plan::Task& task);

// True if the op's kernels write nothing while the gate of a step with wrong data is shut, on devices that
// run whole steps. What others would write into a state goes elsewhere first (docs/decisions/0013).
bool KeepsGate(const std::string& op);

// What `to` must wait for from `from`: ENQUEUED is enough between works of one device, which itself
// keeps them apart; the host, other devices and peers see only what is finished. So does what writes a
// state behind a kernel that may find wrong data: the host looks first what that kernel found.
// REQUIRES: proof 1's ranges.
plan::Need LeastNeed(const plan::Plan& plan, uint32_t from, uint32_t to);

// What the plan says of the edge from the register's producer to a consumer, and of the credit back.
plan::Need NeedOf(const plan::Register& reg, uint32_t consumer);

// True for kinds of devices whose work may be over later than the call that enqueues it.
bool AnswersLater(const plan::DeviceProto& device);

// Says enqueued of every edge of a device that answers later where that is enough; the last step of
// lowering. Elsewhere edges keep the default: there the two are the same moment.
void MarkNeeds(plan::Plan* plan);

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_NEEDS_H_
