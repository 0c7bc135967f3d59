// DecidedStep: a step as the passes behind BucketSums see it, for their tests.
//
// A value, owned by a test. Threads: one. Read next: compiler/parallel/step_builder_for_test.h,
// compiler/passes/decided_graph.h.
#ifndef ONEFLOW_COMPILER_PASSES_DECIDED_STEP_FOR_TEST_H_
#define ONEFLOW_COMPILER_PASSES_DECIDED_STEP_FOR_TEST_H_

#include <string>
#include <utility>
#include <vector>

#include "compiler/parallel/step_builder_for_test.h"
#include "compiler/passes/bucket_sums.h"
#include "compiler/passes/cancel_casts.h"
#include "compiler/passes/cancel_permutes.h"
#include "compiler/passes/insert_reshard.h"
#include "compiler/passes/join_slices.h"
#include "compiler/passes/merge_common.h"
#include "compiler/passes/remove_dead.h"
#include "gtest/gtest.h"

namespace oneflow {

struct DecidedStep {
  Graph graph;
  Decisions decisions;

  // As compiled for a mesh of these axes, up to BucketSums. `joins`: JoinSlices too.
  explicit DecidedStep(const Graph& traced, std::vector<Axis> axes = {{"dp", 1}},
                       int micro_batches = 1, bool joins = true)
      : graph(traced) {
    int devices = 1;
    for (const Axis& axis : axes) devices *= static_cast<int>(axis.size);
    const plan::Target target = CpuTarget(devices, 1);
    EXPECT_EQ(CancelPermutes(&graph), absl::OkStatus());
    if (joins) {
      EXPECT_EQ(JoinSlices(&graph), absl::OkStatus());
    }
    EXPECT_EQ(CancelCasts(&graph), absl::OkStatus());
    MergeCommon(&graph);
    RemoveDead(&graph);
    absl::StatusOr<Decisions> decided =
        Decide(&graph, MeshOf(std::move(axes)), micro_batches, target);
    EXPECT_TRUE(decided.ok()) << decided.status();
    decisions = *std::move(decided);
    EXPECT_EQ(InsertReshard(&graph, &decisions, 1, target), absl::OkStatus());
    EXPECT_EQ(BucketSums(&graph, &decisions, target), absl::OkStatus());
  }

  // "S(0),B,B->S(0)": how the node's operands and results lie on the first axis of the mesh.
  std::string Layouts(NodeId id) const {
    const auto text = [](const std::vector<Sharding>& shardings) {
      std::string layouts;
      for (const Sharding& sharding : shardings) {
        layouts += (layouts.empty() ? "" : ",") + sharding.sbps.at(1).ToString();
      }
      return layouts;
    };
    return text(decisions.nodes[id].shardings.inputs) + "->" +
           text(decisions.nodes[id].shardings.outputs);
  }

  // What the pass leaves is a graph, each of whose nodes is told how its operands and results lie.
  void ExpectSound(const std::string& pass) const {
    EXPECT_EQ(VerifyGraph(graph, pass), absl::OkStatus());
    const auto expect = [&](const std::vector<Sharding>& told, const std::vector<ValueId>& values,
                            const std::string& op) {
      ASSERT_EQ(told.size(), values.size()) << op;
      for (size_t i = 0; i < told.size(); ++i) {
        EXPECT_EQ(told[i], graph.value(values[i]).sharding) << op << " " << i;
      }
    };
    for (const NodeId id : graph.order()) {
      const Node& node = graph.node(id);
      expect(decisions.nodes[id].shardings.inputs, node.inputs, node.op);
      expect(decisions.nodes[id].shardings.outputs, node.outputs, node.op);
    }
  }
};

}  // namespace oneflow

#endif  // ONEFLOW_COMPILER_PASSES_DECIDED_STEP_FOR_TEST_H_
