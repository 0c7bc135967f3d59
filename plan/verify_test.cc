#include "plan/verify.h"

#include <algorithm>
#include <functional>
#include <random>

#include "base/status.h"
#include "gmock/gmock.h"
#include "google/protobuf/stubs/logging.h"
#include "gtest/gtest.h"
#include "plan/needs.h"
#include "plan/plans_for_test.h"
#include "plan/proofs.h"

namespace oneflow {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string Message(const plan::Plan& plan) {
  const absl::Status status = VerifyPlan(plan);
  if (status.ok()) return "ok";
  EXPECT_EQ(KindOf(status), ErrorKind::kPlan);
  return MessageOf(status);
}

plan::Register* Reg(plan::Plan* plan, uint32_t r) {
  return plan->mutable_registers(static_cast<int>(r));
}
plan::Task* At(plan::Plan* plan, uint32_t t) { return plan->mutable_tasks(static_cast<int>(t)); }

// Swaps two items of a stream.
void Swap(plan::Plan* plan, uint32_t stream, int a, int b) {
  plan->mutable_streams(static_cast<int>(stream))->mutable_items()->SwapElements(a, b);
}

TEST(Verify, CorrectPlansPass) {
  EXPECT_EQ(Message(TrainingStep().Build()), "ok");
  EXPECT_EQ(Message(Pipeline().Build()), "ok");
  EXPECT_EQ(Message(Pipeline(1).Build()), "ok");
  EXPECT_EQ(Message(Ring().Build()), "ok");
  EXPECT_EQ(Message(Ring(3).Build()), "ok");
  const auto [sender, receiver] = Transfer();
  EXPECT_TRUE(VerifyPlans({&sender, &receiver}).ok())
      << MessageOf(VerifyPlans({&sender, &receiver}));
}

TEST(Verify, LiveNamesTheCycleAndTheLeastCreditsThatOpenIt) {
  Pipeline pipeline;
  plan::Plan plan = pipeline.Build();
  Reg(&plan, pipeline.stash)->set_slots(1);
  const std::string message = Message(plan);
  EXPECT_THAT(message,
              AllOf(HasSubstr("live: deadlock"), HasSubstr("refills register 1 (1 slot)"),
                    HasSubstr("backward.7[micro 0] -> forward.1[micro 1]"),
                    HasSubstr("2 slots of register 1 (of forward.1, model.py:20) would open it")));
  EXPECT_EQ(LeastSlots(plan, pipeline.stash), 2);
  EXPECT_EQ(LocationOf(VerifyPlan(plan))->Short(), "model.py:20");
}

TEST(Verify, LiveNamesASwappedStreamAsACycle) {
  TrainingStep step;
  plan::Plan plan = step.Build();
  Swap(&plan, 1, 2, 3);  // loss and loss_grad: no data between them, but the stamps disagree
  EXPECT_THAT(Message(plan),
              AllOf(HasSubstr("live"), HasSubstr("loss_grad.4 -> loss.3: next in stream compute")));
  plan = step.Build();
  Swap(&plan, 1, 0, 1);
  EXPECT_THAT(Message(plan),
              AllOf(HasSubstr("deadlock"), HasSubstr("relu.2 -> matmul.1: next in stream compute"),
                    HasSubstr("matmul.1 -> relu.2: reads register 1"), HasSubstr("model.py:30")));
}

TEST(Verify, NeighboursInAStreamMayTieWhatReadsMayNot) {
  PlanBuilder builder;
  const uint32_t comm = builder.Stream("comm");
  const uint32_t one = builder.Task("pack.0", comm, {.kind = plan::MOVE, .position = 4});
  const uint32_t two = builder.Task("pack.1", comm, {.kind = plan::MOVE, .position = 4});
  builder.Register(one, {});
  builder.Register(two, {});
  EXPECT_EQ(Message(builder.Build()), "ok");
  builder.Register(one, {two});
  EXPECT_THAT(Message(builder.Build()),
              AllOf(HasSubstr("pack.0 -> pack.1"), HasSubstr("does not raise the stamp")));
}

TEST(Verify, ARefillMustWaitForReadersOfTheSameBytes) {
  TrainingStep step;
  plan::Plan plan = step.Build();
  // dy begins while x is still to be read.
  Reg(&plan, step.dy)->set_offset(plan.registers(static_cast<int>(step.x)).offset());
  EXPECT_THAT(Message(plan),
              AllOf(HasSubstr("no overlap"), HasSubstr("register 0 (of feed.0, model.py:10)"),
                    HasSubstr("register 4 (of loss_grad.4, model.py:50)")));
}

TEST(Verify, ReuseWithinOneStreamNeedsNoEdgeAcrossStreamsItDoes) {
  TrainingStep step;
  plan::Plan plan = step.Build();
  // dw over h/y: loss_grad.4 reads y before weight_grad.5 fills dw, on one stream.
  Reg(&plan, step.dw)->set_offset(plan.registers(static_cast<int>(step.h)).offset());
  EXPECT_EQ(Message(plan), "ok");
  // dw over l, which the fetch stream still reads.
  Reg(&plan, step.dw)->set_offset(plan.registers(static_cast<int>(step.l)).offset());
  EXPECT_THAT(Message(plan), AllOf(HasSubstr("fetch.7 (model.py:80) may still use register 3"),
                                   HasSubstr("weight_grad.5"),
                                   HasSubstr("after edge from fetch.7 to weight_grad.5")));
  plan::AfterEdge* edge = At(&plan, step.weight_grad)->add_after();
  edge->set_task(step.fetch);
  EXPECT_THAT(Message(plan), HasSubstr("does not raise the stamp"));  // fetch is stamped behind it
  At(&plan, step.fetch)->mutable_stamp()->set_position(3);
  At(&plan, step.fetch)->mutable_stamp()->set_sub(1);
  EXPECT_EQ(Message(plan), "ok");
}

TEST(Verify, WhatTheNextStepFillsMustWaitForThisStepsReaders) {
  // a is over before b begins, in one stream; but b's reader stands in another, and nothing keeps
  // the next step's a from being filled before it.
  PlanBuilder builder;
  const uint32_t compute = builder.Stream("compute");
  const uint32_t comm = builder.Stream("comm");
  const uint32_t make = builder.Task("make.0", compute);
  const uint32_t use = builder.Task("use.1", compute);
  const uint32_t other = builder.Task("other.2", compute);
  const uint32_t slow = builder.Task("slow.3", comm);
  const uint32_t a = builder.Register(make, {use});
  const uint32_t b = builder.Register(other, {slow});
  builder.Register(use, {});
  const uint32_t done = builder.Register(slow, {});
  plan::Plan plan = builder.Build();
  EXPECT_EQ(Message(plan), "ok");
  Reg(&plan, a)->set_offset(plan.registers(static_cast<int>(b)).offset());
  EXPECT_THAT(Message(plan),
              AllOf(HasSubstr("no overlap"), HasSubstr("slow.3"), HasSubstr("make.0")));
  // With a reader of slow.3's result at the end of the compute stream, the wrap is ordered.
  const uint32_t last = builder.Task("last.4", compute);
  builder.Read(last, done);
  builder.Register(last, {});
  plan = builder.Build();
  Reg(&plan, a)->set_offset(plan.registers(static_cast<int>(b)).offset());
  EXPECT_EQ(Message(plan), "ok");
}

TEST(Verify, SlotsThatCrossTheWrapAreComparedOverTheirWholePeriod) {
  // a (two slots) and b (one) share the second slot's bytes, two streams apart: every other step
  // they meet.
  PlanBuilder builder;
  const uint32_t first = builder.Stream("compute");
  const uint32_t second = builder.Stream("comm");
  const uint32_t make = builder.Task("make.0", first);
  const uint32_t use = builder.Task("use.1", second);
  const uint32_t other = builder.Task("other.2", first);
  const uint32_t last = builder.Task("last.3", first);
  const uint32_t a = builder.Register(make, {use}, {.slots = 2});
  const uint32_t b = builder.Register(other, {last});
  builder.Register(use, {});
  builder.Register(last, {});
  plan::Plan plan = builder.Build();
  EXPECT_EQ(Message(plan), "ok");
  Reg(&plan, b)->set_offset(plan.registers(static_cast<int>(a)).offset() + 64);
  EXPECT_THAT(Message(plan),
              AllOf(HasSubstr("no overlap"), HasSubstr("use.1"), HasSubstr("other.2")));
  plan::AfterEdge* edge = At(&plan, other)->add_after();
  edge->set_task(use);
  EXPECT_EQ(Message(plan), "ok");
}

TEST(Verify, AnInPlaceResultNeedsTheOtherReadersBeforeIt) {
  TrainingStep step;
  const uint32_t late = step.builder.Task("late.8", 2, {.position = 1, .sub = 1});
  step.builder.Read(late, step.h);
  step.builder.Register(late, {});
  plan::Plan plan = step.Build();
  EXPECT_THAT(Message(plan),
              AllOf(HasSubstr("relu.2 (model.py:30) writes register 2 over register 1"),
                    HasSubstr("late.8 (model.py:90) may touch it")));
  At(&plan, step.relu)->add_after()->set_task(late);
  EXPECT_EQ(Message(plan), "ok");
}

TEST(Verify, ARingMayAlternateWithTheReaderOfItsBufferOnlyInOrder) {
  Ring ring;
  plan::Plan plan = ring.Build();
  // The reduce of device 0 moves to its own stream: now only the after edge orders it, one way.
  plan::Stream* own = plan.add_streams();
  own->set_name("reduce");
  plan::Stream* comm = plan.mutable_streams(2);
  google::protobuf::RepeatedPtrField<plan::StreamItem> kept;
  for (const plan::StreamItem& item : comm->items()) {
    const bool reduces = item.has_loop() && item.loop().body(0).firing().task() == ring.reduce[0];
    *(reduces ? own->add_items() : kept.Add()) = item;
  }
  comm->mutable_items()->Swap(&kept);
  At(&plan, ring.reduce[0])->set_stream(static_cast<uint32_t>(plan.streams_size() - 1));
  EXPECT_THAT(Message(plan), AllOf(HasSubstr("no overlap"), HasSubstr("ring_reduce.0@0"),
                                   HasSubstr("ring_send.0@0")));
  plan::AfterEdge* edge = At(&plan, ring.reduce[0])->add_after();
  edge->set_task(ring.send[0]);
  edge->set_level(plan::CHUNK);
  EXPECT_EQ(Message(plan), "ok");
}

TEST(Verify, StatesAreReadBeforeTheyAreWrittenAndWrittenOnce) {
  TrainingStep step;
  const uint32_t reader = step.builder.Task("norm.8", 2, {.position = 1, .sub = 1});
  step.builder.ReadState(reader, step.weight);
  step.builder.Register(reader, {});
  plan::Plan plan = step.Build();
  EXPECT_THAT(Message(plan),
              AllOf(HasSubstr("norm.8 (model.py:90) may still use state w when sgd_update.6")));
  At(&plan, step.update)->add_after()->set_task(reader);
  EXPECT_THAT(Message(plan),
              AllOf(HasSubstr("norm.8"),
                    HasSubstr("of the next step may use state w before sgd_update.6")));
  plan::AfterEdge* edge = At(&plan, reader)->add_after();
  edge->set_task(step.update);
  edge->set_lag(1);
  EXPECT_EQ(Message(plan), "ok");

  TrainingStep twice;
  const uint32_t again = twice.builder.Task("sgd_update.8", 1);
  twice.builder.Read(again, twice.dw);
  twice.builder.WriteState(again, twice.weight);
  EXPECT_THAT(Message(twice.Build()),
              AllOf(HasSubstr("sgd_update.8 (model.py:90): writes state w, which sgd_update.6")));

  Ring ring;
  plan::Plan half = ring.Build();
  At(&half, ring.update[1])->mutable_outputs()->Clear();
  EXPECT_THAT(Message(half), HasSubstr("has no output"));
}

TEST(Verify, AKernelWritesOverWhatItReadsOnlyIfItSaysSo) {
  TrainingStep step;
  plan::Plan plan = step.Build();
  EXPECT_EQ(Message(plan), "ok");
  At(&plan, step.update)->clear_aliases();
  EXPECT_THAT(Message(plan), AllOf(HasSubstr("sgd_update.6 (model.py:70) writes state w while it "
                                             "reads it as input 1"),
                                   HasSubstr("write a register and copy it afterwards")));
  plan = step.Build();
  At(&plan, step.relu)->clear_aliases();
  EXPECT_THAT(Message(plan), HasSubstr("relu.2 (model.py:30) writes register 2"));
  plan = step.Build();
  At(&plan, step.matmul)->add_aliases();
  EXPECT_THAT(Message(plan), HasSubstr("but that lies elsewhere"));
  At(&plan, step.matmul)->mutable_aliases(0)->set_input(7);
  EXPECT_THAT(Message(plan), HasSubstr("writes output 0 over input 7, which it has not"));
}

TEST(Verify, ShardingsMustBeLegalForTheRuleAndShapesForTheShardings) {
  TrainingStep step;
  plan::Plan plan = step.Build();
  plan.mutable_mesh()->mutable_axes(0)->set_size(2);
  plan.mutable_mesh()->add_devices(1);
  EXPECT_EQ(Message(plan), "ok");
  // x split over k although the weight is whole, with the matching local shape.
  plan::Port* x = At(&plan, step.matmul)->mutable_inputs(0);
  x->mutable_sharding()->mutable_sbps(1)->set_kind(plan::SbpProto::S);
  x->mutable_sharding()->mutable_sbps(1)->set_dim(1);
  EXPECT_THAT(Message(plan), AllOf(HasSubstr("matmul.1 (model.py:20)"), HasSubstr("canonical")));
  x->mutable_sharding()->add_units(0);
  x->mutable_sharding()->add_units(2);
  EXPECT_THAT(Message(plan), AllOf(HasSubstr("matmul.1"), HasSubstr("has shape [4,4]"),
                                   HasSubstr("is [4,2] here")));
  x->mutable_type()->set_shape(1, 2);
  EXPECT_THAT(Message(plan), AllOf(HasSubstr("matmul.1"), HasSubstr("cannot have")));
}

void SetAttr(plan::Plan* plan, uint32_t task, const std::string& name, AttrValue value) {
  Attrs attrs = Attrs::FromProto(At(plan, task)->attrs());
  attrs.Set(name, std::move(value));
  At(plan, task)->clear_attrs();
  attrs.ToProto(At(plan, task)->mutable_attrs());
}

TEST(Verify, ARingMakesWhatItsReadersExpect) {
  Ring ring;
  const plan::Plan right = ring.Build();
  EXPECT_EQ(Message(right), "ok");
  plan::Plan plan = right;
  SetAttr(&plan, ring.reduce[0], "mode", std::string("max"));
  EXPECT_THAT(Message(plan), AllOf(HasSubstr("dataflow: ring_reduce.0@0"),
                                   HasSubstr("in another way than their value says")));
  plan = right;
  SetAttr(&plan, ring.reduce[1], "reduce_chunks", int64_t{0});
  EXPECT_THAT(Message(plan), AllOf(HasSubstr("dataflow: "), HasSubstr("contributions combined")));
  plan = right;
  SetAttr(&plan, ring.reduce[0], "base", int64_t{0});
  EXPECT_THAT(Message(plan), HasSubstr("dataflow: "));
  plan = right;
  SetAttr(&plan, ring.send[1], "base", int64_t{1});
  EXPECT_THAT(Message(plan), HasSubstr("dataflow: "));
  // The reader of what went in instead of what came out.
  plan = right;
  At(&plan, ring.update[0])->mutable_inputs(0)->set_register_(ring.buffer[0]);
  Reg(&plan, ring.result[0])->clear_consumers();
  Reg(&plan, ring.buffer[0])->add_consumers(ring.update[0]);
  EXPECT_NE(Message(plan), "ok");
  // Plain unreduced gradients, with no byte shared.
  EXPECT_THAT(MessageOf(ProveFlow({&plan})),
              AllOf(HasSubstr("sgd_update.0@0"), HasSubstr("1 of its 2 contributions combined")));
}

TEST(Verify, MicroBatchesAreSummedEachOnceInTheirWay) {
  Pipeline pipeline;
  const plan::Plan right = pipeline.Build();
  EXPECT_EQ(Message(right), "ok");
  plan::Plan plan = right;
  SetAttr(&plan, pipeline.sum0, "mode", std::string("min"));
  EXPECT_THAT(Message(plan), HasSubstr("accumulate.8 (model.py:90)"));
  plan = right;
  SetAttr(&plan, pipeline.send, "begin", Shape{1, 0});
  EXPECT_THAT(Message(plan), HasSubstr("packs no region of its input"));
  plan = right;
  At(&plan, pipeline.back)->set_op("teleport");
  EXPECT_THAT(Message(plan), HasSubstr("`teleport` is no movement"));
}

TEST(Verify, WhatAnotherRankSendsIsProvedWithItsPlan) {
  const auto [sender, receiver] = Transfer();
  EXPECT_TRUE(VerifyPlans({&sender, &receiver}).ok())
      << MessageOf(VerifyPlans({&sender, &receiver}));
  plan::Plan wrong = sender;
  for (plan::Task& task : *wrong.mutable_tasks()) {
    for (plan::Port& port : *task.mutable_outputs())
      port.mutable_sharding()->mutable_sbps(0)->set_kind(plan::SbpProto::P);
  }
  EXPECT_EQ(Message(wrong), "ok");
  EXPECT_EQ(Message(receiver), "ok");
  EXPECT_THAT(MessageOf(VerifyPlans({&wrong, &receiver})),
              AllOf(HasSubstr("dataflow: use.2"), HasSubstr("1 of its 3 contributions combined")));
}

TEST(Verify, RulesAreThoseOfTheTableThatTheCallerHas) {
  TrainingStep step;
  plan::Plan plan = step.Build();
  for (plan::Task& task : *plan.mutable_tasks()) {
    if (task.kind() == plan::COMPUTE && task.rule().empty()) task.set_rule("... -> ...");
  }
  const OpRules table = [&](const plan::Task& task) -> absl::StatusOr<std::string> {
    return task.op() == "relu" ? "... -> ..." : task.rule();
  };
  At(&plan, step.relu)->set_rule("... -> ... ; linear");
  const std::string message = MessageOf(ProveTypes(plan, table));
  EXPECT_THAT(message, AllOf(HasSubstr("relu.2 (model.py:30)"),
                             HasSubstr("that of relu is \"... -> ...\"")));
}

TEST(Verify, MembersOfACollectiveHaveOnePlaceInTheOrder) {
  Ring ring(2);
  plan::Plan plan = ring.Build();
  At(&plan, ring.stage[1])->mutable_stamp()->set_slot(1);
  EXPECT_THAT(Message(plan), HasSubstr("live"));  // its own ring stands before it now
  for (const uint32_t task : {ring.stage[1], ring.send[1], ring.reduce[1], ring.update[1]}) {
    At(&plan, task)->mutable_stamp()->set_slot(1);
  }
  EXPECT_THAT(Message(plan), AllOf(HasSubstr("@1"), HasSubstr("ring")));
}

TEST(Verify, ChannelsOfTwoRanksAgree) {
  const auto check = [](const std::function<void(plan::Plan*, plan::Plan*)>& change) {
    auto [sender, receiver] = Transfer();
    change(&sender, &receiver);
    return MessageOf(VerifyPlans({&sender, &receiver}));
  };
  EXPECT_EQ(check([](plan::Plan*, plan::Plan*) {}), "");
  EXPECT_THAT(check([](plan::Plan*, plan::Plan* r) {
                r->mutable_channels(0)->set_slots(3);
                r->mutable_registers(0)->set_slots(3);
                r->mutable_registers(0)->set_offset(4096);
                r->mutable_devices(0)->set_arena_bytes(8192);
              }),
              AllOf(HasSubstr("reshard.1/0>1 differ"), HasSubstr("2 slots"), HasSubstr("3 slots")));
  EXPECT_THAT(check([](plan::Plan*, plan::Plan* r) { r->mutable_channels(0)->set_name("other"); }),
              HasSubstr("has 1 ends"));
  EXPECT_THAT(check([](plan::Plan* s, plan::Plan*) {
                s->mutable_tasks(1)->mutable_stamp()->set_position(6);
              }),
              AllOf(HasSubstr("rank 0"), HasSubstr("send.1"), HasSubstr("one order")));
  EXPECT_THAT(check([](plan::Plan* s, plan::Plan*) { s->set_graph_fingerprint(1); }),
              HasSubstr("different programs"));
  EXPECT_THAT(check([](plan::Plan*, plan::Plan* r) { r->set_rank(0); }), HasSubstr("wrong"));
}

TEST(Verify, PostsOfOneStreamStandInTheOrderOfTheirSends) {
  const auto plan = [](uint32_t send_of_second) {
    PlanBuilder builder;
    const uint32_t compute = builder.Stream("compute");
    const uint32_t recv_stream = builder.Stream("recv");
    const uint32_t first =
        builder.Task("recv.0", recv_stream, {.kind = plan::RECV, .position = 1, .sub = 4});
    const uint32_t second =
        builder.Task("recv.1", recv_stream, {.kind = plan::RECV, .position = 1, .sub = 5});
    const uint32_t work = builder.Task("work.2", compute, {.position = 2});
    builder.Register(first, {work});
    builder.Register(second, {work});
    builder.Register(work, {});
    builder.Channel(first, "a", 1, 0, 64, 1, 2);
    builder.Channel(second, "b", 1, 0, 64, 1, send_of_second);
    builder.plan().set_world_size(2);
    return builder.Build();
  };
  EXPECT_EQ(Message(plan(3)), "ok");
  // The post of b waits for that of a, which may wait for what stands before its own SEND alone.
  EXPECT_THAT(Message(plan(1)), AllOf(HasSubstr("live: "), HasSubstr("recv.0 -> recv.1")));
}

TEST(Verify, SymbolicFiringFindsACrosswiseWait) {
  // Each rank waits for the other's message before it sends its own: nothing local is wrong but the
  // stamps.
  const auto rank = [](uint32_t number) {
    PlanBuilder builder;
    const uint32_t compute = builder.Stream("compute");
    const uint32_t recv_stream = builder.Stream("recv");
    const uint32_t comm = builder.Stream("comm");
    const uint32_t recv =
        builder.Task("recv.0", recv_stream, {.kind = plan::RECV, .position = 1, .sub = 3});
    const uint32_t work = builder.Task("work.1", compute, {.position = 2});
    const uint32_t send =
        builder.Task("send.2", comm, {.kind = plan::SEND, .position = 3, .sub = 2});
    builder.Register(recv, {work});
    builder.Register(work, {send});
    builder.Channel(recv, number == 0 ? "b" : "a", 1 - number, number, 64, 1, 2);
    builder.Channel(send, number == 0 ? "a" : "b", number, 1 - number, 64, 1, 2);
    builder.plan().set_world_size(2);
    builder.plan().set_rank(number);
    return builder.Build();
  };
  const plan::Plan zero = rank(0), one = rank(1);
  EXPECT_EQ(Message(zero), "ok");
  EXPECT_THAT(MessageOf(ProveChannelsAgree({&zero, &one})), HasSubstr("differ"));
  const std::string message = MessageOf(ProveFires({&zero, &one}));
  EXPECT_THAT(message, AllOf(HasSubstr("rank 0: recv.0 waits for a message on channel b"),
                             HasSubstr("rank 1: recv.0 waits for a message on channel a"),
                             HasSubstr("rank 0: recv.0 -> work.1: reads register 0"),
                             HasSubstr("model.py:30")));
}

TEST(Verify, SymbolicFiringSaysWhichCreditOpensADeadlock) {
  Pipeline pipeline;
  plan::Plan plan = pipeline.Build();
  Reg(&plan, pipeline.stash)->set_slots(1);
  const std::string message = MessageOf(ProveFires({&plan}));
  EXPECT_THAT(message,
              AllOf(HasSubstr("deadlock"), HasSubstr("refills register 1 (1 slot)"),
                    HasSubstr("2 slots of register 1 (of forward.1, model.py:20) would open it")));
}

plan::Plan OnAsyncDevices(plan::Plan plan) {
  for (plan::DeviceProto& device : *plan.mutable_devices()) device.set_kind("async");
  MarkNeeds(&plan);
  return plan;
}

TEST(Verify, EnqueuedIsEnoughBetweenWorksOfOneDevice) {
  for (const plan::Plan& plan : {TrainingStep().Build(), Pipeline().Build(), Ring(3).Build()}) {
    const plan::Plan marked = OnAsyncDevices(plan);
    int enqueued = 0, consumers = 0;
    for (const plan::Register& reg : marked.registers()) {
      enqueued += reg.enqueued_size();
      consumers += reg.consumers_size();
    }
    EXPECT_GT(enqueued, 0);
    EXPECT_LT(enqueued, consumers) << "the host reads something";
    EXPECT_EQ(Message(marked), "ok");
  }
}

TEST(Verify, AnEdgeThatNeedsFinishedMayNotSayEnqueued) {
  const plan::Plan right = OnAsyncDevices(Pipeline().Build());
  int refused = 0;
  for (uint32_t r = 0; r < static_cast<uint32_t>(right.registers_size()); ++r) {
    for (const uint32_t consumer : right.registers(static_cast<int>(r)).consumers()) {
      if (NeedOf(right.registers(static_cast<int>(r)), consumer) == plan::ENQUEUED) continue;
      plan::Plan plan = right;
      Reg(&plan, r)->add_enqueued(consumer);
      std::sort(Reg(&plan, r)->mutable_enqueued()->begin(),
                Reg(&plan, r)->mutable_enqueued()->end());
      const std::string message = Message(plan);
      EXPECT_THAT(message, AllOf(HasSubstr("completions: "), HasSubstr(At(&plan, consumer)->name()),
                                 HasSubstr("is enqueued (register " + std::to_string(r) +
                                           "), but needs it finished")));
      ++refused;
    }
  }
  EXPECT_GE(refused, 3);
  plan::Plan plan = right;
  const Pipeline pipeline;
  plan::AfterEdge* edge = At(&plan, pipeline.update0)->add_after();
  edge->set_task(pipeline.sum1);
  edge->set_need(plan::ENQUEUED);
  EXPECT_THAT(Message(plan), AllOf(HasSubstr("sgd_update.10"), HasSubstr("accumulate.5"),
                                   HasSubstr("they are on devices 1 and 0")));
  Reg(&plan, 0)->add_enqueued(pipeline.update0);
  EXPECT_THAT(Message(plan), HasSubstr("says enqueued of tasks that are not consumers"));
}

TEST(Verify, StatesAreWrittenWhenWrongDataWouldBeKnown) {
  TrainingStep step;
  plan::Plan plan = step.Build();
  At(&plan, step.loss)->set_may_fail(true);
  EXPECT_EQ(Message(plan), "ok") << "the stream orders them, and a CPU answers at once";
  EXPECT_THAT(Message(OnAsyncDevices(plan)),
              AllOf(HasSubstr("gated: sgd_update.6"), HasSubstr("loss.3"),
                    HasSubstr("is known to the host only later")));
  At(&plan, step.update)->add_after()->set_task(step.loss);
  plan::Plan gated = OnAsyncDevices(plan);
  EXPECT_EQ(Message(gated), "ok");
  At(&gated, step.update)->mutable_after(0)->set_need(plan::ENQUEUED);
  EXPECT_THAT(Message(gated), AllOf(HasSubstr("completions: sgd_update.6"),
                                    HasSubstr("loss.3 may find wrong data")));
  gated = OnAsyncDevices(plan);
  At(&gated, step.update)->mutable_after(0)->set_lag(1);  // of the step before
  EXPECT_THAT(Message(gated), HasSubstr("is known to the host only later"));

  // The other stage's kernel is in no order with this stage's update.
  const Pipeline pipeline;
  plan::Plan two = Pipeline().Build();
  At(&two, pipeline.update1)->set_may_fail(true);
  EXPECT_THAT(Message(two), AllOf(HasSubstr("gated: "), HasSubstr("need not be over before")));
}

TEST(Verify, WellFormedNamesWhatIsWrong) {
  struct Case {
    std::function<void(plan::Plan*)> change;
    std::string message;
  };
  TrainingStep step;
  const std::vector<Case> cases = {
      {[](plan::Plan* p) { p->set_micro_batches(0); }, "micro_batches is 0"},
      {[](plan::Plan* p) { p->set_world_size(0); }, "rank 0 of 0"},
      {[](plan::Plan* p) { p->mutable_mesh()->mutable_axes(0)->set_size(1 << 30); },
       "mesh axis dp"},
      {[](plan::Plan* p) { p->mutable_mesh()->add_devices(7); }, "the mesh has 1 places and 2"},
      {[&](plan::Plan* p) { At(p, step.relu)->set_name("loss.3"); }, "stands twice"},
      {[&](plan::Plan* p) { At(p, step.relu)->set_device(3); },
       "relu.2 (model.py:30): is on device 3"},
      {[&](plan::Plan* p) { At(p, step.relu)->set_stream(9); }, "is on stream 9"},
      {[&](plan::Plan* p) { At(p, step.relu)->set_stream(0); },
       "relu.2 (model.py:30): fires in stream 1"},
      {[&](plan::Plan* p) { At(p, step.relu)->set_level(plan::CHUNK); },
       "has 0 chunks at level CHUNK"},
      {[&](plan::Plan* p) { At(p, step.relu)->set_level(static_cast<plan::Level>(77)); },
       "unknown level 77"},
      {[&](plan::Plan* p) { At(p, step.relu)->set_location(900); }, "location is out of range"},
      {[&](plan::Plan* p) { At(p, step.relu)->mutable_inputs(0)->set_register_(99); },
       "uses register 99"},
      {[&](plan::Plan* p) { At(p, step.relu)->mutable_inputs(0)->set_state(5); }, "relu.2"},
      {[&](plan::Plan* p) { At(p, step.relu)->mutable_inputs(0)->clear_source(); }, "relu.2"},
      {[&](plan::Plan* p) {
         At(p, step.loss)->mutable_outputs(0)->mutable_type()->add_shape(1 << 20);
       },
       "loss.3"},
      {[&](plan::Plan* p) {
         At(p, step.loss)->mutable_outputs(0)->mutable_type()->set_shape(0, -4);
       },
       "impossible"},
      {[&](plan::Plan* p) {
         At(p, step.loss)->mutable_outputs(0)->mutable_type()->set_dtype(plan::I32);
       },
       "dtype I32"},
      {[&](plan::Plan* p) { Reg(p, step.h)->set_slots(0); },
       "register 1 (of matmul.1, model.py:20): has 0 slots"},
      {[&](plan::Plan* p) { Reg(p, step.h)->set_producer(1000); }, "its producer is task 1000"},
      {[&](plan::Plan* p) { Reg(p, step.h)->clear_consumers(); },
       "relu.2 (model.py:30) reads it but is not a consumer"},
      {[&](plan::Plan* p) { Reg(p, step.h)->add_consumers(step.fetch); },
       "fetch.7 (model.py:80) is a consumer but"},
      {[&](plan::Plan* p) { Reg(p, step.h)->set_offset(32); }, "not a multiple of 64"},
      {[&](plan::Plan* p) { Reg(p, step.h)->set_bytes(8); }, "has 8 bytes, its type needs 64"},
      {[&](plan::Plan* p) { Reg(p, step.dw)->set_offset(int64_t{1} << 40); }, "beyond the arena"},
      {[&](plan::Plan* p) { Reg(p, step.x)->set_slots(60000); }, "beyond the arena"},
      {[&](plan::Plan* p) { Reg(p, step.x)->set_slot_stride(0); }, "stand 0 apart"},
      {[&](plan::Plan* p) { Reg(p, step.x)->set_level(plan::MICRO); },
       "deeper than its producer's"},
      {[&](plan::Plan* p) { Reg(p, step.y)->set_in_place_of(step.l); },
       "which its producer does not read"},
      {[&](plan::Plan* p) { Reg(p, step.y)->set_offset(0); },
       "not exactly its slots, bytes and level"},
      {[&](plan::Plan* p) { At(p, step.relu)->add_after()->set_task(99); }, "runs after task 99"},
      {[&](plan::Plan* p) { p->mutable_streams(1)->mutable_items()->RemoveLast(); },
       "sgd_update.6 (model.py:70): fires 0 times"},
      {[&](plan::Plan* p) { *p->mutable_streams(1)->add_items() = p->streams(1).items(0); },
       "out of turn"},
      {[&](plan::Plan* p) { At(p, step.feed)->set_index(4); }, "feeds from input 4"},
      {[&](plan::Plan* p) { At(p, step.feed)->mutable_outputs(0)->set_begin(0, 1 << 30); },
       "feed.0 (model.py:10): the region of batch: ends beyond dim 0"},
      {[&](plan::Plan* p) { At(p, step.feed)->mutable_outputs(0)->set_begin(1, -1); },
       "ends beyond dim 1"},
      {[&](plan::Plan* p) { At(p, step.feed)->mutable_outputs(0)->clear_begin(); },
       "another number of dims"},
      {[&](plan::Plan* p) { p->mutable_inputs(0)->set_logical_shape(0, 3); },
       "feed.0 (model.py:10): the region of batch: another dtype or logical shape"},
      {[&](plan::Plan* p) { p->mutable_outputs(0)->set_dtype(plan::I64); },
       "fetch.7 (model.py:80): the region of"},
      {[&](plan::Plan* p) { p->mutable_devices(0)->set_threads(5000); }, "a team of 5000 threads"},
      {[&](plan::Plan* p) { At(p, step.fetch)->set_kind(plan::SEND); }, "uses channel 0"},
      {[&](plan::Plan* p) { At(p, step.update)->set_kind(plan::RECV); },
       "shares a stream of RECVs with other tasks"},
      {[&](plan::Plan* p) { p->mutable_states(0)->mutable_shards(0)->set_shape(0, 5); },
       "reaches beyond dim 0"},
      {[&](plan::Plan* p) { p->mutable_states(0)->mutable_shards(0)->set_shape(0, 2); },
       "whose shard has 32"},
      {[&](plan::Plan* p) { p->mutable_states(0)->mutable_shards()->Clear(); },
       "which its device does not hold"},
      {[&](plan::Plan* p) { p->mutable_devices(0)->set_arena_bytes(-1); }, "an arena of -1"},
      {[&](plan::Plan* p) { At(p, step.relu)->set_workspace(step.x); },
       "a register of this task alone"},
  };
  for (const Case& test : cases) {
    plan::Plan plan = step.Build();
    test.change(&plan);
    EXPECT_THAT(Message(plan), HasSubstr(test.message));
  }
}

// Changes bytes of a serialized plan and whatever still parses must get an answer, never a crash.
// Proof 3 keeps a clock of every stream for every firing.
TEST(Verify, APlanWithTooManyClocksIsRefusedBeforeItIsExpanded) {
  const auto plan = [](uint32_t streams) {
    PlanBuilder builder;
    for (uint32_t s = 0; s < streams; ++s) {
      builder.Task(absl::StrCat("work.", s), builder.Stream(absl::StrCat("stream", s)),
                   {.level = plan::MICRO});
    }
    plan::Plan built = builder.Build();
    built.set_micro_batches(1 << 16);
    return built;
  };
  EXPECT_THAT(Message(plan(24)),
              AllOf(HasSubstr("1572864 firings per step on 24 streams are more than 33554432"),
                    HasSubstr("fewer micro-batches (accumulate=)")));
  // One that is just below is looked at: it does not fire as often as it says.
  EXPECT_THAT(Message(plan(22)), HasSubstr("must fire 65536 times per step"));
}

TEST(Verify, IsTotalOnDamagedPlans) {
  const google::protobuf::LogSilencer silencer;  // it would tell every name that is not UTF-8
  std::mt19937 random(7);
  const std::vector<plan::Plan> plans = {TrainingStep().Build(), Pipeline().Build(),
                                         Ring(2).Build(), Transfer().first, Transfer().second};
  int refused = 0, parsed = 0;
  for (int round = 0; round < 6000; ++round) {
    std::string bytes = plans[random() % plans.size()].SerializeAsString();
    for (uint32_t i = 0; i < 1 + random() % 4; ++i)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    plan::Plan plan;
    if (!plan.ParseFromString(bytes)) continue;
    ++parsed;
    const absl::Status alone = VerifyPlan(plan);
    const absl::Status together = VerifyPlans({&plan, &plans[3]});
    refused += alone.ok() ? 0 : 1;
    EXPECT_TRUE(alone.ok() || !together.ok());
  }
  EXPECT_GT(parsed, 500);
  EXPECT_GT(refused, 300);
}

}  // namespace
}  // namespace oneflow
