// Which rings of a plan may be done by one call: the whole ones, as what they are.
#include "plan/rings.h"

#include <algorithm>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "plan/attrs.h"
#include "plan/plans_for_test.h"

namespace oneflow {
namespace {

void SetAttr(plan::Task* task, const std::string& name, AttrValue value) {
  Attrs attrs = Attrs::FromProto(task->attrs());
  attrs.Set(name, std::move(value));
  task->clear_attrs();
  attrs.ToProto(task->mutable_attrs());
}

TEST(RingsTest, AWholeRingIsFoundWithItsMembersInOrder) {
  const Ring made(2);
  const plan::Plan plan = Ring(2).Build();
  const std::vector<WholeRing> rings = RingsOf(plan);
  ASSERT_EQ(rings.size(), 2u);
  for (const WholeRing& ring : rings) {
    EXPECT_EQ(ring.kind, RingKind::kAllReduce);
    EXPECT_EQ(ring.mode, "sum");
    EXPECT_EQ(ring.dtype, DType::kF32);
    EXPECT_EQ(ring.elements, 16);
    EXPECT_TRUE(ring.even);
    ASSERT_EQ(ring.members.size(), 2u);
    for (uint32_t m = 0; m < 2; ++m) {
      EXPECT_EQ(ring.members[m].device, m);
      EXPECT_EQ(plan.tasks(static_cast<int>(ring.members[m].send)).op(), "ring_send");
      EXPECT_EQ(plan.tasks(static_cast<int>(ring.members[m].reduce)).op(), "ring_reduce");
    }
  }
  // builder.Register of the second collective is the newest: its tasks are the last.
  EXPECT_EQ(rings[1].members[0].send, made.send[0]);
  EXPECT_EQ(rings[1].members[1].reduce, made.reduce[1]);
}

// The ring of a plan after a change of all its tasks.
std::vector<WholeRing> After(const std::function<void(plan::Task*)>& change) {
  Ring made;
  plan::Plan plan = made.Build();
  for (const uint32_t t : {made.send[0], made.send[1], made.reduce[0], made.reduce[1]}) {
    change(plan.mutable_tasks(static_cast<int>(t)));
  }
  return RingsOf(plan);
}

TEST(RingsTest, SharesMayTravelInPieces) {
  const auto in_two = [](int64_t pieces_of_send) {
    return [pieces_of_send](plan::Task* task) {
      const bool sends = task->op() == "ring_send";
      task->set_chunks(4);
      SetAttr(task, "pieces", sends ? pieces_of_send : int64_t{2});
      if (!sends) SetAttr(task, "reduce_chunks", int64_t{2});
    };
  };
  const std::vector<WholeRing> rings = After(in_two(2));
  ASSERT_EQ(rings.size(), 1u);
  EXPECT_EQ(rings[0].kind, RingKind::kAllReduce);
  EXPECT_EQ(rings[0].elements, 16);
  EXPECT_TRUE(After(in_two(4)).empty());
  // As many chunks as whole shares would take.
  EXPECT_TRUE(After([](plan::Task* task) { SetAttr(task, "pieces", int64_t{2}); }).empty());
}

TEST(RingsTest, ChunksSayWhatARingDoes) {
  const auto scattered = After([](plan::Task* task) { task->set_chunks(1); });
  ASSERT_EQ(scattered.size(), 1u);
  EXPECT_EQ(scattered[0].kind, RingKind::kReduceScatter);
  EXPECT_EQ(scattered[0].members[0].device, 0u);
  const auto gathered = After([](plan::Task* task) {
    task->set_chunks(1);
    if (task->op() == "ring_reduce") SetAttr(task, "reduce_chunks", int64_t{0});
  });
  ASSERT_EQ(gathered.size(), 1u);
  EXPECT_EQ(gathered[0].kind, RingKind::kAllGather);
  // Each begins with its own share: that of device 0 has base 1 here.
  EXPECT_EQ(gathered[0].members[1].device, 0u);
  const auto maximum = After([](plan::Task* task) {
    if (task->op() == "ring_reduce") SetAttr(task, "mode", std::string("max"));
  });
  ASSERT_EQ(maximum.size(), 1u);
  EXPECT_EQ(maximum[0].mode, "max");
}

TEST(RingsTest, SharesThatAreNoEqualStretchesAreTold) {
  const auto uneven = After([](plan::Task* task) {
    task->mutable_inputs(0)->mutable_type()->set_shape(0, 15);
    SetAttr(task, "units", int64_t{15});
  });
  ASSERT_EQ(uneven.size(), 1u);
  EXPECT_FALSE(uneven[0].even);
  const auto inner = After([](plan::Task* task) {
    task->mutable_inputs(0)->mutable_type()->clear_shape();
    for (const int64_t extent : {2, 8}) task->mutable_inputs(0)->mutable_type()->add_shape(extent);
    SetAttr(task, "dim", int64_t{1});
    SetAttr(task, "units", int64_t{8});
  });
  ASSERT_EQ(inner.size(), 1u);
  EXPECT_FALSE(inner[0].even);
}

// What is not whole, or does not agree, or is touched by others, goes round task by task.
TEST(RingsTest, NothingElseIsARing) {
  using Change = std::function<void(const Ring&, plan::Plan*)>;
  const auto task = [](plan::Plan* plan, uint32_t t) {
    return plan->mutable_tasks(static_cast<int>(t));
  };
  const auto reg = [](plan::Plan* plan, uint32_t r) {
    return plan->mutable_registers(static_cast<int>(r));
  };
  const std::vector<std::pair<const char*, Change>> changes = {
      {"one combines fewer chunks",
       [&](const Ring& r, plan::Plan* p) {
         SetAttr(task(p, r.reduce[1]), "reduce_chunks", int64_t{0});
       }},
      {"all combine too few",
       [&](const Ring& r, plan::Plan* p) {
         for (const uint32_t t : r.reduce) SetAttr(task(p, t), "reduce_chunks", int64_t{0});
       }},
      {"one combines otherwise",
       [&](const Ring& r, plan::Plan* p) {
         SetAttr(task(p, r.reduce[1]), "mode", std::string("max"));
       }},
      {"one sends another share",
       [&](const Ring& r, plan::Plan* p) { SetAttr(task(p, r.send[1]), "base", int64_t{1}); }},
      {"both own one share",
       [&](const Ring& r, plan::Plan* p) {
         for (const uint32_t t : {r.send[1], r.reduce[1]}) SetAttr(task(p, t), "base", int64_t{1});
       }},
      {"there are more shares than members",
       [&](const Ring& r, plan::Plan* p) {
         for (const uint32_t t : {r.send[0], r.send[1], r.reduce[0], r.reduce[1]}) {
           SetAttr(task(p, t), "parts", int64_t{3});
         }
       }},
      {"one has another buffer",
       [&](const Ring& r, plan::Plan* p) {
         task(p, r.reduce[1])->mutable_inputs(0)->mutable_type()->set_shape(0, 8);
       }},
      {"someone else reads the buffer",
       [&](const Ring& r, plan::Plan* p) { reg(p, r.buffer[0])->add_consumers(r.update[0]); }},
      {"someone else reads the link",
       [&](const Ring& r, plan::Plan* p) { reg(p, r.link[0])->add_consumers(r.update[0]); }},
      {"the result lies elsewhere",
       [&](const Ring& r, plan::Plan* p) { reg(p, r.result[0])->clear_in_place_of(); }},
      {"a member stands elsewhere in the order",
       [&](const Ring& r, plan::Plan* p) {
         task(p, r.reduce[1])->mutable_stamp()->set_position(7);
       }},
      {"the chunks come from another rank",
       [&](const Ring& r, plan::Plan* p) { task(p, r.send[0])->set_op("pack"); }},
  };
  for (const auto& [what, change] : changes) {
    Ring made;
    plan::Plan plan = made.Build();
    ASSERT_EQ(RingsOf(plan).size(), 1u);
    change(made, &plan);
    EXPECT_TRUE(RingsOf(plan).empty()) << what;
  }
}
}  // namespace
}  // namespace oneflow
