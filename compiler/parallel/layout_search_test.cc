#include "compiler/parallel/layout_search.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "compiler/parallel/assign_stages.h"
#include "compiler/parallel/micro_search.h"
#include "compiler/parallel/step_builder_for_test.h"

namespace oneflow {
namespace {

// What the search found, and the least total over all choices of all nodes and all layouts of all states.
struct Outcome {
  int64_t found = 0;
  int64_t best = 0;
  int64_t combinations = 0;
};

void Enumerate(const BoundGraph& bound, const std::vector<NodeId>& searched, size_t next,
               LayoutState* state, Outcome* outcome) {
  if (next < bound.groups.size()) {
    const StateGroup& group = bound.groups[next];
    std::vector<std::vector<Sbp>> layouts = {{}};
    for (size_t axis = 0; axis < bound.axes.size(); ++axis) {
      std::vector<Sbp> options = {Sbp::B()};
      for (size_t d = 0; d < group.shape.size(); ++d)
        options.push_back(Sbp::S(static_cast<int>(d)));
      if (group.asked[axis].has_value()) options = {*group.asked[axis]};
      std::vector<std::vector<Sbp>> longer;
      for (const std::vector<Sbp>& layout : layouts) {
        for (const Sbp& option : options) {
          longer.push_back(layout);
          longer.back().push_back(option);
        }
      }
      layouts = std::move(longer);
    }
    for (const std::vector<Sbp>& layout : layouts) {
      state->ChooseGroup(static_cast<int>(next),
                         state->GroupSharding(static_cast<int>(next), layout));
      Enumerate(bound, searched, next + 1, state, outcome);
    }
    return;
  }
  const size_t index = next - bound.groups.size();
  if (index == searched.size()) {
    ++outcome->combinations;
    outcome->best = std::min(outcome->best, state->total());
    return;
  }
  const NodeId id = searched[index];
  std::vector<int> choice = state->node(id).choice;
  for (int number : bound.nodes[id].allowed[1]) {
    choice[1] = number;
    if (state->Choose(id, choice)) Enumerate(bound, searched, next + 1, state, outcome);
  }
}

// One mesh axis. The weight of states must be the one that the search ended with: use sizes at which the first
// search uses the axis.
Outcome Compare(const StepBuilder& step, const Axis& axis) {
  Graph graph = step.graph;
  const Mesh mesh = MeshOf({axis});
  const CostModel cost(CpuTarget(static_cast<int>(axis.size), 8), mesh, 1);
  EXPECT_TRUE(PinAnnotatedValues(&graph, cost.axes()).ok());
  EXPECT_TRUE(AssignStages(&graph, 1, cost).ok());
  const auto bound = BindGraph(graph, cost.axes());
  EXPECT_TRUE(bound.ok()) << bound.status();
  const auto micro = SearchMicro(*bound, cost);
  EXPECT_TRUE(micro.ok()) << micro.status();
  ReshardPaths paths(&cost);
  Outcome outcome;
  outcome.found = SearchLayouts(*bound, cost, &paths, *micro)->total();
  outcome.best = outcome.found;
  std::vector<NodeId> searched;
  for (NodeId id : bound->order) {
    if (bound->nodes[id].rule != nullptr) searched.push_back(id);
  }
  LayoutState state(&*bound, &cost, &paths, *micro, /*state_weight=*/1);
  Enumerate(*bound, searched, 0, &state, &outcome);
  return outcome;
}

TEST(LayoutSearchTest, ChainsOfFourAreOptimal) {
  for (const Axis& axis : {Axis{"tp", 2}, Axis{"tp", 4}, Axis{"dp", 2}}) {
    for (const int64_t batch : {16, 256}) {
      for (const int64_t width : {64, 512}) {
        StepBuilder b;
        const ValueId x = b.Input("x", {batch, 256});
        const ValueId w1 = b.Buffer("w1", {256, width});
        const ValueId w2 = b.Buffer("w2", {width, 256});
        b.Output("y", b.Op("exp", {b.Linear(b.Op("relu", {b.Linear(x, w1)}), w2)}));
        const Outcome outcome = Compare(b, axis);
        EXPECT_GT(outcome.combinations, 100);
        EXPECT_EQ(outcome.found, outcome.best)
            << axis.name << axis.size << " batch " << batch << " width " << width;
      }
    }
  }
}

TEST(LayoutSearchTest, ReductionsAndBranchesAreOptimal) {
  for (const Axis& axis : {Axis{"tp", 2}, Axis{"dp", 4}}) {
    StepBuilder b;
    const ValueId x = b.Input("x", {64, 256});
    const ValueId h = b.Linear(x, b.Buffer("w", {256, 256}));
    const ValueId sum = b.Op(
        "sum", {h}, {{"dims", AttrValue(std::vector<int64_t>{1})}, {"keepdim", AttrValue(true)}});
    b.Output("y", b.Op("div", {h, sum}));
    const Outcome outcome = Compare(b, axis);
    EXPECT_EQ(outcome.found, outcome.best) << axis.name;
  }
}

TEST(LayoutSearchTest, OneTrainedLayerIsOptimal) {
  for (const Axis& axis : {Axis{"tp", 2}, Axis{"dp", 2}}) {
    StepBuilder b;
    const ValueId x = b.Input("x", {64, 512});
    const ValueId w = b.Buffer("w", {512, 512});
    const ValueId y = b.Linear(x, w);
    const ValueId gradient = b.Op("matmul", {x, y}, {{"transpose_a", AttrValue(true)}});
    b.Op("state_write",
         {b.Op("sgd_update", {w, gradient, b.Scalar("lr.0"), b.Scalar("step", "i64")})},
         {{"name", AttrValue(std::string("w"))}});
    const Outcome outcome = Compare(b, axis);
    EXPECT_EQ(outcome.found, outcome.best) << axis.name;
  }
}

// Hosts of eight devices on fast links, and a slow network between them.
plan::Target Hosts(int devices) {
  plan::Target target = CpuTarget(devices, 1);
  target.clear_links();
  AddLink("memory", 1, 0, 10'000, &target);
  AddLink("nvlink", 8, 1'000, 100'000, &target);
  AddLink("network", 0, 100'000, 1'000, &target);
  return target;
}

// Predicted time of a trained MLP on the best layouts of a mesh, and how many parameters `tp` cuts.
std::pair<int64_t, int> BestOn(const std::vector<Axis>& axes, const plan::Target& target) {
  StepBuilder b;
  ValueId x = b.Input("x", {512, 512});
  for (int i = 0; i < 4; ++i) {
    x = b.Op("relu", {b.Linear(x, b.Parameter("fc" + std::to_string(i), {512, 512}))});
  }
  b.Train(b.CrossEntropy(x, b.Input("labels", {512}, "i64")));
  const CostModel cost(target, MeshOf(axes), 1);
  EXPECT_TRUE(AssignStages(&b.graph, 1, cost).ok());
  const auto bound = BindGraph(b.graph, cost.axes());
  EXPECT_TRUE(bound.ok()) << bound.status();
  const auto micro = SearchMicro(*bound, cost);
  EXPECT_TRUE(micro.ok()) << micro.status();
  ReshardPaths paths(&cost);
  const auto state = SearchLayouts(*bound, cost, &paths, *micro);
  const size_t tp = cost.axes()[1].name == "tp" ? 1 : 2;
  int cut = 0;
  for (size_t g = 0; g < bound->groups.size(); ++g) {
    const Sharding& sharding = state->sharding(state->group(static_cast<int>(g)));
    cut += sharding.sbps[tp].kind == Sbp::kSplit ? 1 : 0;
  }
  return {state->total(), cut};
}

TEST(LayoutSearchTest, TheLastAxisLiesOnTheInnermostLevel) {
  const plan::Target target = Hosts(16);
  const CostModel inside(target, MeshOf({{"dp", 2}, {"tp", 8}}), 1);
  EXPECT_EQ(inside.levels().name(inside.AxisLevel(2)), "nvlink");
  EXPECT_EQ(inside.levels().name(inside.AxisLevel(1)), "network");
  const CostModel across(target, MeshOf({{"tp", 8}, {"dp", 2}}), 1);
  EXPECT_EQ(across.levels().name(across.AxisLevel(1)), "network");
  EXPECT_EQ(across.levels().name(across.AxisLevel(2)), "nvlink");
  // A group that straddles two hosts goes over the network, wherever its first devices are.
  const CostModel straddling(target, MeshOf({{"dp", 4}, {"tp", 3}}), 1);
  EXPECT_EQ(straddling.levels().name(straddling.AxisLevel(2)), "network");
  const CostModel stages(target, MeshOf({{"pp", 2}, {"tp", 8}}), 1);
  EXPECT_EQ(stages.AxisLink(1).latency_ns, 1'000);
  EXPECT_EQ(stages.CrossStageLink(0, 1).latency_ns, 100'000);
}

TEST(LayoutSearchTest, TensorsAreCutInsideAHostAndTheBatchAcross) {
  const auto [inside, cut_inside] = BestOn({{"dp", 2}, {"tp", 8}}, Hosts(16));
  const auto [across, cut_across] = BestOn({{"tp", 8}, {"dp", 2}}, Hosts(16));
  EXPECT_EQ(cut_inside, 4);
  EXPECT_EQ(cut_across, 4);   // it was named, so it is used: at the network's price
  EXPECT_LT(inside, across);  // by less than a half: what is summed on `tp` goes by level
}

// The bookkeeping: whatever is tried and taken back, the total is that of a state built anew.
TEST(LayoutSearchTest, RollbackRestoresEverything) {
  StepBuilder step = ResidualNet(7);
  Graph graph = step.graph;
  const CostModel cost(CpuTarget(3, 8), MeshOf({{"dp", 3}}), 1);
  ASSERT_TRUE(AssignStages(&graph, 1, cost).ok());
  const auto bound = BindGraph(graph, cost.axes());
  ASSERT_TRUE(bound.ok()) << bound.status();
  const auto micro = SearchMicro(*bound, cost);
  ASSERT_TRUE(micro.ok());
  ReshardPaths paths(&cost);
  LayoutState state(&*bound, &cost, &paths, *micro, 1);
  const int64_t before = state.total();
  std::vector<NodeLayout> layouts;
  for (NodeId id : bound->order) layouts.push_back(state.node(id));
  const size_t mark = state.Mark();
  for (NodeId id : bound->order) {
    if (bound->nodes[id].rule == nullptr) continue;
    std::vector<int> choice = state.node(id).choice;
    choice[1] = bound->nodes[id].allowed[1].back();
    const NodeLayout* layout = state.Evaluate(id, choice);
    if (layout != nullptr) state.Choose(id, choice);
  }
  EXPECT_NE(state.total(), before);
  state.Rollback(mark);
  EXPECT_EQ(state.total(), before);
  for (size_t i = 0; i < bound->order.size(); ++i)
    EXPECT_EQ(state.node(bound->order[i]), layouts[i]);
}

// Where splits are even, what Delta foretells is what Choose does.
TEST(LayoutSearchTest, DeltaIsExactForEvenSplits) {
  Graph graph = ResidualNet(8).graph;
  const CostModel cost(CpuTarget(2, 8), MeshOf({{"tp", 2}}), 1);
  ASSERT_TRUE(AssignStages(&graph, 1, cost).ok());
  const auto bound = BindGraph(graph, cost.axes());
  ASSERT_TRUE(bound.ok()) << bound.status();
  const auto micro = SearchMicro(*bound, cost);
  ASSERT_TRUE(micro.ok());
  ReshardPaths paths(&cost);
  const std::unique_ptr<LayoutState> state = SearchLayouts(*bound, cost, &paths, *micro);
  int tried = 0;
  for (NodeId id : bound->order) {
    if (bound->nodes[id].rule == nullptr) continue;
    for (int number : bound->nodes[id].allowed[1]) {
      std::vector<int> choice = state->node(id).choice;
      choice[1] = number;
      const NodeLayout* layout = state->Evaluate(id, choice);
      if (layout == nullptr) continue;
      const int64_t foretold = state->total() + state->Delta(id, *layout);
      const size_t mark = state->Mark();
      ASSERT_TRUE(state->Choose(id, choice));
      EXPECT_EQ(state->total(), foretold) << graph.node(id).op;
      state->Rollback(mark);
      ++tried;
    }
  }
  EXPECT_GT(tried, 200);
}

}  // namespace
}  // namespace oneflow
