// merge_common and remove_dead.
#include <gtest/gtest.h>

#include "compiler/parallel/step_builder_for_test.h"
#include "compiler/passes/merge_common.h"
#include "compiler/passes/remove_dead.h"

namespace oneflow {
namespace {

TEST(MergeCommonTest, EqualNodesAreOne) {
  StepBuilder b;
  const ValueId x = b.Input("x", {4, 4});
  b.Output("y", b.Op("add", {b.Op("relu", {x}), b.Op("relu", {x})}));
  b.Output("z", b.Op("exp", {b.Op("relu", {x})}));
  MergeCommon(&b.graph);
  ASSERT_TRUE(VerifyGraph(b.graph, "merge_common").ok()) << VerifyGraph(b.graph, "merge_common");
  EXPECT_EQ(Count(b.graph, "relu"), 1);
  EXPECT_EQ(Count(b.graph, "add"), 1);
}

TEST(MergeCommonTest, OtherAttributesStagesAndMasksAreNotEqual) {
  StepBuilder b;
  const ValueId x = b.Input("x", {4, 4});
  const ValueId step = b.Scalar("step", "i64");
  for (const int64_t key : {1, 2}) {
    b.Output(
        "d" + std::to_string(key),
        b.Op("dropout", {x, step},
             {{"p", AttrValue(0.5)}, {"seed", AttrValue(int64_t{1})}, {"key", AttrValue(key)}}));
    b.stage = static_cast<int>(key) - 1;
    const ValueId y = b.Op("relu", {x});
    b.stage.reset();
    b.Output("r" + std::to_string(key), y);
  }
  MergeCommon(&b.graph);
  EXPECT_EQ(Count(b.graph, "dropout"), 2);
  EXPECT_EQ(Count(b.graph, "relu"), 2);
}

TEST(MergeCommonTest, GradientsBelongToTheNodeThatStays) {
  StepBuilder b;
  const ValueId x = b.Input("x", {4, 4});
  const ValueId w = b.Parameter("w", {4, 4});
  b.Train(b.Mean(b.Op("add", {b.Linear(x, w), b.Op("exp", {b.Linear(x, w)})})));
  MergeCommon(&b.graph);
  ASSERT_TRUE(VerifyGraph(b.graph, "merge_common").ok());
  for (NodeId id : b.graph.order()) {
    const NodeId forward = b.graph.node(id).forward;
    if (forward >= 0) {
      EXPECT_FALSE(b.graph.node(forward).removed);
    }
  }
}

TEST(RemoveDeadTest, WhatNobodyReadsGoes) {
  StepBuilder b;
  const ValueId x = b.Input("x", {4, 4});
  b.Input("unused", {4, 4});
  const ValueId y = b.Op("relu", {x});
  b.Op("tanh", {b.Op("exp", {y})});
  b.Output("y", y);
  RemoveDead(&b.graph);
  ASSERT_TRUE(VerifyGraph(b.graph, "remove_dead").ok());
  EXPECT_EQ(b.graph.order().size(), 3u);
}

TEST(RemoveDeadTest, StateWritesAreRoots) {
  StepBuilder b;
  const ValueId s = b.Buffer("s", {4});
  b.Op("state_write", {b.Op("neg", {s})}, {{"name", AttrValue(std::string("s"))}});
  RemoveDead(&b.graph);
  EXPECT_EQ(b.graph.order().size(), 3u);
}

}  // namespace
}  // namespace oneflow
