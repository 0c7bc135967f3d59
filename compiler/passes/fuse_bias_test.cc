// FuseBias: which products take the bias behind them and which must not; what the node computes is tested where
// kernels are (kernels/cpu/matmul_test.cc, kernels/cuda/conformance_test.cc) and on whole steps (tests/e2e).
#include "compiler/passes/fuse_bias.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "compiler/passes/decided_step_for_test.h"

namespace oneflow {
namespace {

struct Ops {
  int linear = 0, matmul = 0, add = 0;
  std::string layouts;  // of the last linear: "S(0),B,B->S(0)" on the first mesh axis
};

Ops OpsOf(const StepBuilder& traced, std::vector<Axis> axes = {{"dp", 1}}) {
  DecidedStep step(traced.graph, std::move(axes));
  EXPECT_EQ(FuseBias(&step.graph, &step.decisions), absl::OkStatus());
  step.ExpectSound("fuse_bias");
  Ops ops;
  for (const NodeId id : step.graph.order()) {
    const std::string& op = step.graph.node(id).op;
    ops.matmul += op == "matmul" ? 1 : 0;
    ops.add += op == "add" ? 1 : 0;
    if (op != "linear") continue;
    ++ops.linear;
    ops.layouts = step.Layouts(id);
  }
  return ops;
}

// x . w + bias, the addition's operands in either order.
StepBuilder Layer(bool right = false, StepBuilder::Annotation weight = {}) {
  StepBuilder b;
  const ValueId product =
      b.Linear(b.Input("x", {8, 4}), b.Parameter("w", {4, 6}, std::move(weight)));
  const ValueId bias = b.Parameter("bias", {6});
  b.Output("y", b.Op("add", right ? std::vector<ValueId>{bias, product}
                                  : std::vector<ValueId>{product, bias}));
  return b;
}

TEST(FuseBiasTest, AProductAndItsBiasAreOneNode) {
  for (const bool right : {false, true}) {
    const Ops ops = OpsOf(Layer(right));
    EXPECT_EQ(ops.linear, 1);
    EXPECT_EQ(ops.matmul, 0);
    EXPECT_EQ(ops.add, 0);
  }
}

TEST(FuseBiasTest, TheLayoutsAreThoseOfTheProductAndTheAddition) {
  EXPECT_EQ(OpsOf(Layer(), {{"dp", 2}}).layouts, "S(0),B,B->S(0)");
  const Ops columns = OpsOf(Layer(false, {{"tp", {Sbp::kSplit, 1}}}), {{"tp", 2}});
  EXPECT_EQ(columns.layouts, "B,S(1),S(0)->S(1)");
}

// x as rows, as layers of GPT-2's kind have it: the view stands behind the joined node.
TEST(FuseBiasTest, ThroughAViewOfTheProduct) {
  const auto layer = [](const Shape& view, const Shape& bias, bool read = false) {
    StepBuilder b;
    const ValueId product = b.Linear(b.Input("x", {8, 4}), b.Parameter("w", {4, 6}));
    const ValueId seen = b.Op("reshape", {product}, {{"shape", view}});
    b.Output("y", b.Op("add", {seen, b.Parameter("bias", bias)}));
    if (read) b.Output("z", b.Op("relu", {seen}));
    return b;
  };
  const Ops ops = OpsOf(layer({2, 4, 6}, {6}));
  EXPECT_EQ(ops.linear, 1);
  EXPECT_EQ(ops.add, 0);
  EXPECT_EQ(OpsOf(layer({2, 4, 6}, {6}), {{"dp", 2}}).layouts, "S(0),B,B->S(0)");
  EXPECT_EQ(OpsOf(layer({8, 2, 3}, {3})).linear, 0);
  EXPECT_EQ(OpsOf(layer({2, 4, 6}, {6}, true)).linear, 0);
}

// Rows of w lie apart, and are many: each device has a share of every sum, and the bias is added once, behind them.
TEST(FuseBiasTest, NotToPartialSums) {
  StepBuilder b;
  const ValueId x = b.Input("x", {8, 4096});
  const ValueId product = b.Linear(x, b.Parameter("w", {4096, 512}, {{"tp", {Sbp::kSplit, 0}}}));
  b.Output("y", b.Op("add", {product, b.Parameter("bias", {512})}));
  const Ops ops = OpsOf(b, {{"tp", 2}});
  EXPECT_EQ(ops.linear, 0);
  EXPECT_EQ(ops.matmul, 1);
  EXPECT_EQ(ops.add, 1);
}

TEST(FuseBiasTest, NotWhereOthersReadTheProduct) {
  StepBuilder b;
  const ValueId product = b.Linear(b.Input("x", {8, 4}), b.Parameter("w", {4, 6}));
  b.Output("y", b.Op("add", {product, b.Parameter("bias", {6})}));
  b.Output("z", b.Op("relu", {product}));
  EXPECT_EQ(OpsOf(b).linear, 0);
}

TEST(FuseBiasTest, NotWhatIsNoBias) {
  for (const Shape& shape : {Shape{8, 6}, Shape{8, 1}, Shape{1, 6}, Shape{1}}) {
    StepBuilder b;
    const ValueId product = b.Linear(b.Input("x", {8, 4}), b.Parameter("w", {4, 6}));
    b.Output("y", b.Op("add", {product, b.Parameter("bias", shape)}));
    EXPECT_EQ(OpsOf(b).linear, 0);
  }
}

// Between the two stands only what the bias is made of: what the product reads is not held for others.
TEST(FuseBiasTest, TheBiasMayBeMadeBetweenTheTwo) {
  for (const bool others : {false, true}) {
    StepBuilder b;
    const ValueId x = b.Input("x", {8, 4});
    const ValueId bias = b.Parameter("bias", {6});
    const ValueId product = b.Linear(x, b.Parameter("w", {4, 6}));
    if (others) b.Output("z", b.Op("relu", {x}));
    b.Output("y", b.Op("add", {product, b.Op("exp", {b.Op("neg", {bias})})}));
    EXPECT_EQ(OpsOf(b).linear, others ? 0 : 1);
  }
}

}  // namespace
}  // namespace oneflow
