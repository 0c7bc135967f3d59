// JoinNormGrads: which gradients of a layer norm are one node and which must not be; what the node computes is tested
// where kernels are (kernels/cuda/conformance_layers_test.cc) and on whole steps (tests/e2e).
#include "compiler/passes/join_norm_grads.h"

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
  Texts order;          // gradients of norms and what the test's own outputs are made of
  std::string layouts;  // of the last joined one: "S(0),B,B->S(0)" on the first mesh axis
};

Ops OpsOf(const StepBuilder& traced, std::vector<Axis> axes = {{"dp", 1}},
          const std::function<void(Graph*)>& edit = {}) {
  DecidedStep step(traced.graph, std::move(axes));
  if (edit) edit(&step.graph);
  EXPECT_EQ(JoinNormGrads(&step.graph, &step.decisions), absl::OkStatus());
  step.ExpectSound("join_norm_grads");
  Ops ops;
  for (const NodeId id : step.graph.order()) {
    const std::string& op = step.graph.node(id).op;
    if (op == "relu" || op.find("_norm_") != std::string::npos) ops.order.push_back(op);
    if (op == "layer_norm_grads") ops.layouts = step.Layouts(id);
  }
  return ops;
}

const Texts kOne = {"layer_norm_grads"};
const Texts kTwo = {"layer_norm_grad", "layer_norm_weight_grad"};

// A training step of a norm behind a product.
StepBuilder Model(const std::string& norm = "layer_norm") {
  StepBuilder b;
  std::vector<ValueId> inputs = {b.Linear(b.Input("x", {8, 4}), b.Parameter("w", {4, 6})),
                                 b.Parameter("weight", {6})};
  if (norm == "layer_norm") inputs.push_back(b.Parameter("bias", {6}));
  b.Train(b.Mean(b.Op("square", {b.Op(norm, inputs)})));
  return b;
}

// Gradients as ops: of x, then of the weight, or the other way round.
struct Direct {
  StepBuilder b;
  ValueId x, dy, mean, rstd, weight;

  Direct() {
    x = b.Input("x", {8, 6});
    dy = b.Input("dy", {8, 6});
    mean = b.Input("mean", {8});
    rstd = b.Input("rstd", {8});
    weight = b.Parameter("weight", {6});
  }
  void OfX(bool weighted = true) {
    std::vector<ValueId> inputs = {x, dy, mean, rstd};
    if (weighted) inputs.push_back(weight);
    b.Output("dx", b.Op("layer_norm_grad", inputs));
  }
  void OfWeight(ValueId x_in, ValueId mean_in) {
    const auto sums = b.OpN("layer_norm_weight_grad", {x_in, dy, mean_in, rstd});
    b.Output("dweight", sums[0]);
    b.Output("dbias", sums[1]);
  }
};

TEST(JoinNormGradsTest, BothGradientsAreOneNode) { EXPECT_EQ(OpsOf(Model()).order, kOne); }

TEST(JoinNormGradsTest, WithoutAWeightToo) {
  Direct step;
  step.OfX(/*weighted=*/false);
  step.OfWeight(step.x, step.mean);
  const Ops ops = OpsOf(step.b);
  EXPECT_EQ(ops.order, kOne);
  EXPECT_EQ(ops.layouts, "B,B,B,B->B,B,B");
}

TEST(JoinNormGradsTest, NotOfAnRmsNorm) {
  EXPECT_EQ(OpsOf(Model("rms_norm")).order, (Texts{"rms_norm_grad", "rms_norm_weight_grad"}));
}

// Of rows that lie apart each device has a part of the sums.
TEST(JoinNormGradsTest, LayoutsAreThoseOfTheTwo) {
  const Ops ops = OpsOf(Model(), {{"dp", 2}});
  EXPECT_EQ(ops.order, kOne);
  EXPECT_EQ(ops.layouts, "S(0),S(0),S(0),S(0),B->S(0),P,P");
}

TEST(JoinNormGradsTest, OfTheSameOperandsAlone) {
  for (const bool other_x : {false, true}) {
    Direct step;
    const ValueId shifted = step.b.Op("neg", {other_x ? step.x : step.mean});
    step.OfX();
    step.OfWeight(other_x ? shifted : step.x, other_x ? step.mean : shifted);
    EXPECT_EQ(OpsOf(step.b).order, kTwo);
  }
}

TEST(JoinNormGradsTest, InOneStageAndPhase) {
  const auto edited = [](const std::function<void(Node*)>& edit) {
    return OpsOf(Model(), {{"dp", 1}}, [&](Graph* graph) {
      for (const NodeId id : graph->order()) {
        if (graph->node(id).op == "layer_norm_weight_grad") edit(&graph->mutable_node(id));
      }
    });
  };
  EXPECT_EQ(edited([](Node*) {}).order, kOne);
  EXPECT_EQ(edited([](Node* node) { node->stage = 1; }).order, kTwo);
  EXPECT_EQ(edited([](Node* node) { node->phase = NodePhase::kUpdate; }).order, kTwo);
}

// In the place of the first: x and dy are held for no other.
TEST(JoinNormGradsTest, StandsWhereTheGradientOfXStood) {
  Direct step;
  step.OfX();
  step.b.Output("y", step.b.Op("relu", {step.weight}));
  step.OfWeight(step.x, step.mean);
  EXPECT_EQ(OpsOf(step.b).order, (Texts{"layer_norm_grads", "relu"}));
}

// dx would be held from an earlier place on.
TEST(JoinNormGradsTest, NotWhereTheWeightsComesFirst) {
  Direct step;
  step.OfWeight(step.x, step.mean);
  step.OfX();
  EXPECT_EQ(OpsOf(step.b).order, (Texts{"layer_norm_weight_grad", "layer_norm_grad"}));
}

}  // namespace
}  // namespace oneflow
