// SumRounds: how what changes P -> B, P -> S or S -> B on one mesh axis goes from device to device, and what that
// takes. Flat it is one round, a ring of all n devices. By level, with groups of g consecutive places that faster links
// join and m = n/g such groups, it is several, each among the devices of one line of the axis:
//
//   P -> B, large   scatter g   a ring within each group: everyone has one share of its group's sum
//                   sum m       the same share of all groups: the slow links carry 1/g of the bytes for each device
//                   gather g    a ring within each group
//   P -> B, small   direct r    everyone brings all it has to r - 1 others, in messages that do not wait for each other:
//                   direct r..  first within the group, then between groups; the product of all r is n
//   P -> S          scatter g, scatter m        S -> B    gather m, gather g
//
// `sum m` of a share that is small enough is direct too. What is small follows from the bytes and the target's links
// alone, never from who holds which device: with a group that is given (held decisions) one process and many add in one
// order. Pure. Threads: any. Read next: compiler/passes/bucket_sums.h, compiler/lower/emit_reshard.h.
#ifndef ONEFLOW_COMPILER_PARALLEL_SUM_ROUNDS_H_
#define ONEFLOW_COMPILER_PARALLEL_SUM_ROUNDS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "compiler/parallel/cost_model.h"
#include "plan/sharding.h"

namespace oneflow {

// What the whole of the rounds does.
enum class Collective { kSum, kScatter, kGather };

struct Round {
  enum Kind { kDirect, kScatter, kSum, kGather };
  Kind kind = kSum;
  int64_t size = 0;    // devices of one line
  int64_t stride = 1;  // places on the axis between two of them
  bool operator==(const Round&) const = default;
};

// The collective that turns `from` into `to` on a mesh axis; none: another movement.
std::optional<Collective> CollectiveOf(const Sbp& from, const Sbp& to);

// One ring of all devices.
std::vector<Round> FlatRounds(const CostModel& cost, int axis, Collective collective);
// By level. `bytes`: of the whole on the axis, a device's summand or what it gathers. Flat where a share would be next
// to nothing. REQUIRES: `group` divides the axis.
std::vector<Round> RoundsByLevel(const CostModel& cost, int axis, Collective collective,
                                 int64_t group, int64_t bytes);

// Predicted time of one firing.
int64_t RoundsNs(const CostModel& cost, int axis, const std::vector<Round>& rounds, int64_t bytes);

// True if shares of an axis are so dealt out that groups of `group` can have whole ones: `group` divides the axis
// truly, and what is cut there is cut evenly. `split`: the layout that is split on the axis, nullptr for a sum.
bool GroupsFit(const std::vector<Axis>& axes, int axis, int64_t group, const Sharding* split);

// "scatter 8/1": so many devices, so many places apart. As an attribute of a node.
std::string RoundText(const Round& round);
// REQUIRES: text that RoundText made.
Round ParseRound(const std::string& text);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PARALLEL_SUM_ROUNDS_H_
