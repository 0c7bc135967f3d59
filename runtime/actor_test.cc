#include "runtime/actor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

namespace oneflow {
namespace {

// Two inputs, one output of two slots with two consumers, one after edge with lag 1.
ActorSpec JoinSpec() {
  ActorSpec spec;
  spec.inputs = {{0, 1, {7, 3}}, {1, 1, {8, 0}}};
  spec.outputs = {{2, 1, 2, 0, {{20, 0}, {21, 4}}}};
  spec.credits = 2;
  spec.after = {{9, 1, 1}};
  spec.waiters = {{{30, 5}, 1}};
  return spec;
}

class ActorTest : public testing::Test {
 protected:
  // Delivers a message; returns what it caused: "fire0", "done0 free7.3 ready20.0 turn".
  std::string Say(Actor* actor, MessageKind kind, uint32_t port = 0) {
    Effects effects;
    actor->Step({kind, 0, 0, port}, &effects);
    std::string text;
    if (effects.completed) text += "done" + std::to_string(effects.finished) + " ";
    for (const Message& message : effects.messages) {
      const char* name = message.kind == MessageKind::kFree    ? "free"
                         : message.kind == MessageKind::kReady ? "ready"
                                                               : "after";
      text += name + std::to_string(message.task) + "." + std::to_string(message.port) + " ";
    }
    if (effects.turn_ended) text += "turn ";
    if (effects.fire) text += "fire" + std::to_string(effects.started) + " ";
    if (!text.empty()) text.pop_back();
    return text;
  }
};

TEST_F(ActorTest, FiresWhenTheLastConditionHoldsInWhateverOrderTheyCome) {
  const ActorSpec spec = JoinSpec();
  std::vector<std::pair<MessageKind, uint32_t>> messages = {
      {MessageKind::kReady, 0}, {MessageKind::kReady, 1}, {MessageKind::kTurn, 0}};
  std::sort(messages.begin(), messages.end());
  int orders = 0;
  do {
    Actor actor(&spec);
    EXPECT_EQ(actor.ToString(), "0/0 in:0,0 out:2,2 after:0");
    EXPECT_EQ(Say(&actor, messages[0].first, messages[0].second), "");
    EXPECT_EQ(Say(&actor, messages[1].first, messages[1].second), "");
    EXPECT_EQ(Say(&actor, messages[2].first, messages[2].second), "fire0");
    EXPECT_EQ(actor.ToString(), "1/0 in:0,0 out:1,1 after:0");
    EXPECT_EQ(Say(&actor, MessageKind::kFired),
              "done0 free7.3 free8.0 ready20.0 ready21.4 after30.5 turn");
    EXPECT_EQ(actor.ToString(), "1/1 in:0,0 out:1,1 after:0");
    ++orders;
  } while (std::next_permutation(messages.begin(), messages.end()));
  EXPECT_EQ(orders, 6);
}

// Every interleaving of what the neighbours may say in three steps: the same firings, never one too
// early.
TEST_F(ActorTest, EveryOrderOfMessagesOfThreeStepsGivesThreeFirings) {
  const ActorSpec spec = JoinSpec();
  // Neighbour streams of messages, each in its own order; their merge is free.
  const std::vector<std::vector<std::pair<MessageKind, uint32_t>>> sources = {
      {{MessageKind::kReady, 0}, {MessageKind::kReady, 0}, {MessageKind::kReady, 0}},
      {{MessageKind::kReady, 1}, {MessageKind::kReady, 1}, {MessageKind::kReady, 1}},
      {{MessageKind::kFree, 0}},
      {{MessageKind::kFree, 1}},
      {{MessageKind::kDone, 0}, {MessageKind::kDone, 0}}};
  std::vector<size_t> places;
  for (size_t s = 0; s < sources.size(); ++s) places.insert(places.end(), sources[s].size(), s);
  std::set<std::string> ends;
  int orders = 0;
  do {
    Actor actor(&spec);
    std::vector<size_t> next(sources.size(), 0);
    std::vector<int> seen(5, 0);
    int fired = 0;
    const auto note = [&](const std::string& effect) {
      if (effect.find("fire") == std::string::npos) return;
      ASSERT_EQ(effect, "fire" + std::to_string(fired));
      // Firing i needs i+1 of both inputs, i-1 credits back from both consumers, i of the after
      // edge.
      ASSERT_GE(seen[0], fired + 1);
      ASSERT_GE(seen[1], fired + 1);
      ASSERT_GE(seen[2] + 2, fired + 1);
      ASSERT_GE(seen[3] + 2, fired + 1);
      ASSERT_GE(seen[4], fired);
      ++fired;
    };
    note(Say(&actor, MessageKind::kTurn));
    for (size_t source : places) {
      const auto& message = sources[source][next[source]++];
      ++seen[source];
      note(Say(&actor, message.first, message.second));
      while (actor.started() > actor.finished()) {
        Say(&actor, MessageKind::kFired);
        note(Say(&actor, MessageKind::kTurn));
      }
    }
    ends.insert(actor.ToString());
    ++orders;
  } while (std::next_permutation(places.begin(), places.end()));
  EXPECT_EQ(orders, 50400);  // 10! / (3! 3! 2!)
  EXPECT_EQ(ends, std::set<std::string>{"3/3 in:0,0 out:0,0 after:2 turn"});
}

TEST_F(ActorTest, AConsumerThatKeepsItsCreditHoldsTheProducer) {
  ActorSpec spec;
  spec.outputs = {{0, 1, 1, 0, {{1, 0}, {2, 0}}}};
  spec.credits = 2;
  Actor actor(&spec);
  EXPECT_EQ(Say(&actor, MessageKind::kTurn), "fire0");
  EXPECT_EQ(Say(&actor, MessageKind::kFired), "done0 ready1.0 ready2.0 turn");
  EXPECT_EQ(Say(&actor, MessageKind::kTurn), "");
  EXPECT_EQ(Say(&actor, MessageKind::kFree, 1), "");
  ASSERT_EQ(actor.WhatIsMissing().size(), 1u);
  EXPECT_EQ(actor.WhatIsMissing()[0].kind, Actor::Missing::kCredit);
  EXPECT_EQ(Say(&actor, MessageKind::kFree, 0), "fire1");
}

TEST_F(ActorTest, ADeeperProducerSaysReadyWithItsLastInnerFiring) {
  ActorSpec spec;  // three firings fill one slot
  spec.outputs = {{0, 3, 1, 0, {{1, 0}}}};
  spec.credits = 1;
  Actor actor(&spec);
  EXPECT_EQ(Say(&actor, MessageKind::kTurn), "fire0");
  EXPECT_EQ(actor.ToString(), "1/0 out:0");  // the credit goes with the first
  EXPECT_EQ(Say(&actor, MessageKind::kFired), "done0 turn");
  EXPECT_EQ(Say(&actor, MessageKind::kTurn), "fire1");
  EXPECT_EQ(Say(&actor, MessageKind::kFired), "done1 turn");
  EXPECT_EQ(Say(&actor, MessageKind::kTurn), "fire2");
  EXPECT_EQ(Say(&actor, MessageKind::kFired), "done2 ready1.0 turn");
  EXPECT_EQ(Say(&actor, MessageKind::kTurn), "");
  EXPECT_EQ(Say(&actor, MessageKind::kFree), "fire3");
}

TEST_F(ActorTest, ADeeperConsumerHoldsItsInputUntilItsLastInnerFiring) {
  ActorSpec spec;
  spec.inputs = {{0, 2, {5, 1}}};
  Actor actor(&spec);
  EXPECT_EQ(Say(&actor, MessageKind::kReady), "");
  EXPECT_EQ(Say(&actor, MessageKind::kTurn), "fire0");
  EXPECT_EQ(Say(&actor, MessageKind::kFired), "done0 turn");
  EXPECT_EQ(Say(&actor, MessageKind::kTurn), "fire1");
  EXPECT_EQ(Say(&actor, MessageKind::kFired), "done1 free5.1 turn");
  EXPECT_EQ(Say(&actor, MessageKind::kTurn), "");
}

TEST_F(ActorTest, AfterEdgesCountIterationsWithLag) {
  ActorSpec spec;  // iteration = 2 firings; iteration q waits for q - 2
  spec.after = {{3, 2, 2}};
  Actor actor(&spec);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(Say(&actor, MessageKind::kTurn), "fire" + std::to_string(i));
    Say(&actor, MessageKind::kFired);
  }
  EXPECT_EQ(Say(&actor, MessageKind::kTurn), "");
  EXPECT_EQ(Say(&actor, MessageKind::kDone), "fire4");
}

TEST_F(ActorTest, ReceivePostsAsManySlotsAsItHasCreditsAndKeepsTheStreamFree) {
  ActorSpec spec;
  spec.receives = true;
  spec.outputs = {{0, 1, 2, 0, {{1, 0}}}};
  spec.credits = 1;
  Actor actor(&spec);
  EXPECT_EQ(Say(&actor, MessageKind::kTurn), "turn fire0");
  EXPECT_EQ(Say(&actor, MessageKind::kTurn), "turn fire1");
  EXPECT_EQ(Say(&actor, MessageKind::kTurn), "");
  EXPECT_EQ(Say(&actor, MessageKind::kArrived), "done0 ready1.0");
  EXPECT_EQ(Say(&actor, MessageKind::kFree), "turn fire2");
  EXPECT_EQ(actor.ToString(), "3/1 out:0");
}

TEST_F(ActorTest, SendNeedsItsInputAndASlotOfThePeer) {
  ActorSpec spec;
  spec.sends = true;
  spec.inputs = {{0, 1, {5, 0}}};
  Actor actor(&spec);
  EXPECT_EQ(Say(&actor, MessageKind::kReady), "");
  EXPECT_EQ(Say(&actor, MessageKind::kTurn), "");
  EXPECT_EQ(actor.ToString(), "0/0 in:1 peer:0 turn");
  EXPECT_EQ(Say(&actor, MessageKind::kCredit), "fire0");
  EXPECT_EQ(Say(&actor, MessageKind::kCredit), "");
  EXPECT_EQ(Say(&actor, MessageKind::kFired), "done0 free5.0 turn");  // its bytes may be reused
  EXPECT_EQ(actor.ToString(), "1/1 in:0 peer:1");
}

// The first input and the first consumer are on the device of this task, the others elsewhere.
TEST_F(ActorTest, EnqueuedIsToldToTheDevicesOwnAndFinishedToAllOthers) {
  ActorSpec spec = JoinSpec();
  spec.after.clear();
  spec.inputs[0].producer.enqueued = true;
  spec.outputs[0].consumers[0].enqueued = true;
  Actor actor(&spec);
  for (int filling = 0; filling < 2; ++filling) {
    Say(&actor, MessageKind::kReady, 0);
    Say(&actor, MessageKind::kReady, 1);
  }
  EXPECT_EQ(Say(&actor, MessageKind::kTurn), "fire0");
  EXPECT_EQ(Say(&actor, MessageKind::kEnqueued), "free7.3 ready20.0 turn");
  EXPECT_EQ(Say(&actor, MessageKind::kTurn), "fire1");  // the first still runs
  EXPECT_EQ(Say(&actor, MessageKind::kEnqueued), "free7.3 ready20.0 turn");
  EXPECT_EQ(actor.ToString(), "2/2/0 in:0,0 out:0,0");
  EXPECT_EQ(Say(&actor, MessageKind::kFired), "done0 free8.0 ready21.4 after30.5");
  EXPECT_EQ(Say(&actor, MessageKind::kFired), "done1 free8.0 ready21.4 after30.5");
  EXPECT_EQ(actor.ToString(), "2/2 in:0,0 out:0,0");
}

TEST_F(ActorTest, WhereADeviceAnswersAtOnceFiredIsBoth) {
  ActorSpec spec = JoinSpec();
  spec.inputs[0].producer.enqueued = true;
  spec.outputs[0].consumers[0].enqueued = true;
  Actor actor(&spec);
  Say(&actor, MessageKind::kReady, 0);
  Say(&actor, MessageKind::kReady, 1);
  EXPECT_EQ(Say(&actor, MessageKind::kTurn), "fire0");
  EXPECT_EQ(Say(&actor, MessageKind::kFired),
            "done0 free7.3 free8.0 ready20.0 ready21.4 after30.5 turn");
}

TEST_F(ActorTest, AbortEndsItForGood) {
  ActorSpec spec;
  spec.inputs = {{0, 1, {5, 0}}};
  Actor actor(&spec);
  EXPECT_EQ(Say(&actor, MessageKind::kTurn), "");
  EXPECT_EQ(Say(&actor, MessageKind::kAbort), "");
  EXPECT_EQ(Say(&actor, MessageKind::kReady), "");
  EXPECT_EQ(actor.ToString(), "0/0 in:1 turn aborted");
}

}  // namespace
}  // namespace oneflow
