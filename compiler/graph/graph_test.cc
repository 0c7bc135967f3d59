#include "compiler/graph/graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status.h"

namespace oneflow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

ValueId Add(Graph* graph, const std::string& op, std::vector<ValueId> inputs, Attrs attrs = {},
            LocationId location = 0) {
  auto outputs = graph->AddNode(op, std::move(inputs), std::move(attrs), location);
  EXPECT_TRUE(outputs.ok()) << MessageOf(outputs.status());
  return outputs->empty() ? -1 : outputs->at(0);
}

ValueId AddInput(Graph* graph, const std::string& name, std::vector<int64_t> shape) {
  return Add(graph, "input", {},
             {{"name", name}, {"dtype", std::string("f32")}, {"shape", std::move(shape)}});
}

// "input relu neg": the ops in order.
std::string Order(const Graph& graph) {
  std::string text;
  for (NodeId id : graph.order()) text += (text.empty() ? "" : " ") + graph.node(id).op;
  return text;
}

TEST(GraphTest, InsertReplaceRemoveKeepOrderAndUses) {
  Graph graph("g");
  const ValueId x = AddInput(&graph, "x", {2, 3});
  const ValueId y = Add(&graph, "relu", {x});
  const ValueId z = Add(&graph, "add", {y, y});
  Add(&graph, "output", {z}, {{"name", std::string("z")}});
  const NodeId relu = graph.value(y).producer;
  const NodeId add = graph.value(z).producer;
  EXPECT_THAT(graph.uses(y), ElementsAre(add)) << "one that reads it twice stands once";

  const ValueId n = graph.InsertNode(add, "neg", {y}, {}, graph.node(relu)).value()[0];
  const NodeId neg = graph.value(n).producer;
  EXPECT_EQ(Order(graph), "input relu neg add output");
  EXPECT_THAT(graph.uses(y), ElementsAre(neg, add));
  graph.ReplaceUses(y, n);
  EXPECT_THAT(graph.uses(y), ElementsAre(neg)) << "the maker of the new value keeps its input";
  EXPECT_THAT(graph.uses(n), ElementsAre(add));
  EXPECT_TRUE(VerifyGraph(graph, "test").ok());

  graph.ReplaceInput(add, 0, y);
  EXPECT_THAT(graph.uses(y), ElementsAre(neg, add));
  EXPECT_THAT(graph.uses(n), ElementsAre(add)) << "still its second input";
  graph.ReplaceInput(add, 1, y);
  graph.RemoveNode(neg);
  EXPECT_EQ(Order(graph), "input relu add output");
  EXPECT_THAT(graph.uses(y), ElementsAre(add));
  EXPECT_TRUE(VerifyGraph(graph, "test").ok());
}

TEST(GraphTest, OrderHoldsThroughManyInsertionsAtOnePlace) {
  Graph graph("g");
  const ValueId x = AddInput(&graph, "x", {2});
  ValueId last = Add(&graph, "relu", {x});
  const NodeId end = graph.value(last).producer;
  NodeId before = end;
  for (int i = 0; i < 200; ++i) {
    const ValueId value = graph.InsertNode(before, "neg", {x}, {}, graph.node(end)).value()[0];
    const NodeId made = graph.value(value).producer;
    EXPECT_TRUE(graph.Before(made, before));
    EXPECT_TRUE(graph.Before(graph.value(x).producer, made));
    before = made;
  }
  const std::vector<NodeId> order = graph.order();
  EXPECT_EQ(order.size(), 202u);
  for (size_t i = 1; i < order.size(); ++i) EXPECT_TRUE(graph.Before(order[i - 1], order[i]));
  EXPECT_TRUE(VerifyGraph(graph, "test").ok());
}

TEST(GraphTest, ErrorsCarryTheUsersLine) {
  Graph graph("g");
  const ValueId x = AddInput(&graph, "x", {2, 3});
  const LocationId line = graph.AddLocation({"/home/u/mlp.py", 8, "forward"});
  EXPECT_EQ(graph.AddLocation({"/home/u/mlp.py", 8, "forward"}), line);
  const auto failed = graph.AddNode("matmul", {x, x}, {}, line);
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(KindOf(failed.status()), ErrorKind::kShape);
  ASSERT_TRUE(LocationOf(failed.status()).has_value());
  EXPECT_EQ(LocationOf(failed.status())->line, 8);
  EXPECT_EQ(LocationOf(failed.status())->file, "/home/u/mlp.py");
  EXPECT_EQ(Order(graph), "input") << "a failed call adds nothing";
  EXPECT_THAT(MessageOf(graph.AddNode("no_such_op", {}, {}, line).status()),
              HasSubstr("there is no op no_such_op"));
}

TEST(GraphTest, StatesAreTypedAndWrittenOnce) {
  Graph graph("g");
  ASSERT_TRUE(graph.AddState("w", {DType::kF32, {2, 3}}).ok());
  EXPECT_TRUE(graph.AddState("w", {DType::kF32, {2, 3}}).ok());
  EXPECT_THAT(MessageOf(graph.AddState("w", {DType::kF32, {3}})), HasSubstr("declared twice"));
  const ValueId w = Add(&graph, "state_read", {}, {{"name", std::string("w")}});
  EXPECT_EQ(graph.value(w).type.ToString(), "f32[2,3]");
  EXPECT_THAT(MessageOf(graph.AddNode("state_read", {}, {{"name", std::string("v")}}, 0).status()),
              HasSubstr("no state v"));
  const ValueId row = Add(&graph, "sum", {w}, {{"dims", std::vector<int64_t>{0}}});
  EXPECT_THAT(
      MessageOf(graph.AddNode("state_write", {row}, {{"name", std::string("w")}}, 0).status()),
      HasSubstr("w is f32[2,3] and cannot become f32[3]"));
  Add(&graph, "state_write", {w}, {{"name", std::string("w")}});
  EXPECT_TRUE(VerifyGraph(graph, "trace").ok());
  Add(&graph, "state_write", {w}, {{"name", std::string("w")}});
  EXPECT_THAT(MessageOf(VerifyGraph(graph, "trace")),
              HasSubstr("after trace: node 3 (state_write) writes state w a second time"));
}

TEST(GraphTest, VerifyFindsWhatAPassBroke) {
  Graph graph("g");
  const ValueId x = AddInput(&graph, "x", {2, 3});
  const ValueId y = Add(&graph, "relu", {x});
  const ValueId z = Add(&graph, "neg", {y});
  {
    Graph broken = graph;
    broken.mutable_value(z).type.shape = {3, 2};
    EXPECT_THAT(MessageOf(VerifyGraph(broken, "pass")), HasSubstr("f32[3,2] instead of f32[2,3]"));
  }
  {
    Graph broken = graph;
    broken.mutable_node(graph.value(y).producer).attrs.Set("alpha", 1.0);
    EXPECT_THAT(MessageOf(VerifyGraph(broken, "pass")), HasSubstr("no attribute alpha"));
  }
  {
    Graph broken = graph;
    broken.ReplaceInput(graph.value(y).producer, 0, z);
    EXPECT_THAT(MessageOf(VerifyGraph(broken, "pass")), HasSubstr("before it is made"));
  }
  {
    Graph broken = graph;
    broken.mutable_node(graph.value(z).producer).inputs[0] = x;
    EXPECT_THAT(MessageOf(VerifyGraph(broken, "pass")), HasSubstr("uses of %0"));
  }
}

}  // namespace
}  // namespace oneflow
