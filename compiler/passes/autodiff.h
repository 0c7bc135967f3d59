// Autodiff: appends the nodes that compute the gradients of a scalar loss.
//
//   %2 = mul(%0, %1)        %2 = mul(%0, %1)
//   %3 = sum(%2)            %3 = sum(%2)
//                     ->    %4 = constant {value=1} : f32[]        (d loss)
//                           %5 = broadcast_to(%4) : like %2
//                           %6 = mul(%5, %1)                       (d %0)
// Runs while tracing, before sharding is decided: gradients then get layouts like any node, and
// inherit their forward node's stage. Reverse order of nodes; contributions are summed in that
// fixed order. Gradients that the loss itself is made of (a gradient penalty) are added as forward
// nodes: they are values like others, with gradients of their own.
#ifndef ONEFLOW_COMPILER_PASSES_AUTODIFF_H_
#define ONEFLOW_COMPILER_PASSES_AUTODIFF_H_

#include <vector>

#include "absl/status/statusor.h"
#include "compiler/graph/graph.h"

namespace oneflow {

// What the nodes of gradients are.
enum class GradientsAre {
  kBackward,  // the step's: what follows is its update
  kForward,   // part of what the step computes
};

// Gradients of `loss` (0-d, floating) with respect to `wrt`, in that order; zeros for a value on
// which the loss does not depend. Errors name the op that has no gradient and its line.
absl::StatusOr<std::vector<ValueId>> AddGradients(Graph* graph, ValueId loss,
                                                  const std::vector<ValueId>& wrt,
                                                  GradientsAre are = GradientsAre::kBackward);

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PASSES_AUTODIFF_H_
