#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>

#include "absl/strings/str_replace.h"
#include "base/status.h"
#include "compiler/graph/graph.h"
#include "compiler/ops/op_table.h"
#include "plan/sharding_rule.h"

namespace oneflow {
namespace {

using ::testing::HasSubstr;

// Every feature of the text: states, annotations, shardings, several outputs, attrs of all kinds,
// gaps.
Graph Sample() {
  Graph graph("a \"quoted\" name");
  EXPECT_TRUE(graph.AddState("fc.weight", {DType::kF32, {5, 6}}, {{"tp", Sbp::S(0)}}).ok());
  const LocationId line = graph.AddLocation({"/somewhere/mlp.py", 8, "forward"});
  const auto add = [&](const std::string& op, std::vector<ValueId> inputs, Attrs attrs) {
    auto outputs = graph.AddNode(op, std::move(inputs), std::move(attrs), line, "net.fc", 1);
    EXPECT_TRUE(outputs.ok()) << MessageOf(outputs.status());
    return *outputs;
  };
  const ValueId x = add("input", {},
                        {{"name", std::string("x # \n")},
                         {"dtype", std::string("f32")},
                         {"shape", std::vector<int64_t>{4, 6}}})[0];
  const ValueId labels = add("input", {},
                             {{"name", std::string("y")},
                              {"dtype", std::string("i64")},
                              {"shape", std::vector<int64_t>{4}}})[0];
  const ValueId w = add("state_read", {}, {{"name", std::string("fc.weight")}})[0];
  const ValueId dead = add("neg", {x}, {})[0];
  const ValueId y = add("matmul", {x, w}, {{"transpose_b", true}})[0];
  graph.RemoveNode(graph.value(dead).producer);
  graph.mutable_value(y).annotation = {{"dp", Sbp::S(0)}, {"tp", Sbp::P(Sbp::kMax)}};
  Sharding sharding = Sharding::Broadcast(1, 3, 2);
  sharding.sbps[1] = Sbp::S(0);
  sharding.sbps[2] = Sbp::P();
  sharding.units = {2, 0};
  graph.mutable_value(y).sharding = sharding;
  add("cross_entropy", {y, labels}, {});
  add("mul_scalar", {y}, {{"value", 1.0 / 3.0}});
  graph.AddNode("neg", {y}, {}, 0, "", std::nullopt, graph.value(y).producer).value();
  add("constant", {},
      {{"value", -0.0}, {"dtype", std::string("f32")}, {"shape", std::vector<int64_t>{}}});
  add("state_write", {w}, {{"name", std::string("fc.weight")}});
  EXPECT_TRUE(VerifyGraph(graph, "test").ok());
  return graph;
}

TEST(GraphTextTest, OneNodeALine) {
  Graph graph("mlp");
  const LocationId line = graph.AddLocation({"/home/u/mlp.py", 8, "forward"});
  const ValueId x = graph
                        .AddNode("input", {},
                                 {{"name", std::string("x")},
                                  {"dtype", std::string("f32")},
                                  {"shape", std::vector<int64_t>{4, 6}}},
                                 0)
                        .value()[0];
  graph.mutable_value(x).annotation = {{"dp", Sbp::S(0)}};
  const ValueId y = graph.AddNode("relu", {x}, {}, line, "act").value()[0];
  graph.AddNode("output", {y}, {{"name", std::string("y")}}, line).value();
  EXPECT_EQ(graph.ToString(),
            "graph \"mlp\"\n"
            "%0 = input {dtype=\"f32\", kind=\"batch\", name=\"x\", shape=[4,6]} : f32[4,6] "
            "ask{dp=S(0)}\n"
            "%1 = relu(%0) : f32[4,6] ; scope=\"act\"  # mlp.py:8\n"
            "output(%1) {name=\"y\"}  # mlp.py:8\n");
}

TEST(GraphTextTest, RoundTrip) {
  const Graph graph = Sample();
  const std::string text = graph.ToString();
  auto parsed = Graph::Parse(text);
  ASSERT_TRUE(parsed.ok()) << MessageOf(parsed.status()) << "\n" << text;
  EXPECT_EQ(parsed->ToString(), text);
  EXPECT_TRUE(VerifyGraph(*parsed, "parse").ok()) << MessageOf(VerifyGraph(*parsed, "parse"));
  EXPECT_EQ(parsed->name(), graph.name());
  // A parsed graph can be edited on.
  EXPECT_TRUE(parsed->AddNode("relu", {0}, {}, 0).ok());
  EXPECT_TRUE(VerifyGraph(*parsed, "edit").ok());
}

TEST(GraphTextTest, ErrorsNameTheLine) {
  const auto error = [](const std::string& text) { return MessageOf(Graph::Parse(text).status()); };
  const std::string head =
      "graph \"g\"\n%0 = input {dtype=\"f32\", kind=\"batch\", name=\"x\", shape=[4]} : f32[4]\n";
  EXPECT_TRUE(Graph::Parse(head).ok());
  EXPECT_THAT(error(""), HasSubstr("expected 'graph'"));
  EXPECT_THAT(error(head + "%1 = relu(%0) : f32[5]\n"),
              HasSubstr("line 3: %1 is written as f32[5]"));
  EXPECT_THAT(error(head + "%1 = relu(%7) : f32[4]\n"), HasSubstr("there is no value %7"));
  EXPECT_THAT(error(head + "%0 = relu(%0) : f32[4]\n"), HasSubstr("%0 is made twice"));
  EXPECT_THAT(error(head + "%1 = flip(%0) : f32[4]\n"), HasSubstr("no op flip"));
  EXPECT_THAT(error(head + "%999999999 = relu(%0) : f32[4]\n"), HasSubstr("too large"));
  EXPECT_THAT(error(head + "%1 = relu(%0) : f32[4] what\n"), HasSubstr("end of the line"));
}

TEST(GraphTextTest, PhasesAreToldWhereTheyAreNotForward) {
  const std::string text =
      "graph \"g\"\n"
      "state \"w\" : f32[4]\n"
      "%0 = state_read {name=\"w\"} : f32[4]\n"
      "%1 = relu(%0) : f32[4]\n"
      "%2 = relu_grad(%1, %1) : f32[4] ; phase=backward grad_of=%1\n"
      "%3 = neg(%0) : f32[4] ; phase=update\n"
      "%4 = add(%2, %3) : f32[4] ; phase=update\n"
      "state_write(%4) {name=\"w\"} ; phase=update\n";
  const auto parsed = Graph::Parse(text);
  ASSERT_TRUE(parsed.ok()) << MessageOf(parsed.status());
  EXPECT_EQ(parsed->ToString(), text);
  // What reads another phase is not forward, told or not.
  const auto untold = Graph::Parse(
      absl::StrReplaceAll(text, {{" ; phase=backward grad_of=%1", " ; grad_of=%1"},
                                 {"add(%2, %3) : f32[4] ; phase=update", "add(%2, %3) : f32[4]"}}));
  ASSERT_TRUE(untold.ok()) << MessageOf(untold.status());
  EXPECT_EQ(untold->ToString(), text);
  const auto forward = Graph::Parse(text + "%5 = neg(%1) : f32[4]\n");
  EXPECT_TRUE(VerifyGraph(*forward, "parse").ok());
}

// The sharding rule of every node that can be built binds to its shapes.
void ExpectRulesBind(const Graph& graph) {
  for (NodeId id : graph.order()) {
    const Node& node = graph.node(id);
    OpContext context{node.attrs, {}, {}};
    std::vector<Shape> inputs;
    std::vector<Shape> outputs;
    for (ValueId value : node.inputs) {
      context.inputs.push_back(graph.value(value).type);
      inputs.push_back(graph.value(value).type.shape);
    }
    for (ValueId value : node.outputs) {
      context.outputs.push_back(graph.value(value).type);
      outputs.push_back(graph.value(value).type.shape);
    }
    const auto rule = BoundRule::Bind(FindOp(node.op)->rule(context), inputs, outputs);
    EXPECT_TRUE(rule.ok()) << node.op << ": " << MessageOf(rule.status());
  }
}

// Totality: whatever bytes come, the parser answers, and what it accepts is a sound graph.
TEST(GraphTextTest, ParserIsTotalOnMutatedText) {
  const std::string text = Sample().ToString();
  uint64_t state = 12345;
  const auto random = [&state](uint64_t bound) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % bound;
  };
  const std::string alphabet = "%0123456789-.,;:()[]{}<>#\"\\=@ \nabcPSBxeinfu\x01\xff";
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string mutated = text;
    for (uint64_t edits = 1 + random(4); edits > 0 && !mutated.empty(); --edits) {
      const size_t place = random(mutated.size());
      switch (random(5)) {
        case 0:
          mutated[place] = alphabet[random(alphabet.size())];
          break;
        case 1:
          mutated.erase(place, 1 + random(8));
          break;
        case 2:
          mutated.insert(place, 1, alphabet[random(alphabet.size())]);
          break;
        case 3:
          mutated.insert(place, text.substr(random(text.size()), random(40)));
          break;
        default:
          mutated.insert(place, "9223372036854775807");
      }
    }
    auto parsed = Graph::Parse(mutated);
    if (!parsed.ok()) continue;
    ++accepted;
    const absl::Status sound = VerifyGraph(*parsed, "parse");
    // The one invariant that a text may break: two writes of a state.
    if (!sound.ok()) {
      EXPECT_THAT(MessageOf(sound), HasSubstr("a second time")) << mutated;
    }
    ExpectRulesBind(*parsed);
    auto again = Graph::Parse(parsed->ToString());
    ASSERT_TRUE(again.ok()) << MessageOf(again.status()) << "\n" << mutated;
    EXPECT_EQ(again->ToString(), parsed->ToString());
  }
  EXPECT_GT(accepted, 200) << "the mutations reach past the first line";
}

}  // namespace
}  // namespace oneflow
