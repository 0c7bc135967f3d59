#include "compiler/parallel/decide.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compiler/parallel/step_builder_for_test.h"
#include "compiler/passes/cancel_permutes.h"
#include "compiler/passes/insert_reshard.h"
#include "compiler/passes/merge_common.h"
#include "compiler/passes/remove_dead.h"

namespace oneflow {
namespace {

using ::testing::ElementsAre;

// A graph after Decide and InsertReshard.
struct Decided {
  Graph graph;
  Decisions decisions;

  // "matmul S(0),B->S(0)" of all nodes of an op on a layout axis, in order.
  std::vector<std::string> On(size_t axis, const std::string& op) const {
    std::vector<std::string> result;
    for (NodeId id : graph.order()) {
      if (graph.node(id).op == op)
        result.push_back(LayoutOn(graph, decisions.nodes[id].shardings, id, axis));
    }
    return result;
  }
  std::vector<std::string> Reshards() const {
    std::vector<std::string> result;
    for (NodeId id : graph.order()) {
      const Node& node = graph.node(id);
      if (node.op == "reshard") {
        result.push_back(graph.value(node.inputs[0]).type.ToString() + " " +
                         node.attrs.String("change"));
      }
    }
    return result;
  }
};

Decided DecideStep(const StepBuilder& step, std::vector<Axis> axes, int micro_batches = 1) {
  const Mesh mesh = MeshOf(std::move(axes));
  const plan::Target target = CpuTarget(static_cast<int>(mesh.devices.size()), 8);
  Decided result{step.graph, {}};
  auto decisions = Decide(&result.graph, mesh, micro_batches, target);
  EXPECT_TRUE(decisions.ok()) << decisions.status();
  if (!decisions.ok()) return result;
  result.decisions = *std::move(decisions);
  const absl::Status inserted = InsertReshard(&result.graph, &result.decisions, 1, target);
  EXPECT_TRUE(inserted.ok()) << inserted;
  const absl::Status verified = VerifyGraph(result.graph, "insert_reshard");
  EXPECT_TRUE(verified.ok()) << verified;
  return result;
}

StepBuilder TwoLayers(StepBuilder::Annotation first = {}, StepBuilder::Annotation second = {}) {
  StepBuilder b;
  const ValueId x = b.Input("x", {64, 256});
  const ValueId w1 = b.Parameter("w1", {256, 1024}, std::move(first));
  const ValueId w2 = b.Parameter("w2", {1024, 256}, std::move(second));
  const ValueId y = b.Linear(b.Op("relu", {b.Linear(x, w1)}), w2);
  b.Train(b.Mean(b.Op("square", {y})));
  return b;
}

TEST(DecideTest, DataParallelMlpReducesGradientsOnDp) {
  const Decided d = DecideStep(TwoLayers(), {{"dp", 2}});
  EXPECT_THAT(d.On(1, "matmul"),
              ElementsAre("matmul S(0),B->S(0)", "matmul S(0),B->S(0)", "matmul S(0),B->S(0)",
                          "matmul S(0),S(0)->P", "matmul S(0),S(0)->P"));
  EXPECT_THAT(d.On(1, "sgd_update"),
              ElementsAre("sgd_update B,B,B,B,B->B,B", "sgd_update B,B,B,B,B->B,B"));
  EXPECT_THAT(d.Reshards(), ElementsAre("f32[] P->B on dp", "f32[1024,256] P->B on dp",
                                        "f32[256,1024] P->B on dp"));
}

}  // namespace
}  // namespace oneflow
