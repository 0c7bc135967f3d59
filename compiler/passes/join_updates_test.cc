// JoinUpdates: which updates are one task and which must not; that bits stay is tested where kernels are
// (kernels/cpu/optimizer_test.cc) and on whole steps (tests/e2e/test_fused.py).
#include "compiler/passes/join_updates.h"

#include <gtest/gtest.h>

#include "compiler/passes/decided_step_for_test.h"

namespace oneflow {
namespace {

struct Step {
  StepBuilder b;
  ValueId lr = b.Scalar("lr"), step = b.Scalar("step", "i64");
  int count = 0;
  std::vector<std::pair<std::string, ValueId>> writes;

  // The new parameter; written to its states behind all updates, as steps are traced.
  ValueId Update(Shape shape, Attrs attrs = {}, ValueId rate = -1,
                 const StepBuilder::Annotation& annotation = {}) {
    const std::string name = "p" + std::to_string(count++);
    const ValueId p = b.Buffer(name, shape, annotation);
    const ValueId m = b.Buffer(name + ".m", shape, annotation);
    const ValueId v = b.Buffer(name + ".v", shape, annotation);
    const ValueId g = b.Op("mul", {p, p});
    const std::vector<ValueId> made =
        b.OpN("adamw_update", {p, g, m, v, rate < 0 ? lr : rate, step}, std::move(attrs));
    writes.insert(writes.end(), {{name, made[0]}, {name + ".m", made[1]}, {name + ".v", made[2]}});
    return made[0];
  }
  const StepBuilder& Done() {
    for (const auto& [name, value] : writes)
      b.Op("state_write", {value}, {{"name", AttrValue(name)}});
    return b;
  }
};

// Parameters of each joined task, in order; ones that are alone are left out.
std::vector<size_t> Joined(const StepBuilder& traced, std::vector<Axis> axes = {{"tp", 1}}) {
  DecidedStep step(traced.graph, std::move(axes));
  EXPECT_EQ(JoinUpdates(&step.graph, &step.decisions), absl::OkStatus());
  step.ExpectSound("join_updates");
  const Graph& graph = step.graph;
  std::vector<size_t> sizes;
  std::map<std::string, std::string> written;
  for (NodeId id : graph.order()) {
    const Node& node = graph.node(id);
    if (node.op == "adamw_updates") sizes.push_back(node.outputs.size() / 3);
    if (node.op != "state_write") continue;
    // Each state gets what was made of it.
    const Value& value = graph.value(node.inputs[0]);
    const Node& update = graph.node(value.producer);
    if (update.op != "adamw_updates") continue;
    const int of = value.output / 3, slot = value.output % 3;
    const ValueId read =
        update.inputs[static_cast<size_t>(2 + 4 * of + (slot == 0 ? 0 : slot + 1))];
    EXPECT_EQ(graph.node(graph.value(read).producer).attrs.String("name"),
              node.attrs.String("name"));
  }
  return sizes;
}

using Sizes = std::vector<size_t>;

TEST(JoinUpdatesTest, SmallOnesAreOneTask) {
  Step s;
  s.Update({8});
  s.Update({300, 300});
  s.Update({4, 4});
  s.Update({});
  EXPECT_EQ(Joined(s.Done()), Sizes{3});
}

TEST(JoinUpdatesTest, AsManyAsALaunchHasRoomFor) {
  Step s;
  for (size_t i = 0; i < kMostJoinedUpdates + 5; ++i) s.Update({8});
  EXPECT_EQ(Joined(s.Done()), (Sizes{kMostJoinedUpdates, 5}));
}

TEST(JoinUpdatesTest, OfOneRateAndOneSetOfAttributes) {
  Step s;
  const ValueId other = s.b.Scalar("lr.1");
  for (int i = 0; i < 2; ++i) {
    s.Update({8});
    s.Update({8}, {{"weight_decay", AttrValue(0.0)}});
    s.Update({8}, {}, other);
  }
  EXPECT_EQ(Joined(s.Done()), (Sizes{2, 2, 2}));
}

TEST(JoinUpdatesTest, OneThatIsReadInBetweenComesBefore) {
  Step s;
  s.Update({8});
  const ValueId made = s.Update({8});
  s.b.Output("new", s.b.Op("neg", {made}));
  s.Update({8});
  s.Update({8});
  EXPECT_EQ(Joined(s.Done()), (Sizes{2, 2}));
}

TEST(JoinUpdatesTest, WhatIsSplitStays) {
  Step s;
  s.Update({8}, {}, -1, {{"tp", Sbp::B()}});
  s.Update({8, 8}, {}, -1, {{"tp", Sbp::S(0)}});
  s.Update({8, 8}, {}, -1, {{"tp", Sbp::B()}});
  EXPECT_EQ(Joined(s.Done(), {{"tp", 2}}), Sizes{2});
}

}  // namespace
}  // namespace oneflow
