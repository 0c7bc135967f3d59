#include "compiler/passes/cancel_permutes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compiler/parallel/step_builder_for_test.h"
#include "compiler/passes/merge_common.h"
#include "compiler/passes/remove_dead.h"

namespace oneflow {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> Ops(const Graph& graph) {
  std::vector<std::string> ops;
  for (NodeId id : graph.order()) {
    const std::string& op = graph.node(id).op;
    if (op != "input" && op != "state_read" && op != "output") ops.push_back(op);
  }
  return ops;
}

Graph Cancelled(const StepBuilder& step) {
  Graph graph = step.graph;
  const absl::Status status = CancelPermutes(&graph);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_TRUE(VerifyGraph(graph, "cancel_permutes").ok()) << VerifyGraph(graph, "cancel_permutes");
  MergeCommon(&graph);
  RemoveDead(&graph);
  EXPECT_TRUE(VerifyGraph(graph, "remove_dead").ok()) << VerifyGraph(graph, "remove_dead");
  return graph;
}

TEST(CancelPermutesTest, BetweenConvolutionsNothingRemains) {
  StepBuilder b;
  const ValueId x = b.Input("x", {4, 3, 8, 8});
  const ValueId y = b.Op("relu", {b.Conv(x, b.Buffer("w", {16, 3, 3, 3}))});
  b.Output("y", b.Conv(y, b.Buffer("v", {16, 16, 3, 3})));
  EXPECT_THAT(Ops(Cancelled(b)), ElementsAre("permute", "conv2d", "relu", "conv2d", "permute"));
}

// As F.relu6 of a convolution traces.
TEST(CancelPermutesTest, LimitsAreElementwise) {
  StepBuilder b;
  const ValueId x = b.Conv(b.Input("x", {4, 3, 8, 8}), b.Buffer("w", {16, 3, 3, 3}));
  const ValueId low = b.Input("low", {1}), high = b.Input("high", {1});
  const ValueId inside = b.Op("bitwise_and", {b.Op("gt", {x, low}), b.Op("lt", {x, high})});
  const ValueId limited = b.Op("stop_gradient", {b.Op("minimum", {x, high})});
  const ValueId y = b.Op("where", {inside, x, limited});
  b.Output("y", b.Conv(y, b.Buffer("v", {16, 16, 3, 3})));
  EXPECT_THAT(Ops(Cancelled(b)),
              ElementsAre("permute", "conv2d", "gt", "lt", "bitwise_and", "minimum",
                          "stop_gradient", "where", "conv2d", "permute"));
}

// From their rules: what an op added tomorrow is, nobody writes down here.
TEST(CancelPermutesTest, ActivationsAreElementwise) {
  for (const char* op : {"relu", "relu6", "gelu", "silu", "hardswish", "sigmoid", "cast"}) {
    StepBuilder b;
    const Attrs attrs = std::string(op) == "cast" ? Attrs{{"dtype", std::string("bf16")}} : Attrs{};
    const ValueId x = b.Permute(b.Input("x", {2, 3, 4, 5}), {0, 2, 3, 1});
    b.Output("y", b.Permute(b.Op(op, {x}, attrs), {0, 3, 1, 2}));
    EXPECT_THAT(Ops(Cancelled(b)), ElementsAre(op));
  }
  StepBuilder b;
  const ValueId x = b.Permute(b.Input("x", {2, 3, 4, 5}), {0, 2, 3, 1});
  b.Output("y", b.Permute(b.Op("softmax", {x}, {{"dim", int64_t{3}}}), {0, 3, 1, 2}));
  EXPECT_THAT(Ops(Cancelled(b)), ElementsAre("permute", "softmax", "permute"));
}

TEST(CancelPermutesTest, InverseIsNothingAndTwoAreOne) {
  StepBuilder b;
  const ValueId x = b.Input("x", {2, 3, 4});
  b.Output("same", b.Permute(b.Permute(x, {2, 0, 1}), {1, 2, 0}));
  b.Output("other", b.Permute(b.Permute(x, {2, 0, 1}), {2, 0, 1}));
  const Graph graph = Cancelled(b);
  ASSERT_EQ(Count(graph, "permute"), 1);
  for (NodeId id : graph.order()) {
    if (graph.node(id).op == "permute") {
      EXPECT_EQ(graph.node(id).attrs.Ints("dims"), (std::vector<int64_t>{1, 2, 0}));
    }
  }
}

TEST(CancelPermutesTest, MovingOnesIsAView) {
  StepBuilder b;
  b.Output("y", b.Permute(b.Input("x", {4, 1, 8, 8}), {0, 2, 3, 1}));
  EXPECT_THAT(Ops(Cancelled(b)), ElementsAre("reshape"));
}

TEST(CancelPermutesTest, OperandsPermutedDifferentlyStay) {
  StepBuilder b;
  const ValueId x = b.Input("x", {4, 4, 4});
  b.Output("y", b.Op("add", {b.Permute(x, {2, 0, 1}), b.Permute(x, {1, 2, 0})}));
  EXPECT_THAT(Ops(Cancelled(b)), ElementsAre("permute", "permute", "add"));
}

TEST(CancelPermutesTest, ScalarsAndSmallOperandsLetOthersPass) {
  StepBuilder b;
  const ValueId x = b.Permute(b.Input("x", {4, 8, 8, 16}), {0, 3, 1, 2});
  const ValueId scaled = b.Op("mul", {x, b.Scalar("s")});
  const ValueId shifted = b.Op("add", {scaled, b.Buffer("bias", {1, 16, 1, 1})});
  b.Output("y", b.Permute(shifted, {0, 2, 3, 1}));
  const Graph graph = Cancelled(b);
  EXPECT_EQ(Count(graph, "permute"), 0);
  EXPECT_EQ(Count(graph, "reshape"), 1);  // the bias
}

TEST(CancelPermutesTest, ReductionsTakeTheDimsBehindThePermute) {
  StepBuilder b;
  const ValueId x = b.Permute(b.Input("x", {4, 8, 9, 16}), {0, 3, 1, 2});
  const auto sum = [&](std::vector<int64_t> dims, bool keepdim) {
    return b.Op("sum", {x},
                {{"dims", AttrValue(std::move(dims))}, {"keepdim", AttrValue(keepdim)}});
  };
  b.Output("pooled", sum({2, 3}, false));
  b.Output("kept", sum({2, 3}, true));
  b.Output("channels", sum({1}, false));
  const Graph graph = Cancelled(b);
  std::vector<std::string> lines;
  for (NodeId id : graph.order()) {
    const Node& node = graph.node(id);
    if (node.op != "sum") continue;
    lines.push_back(ToString(node.attrs.values().at("dims")) + " " +
                    graph.value(node.outputs[0]).type.ToString());
  }
  EXPECT_THAT(lines, ElementsAre("[1,2] f32[4,16]", "[1,2] f32[4,1,1,16]", "[3] f32[4,8,9]"));
  EXPECT_EQ(Count(graph, "permute"), 0);
}

TEST(CancelPermutesTest, CatAndSliceNameTheDimBehindThePermute) {
  StepBuilder b;
  const ValueId x = b.Permute(b.Input("x", {4, 8, 8, 16}), {0, 3, 1, 2});
  const ValueId both = b.Op("cat", {x, x}, {{"dim", AttrValue(int64_t{1})}});
  const ValueId part = b.Op("slice", {both},
                            {{"dim", AttrValue(int64_t{1})},
                             {"start", AttrValue(int64_t{8})},
                             {"stop", AttrValue(int64_t{24})}});
  b.Output("y", b.Permute(part, {0, 2, 3, 1}));
  EXPECT_THAT(Ops(Cancelled(b)), ElementsAre("cat", "slice"));
}

TEST(CancelPermutesTest, DropoutKeepsItsLogicalIndex) {
  StepBuilder b;
  const ValueId x = b.Permute(b.Input("x", {4, 8, 8, 16}), {0, 3, 1, 2});
  const ValueId y = b.Op(
      "dropout", {x, b.Scalar("step", "i64")},
      {{"p", AttrValue(0.5)}, {"seed", AttrValue(int64_t{1})}, {"key", AttrValue(int64_t{2})}});
  b.Output("y", b.Permute(y, {0, 2, 3, 1}));
  EXPECT_THAT(Ops(Cancelled(b)), ElementsAre("permute", "dropout", "permute"));
}

TEST(CancelPermutesTest, AnnotatedValuesKeepTheirDims) {
  StepBuilder b;
  const ValueId x = b.Permute(b.Input("x", {4, 8, 8, 16}), {0, 3, 1, 2});
  const ValueId y = b.Op("relu", {x});
  b.graph.mutable_value(y).annotation = {{"tp", Sbp::S(1)}};
  b.Output("y", b.Permute(y, {0, 2, 3, 1}));
  EXPECT_THAT(Ops(Cancelled(b)), ElementsAre("permute", "relu", "permute"));
}

TEST(CancelPermutesTest, ATrainedResidualNetHasNoneLeft) {
  const StepBuilder step = ResidualNet(8);
  EXPECT_GT(Count(step.graph, "permute"), 20);
  const Graph graph = Cancelled(step);
  EXPECT_EQ(Count(graph, "permute"), 0);
  EXPECT_THAT(StrayGradients(graph), IsEmpty());
}

}  // namespace
}  // namespace oneflow
