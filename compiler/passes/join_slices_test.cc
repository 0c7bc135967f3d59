#include "compiler/passes/join_slices.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "compiler/parallel/step_builder_for_test.h"
#include "compiler/passes/remove_dead.h"

namespace oneflow {
namespace {

struct Part {
  int64_t start, stop;
  int64_t step = 1;
  int64_t dim = 1;
};

// dy[3, stop - start] of each part of an f32[3, 12], in the order given.
ValueId GradientOf(StepBuilder* b, const Part& part) {
  const int64_t extent = (part.stop - part.start + part.step - 1) / part.step;
  const std::string name = "dy" + std::to_string(b->line);
  const ValueId dy = b->Input(name, part.dim == 1 ? Shape{3, extent} : Shape{extent, 12});
  return b->Op("slice_grad", {dy},
               {{"dim", AttrValue(part.dim)},
                {"start", AttrValue(part.start)},
                {"stop", AttrValue(part.stop)},
                {"step", AttrValue(part.step)},
                {"extent", AttrValue(int64_t{part.dim == 1 ? 12 : 3})}});
}

Graph SumOf(const std::vector<Part>& parts) {
  StepBuilder b;
  ValueId sum = GradientOf(&b, parts[0]);
  for (size_t i = 1; i < parts.size(); ++i) sum = b.Op("add", {sum, GradientOf(&b, parts[i])});
  b.Output("dx", sum);
  EXPECT_TRUE(JoinSlices(&b.graph).ok());
  const absl::Status verified = VerifyGraph(b.graph, "join_slices");
  EXPECT_TRUE(verified.ok()) << verified;
  return b.graph;
}

TEST(JoinSlicesTest, PartsThatTileAreOneCatInTheirOrder) {
  const Graph graph = SumOf({{8, 12}, {0, 3}, {3, 8}});
  EXPECT_EQ(Count(graph, "add"), 0);
  EXPECT_EQ(Count(graph, "slice_grad"), 0);
  ASSERT_EQ(Count(graph, "cat"), 1);
  for (NodeId id : graph.order()) {
    const Node& node = graph.node(id);
    if (node.op != "cat") continue;
    EXPECT_EQ(node.attrs.Int("dim"), 1);
    std::vector<int64_t> extents;
    for (const ValueId input : node.inputs) extents.push_back(graph.value(input).type.shape[1]);
    EXPECT_EQ(extents, (std::vector<int64_t>{3, 5, 4}));
  }
}

TEST(JoinSlicesTest, WhatDoesNotTileStays) {
  for (const std::vector<Part>& parts : std::vector<std::vector<Part>>{
           {{0, 3}, {3, 8}},                 // an end is missing
           {{1, 6}, {6, 12}},                // a begin
           {{0, 5}, {6, 12}},                // between
           {{0, 6}, {0, 6}, {6, 12}},        // twice
           {{0, 7}, {6, 12}},                // on each other
           {{0, 12, 2}, {6, 12}},            // steps
           {{0, 6}, {1, 3, 1, 0}, {6, 12}},  // another dim
       }) {
    const Graph graph = SumOf(parts);
    EXPECT_EQ(Count(graph, "cat"), 0);
    EXPECT_EQ(Count(graph, "slice_grad"), static_cast<int>(parts.size()));
  }
}

TEST(JoinSlicesTest, WhatOthersReadStays) {
  StepBuilder b;
  const ValueId left = GradientOf(&b, {0, 5});
  const ValueId right = GradientOf(&b, {5, 12});
  b.Output("left", left);
  b.Output("dx", b.Op("add", {left, right}));
  ASSERT_TRUE(JoinSlices(&b.graph).ok());
  EXPECT_EQ(Count(b.graph, "cat"), 0);
}

TEST(JoinSlicesTest, ASumWithSomethingElseIsNoCat) {
  StepBuilder b;
  const ValueId x = b.Input("x", {3, 12});
  const ValueId sum = b.Op("add", {GradientOf(&b, {0, 5}), GradientOf(&b, {5, 12})});
  b.Output("dx", b.Op("add", {sum, x}));
  ASSERT_TRUE(JoinSlices(&b.graph).ok());
  ASSERT_TRUE(VerifyGraph(b.graph, "join_slices").ok());
  // The inner sum is one all the same.
  EXPECT_EQ(Count(b.graph, "cat"), 1);
  EXPECT_EQ(Count(b.graph, "add"), 1);
}

// chunk(3) of a product, as attention's projection is cut.
TEST(JoinSlicesTest, GradientsOfChunksAreCats) {
  StepBuilder b;
  const ValueId qkv = b.Linear(b.Input("x", {4, 4}), b.Parameter("w", {4, 12}));
  ValueId product = -1;
  for (const int64_t start : {0, 4, 8}) {
    const ValueId part = b.Op("slice", {qkv},
                              {{"dim", AttrValue(int64_t{1})},
                               {"start", AttrValue(start)},
                               {"stop", AttrValue(start + 4)}});
    product = product < 0 ? part : b.Op("mul", {product, part});
  }
  b.Train(b.Mean(product));
  ASSERT_EQ(Count(b.graph, "slice_grad"), 3);
  ASSERT_TRUE(JoinSlices(&b.graph).ok());
  ASSERT_TRUE(VerifyGraph(b.graph, "join_slices").ok());
  EXPECT_EQ(Count(b.graph, "cat"), 1);
  EXPECT_EQ(Count(b.graph, "slice_grad"), 0);
}

}  // namespace
}  // namespace oneflow
