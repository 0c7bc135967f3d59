// Mutations of a plan: changes that break it and changes that do not, made from any correct plan,
// to keep the verifier honest. A bar that was never seen red is no bar; one that is always red is
// none either.
//
// Pure. Threads: any. Harm is not asked of the verifier: it is either in the nature of the change
// (two ends disagree) or seen in a run by plan/replay.h. Read next: plan/mutate_test.cc,
// tools/plan_tool_main.cc.
#ifndef ONEFLOW_PLAN_MUTATE_H_
#define ONEFLOW_PLAN_MUTATE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "plan/plan.pb.h"

namespace oneflow {

// A plan with one change.
struct Mutation {
  std::string kind;  // "missing after edge"
  bool harmful = true;
  std::string item;                // what was changed, for people
  std::vector<std::string> names;  // the message of a refusal must hold one of them
  plan::Plan plan;
};

// Up to `per_kind` mutations of each kind for which the plan has a place: credit without room,
// credit too few, offset shifted, missing after edge, swapped stream order, swapped collectives,
// stamp changed, type changed, sharding changed, state written twice, consumer removed, in place
// without order, missing firing, alias not declared, unreduced register read, other reduction, too
// few chunks reduced, ring base shifted, piece moved; with `knows_rules` (the verifier is given the
// op table's) rule changed. Those of rings only in plans of one rank. REQUIRES: VerifyPlan(plan).
std::vector<Mutation> HarmfulMutations(const plan::Plan& plan, uint64_t seed, int per_kind = 1,
                                       bool knows_rules = false);

// The same of: extra credit with room, renumbered, shifted arena, commuting tasks swapped,
// redundant after edge, other durations. REQUIRES: VerifyPlan(plan).
std::vector<Mutation> HarmlessMutations(const plan::Plan& plan, uint64_t seed, int per_kind = 1);

// True if `message` holds one of the mutation's names as a whole word.
bool NamesItem(const std::string& message, const Mutation& mutation);

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_MUTATE_H_
