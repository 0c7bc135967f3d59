// ReshardPath: the cheapest sequence of steps from one layout to another, and its predicted time.
//
//   (P,S(0)) -> (S(1),B)   =   P->S(1) on dp   (reduce-scatter)   then   S(0)->B on tp (all-gather)
//
// Each step changes one layout axis, or is one general exchange (axis -1) that may change all mesh
// axes and the stage. What steps exist, with T the bytes that the group of the axis (n devices)
// shares:
//
//   on a mesh axis                                bytes per device
//     S -> B        all-gather                    T(n-1)/n
//     P -> S        ring reduce-scatter           T(n-1)/n
//     P -> B        ring all-reduce               2T(n-1)/n
//     S(i) -> S(j)  all-to-all                    T(n-1)/n^2
//     B -> S        slice                         0
//     B -> P        keep on one, zeros elsewhere  0
//   on micro
//     P -> B        accumulate
//     S -> B        concatenate
//     B -> S        slice
//     B -> P        keep in the first micro-batch, zeros in the others
//   an exchange     any to any on the mesh axes, with the same Sbp on micro; P on an axis of the
//                   target only where the source has it too (each device then keeps its own
//                   partial on that axis)
//
// A step on an axis that begins or ends a split of dim d is taken only while no inner axis splits d
// (else the pieces would not be contiguous), and a change of units alone is an exchange. Found by
// Dijkstra over the lattice of layouts whose every axis is the source's, the target's or B: at most
// 3^axes of them.
//
// P -> B, P -> S and S -> B on an axis that spans several levels of links go flat or by level
// (sum_rounds.h), by predicted time; which of them is part of the step, and so of held decisions.
//
// A general exchange has a task per peer and moves each Partial piece whole, so a plan with it
// grows with the group: within a stage it is taken only where one-axis steps do not reach.
//
// Owner: one ReshardPaths per compile, a memo. Threads: one at a time. Invariant: the answer
// depends on its arguments alone, so all ranks and both callers (decide, insert_reshard) see the
// same path. Read next: compiler/passes/insert_reshard.h.
#ifndef ONEFLOW_COMPILER_PARALLEL_RESHARD_PATH_H_
#define ONEFLOW_COMPILER_PARALLEL_RESHARD_PATH_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "compiler/parallel/cost_model.h"
#include "plan/sharding.h"

namespace oneflow {

// One change of layout.
struct ReshardStep {
  int axis = -1;  // layout axis, -1 for a general exchange
  Sharding to;
  int64_t cost_ns = 0;  // per step of the program: all micro-batches
  int64_t group =
      0;  // by level, so many consecutive places of the axis first (sum_rounds.h); 0: flat
};

// How to get from one layout to another.
struct ReshardPath {
  bool possible = false;
  int64_t cost_ns = 0;
  std::vector<ReshardStep> steps;  // empty if the layouts are equal
};

// A path that is kept beyond a compile, without its costs.
struct HeldMove {
  TensorType type;
  Sharding from;
  std::vector<ReshardStep> steps;  // not empty
  int line = 0;                    // of the text that it was read from, for errors
};

class ReshardPaths {
 public:
  // REQUIRES: `cost` outlives this.
  explicit ReshardPaths(const CostModel* cost) : cost_(cost) {}

  // From now on the path between these layouts is the given one. PlanError if a step does not exist.
  // REQUIRES: canonical shardings.
  absl::Status Fix(const std::vector<HeldMove>& moves);

  // REQUIRES: canonical shardings of that type. Not possible only where micro cannot change so.
  const ReshardPath& Find(const TensorType& type, const Sharding& from, const Sharding& to);

 private:
  using Key = std::vector<int64_t>;
  static Key KeyOf(const TensorType& type, const Sharding& from, const Sharding& to);

  // `exchange`: also by general exchanges.
  ReshardPath Search(const TensorType& type, const Sharding& from, const Sharding& to,
                     bool exchange) const;
  // Steps from `at` towards `to`.
  std::vector<ReshardStep> NextSteps(const TensorType& type, const Sharding& at, const Sharding& to,
                                     bool exchange) const;
  // Flat, or by level if that is faster.
  ReshardStep AxisStep(const TensorType& type, const Sharding& from, Sharding to, int axis) const;
  // True if a step can go by level with that group.
  bool GoesByLevel(const Sharding& from, const ReshardStep& step, int64_t group) const;
  int64_t AxisStepNs(const TensorType& type, const Sharding& from, const Sharding& to, int axis,
                     int64_t group) const;
  int64_t ExchangeNs(const TensorType& type, const Sharding& from, const Sharding& to) const;

  const CostModel* cost_;
  std::map<Key, ReshardPath> paths_;
};

// The change that a step makes, for dumps: "P->B on dp", "P->B on dp by 8" (by level), "(S(0))->(B)@1".
std::string ChangeText(const std::vector<Axis>& axes, const Sharding& from,
                       const ReshardStep& step);

// A sharding as numbers, equal exactly for equal shardings: a key for maps.
std::vector<int64_t> ShardingKey(const Sharding& sharding);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PARALLEL_RESHARD_PATH_H_
