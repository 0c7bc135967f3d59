#include "compiler/passes/bucket_sums.h"

#include <gtest/gtest.h>

#include "compiler/parallel/step_builder_for_test.h"
#include "compiler/passes/insert_reshard.h"

namespace oneflow {
namespace {

// The graph with its reshards after the pass.
struct Passed {
  Graph graph{"step"};
  Decisions decisions;
  // Of each reshard of P -> B on dp, in order.
  std::vector<size_t> members;  // of gradients
  std::vector<size_t> losses;   // of forward sums
  int direct = 0;
};

Passed Pass(const StepBuilder& step, std::vector<Axis> axes, int micro_batches,
            const plan::Target& target) {
  Passed passed{step.graph, {}, {}, {}};
  absl::StatusOr<Decisions> decisions =
      Decide(&passed.graph, MeshOf(std::move(axes)), micro_batches, target);
  EXPECT_TRUE(decisions.ok()) << decisions.status();
  passed.decisions = *std::move(decisions);
  EXPECT_EQ(InsertReshard(&passed.graph, &passed.decisions, 1, target), absl::OkStatus());
  EXPECT_EQ(BucketSums(&passed.graph, &passed.decisions, target), absl::OkStatus());
  EXPECT_EQ(VerifyGraph(passed.graph, "bucket_sums"), absl::OkStatus());
  for (NodeId id : passed.graph.order()) {
    const Node& node = passed.graph.node(id);
    if (node.op != "reshard" || node.attrs.Int("axis") != 1) continue;
    if (node.attrs.String("change") != "P->B on dp") continue;
    (node.phase == NodePhase::kForward ? passed.losses : passed.members)
        .push_back(node.inputs.size());
    passed.direct += node.attrs.Bool("direct");
    EXPECT_EQ(passed.decisions.nodes[id].shardings.outputs.size(), node.outputs.size());
  }
  return passed;
}

StepBuilder Mlp(int layers) {
  StepBuilder b;
  ValueId x = b.Input("x", {16, 64});
  const ValueId labels = b.Input("labels", {16}, "i64");
  for (int i = 0; i < layers; ++i) {
    x = b.Op("relu", {b.Linear(x, b.Parameter("fc" + std::to_string(i), {64, 64}))});
  }
  b.Train(b.CrossEntropy(x, labels));
  return b;
}

TEST(BucketSumsTest, SmallSumsTravelTogether) {
  const Passed passed = Pass(Mlp(5), {{"dp", 2}}, 1, CpuTarget(2, 1));
  EXPECT_EQ(passed.members, (std::vector<size_t>{5}));
}

TEST(BucketSumsTest, ABucketClosesWhenItIsFull) {
  // A gradient has 16 KiB; latency x rate is 10,000 B, so a bucket of two devices holds 80,000.
  plan::Target target = CpuTarget(2, 1);
  target.mutable_links(2)->set_latency_ns(10'000);
  target.mutable_links(2)->set_bytes_per_us(1'000);
  EXPECT_EQ(Pass(Mlp(9), {{"dp", 2}}, 1, target).members, (std::vector<size_t>{4, 4, 1}));
}

TEST(BucketSumsTest, ALargeSumTravelsAlone) {
  plan::Target target = CpuTarget(2, 1);
  for (plan::Link& link : *target.mutable_links()) link.set_latency_ns(100);
  EXPECT_EQ(Pass(Mlp(3), {{"dp", 2}}, 1, target).members, (std::vector<size_t>{1, 1, 1}));
}

TEST(BucketSumsTest, TheSameWhateverRankHoldsADevice) {
  const Passed one = Pass(Mlp(9), {{"dp", 4}}, 1, CpuTarget(4, 4));
  const Passed many = Pass(Mlp(9), {{"dp", 4}}, 1, CpuTarget(4, 1));
  EXPECT_EQ(one.members, many.members);
}

TEST(BucketSumsTest, MicroBatchesAreSummedBefore) {
  const Passed passed = Pass(Mlp(5), {{"dp", 2}}, 4, CpuTarget(2, 1));
  EXPECT_EQ(passed.members, (std::vector<size_t>{5}));
}

// Mean of losses over the labels that count: both sums are known before either is read.
TEST(BucketSumsTest, ALossAndItsCountTravelTogether) {
  StepBuilder b;
  const ValueId x = b.Input("x", {16, 64});
  const ValueId counts = b.Input("counts", {16});
  const ValueId y = b.Linear(x, b.Parameter("fc", {64, 64}));
  const ValueId total = b.Op("sum", {b.Op("square", {y})}, {{"dims", Shape{0, 1}}});
  b.Train(b.Op("div", {total, b.Op("sum", {counts}, {{"dims", Shape{0}}})}));
  const Passed passed = Pass(b, {{"dp", 2}}, 1, CpuTarget(2, 1));
  EXPECT_EQ(passed.losses, (std::vector<size_t>{2}));
}

TEST(BucketSumsTest, FewDevicesGiveEachOtherWhatIsSmall) {
  const Passed two = Pass(Mlp(5), {{"dp", 2}}, 1, CpuTarget(2, 1));
  EXPECT_EQ(two.direct, 1);  // the loss; the bucket of gradients is too large
  EXPECT_EQ(Pass(Mlp(1), {{"dp", 2}}, 1, CpuTarget(2, 1)).direct, 2);
  EXPECT_EQ(Pass(Mlp(1), {{"dp", 4}}, 1, CpuTarget(4, 1)).direct, 1);  // not thrice the gradient
  EXPECT_EQ(Pass(Mlp(1), {{"dp", 8}}, 1, CpuTarget(8, 1)).direct, 1);
  EXPECT_EQ(Pass(Mlp(1), {{"dp", 16}}, 1, CpuTarget(16, 1)).direct, 0);
  EXPECT_EQ(Pass(Mlp(1), {{"dp", 2}}, 1, CpuTarget(2, 2)).direct, 2);
}

// The sums of batch norm are read at once: waiting for them would hold up the backward pass.
TEST(BucketSumsTest, WhatIsReadAtOnceDoesNotWait) {
  const Passed passed = Pass(ResidualNet(16), {{"dp", 2}}, 1, CpuTarget(2, 1));
  int joined = 0;
  for (NodeId id : passed.graph.order()) {
    const Node& node = passed.graph.node(id);
    if (node.op != "reshard" || node.inputs.size() == 1) continue;
    ++joined;
    for (ValueId input : node.inputs) {
      EXPECT_NE(passed.graph.node(passed.graph.value(input).producer).op, "bn_grad_sums");
    }
  }
  EXPECT_EQ(joined, 1);
}

}  // namespace
}  // namespace oneflow
