// NarrowUpdates: which updates read a narrow gradient and which must not; that bits stay is tested where kernels are
// (kernels/cpu/optimizer_test.cc) and on whole steps (tests/e2e/test_fused.py).
#include "compiler/passes/narrow_updates.h"

#include <gtest/gtest.h>

#include "compiler/passes/decided_step_for_test.h"

namespace oneflow {
namespace {

using Texts = std::vector<std::string>;

ValueId Cast(StepBuilder* b, ValueId x, const std::string& dtype) {
  return b->Op("cast", {x}, {{"dtype", dtype}});
}

// x . w in `dtype`, and its update by the mean.
StepBuilder NarrowLinear(const std::string& dtype, const StepBuilder::Annotation& annotation = {}) {
  StepBuilder b;
  const ValueId x = Cast(&b, b.Input("x", {8, 4}), dtype);
  const ValueId w = Cast(&b, b.Parameter("w", {4, 6}, annotation), dtype);
  b.Train(b.Mean(Cast(&b, b.Linear(x, w), "f32")));
  return b;
}

struct Result {
  Texts before, after;  // per update: the op that makes its gradient, and its type
  int casts = 0;        // gone
};
Result Narrow(const StepBuilder& traced, std::vector<Axis> axes = {{"dp", 1}},
              int micro_batches = 1) {
  DecidedStep step(traced.graph, std::move(axes), micro_batches);
  const Graph& graph = step.graph;
  Result result;
  const auto gradients = [&](int sign) {
    Texts texts;
    for (NodeId id : graph.order()) {
      const Node& node = graph.node(id);
      if (node.op == "cast") result.casts += sign;
      if (node.op != "sgd_update" && node.op != "adamw_update") continue;
      const Value& g = graph.value(node.inputs[1]);
      texts.push_back(graph.node(g.producer).op + " " + std::string(NameOf(g.type.dtype)));
    }
    return texts;
  };
  result.before = gradients(1);
  EXPECT_EQ(NarrowUpdates(&step.graph, &step.decisions), absl::OkStatus());
  step.ExpectSound("narrow_updates");
  result.after = gradients(-1);
  return result;
}

TEST(NarrowUpdatesTest, ACastThatNobodyElseReadsGoes) {
  for (const std::string dtype : {"bf16", "f16"}) {
    const Result result = Narrow(NarrowLinear(dtype));
    EXPECT_EQ(result.before, (Texts{"cast f32"}));
    EXPECT_EQ(result.after, (Texts{"matmul " + dtype}));
    EXPECT_EQ(result.casts, 1);
  }
}

TEST(NarrowUpdatesTest, AdamWToo) {
  StepBuilder b;
  const ValueId g = Cast(&b, Cast(&b, b.Input("g", {8, 4}), "bf16"), "f32");
  const ValueId p = b.Buffer("p", {8, 4}), m = b.Buffer("m", {8, 4}), v = b.Buffer("v", {8, 4});
  const std::vector<ValueId> made =
      b.OpN("adamw_update", {p, g, m, v, b.Scalar("lr"), b.Scalar("step", "i64")});
  for (size_t i = 0; i < 3; ++i) b.Output("new" + std::to_string(i), made[i]);
  const Result result = Narrow(b);
  EXPECT_EQ(result.after, (Texts{"cast bf16"}));
  EXPECT_EQ(result.casts, 1);
}

TEST(NarrowUpdatesTest, OneThatOthersReadStays) {
  StepBuilder b;
  const ValueId g = Cast(&b, Cast(&b, b.Input("g", {8, 4}), "bf16"), "f32");
  const ValueId p = b.Buffer("p", {8, 4});
  b.Output("new", b.Op("sgd_update", {p, g, b.Scalar("lr"), b.Scalar("step", "i64")}));
  b.Output("g", g);
  EXPECT_EQ(Narrow(b).casts, 0);
}

TEST(NarrowUpdatesTest, NorTheParameterItselfNorAFactorInBetween) {
  StepBuilder b;
  const ValueId lr = b.Scalar("lr"), step = b.Scalar("step", "i64");
  const ValueId g = Cast(&b, Cast(&b, b.Input("g", {8, 4}), "bf16"), "f32");
  b.Output("a", b.Op("sgd_update", {g, g, lr, step}));
  const ValueId h = Cast(&b, Cast(&b, b.Input("h", {8, 4}), "f16"), "f32");
  const ValueId scaled = b.Op("mul_scalar", {h}, {{"value", 0.5}});
  b.Output("b", b.Op("sgd_update", {b.Buffer("p", {8, 4}), scaled, lr, step}));
  const ValueId wide = Cast(&b, b.Input("wide", {8, 4}, "f64"), "f32");
  b.Output("c", b.Op("sgd_update", {b.Buffer("q", {8, 4}), wide, lr, step}));
  EXPECT_EQ(Narrow(b).casts, 0);
}

// A cast may not pass sums on, so those over devices and micro-batches come before it.
TEST(NarrowUpdatesTest, BehindASum) {
  for (const auto& [dp, micro] : {std::pair(2, 1), std::pair(1, 2), std::pair(2, 2)}) {
    const Result result = Narrow(NarrowLinear("bf16"), {{"dp", dp}}, micro);
    EXPECT_EQ(result.before, (Texts{"cast f32"})) << dp << " " << micro;
    EXPECT_EQ(result.after, (Texts{"reshard bf16"}));
  }
}

TEST(NarrowUpdatesTest, NotOverAMove) {
  StepBuilder b;
  const ValueId g = Cast(&b, Cast(&b, b.Input("g", {8, 4}), "bf16"), "f32");
  b.graph.mutable_value(g).annotation = {{"tp", Sbp::S(1)}};
  const ValueId p = b.Buffer("p", {8, 4}, {{"tp", Sbp::B()}});
  b.Output("new", b.Op("sgd_update", {p, g, b.Scalar("lr"), b.Scalar("step", "i64")}));
  const Result result = Narrow(b, {{"tp", 2}});
  EXPECT_EQ(result.before, (Texts{"reshard f32"}));
  EXPECT_EQ(result.after, result.before);
  EXPECT_EQ(result.casts, 0);
}

TEST(NarrowUpdatesTest, ShardsToo) {
  const Result result = Narrow(NarrowLinear("bf16", {{"tp", Sbp::S(1)}}), {{"tp", 2}});
  EXPECT_EQ(result.after, (Texts{"matmul bf16"}));
}

}  // namespace
}  // namespace oneflow
