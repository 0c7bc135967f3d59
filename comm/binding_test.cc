// What a rank announces of its channels: to each other rank what concerns it, and nothing else.
#include "comm/binding.h"

#include <gtest/gtest.h>

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
  std::byte moved{};
  const Digest digest = DigestOf({"f", {}});
  const auto own =
      AnnounceChannels(5, digest, {ids.begin(), ids.end() - 1}, {specs.begin(), specs.end() - 1},
                       {{ids[3], &moved}}, nobody, channels);
  ASSERT_EQ(own.size(), 5u);
  for (const Announcement& one : own) EXPECT_EQ(one.digest, digest);
  ASSERT_EQ(own[1].channels.size(), 2u);
  EXPECT_EQ(own[1].channels[1].number, ids[2]);
  EXPECT_EQ(own[1].channels[1].spec.name, "c");
  ASSERT_EQ(own[2].channels.size(), 1u);
  EXPECT_EQ(own[2].channels[0].number, ids[1]);
  ASSERT_EQ(own[3].moved.size(), 1u);
  EXPECT_EQ(own[3].moved[0], std::pair(ids[3], &moved));
  EXPECT_TRUE(own[3].channels.empty());
  EXPECT_TRUE(own[1].moved.empty() && own[2].moved.empty());
  for (const size_t r : {0u, 4u}) EXPECT_EQ(Encode(own[r]).size(), sizeof(Digest));
}

}  // namespace
}  // namespace oneflow::comm
