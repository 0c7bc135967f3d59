// StepSchedule: the order in which a whole step of a plan is enqueued on devices that order work by
// themselves, and what each firing waits for: StepWork from a Program.
//
// Stamps give the order: every edge of a plan raises them. An edge between two lanes (data, a credit back,
// `after`) becomes a wait, unless an earlier wait implies it: each firing knows, lane by lane, up to where
// work stands before it. Edges to other steps need none, because a step begins when the one before it is
// over. A ring that the devices do by one call (Device::RunsWholeRing) is one firing per member and
// iteration, in the place of all its chunks: it waits for what any of them waits for, and who waits for
// one of them waits for it. Where that leaves no order the ring goes round task by task.
//
// A message between ranks is a call of both ends: the RECV stands where its SEND does, for its post waits for
// nothing behind that, and what waits for its arrival is behind it. So the calls of all ranks have one order, by
// stamp and name, in which each comes to its own. Messages of one place (a node's exchange in one iteration: all of
// the stamp but its last part) between which nothing stands are one call: a group. Pure. Threads: any. Read next: runtime/step_calls.h,
// runtime/devices/step_work.h, docs/cuda.md.
#ifndef ONEFLOW_RUNTIME_STEP_SCHEDULE_H_
#define ONEFLOW_RUNTIME_STEP_SCHEDULE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "plan/firings.h"
#include "plan/rings.h"
#include "runtime/devices/step_work.h"
#include "runtime/program.h"

namespace oneflow {

// What the steps of a program do by calls of several devices.
struct StepCalls {
  std::vector<WholeRing> rings;
  // Of messages between ranks: the communicator's devices, one of each GPU; of each channel the device at the
  // other end; of each device its place, or that of the device on its GPU, in `messengers`.
  std::vector<uint32_t> messengers;
  std::map<std::string, uint32_t> peers;
  std::map<uint32_t, uint32_t> messenger_of;
  // Messages that stand side by side are one call, which ends where one of these begins, on any rank.
  bool groups = true;
  std::set<std::pair<Stamp, std::string>> breaks;  // by stamp and channel
};

// Of all messages of a node's exchange in an iteration: the stamp without its last part, which numbers them.
Stamp PlaceOf(Stamp stamp);

// The most messages that are one call: NCCL's documentation allows 2048.
inline constexpr size_t kMostInCall = 1024;

// "all_reduce sum of 64 f32 at (0, 1, 14)": what its parts on all ranks have in common.
std::string NameOf(const WholeRing& ring, const plan::Plan& plan);
// The same with its devices, which no other call of a step has.
std::string CallName(const WholeRing& ring, const plan::Plan& plan);
// True if another rank has a member too.
bool IsShared(const WholeRing& ring);

// REQUIRES: the program runs in whole steps and is bound. PlanError if that leaves no order.
absl::StatusOr<StepWork> StepWorkOf(const Program& program, const StepCalls& calls);
// Rings whose members are all of this rank and which the devices do by one call, or `whole` says.
std::vector<WholeRing> OwnRings(const Program& program,
                                const std::function<bool(const WholeRing&)>& whole = nullptr);
// The calls of a program whose ranks make none with each other: those rings, if that leaves an order.
StepCalls OwnCalls(const Program& program, std::function<bool(const WholeRing&)> whole = nullptr);

// The runner of a program that runs in whole steps; nullptr for others.
absl::StatusOr<std::unique_ptr<StepRunner>> MakeStepRunner(const Program& program,
                                                           const StepCalls& calls);

}  // namespace oneflow

#endif  // ONEFLOW_RUNTIME_STEP_SCHEDULE_H_
