// PlanAttack: shows that no plan hurts: random changes of plans' text, each refused with a message
// that names what was changed, or run, in virtual time, with every firing's operands between guards.
//
// One process, one thread: an access that hurts ends it (as a plan that takes too long does, by an
// alarm), so whoever starts it learns from the progress file which change did, and goes on behind
// it (tests/e2e/plan_attack.py). Read next: plan/mutate_text.h, runtime/isolated_firing.h.
#ifndef ONEFLOW_TOOLS_PLAN_ATTACK_H_
#define ONEFLOW_TOOLS_PLAN_ATTACK_H_

#include <cstdint>
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "plan/mutate_text.h"
#include "plan/plan.pb.h"

namespace oneflow {

// The plans of all ranks of one job.
struct AttackedJob {
  std::string name;
  std::vector<plan::Plan> plans;
};

// What became of one change.
enum class AttackOutcome {
  kRefusedByParser,
  kRefusedByProof,
  kRefusedAtLoading,
  kRan,
  kUnnamed,   // refused, but the message names something else
  kTooLarge,  // proved, but beyond what the attack runs (it says so; memory is the machine's)
  kHurt,      // a firing touched what is not its own, or the run failed
};

// One change and what became of it.
struct AttackResult {
  AttackOutcome outcome = AttackOutcome::kRan;
  std::string message;  // of the refusal, or what hurt
  TextMutation mutation;
};

// Attacks jobs. REQUIRES: each verifies.
class PlanAttack {
 public:
  explicit PlanAttack(std::vector<AttackedJob> jobs);

  // Change number `index` of `seed`: odd ones are single, even ones double; jobs and ranks take
  // turns.
  AttackResult Run(uint64_t seed, uint64_t index) const;

 private:
  struct Rank {
    size_t job = 0;
    size_t rank = 0;
    TextMutator mutator;
  };

  const std::vector<AttackedJob> jobs_;
  std::vector<Rank> ranks_;
};

// The program: [--seed=N] [--first=N] [--count=N] [--seconds=N] [--progress=FILE] PATH.., a PATH
// being a plan or a folder with the plans of one job. Prints each change that hurt or was not
// named, then one line of JSON: {"made": .., "ran": .., ..}. Exit code 1 if anything hurt.
int PlanAttackMain(const std::vector<std::string>& arguments, std::ostream& out, std::ostream& err);

}  // namespace oneflow

#endif  // ONEFLOW_TOOLS_PLAN_ATTACK_H_
