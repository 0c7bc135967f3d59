// What a rank announces of its channels: to each other rank what concerns it, and nothing else.
#include "comm/binding.h"

#include <gtest/gtest.h>

#include "comm/blame.h"
#include "comm/ring_binding.h"

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
  std::byte moved = {};
  channels.Find(ids[3])->region.base = &moved;
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
  EXPECT_EQ(own[3].moved[0], (Announcement::Moved{ids[3], &moved}));
  EXPECT_TRUE(own[3].channels.empty());
  EXPECT_TRUE(own[1].moved.empty() && own[2].moved.empty());
  for (const size_t r : {0u, 4u}) EXPECT_EQ(Encode(own[r]).size(), sizeof(Digest));
}

// A ring of three ranks; this one has a stretch.
TEST(BindingTest, ARingIsInPlaceWhenAllOthersSaySo) {
  std::byte buffer = {};
  ChannelTable channels;
  for (int i = 0; i < 3; ++i) {
    channels.Prepare(0)->peer = 1;
    channels.Publish(1);
  }
  const ChannelId from = 0, to = 1, without = 2;
  const auto settle = [&](const MappedBy& mapped) {
    channels.Find(from)->shared_ring = std::make_unique<SharedRing>(SharedRing{
        {{0, from, {{&buffer}}, {}}, {1, 7, {{&buffer}}, {}}, {2, 8, {{&buffer}}, {}}}, to});
    return SettleRings(mapped, &channels);
  };
  EXPECT_EQ(settle({{}, {from}, {from}}), absl::OkStatus());
  EXPECT_TRUE(channels.Find(from)->in_place && channels.Find(to)->in_place);
  EXPECT_EQ(BuffersInPlace(*channels.Find(from)).size(), 3u);
  // One of them says nothing, the other says it twice.
  EXPECT_EQ(settle({{}, {from, from}, {}}), absl::OkStatus());
  EXPECT_FALSE(channels.Find(from)->in_place || channels.Find(to)->in_place);
  // This rank has not mapped all.
  EXPECT_EQ(settle({{}, {from}, {from}}), absl::OkStatus());
  channels.Find(from)->shared_ring->stretches[2].buffers[0].base = nullptr;
  EXPECT_EQ(SettleRings({{}, {from}, {from}}, &channels), absl::OkStatus());
  EXPECT_FALSE(channels.Find(from)->in_place || channels.Find(to)->in_place);
  // What there is not, and of whom it is not, is blamed on who says it.
  for (const uint32_t number : {to, without, ChannelId{3}}) {
    EXPECT_EQ(BlamedRank(settle({{}, {}, {number}})), 2);
  }
  EXPECT_EQ(BlamedRank(settle({{}, {}, {}, {from}})), 3);
}

}  // namespace
}  // namespace oneflow::comm
