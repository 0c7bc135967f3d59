// FuseElementwise: which ops join a chain and which must not; that bits stay is tested where kernels are
// (kernels/cpu/fused_test.cc) and on whole steps (tests/e2e/test_fused.py).
#include "compiler/passes/fuse_elementwise.h"

#include <gtest/gtest.h>

#include "compiler/passes/decided_step_for_test.h"
#include "plan/fused.h"

namespace oneflow {
namespace {

using Texts = std::vector<std::string>;

// The ops of each chain that the pass makes of the step, in order, and where the value is the right operand.
std::vector<Texts> ChainsOf(const StepBuilder& traced, std::vector<Axis> axes = {{"dp", 1}},
                            int micro_batches = 1) {
  DecidedStep step(traced.graph, std::move(axes), micro_batches);
  EXPECT_EQ(FuseElementwise(&step.graph, &step.decisions), absl::OkStatus());
  step.ExpectSound("fuse_elementwise");
  std::vector<Texts> chains;
  for (const NodeId id : step.graph.order()) {
    const Node& node = step.graph.node(id);
    if (node.op != "fused") continue;
    Texts& chain = chains.emplace_back(node.attrs.Strings("ops"));
    for (size_t k = 0; k < chain.size(); ++k) {
      if (node.attrs.Ints("reversed")[k] != 0) chain[k] += " from the right";
    }
  }
  return chains;
}

TEST(FuseElementwiseTest, AChainGrowsUpwardsFromItsLastOp) {
  StepBuilder b;
  const ValueId x = b.Input("x", {8, 4});
  const ValueId y = b.Input("y", {8, 4});
  b.Output("z", b.Op("relu", {b.Op("add", {b.Op("gelu", {x}), y})}));
  EXPECT_EQ(ChainsOf(b), (std::vector<Texts>{{"gelu", "add", "relu"}}));
}

TEST(FuseElementwiseTest, OneThatOthersReadStays) {
  StepBuilder b;
  const ValueId x = b.Input("x", {8, 4});
  const ValueId g = b.Op("gelu", {x});
  b.Output("z", b.Op("neg", {b.Op("relu", {g})}));
  b.Output("g", g);
  EXPECT_EQ(ChainsOf(b), (std::vector<Texts>{{"relu", "neg"}}));
}

TEST(FuseElementwiseTest, TheValueMayBeTheRightOperand) {
  StepBuilder b;
  const ValueId x = b.Input("x", {8, 4});
  const ValueId y = b.Input("y", {8, 4});
  b.Output("z", b.Op("sub", {y, b.Op("gelu", {x})}));
  EXPECT_EQ(ChainsOf(b), (std::vector<Texts>{{"gelu", "sub from the right"}}));
}

TEST(FuseElementwiseTest, AViewMovesUpOverOpsOfOneOperand) {
  StepBuilder b;
  const ValueId x = b.Input("x", {8, 4});
  const ValueId y = b.Input("y", {8, 2, 2});
  const ValueId view =
      b.Op("reshape", {b.Op("neg", {b.Op("gelu", {x})})}, {{"shape", Shape{8, 2, 2}}});
  b.Output("z", b.Op("add", {view, y}));
  EXPECT_EQ(ChainsOf(b), (std::vector<Texts>{{"gelu", "neg", "add"}}));
  EXPECT_EQ(ChainsOf(b, {{"dp", 2}}), (std::vector<Texts>{{"gelu", "neg", "add"}}));
}

TEST(FuseElementwiseTest, AViewStaysBehindWhatOthersReadOrKnowsItsDims) {
  for (const bool others : {false, true}) {
    StepBuilder b;
    const ValueId x = b.Input("x", {8, 4});
    const ValueId y = b.Input("y", {8, 2, 2});
    const ValueId top = others ? b.Op("gelu", {x}) : b.Op("add", {x, b.Input("row", {4})});
    b.Output("z", b.Op("add", {b.Op("reshape", {top}, {{"shape", Shape{8, 2, 2}}}), y}));
    if (others) b.Output("top", top);
    EXPECT_EQ(ChainsOf(b), std::vector<Texts>());
  }
}

TEST(FuseElementwiseTest, NotOverABroadcastOrATypeOfMoreBits) {
  StepBuilder b;
  const ValueId x = b.Input("x", {8, 4});
  const ValueId row = b.Input("row", {8, 1});
  b.Output("a", b.Op("add", {b.Op("gelu", {row}), x}));
  const ValueId wide = b.Input("wide", {8, 4}, "f64");
  b.Output("c", b.Op("relu", {b.Op("neg", {wide})}));
  EXPECT_TRUE(ChainsOf(b).empty());
}

TEST(FuseElementwiseTest, OneElementMayStandBeside) {
  StepBuilder b;
  const ValueId x = b.Input("x", {8, 4});
  const ValueId s = b.Scalar("s");
  b.Output("z", b.Op("mul", {s, b.Op("gelu", {x})}));
  EXPECT_EQ(ChainsOf(b), (std::vector<Texts>{{"gelu", "mul from the right"}}));
}

TEST(FuseElementwiseTest, TwiceTheSameValueStays) {
  StepBuilder b;
  const ValueId g = b.Op("gelu", {b.Input("x", {8, 4})});
  b.Output("z", b.Op("mul", {g, g}));
  EXPECT_TRUE(ChainsOf(b).empty());
}

// Between the two stands another op, and what the first one reads would have to live on.
TEST(FuseElementwiseTest, NothingIsHeldForLonger) {
  const auto chains = [](bool wide) {
    StepBuilder b;
    const ValueId x = b.Input("x", {8, 4});
    const ValueId a = b.Op("matmul", {x, b.Parameter("w", {4, 4})},
                           {{"transpose_a", false}, {"transpose_b", false}});
    const ValueId c = b.Op("matmul", {x, b.Parameter("v", {4, 4})},
                           {{"transpose_a", false}, {"transpose_b", false}});
    const ValueId first = wide ? b.Op("add", {a, c}) : b.Op("gelu", {a});
    const ValueId other = b.Op("sum", {x}, {{"dims", Shape{0}}});
    b.Output("z", b.Op("relu", {first}));
    b.Output("s", other);
    return ChainsOf(b);
  };
  EXPECT_EQ(chains(false), (std::vector<Texts>{{"gelu", "relu"}}));
  EXPECT_TRUE(chains(true).empty());
}

TEST(FuseElementwiseTest, PartialSumsAreNotRun) {
  StepBuilder b;
  const ValueId x = b.Input("x", {8, 4});
  const ValueId w = b.Parameter("w", {4, 6}, {{"tp", Sbp::S(0)}});
  b.Output("z",
           b.Op("relu", {b.Op("neg", {b.Op("mul_scalar", {b.Linear(x, w)}, {{"value", 0.5}})})}));
  // mul_scalar and neg may pass partial sums on; relu may not.
  for (const Texts& chain : ChainsOf(b, {{"tp", 2}})) {
    EXPECT_TRUE(chain.front() != "mul_scalar" || chain.back() == "relu");
  }
}

TEST(FuseElementwiseTest, AResidualBlockIsOnePassForwardAndOneBack) {
  StepBuilder b;
  const ValueId image = b.Input("x", {8, 3, 6, 6});
  const ValueId labels = b.Input("labels", {8}, "i64");
  ValueId x = b.Op("relu", {b.BatchNorm(b.Conv(image, b.Parameter("stem", {16, 3, 3, 3})), "bn")});
  for (int i = 0; i < 2; ++i) {
    const std::string name = "block" + std::to_string(i);
    const ValueId y = b.BatchNorm(b.Conv(x, b.Parameter(name, {16, 16, 3, 3})), name + ".bn");
    x = b.Op("relu", {b.Op("add", {y, x})});
  }
  const ValueId pooled = b.Op("sum", {x}, {{"dims", Shape{2, 3}}});
  b.Train(b.CrossEntropy(pooled, labels));
  for (int dp : {1, 2}) {
    std::map<Texts, int> count;
    for (const Texts& chain : ChainsOf(b, {{"dp", dp}})) ++count[chain];
    EXPECT_EQ((count[{"bn_apply", "relu"}]), 1) << dp;
    EXPECT_EQ((count[{"bn_apply", "add", "relu"}]), 2) << dp;
    EXPECT_EQ((count[{"add", "relu_grad from the right"}]), 2) << dp;
  }
}

TEST(FuseElementwiseTest, LongChainsAreCut) {
  StepBuilder b;
  ValueId x = b.Input("x", {8, 4});
  for (int i = 0; i < 20; ++i) x = b.Op(i % 2 == 0 ? "relu" : "neg", {x});
  b.Output("z", x);
  std::vector<size_t> lengths;
  for (const Texts& chain : ChainsOf(b)) lengths.push_back(chain.size());
  EXPECT_EQ(lengths, (std::vector<size_t>{4, kMaxFusedSteps, kMaxFusedSteps}));
}

TEST(FuseElementwiseTest, OneDropoutPerChain) {
  StepBuilder b;
  const ValueId step = b.Scalar("step", "i64");
  ValueId x = b.Input("x", {8, 4});
  for (int64_t key : {1, 2}) {
    x = b.Op("dropout", {b.Op("gelu", {x}), step},
             {{"p", 0.1}, {"seed", int64_t{3}}, {"key", key}});
  }
  b.Output("z", x);
  EXPECT_EQ(ChainsOf(b), (std::vector<Texts>{{"gelu", "dropout"}, {"gelu", "dropout"}}));
}

}  // namespace
}  // namespace oneflow
