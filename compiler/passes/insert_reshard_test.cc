#include "compiler/passes/insert_reshard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compiler/parallel/step_builder_for_test.h"

namespace oneflow {
namespace {

using ::testing::ElementsAre;

struct Result {
  Graph graph;
  Decisions decisions;
};

Result Insert(const StepBuilder& step, std::vector<Axis> axes, int ranks = 1,
              int micro_batches = 1) {
  const Mesh mesh = MeshOf(std::move(axes));
  const int devices = static_cast<int>(mesh.devices.size());
  const plan::Target target = CpuTarget(devices, devices / ranks);
  Result result{step.graph, {}};
  auto decisions = Decide(&result.graph, mesh, micro_batches, target);
  EXPECT_TRUE(decisions.ok()) << decisions.status();
  result.decisions = *std::move(decisions);
  const absl::Status status = InsertReshard(&result.graph, &result.decisions, ranks, target);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_TRUE(VerifyGraph(result.graph, "insert_reshard").ok());
  return result;
}

// "relu reshard matmul": ops in order, without leaves.
std::vector<std::string> Ops(const Graph& graph) {
  std::vector<std::string> ops;
  for (NodeId id : graph.order()) {
    const std::string& op = graph.node(id).op;
    if (op != "input" && op != "state_read" && op != "constant") ops.push_back(op);
  }
  return ops;
}

// Whatever the layouts: each node reads its inputs as its decision says.
void ExpectEveryInputIsAsNeeded(const Result& result) {
  for (NodeId id : result.graph.order()) {
    const Node& node = result.graph.node(id);
    const NodeShardings& shardings = result.decisions.nodes[id].shardings;
    ASSERT_EQ(shardings.inputs.size(), node.inputs.size()) << node.op;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      EXPECT_EQ(result.graph.value(node.inputs[i]).sharding, shardings.inputs[i]) << node.op;
    }
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      EXPECT_EQ(result.graph.value(node.outputs[i]).sharding, shardings.outputs[i]) << node.op;
    }
  }
}

TEST(InsertReshardTest, InputsAreAsNeededUnderEveryLayout) {
  ExpectEveryInputIsAsNeeded(Insert(ResidualNet(8), {{"dp", 2}, {"tp", 2}}));
  ExpectEveryInputIsAsNeeded(Insert(ResidualNet(7), {{"dp", 3}}));
  ExpectEveryInputIsAsNeeded(Insert(ResidualNet(8, 4, true), {{"dp", 2}, {"pp", 2}}, 2, 4));
}

TEST(InsertReshardTest, OneReshardServesAllReadersOfALayout) {
  StepBuilder b;
  const ValueId x = b.Input("x", {8, 64});
  const ValueId y = b.Linear(x, b.Buffer("w", {64, 64}, {{"tp", Sbp::S(0)}}));
  b.graph.mutable_value(y).annotation = {{"tp", Sbp::B()}};
  b.Output("a", b.Op("relu", {y}));
  b.Output("b", b.Op("exp", {y}));
  const Result result = Insert(b, {{"tp", 2}});
  std::vector<std::string> changes;
  for (NodeId id : result.graph.order()) {
    if (result.graph.node(id).op == "reshard")
      changes.push_back(result.graph.node(id).attrs.String("change"));
  }
  EXPECT_THAT(changes, ElementsAre("B->S(1) on tp", "P->B on tp"));
}

TEST(InsertReshardTest, MovementFollowsItsProducerAndSlicesWaitForTheirReader) {
  StepBuilder b;
  const ValueId x = b.Input("x", {8, 64});
  const ValueId h = b.Linear(x, b.Buffer("w", {64, 64}, {{"tp", Sbp::S(0)}}));
  b.graph.mutable_value(h).annotation = {{"tp", Sbp::B()}};
  const ValueId other = b.Op("exp", {x});
  b.Output("other", other);
  b.Output("y", b.Op("relu", {h}));
  EXPECT_THAT(Ops(Insert(b, {{"tp", 2}}).graph),
              ElementsAre("reshard", "matmul", "reshard", "exp", "output", "relu", "output"));
}

// The first reader has a slice just before it; the second goes on from that slice to another stage.
TEST(InsertReshardTest, ChainsThatShareASliceStandBehindIt) {
  StepBuilder b;
  const ValueId x = b.Input("x", {8, 64});
  b.stage = 0;
  const ValueId h = b.Op("exp", {x});
  b.graph.mutable_value(h).annotation = {{"tp", Sbp::B()}};
  b.Output("other", b.Op("neg", {x}));
  const ValueId first = b.Op("relu", {h});
  b.graph.mutable_value(first).annotation = {{"tp", Sbp::S(1)}};
  b.Output("first", b.Op("tanh", {first}));
  b.stage = 1;
  const ValueId second = b.Op("sigmoid", {h});
  b.graph.mutable_value(second).annotation = {{"tp", Sbp::S(1)}};
  b.Output("second", b.Op("tanh", {second}));
  ExpectEveryInputIsAsNeeded(Insert(b, {{"pp", 2}, {"tp", 2}}));
}

TEST(InsertReshardTest, OutputsReachEveryRank) {
  StepBuilder b;
  const ValueId x = b.Input("x", {8, 64});
  b.stage = 1;
  const ValueId y = b.Op("relu", {x});
  b.stage.reset();
  b.Output("y", y);
  const auto stages = [](const Graph& graph) {
    std::vector<int> result;
    for (NodeId id : graph.order()) {
      if (graph.node(id).op == "output") result.push_back(*graph.node(id).stage);
    }
    return result;
  };
  // One process holds both stages: one copy is enough.
  EXPECT_THAT(stages(Insert(b, {{"pp", 2}}, 1).graph), ElementsAre(1));
  EXPECT_THAT(stages(Insert(b, {{"pp", 2}}, 2).graph), ElementsAre(1, 0));
  // Each rank holds a device of every stage.
  EXPECT_THAT(stages(Insert(b, {{"dp", 2}, {"pp", 2}}, 2).graph), ElementsAre(1));
}

}  // namespace
}  // namespace oneflow
