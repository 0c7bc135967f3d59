#include "compiler/passes/autodiff.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "base/status.h"
#include "compiler/golden_for_test.h"
#include "compiler/ops/op_cases_for_test.h"

namespace oneflow {
namespace {

using ::testing::HasSubstr;

class AutodiffTest : public ::testing::Test {
 protected:
  ValueId Add(const std::string& op, std::vector<ValueId> inputs, Attrs attrs = {}) {
    return AddAll(op, std::move(inputs), std::move(attrs)).at(0);
  }
  std::vector<ValueId> AddAll(const std::string& op, std::vector<ValueId> inputs, Attrs attrs) {
    const LocationId location = graph_.AddLocation({"mlp.py", ++line_, "forward"});
    auto outputs =
        graph_.AddNode(op, std::move(inputs), std::move(attrs), location, scope_, stage_);
    EXPECT_TRUE(outputs.ok()) << MessageOf(outputs.status());
    return *outputs;
  }
  ValueId Input(const std::string& name, const TensorType& type) {
    return Add("input", {},
               {{"name", name}, {"dtype", std::string(NameOf(type.dtype))}, {"shape", type.shape}});
  }
  ValueId Sum(ValueId value) {
    Ints dims;
    for (size_t i = 0; i < graph_.value(value).type.shape.size(); ++i) {
      dims.push_back(static_cast<int64_t>(i));
    }
    return Add("sum", {value}, {{"dims", dims}});
  }
  std::vector<ValueId> Gradients(ValueId loss, const std::vector<ValueId>& wrt) {
    auto gradients = AddGradients(&graph_, loss, wrt);
    EXPECT_TRUE(gradients.ok()) << MessageOf(gradients.status());
    const absl::Status sound = VerifyGraph(graph_, "autodiff");
    EXPECT_TRUE(sound.ok()) << MessageOf(sound);
    return gradients.ok() ? *gradients : std::vector<ValueId>();
  }
  // A value as an expression of its inputs: "mul(broadcast_to(constant),x)".
  std::string Expression(ValueId value) const {
    const Node& node = graph_.node(graph_.value(value).producer);
    if (node.op == "input" || node.op == "state_read") return node.attrs.String("name");
    std::string text = node.op;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      text += (i == 0 ? "(" : ",") + Expression(node.inputs[i]);
    }
    return node.inputs.empty() ? text : text + ")";
  }
  const TensorType& type(ValueId value) const { return graph_.value(value).type; }

  Graph graph_{"g"};
  std::string scope_;
  std::optional<int> stage_;
  int line_ = 0;
};

TEST_F(AutodiffTest, ProductRule) {
  const ValueId x = Input("x", F32({4, 6}));
  const ValueId y = Input("y", F32({4, 6}));
  const auto grads = Gradients(Sum(Add("mul", {x, y})), {x, y});
  EXPECT_EQ(Expression(grads[0]), "mul(broadcast_to(constant),y)");
  EXPECT_EQ(Expression(grads[1]), "mul(broadcast_to(constant),x)");
}

TEST_F(AutodiffTest, AValueUsedTwiceGetsTheSumInReverseOrderOfUse) {
  const ValueId x = Input("x", F32({}));
  const ValueId y = Add("exp", {x});
  const ValueId z = Add("mul", {x, y});
  const auto grads = Gradients(z, {x});
  EXPECT_EQ(Expression(grads[0]), "add(mul(constant,exp(x)),mul(mul(constant,x),exp(x)))");
  // Both inputs of one node.
  Graph fresh("h");
  graph_ = fresh;
  const ValueId a = Input("a", F32({}));
  EXPECT_EQ(Expression(Gradients(Add("mul", {a, a}), {a})[0]),
            "add(mul(constant,a),mul(constant,a))");
}

TEST_F(AutodiffTest, BroadcastingGradientsAreReduced) {
  const ValueId x = Input("x", F32({4, 3, 6}));
  for (const Shape& shape : {Shape{6}, Shape{3, 1}, Shape{4, 1, 1}, Shape{}, Shape{1, 6}}) {
    const ValueId b = Input("b" + ToString(shape), F32(shape));
    const auto grads = Gradients(Sum(Add("sub", {x, b})), {x, b});
    EXPECT_EQ(type(grads[0]).shape, (Shape{4, 3, 6}));
    EXPECT_EQ(type(grads[1]).shape, shape);
    EXPECT_THAT(Expression(grads[1]), HasSubstr("sum(neg("));
  }
}

TEST_F(AutodiffTest, MatmulOfABatchWithOneMatrixIsOneProductOverAllRows) {
  const ValueId x = Input("x", F32({3, 4, 6}));
  const ValueId w = Input("w", F32({5, 6}));
  const auto grads = Gradients(Sum(Add("matmul", {x, w}, {{"transpose_b", true}})), {x, w});
  EXPECT_EQ(type(grads[0]).shape, (Shape{3, 4, 6}));
  EXPECT_EQ(Expression(grads[1]), "matmul(reshape(broadcast_to(constant)),reshape(x))");
}

TEST_F(AutodiffTest, BatchNormUsesTheFusedGradient) {
  const ValueId x = Input("x", F32({4, 3, 3, 6}));
  const ValueId weight = Input("weight", F32({6}));
  const ValueId bias = Input("bias", F32({6}));
  const double scale = 1.0 / 36;
  const ValueId mean = Add("mul_scalar", {Add("bn_sum", {x})}, {{"value", scale}});
  const ValueId var = Add("mul_scalar", {Add("bn_sq_sum", {x, mean})}, {{"value", scale}});
  const ValueId rstd = Add("rsqrt", {Add("add_scalar", {var}, {{"value", 1e-5}})});
  const ValueId y = Add("bn_apply", {x, mean, rstd, weight, bias}, {{"count", int64_t{36}}});
  const auto grads = Gradients(Sum(y), {x, weight, bias});
  EXPECT_EQ(graph_.node(graph_.value(grads[0]).producer).op, "bn_grad_input");
  EXPECT_EQ(graph_.node(graph_.value(grads[0]).producer).attrs.Int("count"), 36);
  int sums = 0;
  for (NodeId id : graph_.order()) sums += graph_.node(id).op == "bn_grad_sums" ? 1 : 0;
  EXPECT_EQ(sums, 1) << "shared by x, weight and bias";
}

TEST_F(AutodiffTest, NothingIsComputedForWhatNeedsNoGradient) {
  const ValueId x = Input("x", F32({4, 6}));
  const ValueId w = Input("w", F32({6, 5}));
  const size_t before = graph_.num_nodes();
  const ValueId loss = Sum(Add("matmul", {x, w}));
  Gradients(loss, {w});
  int products = 0;
  for (size_t id = before; id < graph_.num_nodes(); ++id) {
    products += graph_.node(static_cast<NodeId>(id)).op == "matmul" ? 1 : 0;
  }
  EXPECT_EQ(products, 2) << "forward, and the gradient of w only";
}

TEST_F(AutodiffTest, ZerosWhereTheLossDoesNotDependOnAValue) {
  const ValueId x = Input("x", F32({4}));
  const ValueId other = Input("other", F32({3, 2}));
  const auto grads = Gradients(Sum(x), {other, x});
  const Node& zeros = graph_.node(graph_.value(grads[0]).producer);
  EXPECT_EQ(zeros.op, "constant");
  EXPECT_EQ(zeros.attrs.Float("value"), 0.0);
  EXPECT_EQ(type(grads[0]).shape, (Shape{3, 2}));
}

TEST_F(AutodiffTest, GradientNodesInheritLineScopeStageAndForwardNode) {
  const ValueId x = Input("x", F32({4}));
  scope_ = "net.act";
  stage_ = 1;
  const ValueId y = Add("tanh", {x});
  scope_ = "";
  stage_ = std::nullopt;
  const auto grads = Gradients(Sum(y), {x});
  const Node& grad = graph_.node(graph_.value(grads[0]).producer);
  const Node& forward = graph_.node(graph_.value(y).producer);
  EXPECT_EQ(grad.op, "tanh_grad");
  EXPECT_EQ(grad.forward, forward.id);
  EXPECT_EQ(grad.location, forward.location);
  EXPECT_EQ(grad.scope, "net.act");
  EXPECT_EQ(grad.stage, 1);
}

TEST_F(AutodiffTest, NoGradientGoesThroughStopGradient) {
  const ValueId x = Input("x", F32({4}));
  const ValueId stopped = Add("stop_gradient", {Add("exp", {x})});
  // What has no gradient may stand before it.
  const ValueId also = Add("stop_gradient", {Add("mish_grad", {x, x})});
  const ValueId loss = Sum(Add("mul", {Add("add", {stopped, also}), x}));
  const auto grads = Gradients(loss, {x, stopped});
  EXPECT_EQ(graph_.node(graph_.value(grads[0]).producer).op, "mul");  // of the factor x alone
  for (const ValueId grad : grads) {
    EXPECT_NE(graph_.node(graph_.value(grad).producer).op, "add");
  }
}

TEST_F(AutodiffTest, MistakesCarryTheUsersLine) {
  const ValueId x = Input("x", F32({4, 6}));
  const ValueId labels = Input("labels", I64({4}));
  const auto fail = [&](ValueId loss, std::vector<ValueId> wrt) {
    const absl::Status status = AddGradients(&graph_, loss, wrt).status();
    EXPECT_FALSE(status.ok());
    EXPECT_TRUE(LocationOf(status).has_value());
    return MessageOf(status);
  };
  EXPECT_THAT(fail(Add("relu", {x}), {x}), HasSubstr("the loss is f32[4,6]"));
  EXPECT_THAT(fail(Sum(labels), {x}), HasSubstr("must be floating"));
  EXPECT_THAT(fail(Sum(x), {labels}), HasSubstr("only floating tensors"));
  const ValueId second = Add("mish_grad", {x, x});
  EXPECT_THAT(fail(Sum(second), {x}), HasSubstr("the loss depends on mish_grad"));
}

// The case with its f32 inputs in another type, as far as the op takes them so.
std::vector<TensorType> InputsIn(DType dtype, const OpCase& op_case, const OpDef& def) {
  std::vector<TensorType> inputs = op_case.inputs;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].dtype != DType::kF32) continue;
    const ArgDef& arg = def.inputs[std::min(i, def.inputs.size() - 1)];
    const TypeDef* variable = arg.type.empty() ? nullptr : FindType(def, arg.type);
    const DType wanted =
        variable != nullptr && variable->derive != nullptr ? variable->derive(dtype) : dtype;
    const DTypeSet& taken = arg.dtypes;
    if (std::find(taken.begin(), taken.end(), wanted) != taken.end()) inputs[i].dtype = wanted;
  }
  return inputs;
}

// Each differentiable op of the table, in each type that it takes: its gradients exist, have the
// inputs' types, and the graph is sound. A gradient op that takes fewer types than its forward op
// ends here, and not in a user's program.
TEST_F(AutodiffTest, EveryDifferentiableOpHasGradientsOfItsInputsTypes) {
  int seen = 0;
  std::vector<std::pair<OpCase, const OpDef*>> cases;
  for (const OpCase& op_case : OpCases()) {
    const OpDef& def = *FindOp(op_case.op);
    if (!def.grad) continue;
    for (const DType dtype : AnyFloat()) {
      OpCase typed = op_case;
      typed.inputs = InputsIn(dtype, op_case, def);
      if (dtype == DType::kF32 || typed.inputs != op_case.inputs) cases.push_back({typed, &def});
    }
  }
  for (const auto& [op_case, of_case] : cases) {
    const OpDef& def = *of_case;
    graph_ = Graph("case");
    std::vector<ValueId> inputs;
    std::vector<ValueId> wrt;
    for (size_t i = 0; i < op_case.inputs.size(); ++i) {
      inputs.push_back(Input("x" + std::to_string(i), op_case.inputs[i]));
      if (IsFloating(op_case.inputs[i].dtype)) wrt.push_back(inputs.back());
    }
    ValueId loss = -1;
    for (ValueId output : AddAll(op_case.op, inputs, op_case.attrs)) {
      if (!IsFloating(type(output).dtype)) continue;
      if (def.name == "ctc_loss" && loss >= 0) continue;  // alphas: CtcLossHasNoGradientOfAlphas
      // Statistics of a bf16 tensor are f32.
      const ValueId sum = Add("cast", {Sum(output)}, {{"dtype", std::string("f32")}});
      loss = loss < 0 ? sum : Add("add", {loss, sum});
    }
    if (loss < 0) continue;
    const std::vector<ValueId> grads = Gradients(loss, wrt);
    for (size_t i = 0; i < grads.size(); ++i) EXPECT_EQ(type(grads[i]), type(wrt[i])) << def.name;
    ++seen;
  }
  EXPECT_GT(seen, 250);
}

TEST_F(AutodiffTest, CtcLossHasNoGradientOfAlphas) {
  const ValueId x = Input("x", F32({6, 4, 7}));
  const ValueId lengths = Input("lengths", I64({4}));
  const std::vector<ValueId> results =
      AddAll("ctc_loss", {x, Input("targets", I64({4, 5})), lengths, lengths}, {});
  const auto gradients = AddGradients(&graph_, Sum(results[1]), {x});
  EXPECT_THAT(MessageOf(gradients.status()), testing::HasSubstr("alphas, has no gradient"));
}

// A gradient penalty: gradients inside the loss are forward nodes, and are differentiated like others.
TEST_F(AutodiffTest, GradientsInTheLossHaveGradients) {
  const ValueId x = Input("x", F32({4}));
  const ValueId y = Add("tanh", {x});
  const auto inner = AddGradients(&graph_, Sum(y), {x}, GradientsAre::kForward);
  ASSERT_TRUE(inner.ok());
  const Node& slope = graph_.node(graph_.value((*inner)[0]).producer);
  EXPECT_EQ(slope.op, "tanh_grad");
  EXPECT_EQ(slope.forward, -1);
  EXPECT_EQ(slope.phase, NodePhase::kForward);
  const auto outer = Gradients(Sum(Add("square", {(*inner)[0]})), {x});
  EXPECT_EQ(type(outer[0]), F32({4}));
  EXPECT_EQ(graph_.node(graph_.value(outer[0]).producer).phase, NodePhase::kBackward);
}

// The whole graph of a two-layer network after autodiff, as text.
TEST_F(AutodiffTest, GoldenMlp) {
  graph_ = Graph("mlp");
  ASSERT_TRUE(graph_.AddState("fc1.weight", F32({64, 32})).ok());
  ASSERT_TRUE(graph_.AddState("fc1.bias", F32({64})).ok());
  ASSERT_TRUE(graph_.AddState("fc2.weight", F32({10, 64})).ok());
  const ValueId x = Input("x", F32({8, 32}));
  const ValueId labels = Input("labels", I64({8}));
  std::vector<ValueId> parameters;
  for (const char* name : {"fc1.weight", "fc1.bias", "fc2.weight"}) {
    parameters.push_back(Add("state_read", {}, {{"name", std::string(name)}}));
  }
  scope_ = "fc1";
  const ValueId product = Add("matmul", {x, parameters[0]}, {{"transpose_b", true}});
  const ValueId hidden = Add("relu", {Add("add", {product, parameters[1]})});
  scope_ = "fc2";
  const ValueId logits = Add("matmul", {hidden, parameters[2]}, {{"transpose_b", true}});
  scope_ = "";
  const ValueId losses = Add("cross_entropy", {logits, labels});
  const ValueId loss = Add("mul_scalar", {Sum(losses)}, {{"value", 1.0 / 8}});
  const auto grads = Gradients(loss, parameters);
  const ValueId lr = Add("input", {},
                         {{"name", std::string("lr.0")},
                          {"dtype", std::string("f32")},
                          {"shape", Ints{}},
                          {"kind", std::string("scalar")}});
  const ValueId step = Add("input", {},
                           {{"name", std::string("step")},
                            {"dtype", std::string("i64")},
                            {"shape", Ints{}},
                            {"kind", std::string("scalar")}});
  for (size_t i = 0; i < parameters.size(); ++i) {
    const std::string name = graph_.node(graph_.value(parameters[i]).producer).attrs.String("name");
    const ValueId updated = Add("sgd_update", {parameters[i], grads[i], lr, step});
    ASSERT_TRUE(graph_.AddNode("state_write", {updated}, {{"name", name}}, 0).ok());
  }
  ASSERT_TRUE(graph_.AddNode("output", {loss}, {{"name", std::string("loss")}}, 0).ok());
  const std::string text = graph_.ToString();

  ExpectGolden("mlp_autodiff.graph", text);
  auto parsed = Graph::Parse(text);
  ASSERT_TRUE(parsed.ok()) << MessageOf(parsed.status());
  EXPECT_EQ(parsed->ToString(), text);
}

}  // namespace
}  // namespace oneflow
