#include "plan/attrs.h"

#include <limits>

#include "gtest/gtest.h"

namespace oneflow {
namespace {

Attrs SampleAttrs() {
  return Attrs{{"b", true},
               {"eps", 1e-5},
               {"axis", int64_t{-1}},
               {"mode", std::string("a\"b")},
               {"dims", std::vector<int64_t>{0, 2}},
               {"scales", std::vector<double>{1.0, 0.1}},
               {"names", std::vector<std::string>{"x", ""}}};
}

TEST(AttrsTest, PrintsInNameOrder) {
  EXPECT_EQ(SampleAttrs().ToString(),
            "{axis=-1, b=true, dims=[0,2], eps=1e-05, mode=\"a\\\"b\", names=[\"x\",\"\"], "
            "scales=[1.0,0.1]}");
  EXPECT_EQ(Attrs().ToString(), "{}");
}

TEST(AttrsTest, EmptyListsKeepTheirType) {
  const Attrs attrs{{"f", std::vector<double>{}},
                    {"i", std::vector<int64_t>{}},
                    {"s", std::vector<std::string>{}}};
  EXPECT_EQ(attrs.ToString(), "{f=floats[], i=[], s=strings[]}");
  google::protobuf::RepeatedPtrField<plan::AttrProto> proto;
  attrs.ToProto(&proto);
  EXPECT_EQ(Attrs::FromProto(proto), attrs);
}

TEST(AttrsTest, ProtoRoundTripKeepsTypesAndOrder) {
  google::protobuf::RepeatedPtrField<plan::AttrProto> proto;
  proto.Add()->set_name("stale");
  SampleAttrs().ToProto(&proto);
  ASSERT_EQ(proto.size(), 7);
  for (int i = 1; i < proto.size(); ++i) EXPECT_LT(proto[i - 1].name(), proto[i].name());
  EXPECT_EQ(Attrs::FromProto(proto), SampleAttrs());
}

TEST(AttrsTest, GettersGiveTheValues) {
  const Attrs attrs = SampleAttrs();
  EXPECT_EQ(attrs.Int("axis"), -1);
  EXPECT_EQ(attrs.Float("eps"), 1e-5);
  EXPECT_TRUE(attrs.Bool("b"));
  EXPECT_EQ(attrs.String("mode"), "a\"b");
  EXPECT_EQ(attrs.Ints("dims"), (std::vector<int64_t>{0, 2}));
  EXPECT_EQ(attrs.Floats("scales"), (std::vector<double>{1.0, 0.1}));
  EXPECT_EQ(attrs.Strings("names"), (std::vector<std::string>{"x", ""}));
  EXPECT_TRUE(attrs.Has("b"));
  EXPECT_FALSE(attrs.Has("c"));
}

TEST(AttrsTest, ACopyThatIsChangedLeavesTheOther) {
  const Attrs original = SampleAttrs();
  Attrs changed = original, shorter = original;
  changed.Set("axis", int64_t{7});
  shorter.Remove("axis");
  EXPECT_EQ(original, SampleAttrs());
  EXPECT_EQ(changed.Int("axis"), 7);
  EXPECT_FALSE(shorter.Has("axis"));
  changed.Set("axis", int64_t{-1});
  EXPECT_EQ(changed, original);
}

TEST(AttrsDeathTest, MissingOrMistypedIsOurBug) {
  EXPECT_DEATH(SampleAttrs().Int("nope"), "no attribute 'nope'");
  EXPECT_DEATH(SampleAttrs().Int("eps"), "read as int but holds float");
}

}  // namespace
}  // namespace oneflow
