// Decisions that are held: what is followed does not depend on the target, and what cannot be
// followed is refused with its line.
#include "compiler/parallel/held_decisions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "compiler/parallel/decide.h"
#include "compiler/parallel/step_builder_for_test.h"
#include "compiler/passes/cancel_permutes.h"
#include "compiler/passes/insert_reshard.h"
#include "compiler/passes/remove_dead.h"

namespace oneflow {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct Outcome {
  std::string graph;  // after InsertReshard
  std::string held;
};

// Links that are slow or free: what a search decides under the one is wrong under the other.
plan::Target TargetWith(int devices, int64_t latency_ns, int64_t bytes_per_us) {
  plan::Target target = CpuTarget(devices, 1);
  target.clear_links();
  AddLink("memory", 1, 0, 100'000, &target);
  AddLink("network", 0, latency_ns, bytes_per_us, &target);
  return target;
}

plan::Target Slow(int devices) { return TargetWith(devices, 1'000'000, 10); }
plan::Target Fast(int devices) { return TargetWith(devices, 0, 100'000); }

absl::StatusOr<Outcome> DecideWith(Graph graph, const std::vector<Axis>& axes, int micro_batches,
                                   const plan::Target& target,
                                   const std::vector<std::string>& texts = {}) {
  std::vector<HeldDecisions> given;
  for (const std::string& text : texts) {
    OF_ASSIGN_OR_RETURN(HeldDecisions held, HeldDecisions::Parse(text));
    given.push_back(std::move(held));
  }
  OF_ASSIGN_OR_RETURN(Decisions decisions,
                      Decide(&graph, MeshOf(axes), micro_batches, target, given));
  OF_RETURN_IF_ERROR(InsertReshard(&graph, &decisions, 1, target));
  OF_RETURN_IF_ERROR(VerifyGraph(graph, "insert_reshard"));
  // Without the declarations of states, which say whether a layout was given.
  const std::string text = graph.ToString();
  return Outcome{text.substr(text.find("\n%")), decisions.held.ToString()};
}

Graph Layers(int64_t batch, int64_t width) {
  StepBuilder b;
  ValueId h = b.Input("x", {batch, width});
  for (int i = 0; i < 4; ++i) {
    h = b.Op("relu", {b.Linear(h, b.Parameter("w" + std::to_string(i), {width, width}))});
  }
  b.Train(b.Mean(b.Op("square", {h})));
  return b.graph;
}

Graph Residual() {
  StepBuilder b = ResidualNet(16, /*groups=*/4);
  OF_CHECK(CancelPermutes(&b.graph).ok());
  RemoveDead(&b.graph);
  return b.graph;
}

std::vector<Axis> Tp2() { return {{"tp", 2}}; }

std::string TextOfLayers() {
  const auto decided = DecideWith(Layers(64, 32), Tp2(), 1, Fast(2));
  EXPECT_TRUE(decided.ok()) << decided.status();
  return decided->held;
}

struct LayoutCase {
  std::vector<Axis> axes;
  int micro_batches;
};

class HeldDecisionsTest : public testing::TestWithParam<LayoutCase> {};

TEST_P(HeldDecisionsTest, AreFollowedWhateverTheTargetSays) {
  const auto& [axes, micro_batches] = GetParam();
  const int devices = static_cast<int>(MeshOf(axes).devices.size());
  bool searches_differ = false;
  std::vector<Graph> graphs = {Layers(64, 256), Layers(8, 512)};
  if (devices <= 2) graphs.push_back(Residual());
  for (const Graph& graph : graphs) {
    const auto fast = DecideWith(graph, axes, micro_batches, Fast(devices));
    ASSERT_TRUE(fast.ok()) << fast.status();
    const auto slow = DecideWith(graph, axes, micro_batches, Slow(devices));
    ASSERT_TRUE(slow.ok()) << slow.status();
    searches_differ = searches_differ || fast->held != slow->held;
    for (const Outcome& decided : {*fast, *slow}) {
      for (const plan::Target& target : {Fast(devices), Slow(devices)}) {
        const auto followed = DecideWith(graph, axes, micro_batches, target, {decided.held});
        ASSERT_TRUE(followed.ok()) << followed.status() << "\n" << decided.held;
        EXPECT_EQ(followed->held, decided.held);
        // The graph text holds the layouts of all values, the stages and the moves.
        EXPECT_EQ(followed->graph, decided.graph);
      }
    }
  }
  // Else the test would hold without holding anything.
  if (axes.back().name == "tp") {
    EXPECT_TRUE(searches_differ);
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, HeldDecisionsTest,
                         testing::Values(LayoutCase{{{"dp", 1}}, 1}, LayoutCase{{{"dp", 2}}, 4},
                                         LayoutCase{{{"tp", 2}}, 1}, LayoutCase{{{"tp", 4}}, 4},
                                         LayoutCase{{{"dp", 2}, {"tp", 2}}, 1},
                                         LayoutCase{{{"pp", 2}}, 4},
                                         LayoutCase{{{"pp", 2}, {"dp", 2}, {"tp", 2}}, 4}));

TEST(HeldDecisionsTextTest, ReadsAsItWasWritten) {
  const std::string text = TextOfLayers();
  EXPECT_THAT(text, HasSubstr("oneflow decisions 1\ngraph \"step\" "));
  EXPECT_THAT(text, HasSubstr("\nmesh tp:2\nmicro_batches 1\n"));
  EXPECT_THAT(text, HasSubstr("\nstate \"w0\" f32[32,32] <("));
  const auto parsed = HeldDecisions::Parse(text);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->ToString(), text);
}

TEST(HeldDecisionsTextTest, TheKeyIgnoresWhatChangesNoLayout) {
  StepBuilder a;
  a.Output("y", a.Op("mul_scalar", {a.Input("x", {8, 4})}, {{"value", AttrValue(2.0)}}));
  StepBuilder b;
  b.line = 40;
  b.Output("y", b.Op("mul_scalar", {b.Input("x", {8, 4})}, {{"value", AttrValue(3.0)}}));
  StepBuilder c;
  c.Output("y", c.Op("mul_scalar", {c.Input("x", {8, 6})}, {{"value", AttrValue(2.0)}}));
  EXPECT_EQ(GraphKey(a.graph), GraphKey(b.graph));
  EXPECT_NE(GraphKey(a.graph), GraphKey(c.graph));
}

TEST(HeldDecisionsTextTest, OfSeveralTheOneForTheGraphIsTaken) {
  const auto small = DecideWith(Layers(64, 32), Tp2(), 1, Fast(2));
  const auto large = DecideWith(Layers(64, 64), Tp2(), 1, Fast(2));
  ASSERT_TRUE(small.ok() && large.ok());
  const auto followed = DecideWith(Layers(64, 64), Tp2(), 1, Slow(2), {small->held, large->held});
  ASSERT_TRUE(followed.ok()) << followed.status();
  EXPECT_EQ(followed->held, large->held);
}

void ExpectRefused(const std::string& text, const std::string& said,
                   const Graph& graph = Layers(64, 32), std::vector<Axis> axes = Tp2(),
                   int micro_batches = 1) {
  const auto result = DecideWith(graph, axes, micro_batches, Fast(2), {text});
  ASSERT_FALSE(result.ok()) << said;
  EXPECT_EQ(KindOf(result.status()), ErrorKind::kPlan) << result.status();
  EXPECT_THAT(MessageOf(result.status()), HasSubstr(said));
}

TEST(HeldDecisionsErrorTest, AnotherGraphMeshOrAccumulate) {
  const std::string text = TextOfLayers();
  ExpectRefused(text, "\"w0\" f32[32,32] is f32[48,48] now", Layers(64, 48));
  ExpectRefused(text, "a shape, an edge, a flow.shard", Layers(32, 32));
  ExpectRefused(text, "made for the mesh tp=2, this is dp=2", Layers(64, 32), {{"dp", 2}});
  ExpectRefused(text, "made for accumulate=1, this is 2", Layers(64, 32), Tp2(), 2);
  StepBuilder other;
  ValueId h = other.Input("x", {64, 32});
  for (int i = 0; i < 4; ++i) {
    h = other.Op("tanh", {other.Linear(h, other.Parameter("w" + std::to_string(i), {32, 32}))});
  }
  other.Train(other.Mean(other.Op("square", {h})));
  ExpectRefused(text, "was `relu` and is `tanh` (model.py:", other.graph);
}

TEST(HeldDecisionsErrorTest, LinesThatDoNotFit) {
  const std::string text = TextOfLayers();
  const std::vector<std::string> lines = absl::StrSplit(text, '\n');
  const auto without = [&](const std::string& part) {
    std::string rest;
    bool dropped = false;
    for (const std::string& line : lines) {
      if (!dropped && line.find(part) != std::string::npos) {
        dropped = true;
      } else {
        absl::StrAppend(&rest, line, "\n");
      }
    }
    return rest;
  };
  const auto with = [&](const std::string& line) { return text + line + "\n"; };
  const auto edited = [&](const std::string& part, const std::string& by) {
    std::string result = text;
    const size_t at = result.find(part);
    EXPECT_NE(at, std::string::npos) << part;
    return at == std::string::npos ? result : result.replace(at, part.size(), by);
  };
  ExpectRefused("", "the text ends before");
  ExpectRefused("plan v1\n", "line 1: no decisions");
  ExpectRefused(edited("decisions 1", "decisions 2"), "line 1: version '2' is not known here");
  ExpectRefused(edited("mesh tp:2", "mesh tp:0"), "line 3: 'tp:0' is no axis of a mesh");
  ExpectRefused(edited("micro_batches 1", "micro_batches x"), "line 4: expected a number, not 'x'");
  ExpectRefused(without("micro_batches"), "line 4: expected a line `micro_batches`, not 'state'");
  ExpectRefused(without("state \"w1\""), "no line for the state \"w1\"");
  ExpectRefused(without(" matmul "), "there is no line for %");
  ExpectRefused(with("node %0 input @0 {}"), "is no node with a choice");
  ExpectRefused(with("state \"w0\" f32[32,32] <(B)>"), "the state \"w0\" stands twice");
  ExpectRefused(with("state \"w9\" f32[32,32] <(B)>"), "the state \"w9\" f32[32,32] is not there");
  ExpectRefused(with("surprise"), "expected a line `state, node or move`, not 'surprise'");
  ExpectRefused(with("move f32[4,4] <(B)> dp <(S(0))>"), "the mesh has no axis 'dp'");
  ExpectRefused(with("move f32[4,4] <(S(0))> tp <(P)>"), "no step leads from (S(0)) to (P) on tp");
  ExpectRefused(with("move f32[4,4] <(B)>"), "a move needs a step");
  ExpectRefused(with("move f32[-4] <(B)> tp <(B)>"), "expected a type like f32[8,4]");
  ExpectRefused(edited("\"w0\" f32[32,32] <(", "\"w0\" f32[32,32] <(Q"),
                "is no layout of f32[32,32]");
  ExpectRefused(edited("matmul @0 {tp ", "matmul @0 {tp S(7),B->P  "), "cannot be 'S(7),B->P");
  ExpectRefused(edited("matmul @0 {tp ", "matmul @0 {dp B,B->B; tp "),
                "no choice on the axis 'dp'");
  ExpectRefused(edited("matmul @0", "matmul @1"), "is on stage 0");
}

TEST(HeldDecisionsErrorTest, AnEarlierPlanHasPlacedTheState) {
  const std::string text = TextOfLayers();
  Graph graph = Layers(64, 32);
  const std::vector<Axis> axes = MeshOf(Tp2()).LayoutAxes(1);
  const auto held = HeldDecisions::Parse(text);
  ASSERT_TRUE(held.ok());
  Sharding other = Sharding::Broadcast(0, axes.size(), 2);
  if (held->states.at("w0").sharding == other) other.sbps[1] = Sbp::S(0);
  graph.mutable_state("w0")->sharding = Canonical(other, axes, {32, 32});
  ExpectRefused(text, "an earlier plan of this model and mesh has placed it", graph);
}

// Random edits never crash: they are refused, or what they say is followed by a graph that verifies.
TEST(HeldDecisionsErrorTest, RandomEditsAreRefusedOrFollowed) {
  const std::vector<Axis> axes = {{"pp", 2}, {"dp", 2}, {"tp", 2}};
  const Graph graph = Residual();
  const auto decided = DecideWith(graph, axes, 4, Fast(8));
  ASSERT_TRUE(decided.ok()) << decided.status();
  const std::string& text = decided->held;
  constexpr std::string_view kPieces[] = {
      "S(0)", "S(1)", "B",  "P",  "P(max)", "@1", "@0", "micro:S(0) ", "*",  "%3",  "9",
      "->",   ",",    "tp", "dp", "{",      "}",  "<",  "\"",          "#2", "/7u", "-1"};
  uint64_t state = 7;
  const auto next = [&state](size_t bound) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>(state >> 33) % bound;
  };
  int refused = 0;
  for (int i = 0; i < 400; ++i) {
    std::string edited = text;
    for (size_t edits = 1 + next(2); edits > 0; --edits) {
      // Where something of the grammar begins.
      const size_t at = edited.find_first_of("SBP@%<{#/", next(edited.size()));
      const size_t place = at == std::string::npos ? next(edited.size()) : at;
      edited.replace(place, next(5), kPieces[next(std::size(kPieces))]);
    }
    const auto result = DecideWith(graph, axes, 4, Fast(8), {edited});
    if (result.ok()) continue;
    ++refused;
    EXPECT_THAT(MessageOf(result.status()), Not(HasSubstr("CHECK")));
  }
  EXPECT_GT(refused, 200);
}

}  // namespace
}  // namespace oneflow
