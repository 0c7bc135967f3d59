#include "plan/firings.h"

#include "base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace oneflow {
namespace {

using ::testing::HasSubstr;

plan::Task* AddTask(plan::Plan* plan, const std::string& name, plan::Level level, uint32_t slot,
                    uint32_t slot_per_micro, uint32_t chunks = 0) {
  plan::Task* task = plan->add_tasks();
  task->set_name(name);
  task->set_level(level);
  task->set_chunks(chunks);
  task->mutable_stamp()->set_slot(slot);
  task->mutable_stamp()->set_slot_per_micro(slot_per_micro);
  task->mutable_stamp()->set_position(static_cast<uint32_t>(plan->tasks_size()));
  return task;
}

void Fire(google::protobuf::RepeatedPtrField<plan::StreamItem>* items, uint32_t task,
          int64_t offset = 0) {
  plan::Firing* firing = items->Add()->mutable_firing();
  firing->set_task(task);
  firing->set_micro_offset(offset);
}

plan::Loop* Enter(google::protobuf::RepeatedPtrField<plan::StreamItem>* items, plan::Level level,
                  uint32_t begin, uint32_t count) {
  plan::Loop* loop = items->Add()->mutable_loop();
  loop->set_level(level);
  loop->set_begin(begin);
  loop->set_count(count);
  return loop;
}

// Tasks: 0 step, 1 forward (micro), 2 backward (micro), 3 ring on the chunk loop after the micro
// loop, 4 ring inside the micro loop.
plan::Plan LoopNest() {
  plan::Plan plan;
  plan.set_micro_batches(4);
  AddTask(&plan, "start", plan::STEP, 0, 0);
  AddTask(&plan, "forward", plan::MICRO, 1, 2);
  AddTask(&plan, "backward", plan::MICRO, 4, 2);
  AddTask(&plan, "ring", plan::CHUNK, 20, 0, 3);
  AddTask(&plan, "micro_ring", plan::CHUNK, 1, 2, 3);
  return plan;
}

std::string Text(const plan::Plan& plan, const std::vector<FiringId>& firings) {
  std::string text;
  for (const FiringId& firing : firings) {
    text += (text.empty() ? "" : " ") + plan.tasks(static_cast<int>(firing.task)).name() + "." +
            std::to_string(firing.micro) + "." + std::to_string(firing.chunk);
  }
  return text;
}

TEST(Firings, CountsFollowTheLoopNest) {
  const plan::Plan plan = LoopNest();
  EXPECT_EQ(FiringsPerStep(plan, 0), 1);
  EXPECT_EQ(FiringsPerStep(plan, 1), 4);
  EXPECT_EQ(FiringsPerStep(plan, 3), 3);
  EXPECT_EQ(FiringsPerStep(plan, 4), 12);
  EXPECT_EQ(IterationsPerStep(plan, 4, plan::STEP), 1);
  EXPECT_EQ(IterationsPerStep(plan, 4, plan::MICRO), 4);
  EXPECT_EQ(IterationsPerStep(plan, 4, plan::CHUNK), 12);
  EXPECT_EQ(IterationsPerStep(plan, 3, plan::MICRO), 1);
}

TEST(Firings, OrdinalsRoundTripAndIterationsHoldTheirInnerFirings) {
  const plan::Plan plan = LoopNest();
  for (uint32_t task = 0; task < 5; ++task) {
    for (int64_t ordinal = 0; ordinal < 3 * FiringsPerStep(plan, task); ++ordinal) {
      EXPECT_EQ(OrdinalOf(plan, FiringAt(plan, task, ordinal)), ordinal);
    }
  }
  EXPECT_EQ(FirstFiring(plan, 4, plan::MICRO, 5), (FiringId{4, 1, 1, 0}));
  EXPECT_EQ(LastFiring(plan, 4, plan::MICRO, 5), (FiringId{4, 1, 1, 2}));
  EXPECT_EQ(FirstFiring(plan, 4, plan::STEP, 1), (FiringId{4, 1, 0, 0}));
  EXPECT_EQ(LastFiring(plan, 4, plan::STEP, 1), (FiringId{4, 1, 3, 2}));
  EXPECT_EQ(IterationOf(plan, {4, 1, 1, 2}, plan::MICRO), 5);
  EXPECT_EQ(IterationOf(plan, {4, 1, 1, 2}, plan::CHUNK), 17);
}

TEST(Firings, StampsCarryStepSlotPositionChunkSub) {
  const plan::Plan plan = LoopNest();
  EXPECT_EQ(StampOf(plan, {2, 1, 3, 0}), (Stamp{1, 10, 3, 0, 0}));
  EXPECT_EQ(ToString(StampOf(plan, {3, 0, 0, 2})), "(0, 20, 4, 2, 0)");
  EXPECT_EQ(FiringName(plan, {4, 1, 2, 1}), "micro_ring[micro 2, chunk 1, +1 step]");
  EXPECT_EQ(FiringName(plan, {0, 0, 0, 0}), "start");
}

TEST(Firings, StreamsExpandWarmUpSteadyStateAndDrain) {
  const plan::Plan plan = LoopNest();
  plan::Stream stream;
  Fire(stream.mutable_items(), 0);
  Fire(stream.mutable_items(), 1, 0);
  plan::Loop* loop = Enter(stream.mutable_items(), plan::MICRO, 1, 3);
  Fire(loop->mutable_body(), 1);
  Fire(loop->mutable_body(), 2, -1);
  Fire(stream.mutable_items(), 2, 3);
  Fire(Enter(stream.mutable_items(), plan::CHUNK, 0, 3)->mutable_body(), 3);
  EXPECT_EQ(Text(plan, ExpandStream(plan, stream)),
            "start.0.0 forward.0.0 forward.1.0 backward.0.0 forward.2.0 backward.1.0 forward.3.0 "
            "backward.2.0 backward.3.0 ring.0.0 ring.0.1 ring.0.2");
}

TEST(Firings, UntrustedStreamsAreRefused) {
  const plan::Plan plan = LoopNest();
  auto message = [&](const plan::Stream& stream) {
    auto firings = ExpandStreamChecked(plan, stream, 10);
    return firings.ok() ? std::string("ok") : MessageOf(firings.status());
  };
  plan::Stream unknown;
  Fire(unknown.mutable_items(), 99);
  EXPECT_THAT(message(unknown), HasSubstr("fires task 99"));
  plan::Stream beyond;
  Fire(beyond.mutable_items(), 1, 4);
  EXPECT_THAT(message(beyond), HasSubstr("fires forward for a micro-batch outside [0, 4)"));
  plan::Stream huge_offset;
  Fire(huge_offset.mutable_items(), 1, std::numeric_limits<int64_t>::max());
  EXPECT_THAT(message(huge_offset), HasSubstr("outside [0, 4)"));
  plan::Stream endless;
  plan::Loop* loop = Enter(endless.mutable_items(), plan::CHUNK, 0, 0xffffffffu);
  Fire(loop->mutable_body(), 3);
  EXPECT_THAT(message(endless), HasSubstr("fires ring for chunk 3 of 3"));
  plan::Stream idle;
  plan::Loop* outer = Enter(idle.mutable_items(), plan::MICRO, 0, 0xffffffffu);
  Enter(outer->mutable_body(), plan::CHUNK, 0, 0);
  EXPECT_THAT(message(idle), HasSubstr("a loop is empty"));
  plan::Stream swapped;
  plan::Loop* chunks = Enter(swapped.mutable_items(), plan::CHUNK, 0, 3);
  Fire(Enter(chunks->mutable_body(), plan::MICRO, 0, 4)->mutable_body(), 4);
  EXPECT_THAT(message(swapped), HasSubstr("MICRO > CHUNK"));
  plan::Stream unset;
  unset.add_items();
  EXPECT_THAT(message(unset), HasSubstr("neither a firing nor a loop"));
}

}  // namespace
}  // namespace oneflow
