// The proofs of docs/plan_format.md one by one, for verify.cc, plan_tool and the tests. Each says
// what it may assume: they run in this order and the first failure ends the verification.
//
// Pure. Threads: any. Errors are of kind kPlan, begin with the name of the proof and carry the
// user's line of the first task that they name. Read next: plan/verify_well_formed.cc.
#ifndef ONEFLOW_PLAN_PROOFS_H_
#define ONEFLOW_PLAN_PROOFS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "plan/firing_graph.h"
#include "plan/happens_before.h"
#include "plan/plan.pb.h"
#include "plan/verify.h"

namespace oneflow {

// 1. Ids, ranges, both ends of every reference, sizes and totals. Total: takes any bytes that
// parse.
absl::Status ProveWellFormed(const plan::Plan& plan);

// 2. Every edge raises the stamp, but that neighbours in a stream may tie. Prints the cycle if
// there is one, else the pair, with the least number of slots that would open it. REQUIRES: 1.
absl::Status ProveLive(const plan::Plan& plan, const FiringGraph& graph);

// 3. No two unordered accesses of the same bytes, of registers and of states. REQUIRES: 1, 2.
absl::Status ProveNoOverlap(const plan::Plan& plan, const HappensBefore& order);

// 4. Collectives and channels have one order: members of a collective share its place in the
// schedule, a channel's messages are sent and received by stamps that both ends know. REQUIRES: 1.
absl::Status ProveOneOrder(const plan::Plan& plan);

// 5. Shardings of every kernel are legal for its op, local shapes are what they say, a reshard
// declares a possible change, a state is written at most once; with `rule_of` the rules are those of
// the op table. REQUIRES: 1.
absl::Status ProveTypes(const plan::Plan& plan, const OpRules& rule_of);

// 6. What every reader finds in its buffer is what its port says, over all the plans at hand: one, or
// those of all ranks. REQUIRES: 1 to 5 for each.
absl::Status ProveFlow(const std::vector<const plan::Plan*>& plans);

// 7. No edge says enqueued where its end needs the other firing to be finished. REQUIRES: 1.
absl::Status ProveCompletions(const plan::Plan& plan);

// 8. What writes a state begins when every kernel of the step that may find wrong data is over, and the
// host knows. REQUIRES: 1, 2.
absl::Status ProveGated(const plan::Plan& plan, const HappensBefore& order);

// With the plans of all ranks. REQUIRES: 1 to 8 for each.
absl::Status ProveChannelsAgree(const std::vector<const plan::Plan*>& plans);
// Fires some steps of all ranks symbolically. A deadlock prints who waits for whom.
absl::Status ProveFires(const std::vector<const plan::Plan*>& plans);

// A failure of `proof` at a task: "`proof`: `message`" at the task's line.
absl::Status ProofError(const plan::Plan& plan, const std::string& proof, uint32_t task,
                        const std::string& message);
// "matmul.3 (mlp.py:8)", and "register 7 (of matmul.3, mlp.py:8)". Total.
std::string TaskText(const plan::Plan& plan, uint32_t task);
std::string RegisterText(const plan::Plan& plan, uint32_t register_id);

// The least number of slots for which every credit edge of the register raises the stamp; 0 if none
// up to one step's iterations and one more does. REQUIRES: 1.
int64_t LeastSlots(const plan::Plan& plan, uint32_t register_id);

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_PROOFS_H_
