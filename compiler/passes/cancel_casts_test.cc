#include "compiler/passes/cancel_casts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compiler/parallel/step_builder_for_test.h"
#include "compiler/passes/merge_common.h"
#include "compiler/passes/remove_dead.h"

namespace oneflow {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

ValueId Cast(StepBuilder* b, ValueId x, const std::string& dtype) {
  return b->Op("cast", {x}, {{"dtype", dtype}});
}

ValueId Reshape(StepBuilder* b, ValueId x, Shape shape) {
  return b->Op("reshape", {x}, {{"shape", AttrValue(std::move(shape))}});
}

Graph Cancelled(const StepBuilder& step) {
  Graph graph = step.graph;
  const absl::Status status = CancelCasts(&graph);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_TRUE(VerifyGraph(graph, "cancel_casts").ok()) << VerifyGraph(graph, "cancel_casts");
  MergeCommon(&graph);
  RemoveDead(&graph);
  EXPECT_TRUE(VerifyGraph(graph, "remove_dead").ok()) << VerifyGraph(graph, "remove_dead");
  return graph;
}

// "cast bf16", "reshape": what stands between the input and the output.
std::vector<std::string> Ops(const Graph& graph) {
  std::vector<std::string> ops;
  for (NodeId id : graph.order()) {
    const Node& node = graph.node(id);
    if (node.op == "input" || node.op == "state_read" || node.op == "output") continue;
    ops.push_back(node.op + (node.op == "cast" ? " " + node.attrs.String("dtype") : ""));
  }
  return ops;
}

// The types of a float, a wider one and what that is narrowed to, around a reshape.
std::vector<std::string> Around(const std::string& from, const std::string& through,
                                const std::string& to) {
  StepBuilder b;
  const ValueId x = b.Input("x", {4, 6}, from);
  b.Output("y", Cast(&b, Reshape(&b, Cast(&b, x, through), {24}), to));
  return Ops(Cancelled(b));
}

TEST(CancelCastsTest, ATripToAWiderFloatAndBackIsAView) {
  for (const auto& [narrow, wide] : std::vector<std::pair<const char*, const char*>>{
           {"bf16", "f32"}, {"f16", "f32"}, {"f32", "f64"}, {"bf16", "f64"}, {"f16", "f64"}}) {
    EXPECT_THAT(Around(narrow, wide, narrow), ElementsAre("reshape")) << narrow << " " << wide;
  }
}

TEST(CancelCastsTest, WhatRoundsOrEndsInAnotherTypeStays) {
  EXPECT_THAT(Around("f32", "bf16", "f32"), ElementsAre("cast bf16", "reshape", "cast f32"));
  EXPECT_THAT(Around("f64", "f32", "f64"), ElementsAre("cast f32", "reshape", "cast f64"));
  EXPECT_THAT(Around("f16", "bf16", "f16"), ElementsAre("cast bf16", "reshape", "cast f16"));
  EXPECT_THAT(Around("bf16", "f16", "bf16"), ElementsAre("cast f16", "reshape", "cast bf16"));
  EXPECT_THAT(Around("bf16", "f32", "f16"), ElementsAre("cast f32", "reshape", "cast f16"));
  EXPECT_THAT(Around("i64", "f32", "i64"), ElementsAre("cast f32", "reshape", "cast i64"));
}

TEST(CancelCastsTest, NoViewAndManyOfThem) {
  StepBuilder b;
  const ValueId x = b.Input("x", {4, 6}, "bf16");
  b.Output("same", Cast(&b, Cast(&b, x, "f32"), "bf16"));
  ValueId y = b.Permute(Reshape(&b, Cast(&b, x, "f32"), {4, 3, 2}), {1, 0, 2});
  y = b.Op("slice", {y},
           {{"dim", AttrValue(int64_t{0})},
            {"start", AttrValue(int64_t{1})},
            {"stop", AttrValue(int64_t{2})}});
  y = b.Op("broadcast_to", {y}, {{"shape", AttrValue(std::vector<int64_t>{5, 4, 2})}});
  b.Output("y", Cast(&b, y, "bf16"));
  EXPECT_THAT(Ops(Cancelled(b)), ElementsAre("reshape", "permute", "slice", "broadcast_to"));
}

TEST(CancelCastsTest, OtherReadersKeepTheWideValueAndViewsTheirLines) {
  StepBuilder b;
  const ValueId wide = Cast(&b, b.Input("x", {4, 6}, "bf16"), "f32");
  const ValueId view = Reshape(&b, wide, {24});
  const int line = b.line;
  b.Output("wide", b.Op("exp", {view}));
  b.Output("y", b.Op("relu", {Cast(&b, view, "bf16")}));
  const Graph graph = Cancelled(b);
  EXPECT_THAT(Ops(graph), ElementsAre("cast f32", "reshape", "exp", "reshape", "relu"));
  for (NodeId id : graph.order()) {
    if (graph.node(id).op != "reshape") continue;
    EXPECT_EQ(graph.location(graph.node(id).location).line, line);
  }
}

TEST(CancelCastsTest, AnOpBetweenOrAnAnnotationOrAStageStays) {
  for (const std::string what : {"op", "wide", "view", "result", "stage"}) {
    StepBuilder b;
    const ValueId wide = Cast(&b, b.Input("x", {4, 6}, "bf16"), "f32");
    ValueId view = Reshape(&b, wide, {24});
    const ValueId seen = view;
    if (what == "op") view = b.Op("relu", {view});
    if (what == "stage") b.stage = 1;
    const ValueId result = Cast(&b, view, "bf16");
    b.Output("y", result);
    const std::map<std::string, Sbp> annotation = {{"tp", Sbp::S(0)}};
    if (what == "wide") b.graph.mutable_value(wide).annotation = annotation;
    if (what == "view") b.graph.mutable_value(seen).annotation = annotation;
    if (what == "result") b.graph.mutable_value(result).annotation = annotation;
    EXPECT_EQ(Count(Cancelled(b), "cast"), 2) << what;
  }
}

// A layer behind another, as a mixed step traces them: forward and backward.
TEST(CancelCastsTest, ATrainedStepHasNoneLeft) {
  StepBuilder b;
  const auto narrow = [&](ValueId x) { return Cast(&b, x, "bf16"); };
  const ValueId x = b.Input("x", {4, 3, 8});
  const ValueId first = b.Linear(narrow(Reshape(&b, x, {12, 8})), narrow(b.Parameter("w", {8, 8})));
  const ValueId hidden = b.Op("relu", {Reshape(&b, first, {4, 3, 8})});
  const ValueId wide = Reshape(&b, Cast(&b, hidden, "f32"), {12, 8});
  const ValueId second = b.Linear(narrow(wide), narrow(b.Parameter("v", {8, 8})));
  b.Train(b.Mean(Cast(&b, second, "f32")));
  const Graph graph = Cancelled(b);
  // Those that went: two forward, two backward.
  EXPECT_EQ(Count(b.graph, "cast") - Count(graph, "cast"), 4);
  EXPECT_THAT(StrayGradients(graph), IsEmpty());
}

}  // namespace
}  // namespace oneflow
