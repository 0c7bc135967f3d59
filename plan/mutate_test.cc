#include "plan/mutate.h"

#include <map>
#include <random>

#include "base/status.h"
#include "gtest/gtest.h"
#include "plan/plans_for_test.h"
#include "plan/replay.h"
#include "plan/verify.h"

namespace oneflow {
namespace {

std::map<std::string, plan::Plan> Plans() {
  std::map<std::string, plan::Plan> plans;
  // A step with bytes shared across streams (an after edge) and two updates.
  TrainingStep step;
  step.builder.Input("labels", {4, 4});
  const uint32_t other = step.builder.State("b", {4, 4});
  const uint32_t update = step.builder.Task("sgd_update.8", 1);
  step.builder.Read(update, step.dw);
  step.builder.ReadState(update, other);
  step.builder.WriteState(update, other);
  const uint32_t probe = step.builder.Task("probe.11", 1, {.position = 5, .sub = 1});
  step.builder.Read(probe, step.dw);
  step.builder.Register(probe, {});
  const uint32_t norm_a = step.builder.Task("norm.9", 1);
  const uint32_t norm_b = step.builder.Task("norm.10", 1);
  for (const uint32_t norm : {norm_a, norm_b}) {
    step.builder.Workspace(norm, 64);
    step.builder.Register(norm, {});
  }
  step.builder.plan().mutable_tasks(static_cast<int>(step.fetch))->mutable_stamp()->set_position(3);
  step.builder.plan().mutable_tasks(static_cast<int>(step.fetch))->mutable_stamp()->set_sub(1);
  step.builder.After(step.weight_grad, step.fetch);
  plan::Plan& plan = step.builder.plan();
  plan.mutable_registers(static_cast<int>(step.dw))
      ->set_offset(plan.registers(static_cast<int>(step.l)).offset());
  plans["step"] = step.Build();
  plans["pipeline"] = Pipeline().Build();
  plans["ring"] = Ring(2).Build();
  plans["sender"] = Transfer().first;
  plans["receiver"] = Transfer().second;
  return plans;
}

// What an op table would say: the rule that each op has in the plan.
OpRules Rules(const plan::Plan& plan) {
  std::map<std::string, std::string> rules;
  for (const plan::Task& task : plan.tasks()) rules[task.op()] = task.rule();
  return [rules](const plan::Task& task) -> absl::StatusOr<std::string> {
    const auto it = rules.find(task.op());
    if (it == rules.end()) return MakeError(ErrorKind::kPlan, "no op " + task.op());
    return it->second;
  };
}

TEST(Replay, CorrectPlansRunCleanInEveryOrder) {
  for (const auto& [name, plan] : Plans()) {
    for (uint64_t seed = 0; seed < 200; ++seed) {
      std::vector<uint32_t> late;
      if (seed % 2 == 1)
        late.push_back(static_cast<uint32_t>(seed / 2 % static_cast<uint64_t>(plan.tasks_size())));
      const ReplayResult result = Replay(plan, seed, 4, late);
      ASSERT_TRUE(result.clean()) << name << " seed " << seed << ": " << result.what;
    }
  }
}

TEST(Replay, SeesADeadlockAndAnOverwrite) {
  Pipeline pipeline;
  plan::Plan plan = pipeline.Build();
  plan.mutable_registers(static_cast<int>(pipeline.stash))->set_slots(1);
  EXPECT_TRUE(Replay(plan, 1, 2).deadlock);
  TrainingStep step;
  plan = step.Build();
  plan.mutable_registers(static_cast<int>(step.dy))
      ->set_offset(plan.registers(static_cast<int>(step.x)).offset());
  EXPECT_TRUE(Replay(plan, 1, 2).clobbered);
}

TEST(Mutations, HarmfulOnesAreRefusedAndNamed) {
  std::map<std::string, int> refused;
  for (const auto& [name, plan] : Plans()) {
    ASSERT_TRUE(VerifyPlan(plan).ok()) << name << ": " << MessageOf(VerifyPlan(plan));
    for (uint64_t seed = 0; seed < 5; ++seed) {
      for (const Mutation& mutation : HarmfulMutations(plan, seed, 2, /*knows_rules=*/true)) {
        const absl::Status status = VerifyPlan(mutation.plan, Rules(plan));
        EXPECT_FALSE(status.ok()) << name << ": " << mutation.kind << ": " << mutation.item;
        if (status.ok()) continue;
        EXPECT_TRUE(NamesItem(MessageOf(status), mutation))
            << name << ": " << mutation.kind << ": " << mutation.item << "\n"
            << MessageOf(status);
        ++refused[mutation.kind];
      }
    }
  }
  // Every kind was met.
  for (const char* kind :
       {"credit without room", "credit too few", "offset shifted", "missing after edge",
        "swapped stream order", "swapped collectives", "stamp changed", "type changed",
        "sharding changed", "state written twice", "consumer removed", "in place without order",
        "missing firing", "alias not declared", "unreduced register read", "other reduction",
        "too few chunks reduced", "ring base shifted", "rule changed"}) {
    EXPECT_GT(refused[kind], 0) << kind;
  }
}

TEST(Mutations, HarmlessOnesAreAcceptedAndRunClean) {
  std::map<std::string, int> accepted;
  for (const auto& [name, plan] : Plans()) {
    for (uint64_t seed = 0; seed < 5; ++seed) {
      for (const Mutation& mutation : HarmlessMutations(plan, seed, 2)) {
        const absl::Status status = VerifyPlan(mutation.plan);
        EXPECT_TRUE(status.ok()) << name << ": " << mutation.kind << ": " << mutation.item << "\n"
                                 << MessageOf(status);
        const ReplayResult result = Replay(mutation.plan, seed, 3);
        EXPECT_TRUE(result.clean())
            << name << ": " << mutation.kind << ": " << mutation.item << "\n"
            << result.what;
        ++accepted[mutation.kind];
      }
    }
  }
  for (const char* kind : {"extra credit with room", "renumbered", "shifted arena",
                           "commuting tasks swapped", "redundant after edge", "other durations"}) {
    EXPECT_GT(accepted[kind], 0) << kind;
  }
}

// The verifier and the replay must agree on plans that lie close to correct ones.
TEST(Mutations, WhatTheVerifierAcceptsRunsClean) {
  int accepted = 0, refused = 0;
  for (const auto& [name, plan] : Plans()) {
    std::mt19937 random(static_cast<uint32_t>(plan.tasks_size()));
    for (int round = 0; round < 300; ++round) {
      plan::Plan changed = plan;
      plan::Register* reg =
          changed.mutable_registers(static_cast<int>(random() % plan.registers_size()));
      const plan::Register& other =
          plan.registers(static_cast<int>(random() % plan.registers_size()));
      switch (random() % 3) {
        case 0:
          reg->set_offset(other.offset());
          break;
        case 1:
          reg->set_slots(1 + random() % 3);
          break;
        default: {
          plan::Task* task = changed.mutable_tasks(static_cast<int>(random() % plan.tasks_size()));
          if (task->after_size() > 0) task->mutable_after()->RemoveLast();
        }
      }
      if (!VerifyPlan(changed).ok()) {
        ++refused;
        continue;
      }
      ++accepted;
      for (uint64_t seed = 0; seed < 12; ++seed) {
        const std::vector<uint32_t> late = {static_cast<uint32_t>(random() % plan.tasks_size())};
        const ReplayResult result = Replay(changed, seed, 4, late);
        ASSERT_TRUE(result.clean()) << name << " round " << round << ": " << result.what;
      }
    }
  }
  EXPECT_GT(accepted, 100);
  EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace oneflow
