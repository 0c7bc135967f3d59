// AgreeOnCalls: what the ranks of a job find out together before a plan runs there in whole steps: which rings
// through several ranks are one call, which messages go between them, and that all make their calls in an order
// in which each meets those that it is for.
//
//   rank 0: all_reduce A, send m1, all_reduce B        one order: A, m1, B
//   rank 1: all_reduce A, receive m1, all_reduce B
//   rank 1: receive m1, all_reduce A, ...              refused: neither could go on
//
// Messages that stand side by side are one call of several, a group, in which all that a rank exchanges with
// another is the same for both: where one rank has to end it, since the memory of what is sent is that of what comes,
// it ends on all. Where that leaves no order the ranks make one call for each message.
//
// Each rank says what its plan has (plan/rank_calls.proto); all decide alike from what all said, so the outcome,
// a refusal too, is the same everywhere. Collective: all ranks call it for their parts of one plan, whose
// fingerprints have been compared. Threads: the session's caller. Invariants: nothing of a peer is believed:
// positions are in range, devices and channels have one owner; ranks that say otherwise are a PlanError. Read
// next: plan/rings.h, runtime/step_schedule.h, docs/decisions/0017-nccl-over-processes.md.
#ifndef ONEFLOW_RUNTIME_STEP_CALLS_H_
#define ONEFLOW_RUNTIME_STEP_CALLS_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "plan/rank_calls.pb.h"
#include "runtime/devices/device.h"
#include "runtime/program.h"
#include "runtime/step_schedule.h"

namespace oneflow {

// All ranks call it; gives what each said, by rank (Transport::AllGather).
using Exchange = Device::Exchange;

// The calls of this rank's steps; the devices have the communicators for them. REQUIRES: the program runs in
// whole steps and is bound.
absl::StatusOr<StepCalls> AgreeOnCalls(const Program& program, const Exchange& exchange);

// The parts, for tests. What this rank has:
plan::RankParts PartsOf(const Program& program);
// What follows for `program`'s rank: rings of which all parts are there, and messages. `groups`: the devices of
// each ring of any rank that goes through several.
absl::StatusOr<StepCalls> MatchParts(const Program& program,
                                     const std::vector<plan::RankParts>& ranks,
                                     std::vector<std::vector<uint32_t>>* groups);
// The calls of a step with other ranks, in order.
plan::RankOrder OrderOf(const Program& program, const StepCalls& calls);
// OK if all ranks get to the end of their step. A group is over when the groups of all that it is for have been
// come to, and what two of them have for each other is the same.
absl::Status CheckOrders(const std::string& plan, const std::vector<plan::RankOrder>& ranks);

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_STEP_CALLS_H_
