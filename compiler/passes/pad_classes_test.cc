// PadClasses: which products get columns that nobody reads and which must not; that losses keep their bits is tested
// where kernels are (tests/e2e/test_padded_classes.py).
#include "compiler/passes/pad_classes.h"

#include <gtest/gtest.h>

#include "compiler/passes/decided_step_for_test.h"

namespace oneflow {
namespace {

using Texts = std::vector<std::string>;

Attrs To(const std::string& dtype) { return {{"dtype", AttrValue(dtype)}}; }

// Rows of 16 numbers, a head of `classes` words, and the loss of `score(logits)`.
struct Head {
  StepBuilder b;
  ValueId labels, narrow, weight, logits;

  explicit Head(int64_t classes, const std::string& dtype = "bf16",
                StepBuilder::Annotation annotation = {}) {
    const ValueId x = b.Input("x", {4, 6, 16});
    labels = b.Input("labels", {24}, "i64");
    const ValueId below = b.Linear(x, b.Parameter("below", {16, 16}));
    narrow = b.Op("cast", {b.Op("reshape", {below}, {{"shape", Shape{24, 16}}})}, To(dtype));
    weight = b.Op("cast", {b.Parameter("w", {classes, 16}, std::move(annotation))}, To(dtype));
    logits = b.Op("matmul", {narrow, weight}, {{"transpose_a", false}, {"transpose_b", true}});
  }
  Head& Biased() {
    const int64_t classes = b.graph.value(logits).type.shape.back();
    const ValueId bias = b.Op("cast", {b.Parameter("bias", {classes})},
                              To(std::string(NameOf(b.graph.value(logits).type.dtype))));
    logits = b.Op("add", {logits, bias});
    return *this;
  }
  // As a model of sequences hands its scores on.
  Head& Viewed() {
    const int64_t classes = b.graph.value(logits).type.shape.back();
    logits = b.Op("reshape", {logits}, {{"shape", Shape{4, 6, classes}}});
    logits = b.Op("reshape", {logits}, {{"shape", Shape{24, classes}}});
    return *this;
  }
  Head& Trained() {
    b.Train(b.CrossEntropy(logits, labels));
    return *this;
  }
};

// What the pass makes of a step: each op with a dim of `extent`, with its results.
Texts OpsOf(const Head& head, int64_t extent, std::vector<Axis> axes = {{"dp", 1}},
            int micro_batches = 1) {
  DecidedStep step(head.b.graph, std::move(axes), micro_batches);
  EXPECT_EQ(PadClasses(&step.graph, &step.decisions), absl::OkStatus());
  step.ExpectSound("pad_classes");
  const Graph& graph = step.graph;
  Texts ops;
  for (const NodeId id : graph.order()) {
    const Node& node = graph.node(id);
    const auto has = [&](ValueId value) {
      const Shape& shape = graph.value(value).type.shape;
      return std::find(shape.begin(), shape.end(), extent) != shape.end();
    };
    if (std::any_of(node.inputs.begin(), node.inputs.end(), has) ||
        std::any_of(node.outputs.begin(), node.outputs.end(), has)) {
      const std::string result =
          node.outputs.empty() ? "" : graph.value(node.outputs[0]).type.ToString();
      ops.push_back(node.op + " -> " + result);
    }
  }
  return ops;
}

TEST(PadClassesTest, AllProductsOfAHeadTakePaddedScores) {
  EXPECT_EQ(OpsOf(Head(37).Viewed().Trained(), 40),
            (Texts{"slice_grad -> bf16[40,16]", "matmul -> bf16[24,40]", "reshape -> bf16[4,6,40]",
                   "reshape -> bf16[24,40]", "cross_entropy -> f32[24]",
                   "cross_entropy_grad -> bf16[24,40]", "reshape -> bf16[4,6,40]",
                   "reshape -> bf16[24,40]", "matmul -> bf16[24,16]", "matmul -> bf16[40,16]",
                   "slice -> bf16[37,16]"}));
}

TEST(PadClassesTest, ABiasAndItsSumGoAlong) {
  const Texts ops = OpsOf(Head(37).Biased().Trained(), 40);
  const Texts expected = {"slice_grad -> bf16[40,16]", "matmul -> bf16[24,40]",
                          "slice_grad -> bf16[40]",    "add -> bf16[24,40]",
                          "cross_entropy -> f32[24]",  "cross_entropy_grad -> bf16[24,40]"};
  ASSERT_GE(ops.size(), expected.size());
  EXPECT_EQ(Texts(ops.begin(), ops.begin() + 6), expected);
  for (const char* op :
       {"sum -> bf16[40]", "slice -> bf16[37]", "slice -> bf16[37,16]", "matmul -> bf16[24,16]"}) {
    EXPECT_EQ(std::count(ops.begin(), ops.end(), op), 1) << op;
  }
}

TEST(PadClassesTest, AStepWithoutGradientsToo) {
  Head head(37);
  head.b.Output("loss", head.b.CrossEntropy(head.logits, head.labels));
  EXPECT_EQ(OpsOf(head, 40).size(), 3u);
}

TEST(PadClassesTest, NothingOfTheScoresSizeIsCopied) {
  for (const std::string& op : OpsOf(Head(37).Viewed().Trained(), 37)) {
    EXPECT_EQ(op.find("[24,37]"), std::string::npos) << op;
    EXPECT_EQ(op.find("[4,6,37]"), std::string::npos) << op;
  }
}

TEST(PadClassesTest, OnlyOfTwoByteElementsWhoseRowsNeedIt) {
  EXPECT_TRUE(OpsOf(Head(37, "f32").Trained(), 40).empty());
  for (const std::string& op : OpsOf(Head(40).Trained(), 40)) {
    EXPECT_EQ(op.find("slice"), std::string::npos) << op;
  }
  EXPECT_FALSE(OpsOf(Head(37, "f16").Trained(), 40).empty());
}

TEST(PadClassesTest, NotWhereSomebodyElseReadsTheScores) {
  Head shown(37);
  shown.b.Output("scores", shown.logits);
  EXPECT_TRUE(OpsOf(shown.Trained(), 40).empty());
  Head scaled(37);
  scaled.logits = scaled.b.Op("mul_scalar", {scaled.logits}, {{"value", 0.5}});
  EXPECT_TRUE(OpsOf(scaled.Trained(), 40).empty());
  Head masked(37);
  masked.logits = masked.b.Op("add", {masked.logits, masked.b.Input("mask", {24, 37}, "bf16")});
  EXPECT_TRUE(OpsOf(masked.Trained(), 40).empty());
  Head folded(37);  // rows of other lengths
  folded.b.Output("folded", folded.b.Op("reshape", {folded.logits}, {{"shape", Shape{37, 24}}}));
  EXPECT_TRUE(OpsOf(folded.Trained(), 40).empty());
  Head without(37);
  without.b.Output("sum", without.b.Op("sum", {without.logits}, {{"dims", Shape{0}}}));
  EXPECT_TRUE(OpsOf(without, 40).empty());
}

TEST(PadClassesTest, WhereSamplesAreSplitAndNotWhereClassesAre) {
  EXPECT_FALSE(OpsOf(Head(37).Trained(), 40, {{"dp", 2}}, 2).empty());
  EXPECT_TRUE(OpsOf(Head(37, "bf16", {{"tp", Sbp::S(0)}}).Trained(), 40, {{"tp", 2}}).empty());
}

}  // namespace
}  // namespace oneflow
