#include "plan/sharding.h"

#include <random>

#include "gtest/gtest.h"

namespace oneflow {
namespace {

// Calls `visit` with all coordinates of `axes`, row-major.
template <typename Visit>
void ForEachCoordinate(const std::vector<Axis>& axes, const Visit& visit) {
  std::vector<int64_t> at(axes.size(), 0);
  while (true) {
    visit(at);
    size_t i = axes.size();
    while (i > 0 && ++at[i - 1] == axes[i - 1].size) at[--i] = 0;
    if (i == 0) return;
  }
}

std::string SliceText(const Slice& slice) {
  return ToString(slice.begin) + "+" + ToString(slice.extent);
}

TEST(MeshTest, StagesCutTheMeshAtPp) {
  const Mesh mesh{{{"dp", 2}, {"pp", 2}, {"tp", 2}}, {10, 11, 12, 13, 14, 15, 16, 17}};
  EXPECT_EQ(mesh.ToString(), "dp:2 pp:2 tp:2");
  EXPECT_EQ(mesh.stages(), 2);
  EXPECT_EQ(mesh.PpAxis(), 1);
  EXPECT_EQ(mesh.StageDevices(0), (std::vector<int>{10, 11, 14, 15}));
  EXPECT_EQ(mesh.StageDevices(1), (std::vector<int>{12, 13, 16, 17}));
  EXPECT_EQ(mesh.LayoutAxes(4), (std::vector<Axis>{{"micro", 4}, {"dp", 2}, {"tp", 2}}));
  EXPECT_EQ(mesh.StageCoordinates(0), (std::vector<int64_t>{0, 0}));
  EXPECT_EQ(mesh.StageCoordinates(1), (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(mesh.StageCoordinates(2), (std::vector<int64_t>{1, 0}));
  const Mesh back = Mesh::FromProto(mesh.ToProto());
  EXPECT_EQ(back.axes, mesh.axes);
  EXPECT_EQ(back.devices, mesh.devices);
}

TEST(MeshTest, WithoutPpThereIsOneStage) {
  const Mesh mesh{{{"dp", 3}}, {0, 1, 2}};
  EXPECT_EQ(mesh.stages(), 1);
  EXPECT_EQ(mesh.PpAxis(), -1);
  EXPECT_EQ(mesh.StageDevices(0), (std::vector<int>{0, 1, 2}));
  EXPECT_TRUE(mesh.StageDevices(1).empty());
}

TEST(SbpTest, PrintsAndParses) {
  for (const Sbp& sbp :
       {Sbp::B(), Sbp::S(0), Sbp::S(3), Sbp::P(), Sbp::P(Sbp::kMax), Sbp::P(Sbp::kMin)}) {
    const auto parsed = Sbp::Parse(sbp.ToString());
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, sbp);
  }
  EXPECT_EQ(*Sbp::Parse("P(sum)"), Sbp::P());
  for (const char* bad :
       {"", "S", "S()", "S(-1)", "S(0", "S(256)", "b", "P(mean)", "B ", "S(0)x"}) {
    EXPECT_FALSE(Sbp::Parse(bad).ok()) << bad;
  }
}

TEST(ShardingTest, PrintsAndParses) {
  const std::vector<Axis> axes = {{"micro", 4}, {"dp", 2}, {"tp", 2}};
  Sharding s = Canonical({0, {Sbp::S(0), Sbp::S(0), Sbp::S(1)}, {}}, axes, {16, 8});
  EXPECT_EQ(s.units, (std::vector<int64_t>{8, 2}));
  EXPECT_EQ(s.ToString(axes), "micro:S(0) (S(0),S(1))");
  EXPECT_EQ(s.ToString(), "micro:S(0)/8u (S(0)/8u,S(1)/2u)");
  EXPECT_EQ(*Sharding::Parse(s.ToString(), 3, 2), s);
  EXPECT_EQ(Canonical(*Sharding::Parse(s.ToString(axes), 3, 2), axes, {16, 8}), s);

  s = Canonical({1, {Sbp::B(), Sbp::S(0), Sbp::P(Sbp::kMax)}, {7}}, axes, {224});
  EXPECT_EQ(s.ToString(axes), "(S(0)/7u,P(max))@1");
  EXPECT_EQ(*Sharding::Parse(s.ToString(axes), 3, 1), s);
  EXPECT_TRUE(s.IsPartial());

  EXPECT_EQ(Sharding::Broadcast(0, 3, 2).ToString(), "(B,B)");
  EXPECT_FALSE(Sharding::Broadcast(0, 3, 2).IsPartial());
  EXPECT_EQ(*Sharding::Parse("(B,B)", 3, 2), Sharding::Broadcast(0, 3, 2));
  EXPECT_EQ(*Sharding::Parse("()", 1, 2), Sharding::Broadcast(0, 1, 2));
  for (const char* bad :
       {"", "(B", "B,B", "(B)", "(B,B,B)", "(B,)", "(B,S(2))", "(B,S(0)/u)", "(B,B/2u)", "(B,B)@x",
        "micro:B", "(S(0)/2u,S(0)/3u)", "(B,S(0)/0u)", "(B,B)@99999999999"}) {
    EXPECT_FALSE(Sharding::Parse(bad, 3, 2).ok()) << bad;
  }
}

TEST(ShardingTest, ProtoRoundTrip) {
  const std::vector<Axis> axes = {{"micro", 1}, {"dp", 2}, {"tp", 3}};
  const Sharding s = Canonical({2, {Sbp::B(), Sbp::S(1), Sbp::P(Sbp::kMin)}, {}}, axes, {4, 7});
  EXPECT_EQ(Sharding::FromProto(s.ToProto(), 2), s);
  const Sharding b = Sharding::Broadcast(0, 3, 2);
  EXPECT_EQ(b.ToProto().units_size(), 0);
  EXPECT_EQ(Sharding::FromProto(b.ToProto(), 2), b);
}

TEST(ShardingTest, CanonicalUnits) {
  const std::vector<Axis> dp2 = {{"micro", 1}, {"dp", 2}};
  const std::vector<Sbp> split = {Sbp::B(), Sbp::S(0)};
  const auto units = [&](const Shape& shape, std::vector<int64_t> given) {
    return Canonical({0, split, std::move(given)}, dp2, shape).units[0];
  };
  EXPECT_EQ(units({8}, {}), 2);
  EXPECT_EQ(units({7}, {}), 7);
  EXPECT_EQ(units({224}, {}), 2);    // 112 + 112 rows
  EXPECT_EQ(units({224}, {7}), 7);   // 128 + 96 rows: another layout
  EXPECT_EQ(units({224}, {14}), 2);  // 14 units are even: the same layout as the first
  EXPECT_EQ(units({1}, {}), 1);
  EXPECT_EQ(units({0}, {}), 2);
  EXPECT_EQ(units({6}, {4}), 2);  // 4 does not divide 6
  // An axis of size 1 does nothing, whatever it is called.
  EXPECT_EQ(Canonical({0, {Sbp::S(0), Sbp::B()}, {1}}, dp2, {8}), Sharding::Broadcast(0, 2, 1));
  EXPECT_EQ(Canonical({0, {Sbp::P(), Sbp::B()}, {}}, dp2, {8}), Sharding::Broadcast(0, 2, 1));
}

TEST(ShardingTest, DealsLargerSharesFirst) {
  const auto text = [](int64_t units, int64_t parts) {
    std::string result;
    for (int64_t i = 0; i < parts; ++i) {
      const UnitRange range = DealUnits(units, parts, i);
      result +=
          "[" + std::to_string(range.begin) + "," + std::to_string(range.begin + range.count) + ")";
    }
    return result;
  };
  EXPECT_EQ(text(7, 2), "[0,4)[4,7)");
  EXPECT_EQ(text(8, 3), "[0,3)[3,6)[6,8)");
  EXPECT_EQ(text(1, 3), "[0,1)[1,1)[1,1)");
  EXPECT_EQ(text(0, 2), "[0,0)[0,0)");
}

TEST(ShardingTest, SlicesOfTheDesignExample) {
  // [7,32,V].view(-1,V) under dp=2: 4 and 3 samples, 128 and 96 rows.
  const std::vector<Axis> dp2 = {{"micro", 1}, {"dp", 2}};
  const Sharding rows = Canonical({0, {Sbp::B(), Sbp::S(0)}, {7}}, dp2, {224, 5});
  EXPECT_EQ(SliceText(SliceOf(rows, dp2, {224, 5}, {0, 0})), "[0,0]+[128,5]");
  EXPECT_EQ(SliceText(SliceOf(rows, dp2, {224, 5}, {0, 1})), "[128,0]+[96,5]");
}

TEST(ShardingTest, MicroIsOutermost) {
  // accumulate=4, dp=2: micro-batch m of device d holds share d of the m-th quarter.
  const std::vector<Axis> axes = {{"micro", 4}, {"dp", 2}};
  const Sharding s = Canonical({0, {Sbp::S(0), Sbp::S(0)}, {}}, axes, {16});
  std::string all;
  ForEachCoordinate(axes, [&](const std::vector<int64_t>& at) {
    const Slice slice = SliceOf(s, axes, {16}, at);
    all += std::to_string(slice.begin[0]) + "+" + std::to_string(slice.extent[0]) + " ";
  });
  EXPECT_EQ(all, "0+2 2+2 4+2 6+2 8+2 10+2 12+2 14+2 ");
  // Uneven and nested: 7 units over micro 2 give 4 and 3; dp 2 deals each again.
  const std::vector<Axis> uneven = {{"micro", 2}, {"dp", 2}};
  const Sharding u = Canonical({0, {Sbp::S(0), Sbp::S(0)}, {}}, uneven, {7});
  all.clear();
  ForEachCoordinate(uneven, [&](const std::vector<int64_t>& at) {
    const Slice slice = SliceOf(u, uneven, {7}, at);
    all += std::to_string(slice.begin[0]) + "+" + std::to_string(slice.extent[0]) + " ";
  });
  EXPECT_EQ(all, "0+2 2+2 4+2 6+1 ");
}

TEST(ShardingTest, SlicesPartitionTheTensor) {
  // Every element is held by exactly the product of the sizes of the axes that do not split.
  std::mt19937 random(20240229);
  const auto pick = [&](int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random() % static_cast<uint64_t>(high - low + 1));
  };
  for (int trial = 0; trial < 3000; ++trial) {
    std::vector<Axis> axes = {{"micro", pick(1, 4)}};
    for (int64_t i = pick(0, 2); i > 0; --i) axes.push_back({"x" + std::to_string(i), pick(1, 4)});
    Shape shape(static_cast<size_t>(pick(1, 3)));
    for (int64_t& extent : shape) extent = pick(0, 9);
    Sharding sharding;
    for (size_t i = 0; i < axes.size(); ++i) {
      const int64_t kind = pick(0, 3);
      sharding.sbps.push_back(
          kind == 0   ? Sbp::B()
          : kind == 1 ? Sbp::P()
                      : Sbp::S(static_cast<int>(pick(0, static_cast<int64_t>(shape.size()) - 1))));
    }
    for (int64_t extent : shape) {
      int64_t units = pick(0, 9);
      sharding.units.push_back(units > 0 && extent % units == 0 ? units : 0);
    }
    sharding = Canonical(sharding, axes, shape);
    ASSERT_EQ(Canonical(sharding, axes, shape), sharding);
    ASSERT_TRUE(CheckSharding(sharding, axes, shape).ok());
    int64_t copies = 1;
    for (size_t i = 0; i < axes.size(); ++i) {
      if (sharding.sbps[i].kind != Sbp::kSplit) copies *= axes[i].size;
    }
    std::vector<int64_t> held(static_cast<size_t>(NumElements(shape)), 0);
    const Shape strides = StridesOf(shape);
    ForEachCoordinate(axes, [&](const std::vector<int64_t>& at) {
      const Slice slice = SliceOf(sharding, axes, shape, at);
      if (NumElements(slice.extent) == 0) return;
      std::vector<Axis> box;
      for (int64_t extent : slice.extent) box.push_back({"", extent});
      ForEachCoordinate(box, [&](const std::vector<int64_t>& in) {
        int64_t index = 0;
        for (size_t d = 0; d < shape.size(); ++d) index += (slice.begin[d] + in[d]) * strides[d];
        ++held[static_cast<size_t>(index)];
      });
    });
    for (int64_t count : held) {
      ASSERT_EQ(count, copies) << sharding.ToString() << " of " << ToString(shape) << ", trial "
                               << trial;
    }
  }
}

TEST(ShardingTest, CheckNamesWhatIsWrong) {
  const std::vector<Axis> axes = {{"micro", 2}, {"dp", 2}};
  const auto message = [&](const Sharding& sharding) {
    return std::string(CheckSharding(sharding, axes, {8, 7}).message());
  };
  EXPECT_EQ(message({0, {Sbp::S(0), Sbp::S(0)}, {4, 0}}), "");
  EXPECT_NE(message({0, {Sbp::S(0)}, {2, 0}}).find("1 Sbps for 2 layout axes"), std::string::npos);
  EXPECT_NE(message({0, {Sbp::B(), Sbp::S(2)}, {0, 0}}).find("splits dim 2"), std::string::npos);
  EXPECT_NE(message({0, {Sbp::P(), Sbp::P(Sbp::kMax)}, {0, 0}}).find("two kinds of Partial"),
            std::string::npos);
  EXPECT_NE(message({0, {Sbp::B(), Sbp::S(0)}, {8, 0}}).find("not canonical"), std::string::npos);
  EXPECT_NE(message({0, {Sbp::B(), Sbp::S(0)}, {2}}).find("not canonical"), std::string::npos);
}

}  // namespace
}  // namespace oneflow
