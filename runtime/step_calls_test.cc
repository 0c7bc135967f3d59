// What ranks agree on before a plan of whole steps runs: who is in which call, and that all come to theirs.
#include "runtime/step_calls.h"

#include <fstream>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plan/text.h"
#include "runtime/devices/device_set.h"

namespace oneflow {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

// By rank, the calls of a step; each is made by the ranks that stand behind its name: "sum:01".
std::vector<plan::RankOrder> Orders(const std::vector<std::vector<std::string>>& ranks) {
  std::vector<plan::RankOrder> orders(ranks.size());
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    for (const std::string& name : ranks[rank]) {
      int at = 0;
      while (at < orders[rank].calls_size() && orders[rank].calls(at).name() != name) ++at;
      if (at == orders[rank].calls_size()) {
        plan::StepCall* call = orders[rank].add_calls();
        call->set_name(name);
        for (const char digit : name.substr(name.find(':') + 1)) {
          call->add_ranks(static_cast<uint32_t>(digit - '0'));
        }
      }
      orders[rank].add_order(static_cast<uint32_t>(at));
    }
  }
  return orders;
}

TEST(StepCallsTest, RanksThatAllComeToTheirCallsMayRun) {
  EXPECT_TRUE(CheckOrders("p", Orders({{}, {}})).ok());
  EXPECT_TRUE(CheckOrders("p", Orders({{"a:01", "b:01", "a:01"}, {"a:01", "b:01", "a:01"}})).ok());
  // What ranks do not share has no order between them.
  EXPECT_TRUE(
      CheckOrders("p",
                  Orders({{"m:01", "all:012"}, {"n:12", "m:01", "all:012"}, {"n:12", "all:012"}}))
          .ok());
}

TEST(StepCallsTest, CallsThatNeverMeetAreRefused) {
  const absl::Status crossed = CheckOrders("p", Orders({{"a:01", "b:01"}, {"b:01", "a:01"}}));
  EXPECT_THAT(MessageOf(crossed),
              AllOf(HasSubstr("never meet"), HasSubstr("rank 0, call 0 of its step: a:01"),
                    HasSubstr("rank 1, call 0 of its step: b:01")));
  // A circle of three, each pair of which has one call.
  EXPECT_THAT(
      MessageOf(CheckOrders("p", Orders({{"a:01", "c:02"}, {"b:12", "a:01"}, {"c:02", "b:12"}}))),
      HasSubstr("never meet"));
  // Once more on one side.
  EXPECT_THAT(MessageOf(CheckOrders("p", Orders({{"a:01", "a:01"}, {"a:01"}}))),
              HasSubstr("rank 0, call 1 of its step: a:01"));
}

TEST(StepCallsTest, CallsThatSomeRankLacksAreRefused) {
  EXPECT_THAT(MessageOf(CheckOrders("p", Orders({{"a:01"}, {}}))),
              HasSubstr("a:01 is a call of ranks 0,1, but ranks 0 make it"));
  EXPECT_THAT(MessageOf(CheckOrders("p", Orders({{"a:0"}, {}}))), HasSubstr("a:0 is a call of"));
  std::vector<plan::RankOrder> orders = Orders({{"a:01"}, {"a:01"}});
  orders[1].add_order(7);
  EXPECT_THAT(MessageOf(CheckOrders("p", orders)),
              HasSubstr("rank 1 makes a call that it does not"));
}

// What stands between bars is one call: {"a:01", "|", "b:01", "c:01"}.
std::vector<plan::RankOrder> Grouped(const std::vector<std::vector<std::string>>& ranks) {
  std::vector<std::vector<std::string>> calls = ranks;
  for (std::vector<std::string>& rank : calls) std::erase(rank, "|");
  std::vector<plan::RankOrder> orders = Orders(calls);
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    uint32_t group = 0;
    for (const std::string& name : ranks[rank]) {
      if (name != "|") {
        ++group;
        continue;
      }
      orders[rank].add_groups(group);
      group = 0;
    }
    orders[rank].add_groups(group);
  }
  return orders;
}

TEST(StepCallsTest, GroupsMeetAsAWhole) {
  const auto meet = [](const std::vector<std::vector<std::string>>& ranks) {
    return MessageOf(CheckOrders("p", Grouped(ranks)));
  };
  // The middle one exchanges with two that have nothing between them.
  EXPECT_EQ(meet({{"a:01", "|", "s:01"}, {"a:01", "b:12", "|", "s:01"}, {"b:12"}}), "");
  // One rank makes one call of what is two of another.
  EXPECT_THAT(
      meet({{"a:01", "b:01"}, {"a:01", "|", "b:01"}}),
      AllOf(HasSubstr("never meet"), HasSubstr("rank 0, call 0 of its step: a:01 with b:01"),
            HasSubstr("rank 1, call 0 of its step: a:01")));
  // In another order.
  EXPECT_THAT(meet({{"a:01", "b:01"}, {"b:01", "a:01"}}), HasSubstr("never meet"));
  // What a group waits for stands behind it elsewhere.
  EXPECT_THAT(meet({{"a:01", "c:02"}, {"a:01"}, {"d:02", "|", "c:02"}}), HasSubstr("but ranks 2"));
  EXPECT_THAT(meet({{"a:01", "c:02", "|", "d:02"}, {"a:01"}, {"d:02", "|", "c:02"}}),
              HasSubstr("rank 1, call 0 of its step: a:01"));
}

TEST(StepCallsTest, GroupsThatCannotBeAreRefused) {
  for (const std::vector<uint32_t>& groups :
       {std::vector<uint32_t>{1}, {3}, {2, 1}, {0, 2}, {1, ~0u}}) {
    std::vector<plan::RankOrder> orders = Orders({{"a:01", "b:01"}, {"a:01", "b:01"}});
    for (const uint32_t group : groups) orders[1].add_groups(group);
    EXPECT_THAT(MessageOf(CheckOrders("p", orders)), HasSubstr("rank 1 has "));
  }
}

// Rank 0 of two whose sums go straight across.
class StepPartsTest : public testing::Test {
 protected:
  StepPartsTest() {
    std::ifstream file(std::string(ONEFLOW_SOURCE_DIR) + "/tests/golden/network_dp2.plan");
    std::stringstream text;
    text << file.rdbuf();
    program_ = *Program::Create(*ParsePlan(text.str()), &devices_);
    ranks_ = {PartsOf(*program_), PartsOf(*program_)};
    for (plan::ChannelEnd& end : *ranks_[1].mutable_ends()) {
      end.set_device(1);
      end.set_sends(!end.sends());
    }
    ranks_[1].mutable_devices(0)->set_device(1);
    for (plan::RankParts& rank : ranks_) rank.clear_lack();
    for (uint32_t i = 0; i < 2; ++i) ranks_[i].mutable_devices(0)->set_gpu(i == 0 ? "a" : "b");
  }
  std::string Refusal() {
    std::vector<std::vector<uint32_t>> groups;
    return MessageOf(MatchParts(*program_, ranks_, &groups).status());
  }

  DeviceSet devices_{nullptr};  // for their order alone
  std::unique_ptr<Program> program_;
  std::vector<plan::RankParts> ranks_;
};

TEST_F(StepPartsTest, MessagesHaveBothEnds) {
  std::vector<std::vector<uint32_t>> groups;
  const absl::StatusOr<StepCalls> calls = MatchParts(*program_, ranks_, &groups);
  ASSERT_TRUE(calls.ok()) << calls.status();
  EXPECT_TRUE(groups.empty());
  EXPECT_THAT(calls->messengers, ElementsAre(0, 1));
  ASSERT_FALSE(calls->peers.empty());
  for (const auto& [channel, device] : calls->peers) EXPECT_EQ(device, 1u) << channel;
  // A SEND and its RECV stand at one place, though the RECV's own stamp is later.
  const plan::RankOrder order = OrderOf(*program_, *calls);
  EXPECT_EQ(order.error(), "");
  EXPECT_TRUE(order.messages());
  EXPECT_EQ(order.order_size(), program_->plan().channels_size());
  EXPECT_THAT(order.calls(0).name(), HasSubstr("512 bytes on channel \"reshard.28/direct/0>1\""));
  EXPECT_THAT(order.calls(1).name(), HasSubstr("512 bytes on channel \"reshard.28/direct/1>0\""));
  // What goes there and what comes back are one call.
  EXPECT_THAT(order.groups(), ElementsAre(2, 2));
  StepCalls one_by_one = *calls;
  one_by_one.groups = false;
  EXPECT_THAT(OrderOf(*program_, one_by_one).groups(), ElementsAre(1, 1, 1, 1));
}

TEST_F(StepPartsTest, RanksThatCannotCallAreRefused) {
  ranks_[1].set_lack("no NCCL here");
  EXPECT_THAT(Refusal(), HasSubstr("needs NCCL on every rank, and rank 1 has none: no NCCL here"));
  ranks_[1].clear_lack();
  ranks_[1].mutable_devices(0)->set_gpu("a");
  EXPECT_THAT(Refusal(), HasSubstr("device 0 of rank 0 and device 1 of rank 1 lie on one GPU"));
}

TEST_F(StepPartsTest, WhatCannotBeIsRefused) {
  const std::vector<plan::RankParts> good = ranks_;
  ranks_[1].mutable_devices(0)->set_device(0);
  EXPECT_THAT(Refusal(), HasSubstr("ranks 0 and 1 both have device 0"));
  ranks_ = good;
  ranks_[1].mutable_ends(0)->set_device(0);
  EXPECT_THAT(Refusal(), HasSubstr("that is not its own"));
  ranks_ = good;
  ranks_[1].mutable_ends()->RemoveLast();
  EXPECT_THAT(Refusal(), HasSubstr("has one end"));
  ranks_ = good;
  ranks_[1].mutable_ends(0)->set_sends(ranks_[0].ends(0).sends());
  EXPECT_NE(Refusal(), "");
}

// A ring of two parts, one on each rank.
TEST_F(StepPartsTest, RingsAreWholeOrNone) {
  const auto add = [&](size_t rank, uint32_t share) {
    plan::RingPartProto* part = ranks_[rank].add_parts();
    part->set_what("all_reduce sum of 64 f32 at (0, 0, 3)");
    part->set_shares(2);
    part->set_share(share);
    part->set_device(static_cast<uint32_t>(rank));
    part->set_from("ring/" + std::to_string(1 - rank));
    part->set_to("ring/" + std::to_string(rank));
    part->set_next(-1);
    part->set_callable(true);
    return part;
  };
  const auto groups_of = [&] {
    std::vector<std::vector<uint32_t>> groups;
    // The plan of rank 2 has none of them.
    plan::Plan other = program_->plan();
    other.set_rank(2);
    const auto program = Program::Create(other, &devices_);
    EXPECT_TRUE(MatchParts(**program, ranks_, &groups).ok());
    return groups;
  };
  add(0, 0);
  plan::RingPartProto* second = add(1, 1);
  EXPECT_THAT(groups_of(), ElementsAre(ElementsAre(0, 1)));
  const plan::RingPartProto good = *second;
  const auto is_none = [&] {
    const bool none = groups_of().empty();
    *second = good;
    return none;
  };
  second->set_what("all_reduce sum of 63 f32 at (0, 0, 3)");
  EXPECT_TRUE(is_none());
  second->set_callable(false);
  EXPECT_TRUE(is_none());
  second->set_share(0);
  EXPECT_TRUE(is_none());
  second->set_to("elsewhere");
  EXPECT_TRUE(is_none());
  second->set_to("");
  second->set_next(1 << 30);
  EXPECT_TRUE(is_none());
  second->set_device(0);
  EXPECT_TRUE(is_none());
  second->set_shares(3);
  EXPECT_TRUE(is_none());
  ranks_[0].mutable_parts(0)->set_shares(0);
  EXPECT_TRUE(is_none());
  ranks_[0].mutable_parts(0)->set_shares(2);
  EXPECT_THAT(groups_of(), ElementsAre(ElementsAre(0, 1)));
}

}  // namespace
}  // namespace oneflow
