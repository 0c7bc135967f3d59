// FuseGelu: which products do the activation behind them, or its gradient, and which must not; what the nodes compute
// is tested where kernels are (kernels/cpu/matmul_test.cc, kernels/cuda/conformance_fused_test.cc) and on whole steps
// (tests/e2e).
#include "compiler/passes/fuse_gelu.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "compiler/passes/decided_step_for_test.h"
#include "compiler/passes/fuse_bias.h"
#include "compiler/passes/join_bias_grads.h"

namespace oneflow {
namespace {

struct Ops {
  int forward = 0, backward = 0;  // joined
  int gelu = 0, grad = 0;         // left
  bool saves = false;             // of the last forward one
  // Of the last joined: "S(0),B,B->S(0)" on the first mesh axis.
  std::string forward_layouts, backward_layouts;
};

Ops OpsOf(const StepBuilder& traced, std::vector<Axis> axes = {{"dp", 1}},
          const std::function<void(DecidedStep*)>& edit = {}) {
  DecidedStep step(traced.graph, std::move(axes));
  EXPECT_EQ(FuseBias(&step.graph, &step.decisions), absl::OkStatus());
  EXPECT_EQ(JoinBiasGrads(&step.graph, &step.decisions), absl::OkStatus());
  if (edit) edit(&step);
  EXPECT_EQ(FuseGelu(&step.graph, &step.decisions), absl::OkStatus());
  step.ExpectSound("fuse_gelu");
  Ops ops;
  for (const NodeId id : step.graph.order()) {
    const Node& node = step.graph.node(id);
    ops.gelu += node.op == "gelu_tanh" ? 1 : 0;
    ops.grad += node.op == "gelu_tanh_grad" ? 1 : 0;
    if (node.op == "linear_gelu") {
      ++ops.forward;
      ops.saves = node.attrs.Bool("saves");
      ops.forward_layouts = step.Layouts(id);
    }
    if (node.op == "matmul_gelu_grad") {
      ++ops.backward;
      ops.backward_layouts = step.Layouts(id);
    }
    for (const ValueId output : node.outputs) {
      // Nothing is left that nobody reads, but what an op makes beside.
      EXPECT_TRUE(!step.graph.uses(output).empty() || node.outputs.size() > 1) << node.op;
    }
  }
  return ops;
}

// What a layer of the test may be.
struct Form {
  std::string activation = "gelu_tanh", dtype = "bf16";
  Shape x = {8, 4};
  bool rows = false;  // x is viewed as rows for each product, as GPT-2's Conv1D does
  bool bias = true, trained = true;
  StepBuilder::Annotation first = {}, second = {};
  std::string behind;  // an op between the activation and the second product
};

// The MLP of a transformer: square(gelu(x . v + bias) . w).
StepBuilder Mlp(const Form& form) {
  StepBuilder b;
  const auto narrow = [&](ValueId v) { return b.Op("cast", {v}, {{"dtype", form.dtype}}); };
  const auto product = [&](ValueId x, ValueId w) {
    const Shape shape = b.graph.value(x).type.shape;
    if (!form.rows || shape.size() == 2) return b.Linear(x, narrow(w));
    const int64_t columns = b.graph.value(w).type.shape[1];
    const ValueId flat = b.Op("reshape", {x}, {{"shape", Shape{shape[0] * shape[1], shape[2]}}});
    return b.Op("reshape", {b.Linear(flat, narrow(w))},
                {{"shape", Shape{shape[0], shape[1], columns}}});
  };
  const ValueId x = narrow(b.Op("exp", {b.Input("x", form.x)}));
  ValueId hidden = product(x, b.Parameter("v", {4, 8}, form.first));
  if (form.bias) hidden = b.Op("add", {hidden, narrow(b.Parameter("bias", {8}))});
  ValueId y = b.Op(form.activation, {hidden});
  if (!form.behind.empty()) y = b.Op(form.behind, {y});
  const ValueId out = product(y, b.Parameter("w", {8, 6}, form.second));
  if (form.trained) {
    b.Train(b.Mean(b.Op("square", {out})));
  } else {
    b.Output("y", out);
  }
  return b;
}

TEST(FuseGeluTest, ALayerDoesItsActivationInItsProducts) {
  for (const bool rows : {false, true}) {
    for (const Shape& x : {Shape{8, 4}, Shape{2, 4, 4}}) {
      const Ops ops = OpsOf(Mlp({.x = x, .rows = rows}));
      EXPECT_EQ(ops.forward, 1);
      EXPECT_EQ(ops.backward, 1);
      EXPECT_EQ(ops.gelu, 0);
      EXPECT_EQ(ops.grad, 0);
      EXPECT_TRUE(ops.saves);
    }
  }
}

TEST(FuseGeluTest, WithoutAGradientNothingIsSaved) {
  for (const bool rows : {false, true}) {
    const Ops ops = OpsOf(Mlp({.x = {2, 4, 4}, .rows = rows, .trained = false}));
    EXPECT_EQ(ops.forward, 1);
    EXPECT_EQ(ops.gelu, 0);
    EXPECT_FALSE(ops.saves);
  }
}

TEST(FuseGeluTest, OfNarrowFloatsAlone) {
  for (const std::string dtype : {"bf16", "f16", "f32", "f64"}) {
    const Ops ops = OpsOf(Mlp({.dtype = dtype}));
    const int joined = dtype == "bf16" || dtype == "f16" ? 1 : 0;
    EXPECT_EQ(ops.forward, joined) << dtype;
    EXPECT_EQ(ops.backward, joined) << dtype;
  }
}

// The library's form is that with tanh.
TEST(FuseGeluTest, NotAnotherActivation) {
  for (const std::string op : {"gelu", "relu", "silu"}) {
    const Ops ops = OpsOf(Mlp({.activation = op}));
    EXPECT_EQ(ops.forward + ops.backward, 0) << op;
  }
}

// A product without a bias stays, and so does not know its activation; its gradient does.
TEST(FuseGeluTest, ForwardBehindABias) {
  const Ops ops = OpsOf(Mlp({.bias = false}));
  EXPECT_EQ(ops.forward, 0);
  EXPECT_EQ(ops.gelu, 1);
  EXPECT_EQ(ops.backward, 1);
}

TEST(FuseGeluTest, LayoutsAreThoseOfTheTwo) {
  const Ops data = OpsOf(Mlp({.x = {8, 4, 4}, .rows = true}), {{"dp", 2}});
  EXPECT_EQ(data.forward_layouts, "S(0),B,B->S(0),S(0)");
  EXPECT_EQ(data.backward_layouts, "S(0),B,S(0)->S(0)");
  const Form columns = {.first = {{"tp", {Sbp::kSplit, 1}}}, .second = {{"tp", {Sbp::kSplit, 0}}}};
  const Ops tensor = OpsOf(Mlp(columns), {{"tp", 2}});
  EXPECT_EQ(tensor.forward_layouts, "B,S(1),S(0)->S(1),S(1)");
  EXPECT_EQ(tensor.backward_layouts, "B,S(0),S(1)->S(1)");
}

// A bias that is added to sums that are whole stands behind a move: the activation is no product's.
TEST(FuseGeluTest, NotBehindPartialSums) {
  StepBuilder b;
  const auto narrow = [&](ValueId v) {
    return b.Op("cast", {v}, {{"dtype", std::string("bf16")}});
  };
  const ValueId w = b.Parameter("w", {4096, 512}, {{"tp", {Sbp::kSplit, 0}}});
  const ValueId product = b.Linear(b.Input("x", {8, 4096}, "bf16"), narrow(w));
  const ValueId biased = b.Op("add", {product, narrow(b.Parameter("bias", {512}))});
  b.Output("y", b.Linear(b.Op("gelu_tanh", {biased}), b.Input("z", {512, 3}, "bf16")));
  const Ops ops = OpsOf(b, {{"tp", 2}});
  EXPECT_EQ(ops.forward, 0);
  EXPECT_EQ(ops.gelu, 1);
}

// As one chain the activation and what reads it alone move fewer bytes.
TEST(FuseGeluTest, NotWhatWillBeAChain) {
  const Ops ops = OpsOf(Mlp({.behind = "exp"}));
  EXPECT_EQ(ops.forward, 0);
  EXPECT_EQ(ops.gelu, 1);
  EXPECT_EQ(ops.grad, 1);  // its dy is no product's
}

// Direct ops, which the test orders: inference of gelu(x . w + bias).
struct Direct {
  StepBuilder b;
  ValueId x, w, bias;
  Direct() {
    x = b.Input("x", {8, 4}, "bf16");
    w = b.Input("w", {4, 8}, "bf16");
    bias = b.Op("exp", {b.Op("reshape", {b.Input("bias", {8, 1}, "bf16")}, {{"shape", Shape{8}}})});
  }
  ValueId Linear() { return b.Op("add", {b.Linear(x, w), bias}); }
  ValueId Product(ValueId value) { return b.Linear(value, b.Input("z", {8, 3}, "bf16")); }
};

TEST(FuseGeluTest, OthersMayReadWhatItIsOf) {
  for (const bool first : {false, true}) {
    Direct step;
    const ValueId hidden = step.Linear();
    if (first) step.b.Output("read", step.b.Op("neg", {hidden}));
    const ValueId y = step.b.Op("gelu_tanh", {hidden});
    if (!first) step.b.Output("read", step.b.Op("neg", {hidden}));
    step.b.Output("y", step.Product(y));
    const Ops ops = OpsOf(step.b);
    // y would be made before it was, and be held.
    EXPECT_EQ(ops.forward, first ? 0 : 1);
    EXPECT_TRUE(first || ops.saves);
  }
}

// x . w is what gelu_tanh_grad is given as dy.
TEST(FuseGeluTest, BackwardWhereTheProductIsReadByTheGradientAlone) {
  enum Kind { kPlain, kTwice, kItself, kLate, kViewed };
  for (const Kind kind : {kPlain, kTwice, kItself, kLate, kViewed}) {
    Direct step;
    StepBuilder& b = step.b;
    ValueId saved = b.Input("saved", {8, 8}, "bf16");
    if (kind == kViewed) saved = b.Op("reshape", {saved}, {{"shape", Shape{8, 2, 4}}});
    ValueId dy = b.Linear(step.x, step.w);
    if (kind == kLate) saved = b.Op("exp", {saved});
    if (kind == kItself) saved = dy;
    if (kind == kTwice) b.Output("read", b.Op("neg", {dy}));
    if (kind == kViewed) dy = b.Op("reshape", {dy}, {{"shape", Shape{8, 2, 4}}});
    ValueId dx = b.Op("gelu_tanh_grad", {saved, dy});
    if (kind == kViewed) dx = b.Op("reshape", {dx}, {{"shape", Shape{8, 8}}});
    b.Output("y", step.Product(dx));
    const Ops ops = OpsOf(b);
    const bool joins = kind == kPlain || kind == kViewed;
    EXPECT_EQ(ops.backward, joins ? 1 : 0) << kind;
    EXPECT_EQ(ops.grad, joins ? 0 : 1) << kind;
  }
}

// x that only is there as another view, made behind the product: the joined node has a view of its own.
TEST(FuseGeluTest, AViewOfXMayBeMadeLater) {
  for (const Shape& shape : {Shape{8, 8}, Shape{4, 16}}) {
    Direct step;
    StepBuilder& b = step.b;
    const ValueId saved = b.Input("saved", shape, "bf16");
    const ValueId dy = b.Linear(step.x, step.w);
    const ValueId seen = b.Op("reshape", {saved}, {{"shape", Shape{8, 2, 4}}});
    const ValueId dx =
        b.Op("gelu_tanh_grad", {seen, b.Op("reshape", {dy}, {{"shape", Shape{8, 2, 4}}})});
    b.Output("y", step.Product(b.Op("reshape", {dx}, {{"shape", Shape{8, 8}}})));
    EXPECT_EQ(OpsOf(b).backward, 1);
  }
}

// One product for each of a batch has no such epilogue.
TEST(FuseGeluTest, NotOfBatches) {
  for (const bool batched : {false, true}) {
    StepBuilder b;
    const ValueId x = b.Input("x", {3, 8, 4}, "bf16");
    const Shape matrices = batched ? Shape{3, 4, 8} : Shape{4, 8};
    const ValueId w = b.Input("w", matrices, "bf16"), v = b.Input("v", matrices, "bf16");
    const ValueId bias = b.Op("reshape", {b.Input("bias", {8, 1}, "bf16")}, {{"shape", Shape{8}}});
    const ValueId z = b.Input("z", {8, 3}, "bf16"), saved = b.Input("saved", {3, 8, 8}, "bf16");
    b.Output("y", b.Linear(b.Op("gelu_tanh", {b.Op("add", {b.Linear(x, w), bias})}), z));
    b.Output("dx", b.Linear(b.Op("gelu_tanh_grad", {saved, b.Linear(x, v)}), z));
    const Ops ops = OpsOf(b);
    EXPECT_EQ(ops.forward, batched ? 0 : 1);
    EXPECT_EQ(ops.backward, batched ? 0 : 1);
  }
}

TEST(FuseGeluTest, InOneStageAndPhase) {
  // From the node of that op on.
  const auto edited = [](const std::string& first, bool trained,
                         const std::function<void(Node*)>& change) {
    return OpsOf(Mlp({.trained = trained}), {{"dp", 1}}, [&](DecidedStep* step) {
      bool there = false;
      for (const NodeId id : step->graph.order()) {
        Node& node = step->graph.mutable_node(id);
        there = there || node.op == first;
        if (there) change(&node);
      }
    });
  };
  const auto moved = [](Node* node) { node->stage = 1; };
  EXPECT_EQ(edited("linear", false, moved).forward, 1);
  EXPECT_EQ(edited("gelu_tanh", false, moved).forward, 0);
  EXPECT_EQ(edited("gelu_tanh_grad", true, moved).backward, 0);
  const auto backward = [](Node* node) { node->phase = NodePhase::kBackward; };
  const auto update = [](Node* node) { node->phase = NodePhase::kUpdate; };
  EXPECT_EQ(edited("gelu_tanh", false, backward).forward, 0);
  EXPECT_EQ(edited("gelu_tanh_grad", true, update).backward, 0);
}

}  // namespace
}  // namespace oneflow
