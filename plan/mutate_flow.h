// Mutations of what a plan computes: its order and its bytes stay right, its numbers do not. Part of
// HarmfulMutations.
//
// Pure. Threads: any. Read next: plan/mutate.h.
#ifndef ONEFLOW_PLAN_MUTATE_FLOW_H_
#define ONEFLOW_PLAN_MUTATE_FLOW_H_

#include <cstdint>
#include <string>
#include <vector>

#include "plan/mutate.h"

namespace oneflow {

// Alias not declared, unreduced register read, other reduction, too few chunks reduced, ring base
// shifted, piece moved; with `rules` also rule changed.
std::vector<Mutation> FlowMutations(const plan::Plan& plan, uint64_t seed, int per_kind,
                                    bool rules);

// The names of a task, of the other members of its collective, and of who reads what they move: a wrong
// number is seen where it meets the others.
std::vector<std::string> NamesBehind(const plan::Plan& plan, uint32_t t);

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_MUTATE_FLOW_H_
