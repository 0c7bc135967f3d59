// FuseConvStats: which statistics a convolution makes and which must stay ops of their own; what the node computes is
// tested where kernels are (kernels/cpu/conv2d_test.cc, kernels/cuda/conformance_test.cc) and on whole steps
// (tests/e2e/test_conv_stats.py).
#include "compiler/passes/fuse_conv_stats.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "compiler/passes/decided_step_for_test.h"

namespace oneflow {
namespace {

using Texts = std::vector<std::string>;

struct Ops {
  Texts order;  // convolutions forward and what makes statistics
  int64_t parts = 0, count = 0;
  std::string layouts;  // of the joined one: "S(0),B->S(0),S(0),S(0)" on the first mesh axis
};

Ops OpsOf(const StepBuilder& traced, std::vector<Axis> axes = {{"dp", 1}}, int micro_batches = 1,
          const std::function<void(Graph*)>& edit = {}) {
  DecidedStep step(traced.graph, std::move(axes), micro_batches);
  if (edit) edit(&step.graph);
  EXPECT_EQ(FuseConvStats(&step.graph, &step.decisions), absl::OkStatus());
  step.ExpectSound("fuse_conv_stats");
  Ops ops;
  for (const NodeId id : step.graph.order()) {
    const Node& node = step.graph.node(id);
    if (node.op == "conv2d" || node.op == "conv2d_sums" || node.op == "bn_sample_sums" ||
        node.op == "bn_sum" || node.op == "bn_join_squares") {
      ops.order.push_back(node.op);
    }
    if (node.op == "bn_join_squares") ops.count = node.attrs.Int("count");
    if (node.op == "conv2d_sums") {
      ops.parts = node.attrs.Int("parts");
      ops.layouts = step.Layouts(id);
      EXPECT_EQ(step.graph.value(node.outputs[1]).type.shape, (Shape{ops.parts, 4}));
    }
  }
  return ops;
}

const Texts kApart = {"conv2d", "bn_sample_sums", "bn_sum", "bn_join_squares"};
const Texts kJoined = {"conv2d_sums", "bn_sum", "bn_join_squares"};
const Texts kAlone = {"conv2d_sums"};

// A training step: 8 images of 5 x 5 pixels, a convolution to 4 channels and a batch norm.
StepBuilder Model(const std::string& dtype = "bf16", int64_t groups = 1,
                  const std::function<ValueId(StepBuilder*, ValueId)>& between = {}) {
  StepBuilder b;
  const auto cast = [&](ValueId value, const std::string& to) {
    return to == "f32" ? value : b.Op("cast", {value}, {{"dtype", AttrValue(to)}});
  };
  const ValueId x = cast(b.Input("x", {8, 3, 5, 5}), dtype);
  ValueId y = b.Conv(x, cast(b.Parameter("w", {4, 3, 3, 3}), dtype));
  if (between) y = between(&b, y);
  const ValueId z = b.Op("cast", {b.BatchNorm(y, "bn", groups)}, {{"dtype", std::string("f32")}});
  b.Train(b.Mean(b.Op("square", {z})));
  return b;
}

// Nothing is left to join where one device has the group.
TEST(FuseConvStatsTest, AConvolutionMakesTheStatisticsBehindIt) {
  for (const char* dtype : {"bf16", "f16"}) {
    const Ops ops = OpsOf(Model(dtype));
    EXPECT_EQ(ops.order, kAlone) << dtype;
    EXPECT_EQ(ops.parts, 1);
  }
}

TEST(FuseConvStatsTest, In16BitsAlone) { EXPECT_EQ(OpsOf(Model("f32")).order, kApart); }

// Each device has a part, and the sums of all are what they were.
TEST(FuseConvStatsTest, PartsAreWhatDevicesHave) {
  const Ops ops = OpsOf(Model(), {{"dp", 2}});
  EXPECT_EQ(ops.order, kJoined);
  EXPECT_EQ(ops.parts, 2);
  EXPECT_EQ(ops.count, 5 * 5 * 4);
  EXPECT_EQ(ops.layouts, "S(0),B->S(0),S(0),S(0)");
}

TEST(FuseConvStatsTest, AndWhatTheyHaveInAMicroBatch) {
  const Ops ops = OpsOf(Model("bf16", 2), {{"dp", 2}}, 2);
  EXPECT_EQ(ops.order, kJoined);
  EXPECT_EQ(ops.parts, 4);
  EXPECT_EQ(ops.count, 5 * 5 * 2);
  EXPECT_EQ(ops.layouts, "S(0),B->S(0),S(0),S(0)");
  // Statistics of each device and micro-batch.
  EXPECT_EQ(OpsOf(Model("bf16", 4), {{"dp", 2}}, 2).order, kAlone);
}

// The library sums all that it is given.
TEST(FuseConvStatsTest, NotOfSeveralGroupsOnADevice) {
  EXPECT_EQ(OpsOf(Model("bf16", 2)).order, kApart);
  EXPECT_EQ(OpsOf(Model("bf16", 4), {{"dp", 2}}).order, kApart);
  EXPECT_EQ(OpsOf(Model("bf16", 2), {{"dp", 2}}).order, kAlone);
}

// Statistics are of what they read: of y in its own type, and of no other value.
TEST(FuseConvStatsTest, OfTheResultItself) {
  const auto wide = [](StepBuilder* b, ValueId y) {
    return b->Op("cast", {y}, {{"dtype", std::string("f32")}});
  };
  EXPECT_EQ(OpsOf(Model("bf16", 1, wide)).order, kApart);
  const auto relu = [](StepBuilder* b, ValueId y) { return b->Op("relu", {y}); };
  EXPECT_EQ(OpsOf(Model("bf16", 1, relu)).order, kApart);
}

// Others may read y.
TEST(FuseConvStatsTest, OfAResultThatOthersRead) {
  const auto told = [](StepBuilder* b, ValueId y) {
    b->Output("y", y);
    return y;
  };
  EXPECT_EQ(OpsOf(Model("bf16", 1, told)).order, kAlone);
}

// Who reads the sums of samples for themselves reads samples.
TEST(FuseConvStatsTest, NotWhereSamplesAreAskedFor) {
  StepBuilder b;
  const ValueId x = b.Op("cast", {b.Input("x", {8, 5, 5, 3})}, {{"dtype", std::string("bf16")}});
  const ValueId w =
      b.Op("cast", {b.Parameter("w", {4, 3, 3, 3})}, {{"dtype", std::string("bf16")}});
  const auto samples = b.OpN("bn_sample_sums", {b.Op("conv2d", {x, w})});
  b.Output("sum", b.Op("bn_sum", {samples[0]}));
  b.Output("samples", samples[1]);
  EXPECT_EQ(OpsOf(b).order, (Texts{"conv2d", "bn_sample_sums", "bn_sum"}));
}

// About another mean the squares are others.
TEST(FuseConvStatsTest, SquaresAboutAnotherMeanAreJoined) {
  StepBuilder b;
  const ValueId x = b.Op("cast", {b.Input("x", {8, 5, 5, 3})}, {{"dtype", std::string("bf16")}});
  const ValueId w =
      b.Op("cast", {b.Parameter("w", {4, 3, 3, 3})}, {{"dtype", std::string("bf16")}});
  const auto samples = b.OpN("bn_sample_sums", {b.Op("conv2d", {x, w})});
  const ValueId mean = b.Parameter("mean", {1, 4});
  b.Output("squares",
           b.Op("bn_join_squares", {samples[0], samples[1], mean}, {{"count", int64_t{9}}}));
  const Ops ops = OpsOf(b);
  EXPECT_EQ(ops.order, (Texts{"conv2d_sums", "bn_join_squares"}));
  EXPECT_EQ(ops.count, 9 * 8);
}

TEST(FuseConvStatsTest, InOneStageAndPhase) {
  // The statistics and all behind them.
  const auto edited = [](const std::function<void(Node*)>& edit) {
    return OpsOf(Model(), {{"dp", 1}}, 1, [&](Graph* graph) {
      bool behind = false;
      for (const NodeId id : graph->order()) {
        behind = behind || graph->node(id).op == "bn_sample_sums";
        if (behind) edit(&graph->mutable_node(id));
      }
    });
  };
  EXPECT_EQ(edited([](Node*) {}).order, kAlone);
  EXPECT_EQ(edited([](Node* node) { node->stage = 1; }).order, kApart);
  EXPECT_EQ(edited([](Node* node) { node->phase = NodePhase::kUpdate; }).order, kApart);
}

// Channels that lie apart are sums of their own.
TEST(FuseConvStatsTest, ChannelsMayBeCut) {
  StepBuilder b;
  const ValueId x = b.Op("cast", {b.Input("x", {8, 3, 5, 5})}, {{"dtype", std::string("bf16")}});
  const ValueId w = b.Parameter("w", {4, 3, 3, 3}, {{"tp", Sbp::S(0)}});
  const ValueId y = b.Conv(x, b.Op("cast", {w}, {{"dtype", std::string("bf16")}}));
  const ValueId z = b.Op("cast", {b.BatchNorm(y, "bn")}, {{"dtype", std::string("f32")}});
  b.Train(b.Mean(b.Op("square", {z})));
  const Ops ops = OpsOf(b, {{"tp", 2}});
  EXPECT_EQ(ops.order, kAlone);
  EXPECT_EQ(ops.layouts, "B,S(0)->S(3),S(1),S(1)");
}

}  // namespace
}  // namespace oneflow
