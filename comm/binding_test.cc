// What a rank announces of its channels: to each other rank what concerns it, and nothing else.
#include "comm/binding.h"

#include <gtest/gtest.h>

#include "comm/blame.h"

namespace oneflow::comm {
namespace {

TEST(BindingTest, EachRankIsToldOfItsOwnChannelsAlone) {
  const std::vector<ChannelSpec> specs = {{"a", 1, true, 64, 1, ""},
                                          {"b", 2, false, 64, 1, ""},
                                          {"c", 1, false, 64, 1, ""},
                                          {"of before", 3, true, 64, 1, ""}};
  ChannelTable channels;
  std::vector<ChannelId> ids;
  for (const ChannelSpec& spec : specs) {
    ids.push_back(channels.size());
    Channel* channel = channels.Prepare(0);
    channel->peer = spec.peer;
    channel->sends = spec.sends;
    channels.Publish(1);
  }
  const Neighbours nobody(5);
  std::byte moved[2] = {};
  channels.Find(ids[3])->region.base = &moved[0];
  channels.Find(ids[3])->ring.buffer.base = &moved[1];
  const Digest digest = DigestOf({"f", {}});
  const auto own = AnnounceChannels(5, digest, {ids.begin(), ids.end() - 1},
                                    {specs.begin(), specs.end() - 1}, {ids[3]}, nobody, channels);
  ASSERT_EQ(own.size(), 5u);
  for (const Announcement& one : own) EXPECT_EQ(one.digest, digest);
  ASSERT_EQ(own[1].channels.size(), 2u);
  EXPECT_EQ(own[1].channels[1].number, ids[2]);
  EXPECT_EQ(own[1].channels[1].spec.name, "c");
  ASSERT_EQ(own[2].channels.size(), 1u);
  EXPECT_EQ(own[2].channels[0].number, ids[1]);
  ASSERT_EQ(own[3].moved.size(), 1u);
  EXPECT_EQ(own[3].moved[0], (Announcement::Moved{ids[3], &moved[0], &moved[1]}));
  EXPECT_TRUE(own[3].channels.empty());
  EXPECT_TRUE(own[1].moved.empty() && own[2].moved.empty());
  for (const size_t r : {0u, 4u}) EXPECT_EQ(Encode(own[r]).size(), sizeof(Digest));
}

TEST(BindingTest, ARankThatMapsWhatIsNotOfferedToItIsBlamed) {
  ChannelTable channels;
  for (const bool ring : {true, false}) {
    Channel* channel = channels.Prepare(0);
    channel->peer = 1;
    channel->bound.store(true);
    if (ring) channel->ring.buffer.offsets = {0};
    channels.Publish(1);
  }
  const ChannelId of_ring = 0, without = 1;
  EXPECT_EQ(SettleRings({{}, {of_ring}}, &channels), absl::OkStatus());
  EXPECT_FALSE(channels.Find(of_ring)->in_place) << "this rank has not mapped the other's";
  EXPECT_EQ(BlamedRank(SettleRings({{}, {without}}, &channels)), 1);
  EXPECT_EQ(BlamedRank(SettleRings({{}, {2}}, &channels)), 1);
  EXPECT_EQ(BlamedRank(SettleRings({{}, {}, {of_ring}}, &channels)), 2);
}

}  // namespace
}  // namespace oneflow::comm
