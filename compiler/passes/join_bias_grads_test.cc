// JoinBiasGrads: which products sum an operand too and which must not; what the node computes is tested where kernels
// are (kernels/cpu/matmul_test.cc, kernels/cuda/conformance_fused_test.cc) and on whole steps (tests/e2e).
#include "compiler/passes/join_bias_grads.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "compiler/passes/decided_step_for_test.h"

namespace oneflow {
namespace {

struct Ops {
  int joined = 0, sum = 0;
  std::string of, layouts;  // of the last joined: "S(0),S(0)->P,P" on the first mesh axis
};

Ops OpsOf(const StepBuilder& traced, std::vector<Axis> axes = {{"dp", 1}},
          const std::function<void(DecidedStep*)>& edit = {}) {
  DecidedStep step(traced.graph, std::move(axes));
  if (edit) edit(&step);
  EXPECT_EQ(JoinBiasGrads(&step.graph, &step.decisions), absl::OkStatus());
  step.ExpectSound("join_bias_grads");
  Ops ops;
  for (const NodeId id : step.graph.order()) {
    const Node& node = step.graph.node(id);
    ops.sum += node.op == "sum" ? 1 : 0;
    if (node.op != "matmul_sums") continue;
    ++ops.joined;
    ops.of = node.attrs.String("of");
    ops.layouts = step.Layouts(id);
  }
  return ops;
}

// A training step of x . w + bias in that type, the weights as [out, in] if transposed; x is [8, 4] or [2, 8, 4].
StepBuilder Layer(bool transposed = false, const Shape& x = {8, 4},
                  StepBuilder::Annotation weight = {}, const std::string& dtype = "bf16") {
  StepBuilder b;
  const auto narrow = [&](ValueId value) { return b.Op("cast", {value}, {{"dtype", dtype}}); };
  const ValueId w = b.Parameter("w", transposed ? Shape{6, 4} : Shape{4, 6}, std::move(weight));
  const ValueId product =
      b.Op("matmul", {narrow(b.Input("x", x)), narrow(w)}, {{"transpose_b", transposed}});
  const ValueId y = b.Op("add", {product, narrow(b.Parameter("bias", {6}))});
  b.Train(b.Mean(b.Op("square", {b.Op("exp", {y})})));
  return b;
}

TEST(JoinBiasGradsTest, TheGradientsOfWeightAndBiasAreOneNode) {
  for (const Shape& x : {Shape{8, 4}, Shape{2, 8, 4}, Shape{2, 2, 4, 4}}) {
    const Ops plain = OpsOf(Layer(false, x)), transposed = OpsOf(Layer(true, x));
    EXPECT_EQ(plain.joined, 1);
    EXPECT_EQ(plain.of, "b");
    EXPECT_EQ(transposed.joined, 1);
    EXPECT_EQ(transposed.of, "a");
    EXPECT_EQ(plain.sum, 1);  // the loss's
    EXPECT_EQ(transposed.sum, 1);
  }
}

TEST(JoinBiasGradsTest, OfNarrowFloatsAlone) {
  for (const std::string dtype : {"bf16", "f16", "f32", "f64"}) {
    EXPECT_EQ(OpsOf(Layer(false, {8, 4}, {}, dtype)).joined,
              dtype == "bf16" || dtype == "f16" ? 1 : 0);
  }
}

// Rows that lie apart: both are partial. Columns of the weight: each device has its part of both.
TEST(JoinBiasGradsTest, LayoutsAreThoseOfTheTwo) {
  EXPECT_EQ(OpsOf(Layer(), {{"dp", 2}}).layouts, "S(0),S(0)->P,P");
  EXPECT_EQ(OpsOf(Layer(true, {2, 8, 4}), {{"dp", 2}}).layouts, "S(0),S(0)->P,P");
  const Ops columns = OpsOf(Layer(false, {8, 4}, {{"tp", {Sbp::kSplit, 1}}}), {{"tp", 2}});
  EXPECT_EQ(columns.layouts, "B,S(1)->S(1),S(0)");
}

// x^T dy and a sum of dy, as ops that the test orders; what is read stands last.
struct Direct {
  StepBuilder b;
  ValueId x, dy;
  Direct() {
    x = b.Input("x", {8, 4}, "bf16");
    dy = b.Input("dy", {8, 6}, "bf16");
  }
  ValueId Product() { return b.Op("matmul", {x, dy}, {{"transpose_a", true}}); }
  ValueId Sum(std::vector<int64_t> dims = {0}, bool keepdim = false) {
    return b.Op("sum", {dy}, {{"dims", std::move(dims)}, {"keepdim", keepdim}});
  }
  Ops Read(ValueId product, ValueId sums) {
    b.Output("dw", product);
    b.Output("sums", sums);
    return OpsOf(b);
  }
};

TEST(JoinBiasGradsTest, InEitherOrder) {
  Direct first, second;
  const ValueId sums = first.Sum();
  EXPECT_EQ(first.Read(first.Product(), sums).joined, 1);
  const ValueId product = second.Product();
  EXPECT_EQ(second.Read(product, second.Sum()).joined, 1);
}

TEST(JoinBiasGradsTest, OverTheRowsOfTheOperandAlone) {
  const auto joined = [](std::vector<int64_t> dims, bool keepdim) {
    Direct step;
    const ValueId sums = step.Sum(std::move(dims), keepdim);
    return step.Read(step.Product(), sums).joined;
  };
  EXPECT_EQ(joined({0}, false), 1);
  EXPECT_EQ(joined({0}, true), 0);
  EXPECT_EQ(joined({1}, false), 0);
  EXPECT_EQ(joined({0, 1}, false), 0);
}

// y = x . dy^T reads rows of dy as its columns: the sum over dy's rows is none over k.
TEST(JoinBiasGradsTest, NotAcrossTheProduct) {
  StepBuilder b;
  const ValueId dy = b.Input("dy", {6, 6}, "bf16");
  const ValueId sums = b.Op("sum", {dy}, {{"dims", std::vector<int64_t>{0}}, {"keepdim", false}});
  b.Output("y", b.Op("matmul", {b.Input("x", {8, 6}, "bf16"), dy}, {{"transpose_b", true}}));
  b.Output("sums", sums);
  EXPECT_EQ(OpsOf(b).joined, 0);
}

// The node stands before who reads the sums, if what the product reads is there: its own view of dy need not be.
TEST(JoinBiasGradsTest, StandsBeforeTheFirstReader) {
  Direct step;
  const ValueId read = step.b.Op("exp", {step.Sum()});
  EXPECT_EQ(step.Read(step.Product(), read).joined, 1);

  for (const bool late : {false, true}) {
    StepBuilder b;
    const ValueId dy = b.Input("dy", {2, 4, 6}, "bf16"), x = b.Input("x", {8, 4}, "bf16");
    const ValueId sums =
        b.Op("sum", {dy}, {{"dims", std::vector<int64_t>{0, 1}}, {"keepdim", false}});
    b.Output("sums", b.Op("exp", {sums}));
    const ValueId rows = b.Op("reshape", {dy}, {{"shape", Shape{8, 6}}});
    b.Output("dw", b.Op("matmul", {late ? b.Op("exp", {x}) : x, rows}, {{"transpose_a", true}}));
    EXPECT_EQ(OpsOf(b).joined, late ? 0 : 1);
  }
}

TEST(JoinBiasGradsTest, OneProductOfTwo) {
  Direct step;
  const ValueId sums = step.Sum(), one = step.Product();
  step.b.Output("other", step.b.Op("matmul", {step.b.Input("z", {8, 3}, "bf16"), step.dy},
                                   {{"transpose_a", true}}));
  const Ops ops = step.Read(one, sums);
  EXPECT_EQ(ops.joined, 1);
  EXPECT_EQ(ops.sum, 0);
}

TEST(JoinBiasGradsTest, InOneStageAndPhase) {
  const auto edited = [](const std::function<void(Node*)>& edit) {
    return OpsOf(Layer(), {{"dp", 1}}, [&](DecidedStep* step) {
      for (const NodeId id : step->graph.order()) {
        Node& node = step->graph.mutable_node(id);
        if (node.op == "sum" && node.phase == NodePhase::kBackward) edit(&node);
      }
    });
  };
  EXPECT_EQ(edited([](Node*) {}).joined, 1);
  EXPECT_EQ(edited([](Node* node) { node->stage = 1; }).joined, 0);
  EXPECT_EQ(edited([](Node* node) { node->phase = NodePhase::kUpdate; }).joined, 0);
}

// A sum that is whole on each device beside a product that is partial (a bias whose gradient was moved) is no
// result of the joined op.
TEST(JoinBiasGradsTest, NotOfOtherLayouts) {
  const Ops ops = OpsOf(Layer(), {{"dp", 2}}, [](DecidedStep* step) {
    for (const NodeId id : step->graph.order()) {
      const Node& node = step->graph.node(id);
      if (node.op != "sum" || node.phase != NodePhase::kBackward) continue;
      Sharding& layout = step->graph.mutable_value(node.outputs[0]).sharding;
      layout.sbps[1] = Sbp::B();
      step->decisions.nodes[id].shardings.outputs = {layout};
      for (const NodeId reader : step->graph.uses(node.outputs[0])) {
        const std::vector<ValueId>& read = step->graph.node(reader).inputs;
        for (size_t i = 0; i < read.size(); ++i) {
          if (read[i] == node.outputs[0]) {
            step->decisions.nodes[reader].shardings.inputs[i] = layout;
          }
        }
      }
    }
  });
  EXPECT_EQ(ops.joined, 0);
}

}  // namespace
}  // namespace oneflow
