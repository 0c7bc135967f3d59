#include "compiler/parallel/decide.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compiler/parallel/step_builder_for_test.h"
#include "compiler/passes/cancel_permutes.h"
#include "compiler/passes/insert_reshard.h"
#include "compiler/passes/remove_dead.h"

namespace oneflow {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

// A graph after Decide and InsertReshard.
struct Decided {
  Graph graph;
  Decisions decisions;

  // "matmul S(0),B->S(0)" of all nodes of an op on a layout axis, in order.
  std::vector<std::string> On(size_t axis, const std::string& op) const {
    std::vector<std::string> result;
    for (NodeId id : graph.order()) {
      if (graph.node(id).op == op) {
        result.push_back(LayoutOn(graph, decisions.nodes[id].shardings, id, axis));
      }
    }
    return result;
  }
  // "f32[2,3] P->B on dp" of all reshards, in order.
  std::vector<std::string> Reshards() const {
    std::vector<std::string> result;
    for (NodeId id : graph.order()) {
      const Node& node = graph.node(id);
      if (node.op != "reshard") continue;
      result.push_back(graph.value(node.inputs[0]).type.ToString() + " " +
                       node.attrs.String("change"));
    }
    return result;
  }
  // "matmul@1" of all nodes but leaves and reshards, in order.
  std::vector<std::string> Stages() const {
    std::vector<std::string> result;
    for (NodeId id : graph.order()) {
      const Node& node = graph.node(id);
      if (node.op == "input" || node.op == "state_read" || node.op == "constant") continue;
      result.push_back(node.op + "@" + std::to_string(*node.stage));
    }
    return result;
  }
  Sharding StateSharding(const std::string& name) const {
    for (NodeId id : graph.order()) {
      const Node& node = graph.node(id);
      if (node.op == "state_read" && node.attrs.String("name") == name) {
        return graph.value(node.outputs[0]).sharding;
      }
    }
    return {};
  }
};

absl::Status TryDecide(const StepBuilder& step, std::vector<Axis> axes, int micro_batches,
                       Decided* result) {
  const Mesh mesh = MeshOf(std::move(axes));
  const plan::Target target = CpuTarget(static_cast<int>(mesh.devices.size()), 8);
  result->graph = step.graph;
  OF_ASSIGN_OR_RETURN(result->decisions, Decide(&result->graph, mesh, micro_batches, target));
  OF_RETURN_IF_ERROR(InsertReshard(&result->graph, &result->decisions, 1, target));
  return VerifyGraph(result->graph, "insert_reshard");
}

Decided DecideStep(const StepBuilder& step, std::vector<Axis> axes, int micro_batches = 1) {
  Decided result{step.graph, {}};
  const absl::Status status = TryDecide(step, std::move(axes), micro_batches, &result);
  EXPECT_TRUE(status.ok()) << status;
  return result;
}

// The ShardingError of a step, with its line in the user's program.
void ExpectError(const StepBuilder& step, std::vector<Axis> axes, int micro_batches, int line,
                 const std::string& text) {
  Decided ignored{step.graph, {}};
  const absl::Status status = TryDecide(step, std::move(axes), micro_batches, &ignored);
  ASSERT_FALSE(status.ok()) << "expected: " << text;
  EXPECT_EQ(KindOf(status), ErrorKind::kSharding) << status;
  EXPECT_THAT(MessageOf(status), HasSubstr(text));
  ASSERT_TRUE(LocationOf(status).has_value()) << status;
  EXPECT_EQ(LocationOf(status)->line, line) << status;
}

StepBuilder TwoLayers(StepBuilder::Annotation first = {}, StepBuilder::Annotation second = {},
                      int64_t batch = 64, bool stages = false) {
  StepBuilder b;
  const ValueId x = b.Input("x", {batch, 256});
  const ValueId w1 = b.Parameter("w1", {256, 1024}, std::move(first));
  const ValueId w2 = b.Parameter("w2", {1024, 256}, std::move(second));
  if (stages) b.stage = 0;
  const ValueId h = b.Op("relu", {b.Linear(x, w1)});
  if (stages) b.stage = 1;
  const ValueId y = b.Linear(h, w2);
  b.Train(b.Mean(b.Op("square", {y})));
  return b;
}

TEST(DecideTest, DataParallelMlpReducesGradientsOnDp) {
  const Decided d = DecideStep(TwoLayers(), {{"dp", 2}});
  EXPECT_THAT(d.On(1, "matmul"),
              ElementsAre("matmul S(0),B->S(0)", "matmul S(0),B->S(0)", "matmul S(0),B->S(0)",
                          "matmul S(0),S(0)->P", "matmul S(0),S(0)->P"));
  EXPECT_THAT(d.On(1, "sgd_update"),
              ElementsAre("sgd_update B,B,B,B,B->B,B", "sgd_update B,B,B,B,B->B,B"));
  EXPECT_THAT(d.Reshards(), ElementsAre("f32[] P->B on dp", "f32[1024,256] P->B on dp",
                                        "f32[256,1024] P->B on dp"));
}

TEST(DecideTest, MegatronPairNeedsOneReductionForward) {
  const StepBuilder step = TwoLayers({{"tp", Sbp::S(1)}}, {{"tp", Sbp::S(0)}});
  const Decided d = DecideStep(step, {{"tp", 2}});
  EXPECT_THAT(d.On(1, "matmul"),
              ElementsAre("matmul B,S(1)->S(1)", "matmul S(1),S(0)->P", "matmul B,S(0)->S(1)",
                          "matmul S(1),B->S(0)", "matmul B,S(1)->S(1)"));
  // Nothing of the size of the hidden layer or of a parameter moves.
  EXPECT_THAT(d.Reshards(), Each(AnyOf(StartsWith("f32[64,256]"), StartsWith("f32[]"))));
  EXPECT_THAT(d.Reshards(), Contains(StartsWith("f32[64,256] P->")).Times(1));
}

TEST(DecideTest, FreeParametersFindTheMegatronPair) {
  for (const std::vector<Axis>& axes :
       {std::vector<Axis>{{"tp", 2}}, {{"tp", 4}}, {{"dp", 2}, {"tp", 2}}}) {
    const Decided d = DecideStep(TwoLayers(), axes);
    EXPECT_EQ(d.StateSharding("w1").sbps.back(), Sbp::S(1)) << MeshOf(axes).ToString();
    EXPECT_EQ(d.StateSharding("w2").sbps.back(), Sbp::S(0)) << MeshOf(axes).ToString();
    // The optimizer's slots lie like their parameter.
    EXPECT_EQ(d.StateSharding("w1.momentum"), d.StateSharding("w1"));
    EXPECT_EQ(d.StateSharding("w2.momentum"), d.StateSharding("w2"));
  }
}

TEST(DecideTest, SmallModelsUseTheAxesThatTheUserNamed) {
  StepBuilder b;
  const ValueId x = b.Input("x", {4, 8});
  b.Train(b.Mean(b.Linear(b.Op("relu", {b.Linear(x, b.Parameter("w1", {8, 16}))}),
                          b.Parameter("w2", {16, 4}))));
  const Decided tensor = DecideStep(b, {{"tp", 2}});
  EXPECT_EQ(tensor.StateSharding("w1").sbps[1].kind, Sbp::kSplit);
  EXPECT_EQ(tensor.StateSharding("w2").sbps[1].kind, Sbp::kSplit);
  const Decided data = DecideStep(b, {{"dp", 2}});
  EXPECT_THAT(data.On(1, "relu"), ElementsAre("relu S(0)->S(0)"));
}

TEST(DecideTest, BatchNormSumsArePartialUnderDp) {
  StepBuilder step = ResidualNet(8);
  ASSERT_TRUE(CancelPermutes(&step.graph).ok());
  RemoveDead(&step.graph);
  const Decided d = DecideStep(step, {{"dp", 2}});
  EXPECT_THAT(d.On(1, "bn_sum"), AllOf(SizeIs(3), Each(HasSubstr("S(0)->P"))));
  EXPECT_THAT(d.On(1, "bn_sample_sums"), AllOf(SizeIs(3), Each(HasSubstr("S(0)->S(0),S(0)"))));
  EXPECT_THAT(d.On(1, "bn_join_squares"), AllOf(SizeIs(3), Each(HasSubstr("S(0),S(0),B->P"))));
  EXPECT_THAT(d.On(1, "conv2d"), AllOf(SizeIs(3), Each(HasSubstr("S(0),B->S(0)"))));
  EXPECT_THAT(d.On(1, "conv2d_grad_weight"), AllOf(SizeIs(3), Each(HasSubstr("S(0),S(0)->P"))));
  EXPECT_THAT(d.Reshards(), Each(HasSubstr("P->B on dp")));
}

TEST(DecideTest, BatchNormGroupsStayInTheMicroLoop) {
  StepBuilder step = ResidualNet(16, /*groups=*/4);
  ASSERT_TRUE(CancelPermutes(&step.graph).ok());
  RemoveDead(&step.graph);
  const Decided d = DecideStep(step, {{"dp", 2}}, 4);
  EXPECT_THAT(d.On(0, "bn_sum"), Each(HasSubstr("S(0)->S(0)")));
  EXPECT_THAT(d.On(1, "bn_sum"), Each(HasSubstr("S(0)->P")));
  // The statistics of all micro-batches come together for the running mean, and nowhere else.
  EXPECT_THAT(d.Reshards(), Contains("f32[4,16] S(0)->B on micro").Times(3));
  EXPECT_THAT(d.On(0, "running_update"), Each(HasSubstr("B,B->B")));
}

TEST(DecideTest, MicroBatchesAccumulateGradientsBeforeTheAllReduce) {
  const Decided d = DecideStep(TwoLayers(), {{"dp", 2}}, 4);
  EXPECT_THAT(d.On(0, "matmul"),
              ElementsAre("matmul S(0),B->S(0)", "matmul S(0),B->S(0)", "matmul S(0),B->S(0)",
                          "matmul S(0),S(0)->P", "matmul S(0),S(0)->P"));
  EXPECT_THAT(d.Reshards(), ElementsAre("f32[] P->B on micro", "f32[] P->B on dp",
                                        "f32[1024,256] P->B on micro", "f32[1024,256] P->B on dp",
                                        "f32[256,1024] P->B on micro", "f32[256,1024] P->B on dp"));
  // The gradient of the mean is made piece by piece, not for the whole batch at once.
  EXPECT_THAT(d.On(0, "broadcast_to"), ElementsAre("broadcast_to B->S(0)"));
}

TEST(DecideTest, PerSampleOutputsConcatenate) {
  StepBuilder b;
  const ValueId x = b.Input("x", {8, 32});
  b.Output("y", b.Linear(x, b.Buffer("w", {32, 16})));
  const Decided d = DecideStep(b, {{"dp", 2}}, 4);
  EXPECT_THAT(d.On(1, "matmul"), ElementsAre("matmul S(0),B->S(0)"));
  EXPECT_THAT(d.Reshards(), ElementsAre("f32[8,16] S(0)->B on dp", "f32[8,16] S(0)->B on micro"));
}

TEST(DecideTest, UnevenBatchKeepsWholeSamples) {
  StepBuilder b;
  const ValueId x = b.Input("x", {7, 4, 6});
  const ValueId rows = b.Op("reshape", {x}, {{"shape", AttrValue(std::vector<int64_t>{28, 6})}});
  b.Train(b.Mean(b.Linear(rows, b.Parameter("w", {6, 6}))));
  const Decided d = DecideStep(b, {{"dp", 3}});
  const Sharding& sharding = d.graph.value(rows).sharding;
  EXPECT_EQ(sharding.sbps[1], Sbp::S(0));
  EXPECT_EQ(sharding.units[0], 7);  // 12, 8 and 8 rows
  EXPECT_THAT(d.Reshards(), Not(Contains(StartsWith("f32[28,6] S"))));
}

TEST(DecideTest, StagesFollowTheUser) {
  const Decided d = DecideStep(TwoLayers({}, {}, 64, /*stages=*/true), {{"pp", 2}}, 4);
  EXPECT_EQ(d.StateSharding("w1").stage, 0);
  EXPECT_EQ(d.StateSharding("w2").stage, 1);
  EXPECT_EQ(d.StateSharding("w2.momentum").stage, 1);
  std::vector<std::string> crossings;
  for (const std::string& change : d.Reshards()) {
    if (change.find('@') != std::string::npos) crossings.push_back(change);
  }
  EXPECT_THAT(crossings, ElementsAre("f32[64,1024] micro:S(0) ()->micro:S(0) ()@1",
                                     "f32[64,1024] micro:S(0) ()@1->micro:S(0) ()"));
  // The gradient of relu is on relu's stage.
  EXPECT_THAT(d.Stages(), AllOf(Contains("relu@0"), Contains("relu_grad@0"), Contains("square@1"),
                                Contains("sgd_update@0"), Contains("sgd_update@1")));
}

TEST(DecideTest, StagesAreCutByCostWithoutAnnotation) {
  StepBuilder b;
  ValueId h = b.Input("x", {64, 64});
  for (int i = 0; i < 4; ++i) {
    h = b.Op("relu", {b.Linear(h, b.Parameter("w" + std::to_string(i), {64, 64}))});
  }
  b.Train(b.Mean(h));
  const Decided d = DecideStep(b, {{"pp", 2}}, 2);
  EXPECT_EQ(d.StateSharding("w0").stage, 0);
  EXPECT_EQ(d.StateSharding("w1").stage, 0);
  EXPECT_EQ(d.StateSharding("w2").stage, 1);
  EXPECT_EQ(d.StateSharding("w3").stage, 1);
}

TEST(DecideTest, TiedParameterHasAHomeAndItsGradientReturns) {
  StepBuilder b;
  const ValueId x = b.Input("x", {8, 32});
  const ValueId w = b.Parameter("w", {32, 32});
  b.stage = 0;
  const ValueId h = b.Op("tanh", {b.Linear(x, w)});
  b.stage = 1;
  b.Train(b.Mean(b.Linear(h, w)));
  const Decided d = DecideStep(b, {{"pp", 2}});
  EXPECT_EQ(d.StateSharding("w").stage, 0);
  EXPECT_THAT(d.Reshards(), Contains("f32[32,32] ()->()@1"));
  EXPECT_THAT(d.Reshards(), Contains("f32[32,32] ()@1->()"));
}

TEST(DecideTest, InputsAreFedOnEachStageThatReadsThem) {
  StepBuilder b;
  const ValueId x = b.Input("x", {8, 32});
  b.stage = 0;
  const ValueId h = b.Op("relu", {x});
  b.stage = 1;
  b.Output("y", b.Op("add", {h, x}));
  const Decided d = DecideStep(b, {{"pp", 2}});
  int feeds = 0;
  for (NodeId id : d.graph.order()) feeds += d.graph.node(id).op == "input" ? 1 : 0;
  EXPECT_EQ(feeds, 2);
  EXPECT_THAT(d.Reshards(), ElementsAre("f32[8,32] ()->()@1"));
}

TEST(DecideTest, ShardOnAValueIsWhatReadersSee) {
  StepBuilder b;
  const ValueId x = b.Input("x", {8, 32});
  const ValueId y = b.Linear(x, b.Buffer("w", {32, 64}, {{"tp", Sbp::S(1)}}));
  b.graph.mutable_value(y).annotation = {{"tp", Sbp::B()}};
  b.Output("y", b.Op("relu", {y}));
  const Decided d = DecideStep(b, {{"tp", 2}});
  EXPECT_THAT(d.On(1, "matmul"), ElementsAre("matmul B,S(1)->S(1)"));
  EXPECT_THAT(d.On(1, "relu"), ElementsAre("relu B->B"));
  EXPECT_THAT(d.Reshards(), ElementsAre("f32[8,64] S(1)->B on tp"));
}

TEST(DecideTest, LaterPlansKeepTheLayoutOfStates) {
  StepBuilder b;
  const ValueId x = b.Input("x", {64, 256});
  const ValueId w = b.Buffer("w", {256, 1024});
  b.Output("y", b.Linear(x, w));
  const std::vector<Axis> axes = MeshOf({{"tp", 2}}).LayoutAxes(1);
  Sharding fixed = Sharding::Broadcast(0, axes.size(), 2);
  fixed.sbps[1] = Sbp::S(0);
  b.graph.mutable_state("w")->sharding = Canonical(fixed, axes, {256, 1024});
  const Decided d = DecideStep(b, {{"tp", 2}});
  EXPECT_EQ(d.StateSharding("w").sbps[1], Sbp::S(0));
}

TEST(DecideTest, SameInputSameDecisions) {
  const Decided a = DecideStep(ResidualNet(8), {{"dp", 2}, {"tp", 2}});
  const Decided b = DecideStep(ResidualNet(8), {{"dp", 2}, {"tp", 2}});
  EXPECT_EQ(a.graph.ToString(), b.graph.ToString());
}

TEST(DecideTest, ReasonsNameTheAlternatives) {
  const Decided d = DecideStep(TwoLayers(), {{"tp", 2}});
  for (NodeId id : d.graph.order()) {
    if (d.graph.node(id).op != "matmul") continue;
    EXPECT_THAT(d.decisions.nodes[id].reason,
                AllOf(StartsWith("tp: "), HasSubstr(", not B,B->B (+")));
  }
}

TEST(DecideErrorTest, AxisThatTheMeshLacks) {
  StepBuilder b;
  const ValueId x = b.Input("x", {8, 32});                         // line 1
  const ValueId w = b.Buffer("w", {32, 64}, {{"tp", Sbp::S(1)}});  // line 2
  b.Output("y", b.Linear(x, w));
  ExpectError(b, {{"dp", 2}}, 1, 2, "names the axis tp, but the mesh has dp");
  // The advice helps.
  DecideStep(b, {{"dp", 2}, {"tp", 1}});
}

TEST(DecideErrorTest, DimThatTheTensorLacks) {
  StepBuilder b;
  const ValueId x = b.Input("x", {8, 32});  // line 1
  const ValueId y = b.Op("relu", {x});      // line 2
  b.graph.mutable_value(y).annotation = {{"tp", Sbp::S(2)}};
  b.Output("y", b.Op("exp", {y}));
  ExpectError(b, {{"tp", 2}}, 1, 2, "asks for tp=\"S(2)\", but it has the dims 0 to 1");
}

TEST(DecideErrorTest, PartialState) {
  StepBuilder b;
  const ValueId x = b.Input("x", {8, 32});
  const ValueId w = b.Buffer("w", {32, 64}, {{"tp", Sbp::P()}});  // line 2
  b.Output("y", b.Linear(x, w));
  ExpectError(b, {{"tp", 2}}, 1, 2, "cannot be partial");
}

TEST(DecideErrorTest, StageThatTheMeshLacks) {
  StepBuilder b;
  const ValueId x = b.Input("x", {8, 32});
  b.stage = 2;
  const ValueId y = b.Op("relu", {x});  // line 2
  b.Output("y", y);
  ExpectError(b, {{"pp", 2}}, 1, 2, "flow.stage(2)");
}

TEST(DecideErrorTest, PipelineThatFlowsBackwards) {
  StepBuilder b;
  const ValueId x = b.Input("x", {8, 32});
  b.stage = 1;
  const ValueId h = b.Op("relu", {x});
  b.stage = 0;
  const ValueId y = b.Op("exp", {h});  // line 3
  b.stage.reset();
  b.Output("y", y);
  ExpectError(b, {{"pp", 2}}, 1, 3, "a pipeline flows forward only");
}

TEST(DecideErrorTest, AccumulateDoesNotDivideTheBatch) {
  StepBuilder b;
  b.Output("y", b.Op("relu", {b.Input("x", {10, 4})}));
  ExpectError(b, {}, 4, 1, "accumulate=4 does not divide the batch: input x is f32[10,4]");
  DecideStep(b, {}, 5);
}

TEST(DecideErrorTest, BatchStatisticNeededBeforeTheLastMicroBatch) {
  StepBuilder b;
  const ValueId x = b.Input("x", {8, 4});                   // line 1
  const ValueId h = b.Linear(x, b.Parameter("w", {4, 4}));  // lines 2, 3
  const ValueId mean = b.Mean(h);                           // lines 4, 5
  const ValueId y = b.Op("sub", {h, mean});                 // line 6
  b.Output("y", b.Mean(b.Op("square", {y})));
  ExpectError(b, {}, 4, 6, "before the last micro-batch");
  DecideStep(b, {}, 1);
}

// What multiplies all gradients alike is applied to their sums: once, after the loop.
TEST(DecideTest, AFactorOfTheLossFollowsTheSumsOfTheGradients) {
  StepBuilder b;
  const ValueId x = b.Input("x", {8, 4});
  const ValueId h = b.Linear(x, b.Parameter("w", {4, 4}));
  b.Train(b.Op("sqrt", {b.Mean(b.Op("square", {h}))}));
  const Decided d = DecideStep(b, {}, 4);
  int scaled = 0;
  for (NodeId id : d.graph.order()) {
    const Node& node = d.graph.node(id);
    if (node.op != "matmul" || node.phase != NodePhase::kBackward) continue;
    EXPECT_EQ(d.graph.value(node.outputs[0]).sharding.sbps[0], Sbp::P());
    for (NodeId reader : d.graph.uses(node.outputs[0])) {
      ASSERT_EQ(d.graph.node(reader).op, "reshard");  // the sum over the micro-batches
      const ValueId sum = d.graph.node(reader).outputs[0];
      const Node& next = d.graph.node(d.graph.uses(sum)[0]);
      ASSERT_EQ(next.op, "mul");
      EXPECT_TRUE(d.graph.value(next.inputs[1]).type.shape.empty());
      EXPECT_EQ(d.graph.value(next.outputs[0]).sharding.sbps[0], Sbp::B());
      ++scaled;
    }
  }
  EXPECT_EQ(scaled, 1);
}

TEST(DecideErrorTest, TwoFactorsOfOneGradient) {
  StepBuilder b;
  const ValueId x = b.Input("x", {8, 4});                   // line 1
  const ValueId h = b.Linear(x, b.Parameter("w", {4, 4}));  // lines 2, 3
  const ValueId squares = b.Mean(b.Op("square", {h}));      // lines 4 to 6
  b.Train(b.Op("div", {squares, b.Mean(b.Op("abs", {h}))}));
  ExpectError(b, {}, 4, 7, "from its own call of the model");
  DecideStep(b, {}, 1);
}

TEST(DecideErrorTest, SimilarityOfAllSamplesCannotTrainInMicroBatches) {
  StepBuilder b;
  const ValueId x = b.Input("x", {8, 4});                                        // line 1
  const ValueId h = b.Linear(x, b.Parameter("w", {4, 4}));                       // lines 2, 3
  const ValueId s = b.Op("matmul", {h, h}, {{"transpose_b", AttrValue(true)}});  // line 4
  b.Train(b.Mean(b.Op("square", {s})));
  ExpectError(b, {}, 4, 4, "combines samples of different micro-batches");
  DecideStep(b, {{"dp", 2}}, 1);
}

}  // namespace
}  // namespace oneflow
