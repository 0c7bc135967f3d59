#include "plan/sharding_rule.h"

#include <random>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace oneflow {
namespace {

using ::testing::HasSubstr;

BoundRule Bind(const std::string& rule, const std::vector<Shape>& inputs,
               const std::vector<Shape>& outputs) {
  auto bound = BoundRule::Bind(rule, inputs, outputs);
  EXPECT_TRUE(bound.ok()) << bound.status();
  return bound.ok() ? *std::move(bound) : *BoundRule::Bind("->", {}, {});
}

std::string List(const std::vector<AxisSignature>& signatures) {
  std::string text;
  for (const AxisSignature& signature : signatures) {
    if (!text.empty()) text += "  ";
    text += signature.ToString();
    if (!signature.after.empty()) text += " after " + signature.after;
  }
  return text;
}

std::string Signatures(const std::string& rule, const std::vector<Shape>& inputs,
                       const std::vector<Shape>& outputs) {
  return List(Bind(rule, inputs, outputs).signatures());
}

std::string BindError(const std::string& rule, const std::vector<Shape>& inputs,
                      const std::vector<Shape>& outputs) {
  const auto bound = BoundRule::Bind(rule, inputs, outputs);
  return bound.ok() ? "" : std::string(bound.status().message());
}

// The number of the signature that prints as `text`; fails if there is none.
int Number(const BoundRule& rule, const std::string& text) {
  const int count = static_cast<int>(rule.signatures().size() + rule.nested_signatures().size());
  for (int i = 0; i < count; ++i) {
    if (rule.signature(i).ToString() == text) return i;
  }
  ADD_FAILURE() << "no signature " << text << " among " << List(rule.signatures());
  return 0;
}

std::string Text(const NodeShardings& shardings, const std::vector<Axis>& axes) {
  std::string text;
  for (const Sharding& sharding : shardings.inputs) text += sharding.ToString(axes) + " ";
  text += "->";
  for (const Sharding& sharding : shardings.outputs) text += " " + sharding.ToString(axes);
  return text;
}

const std::vector<Axis> kDp2 = {{"micro", 1}, {"dp", 2}};

// ---- signatures that an op must have, written down from the specification ----

TEST(ShardingRuleTest, Matmul) {
  EXPECT_EQ(Signatures("m k, k n -> m n ; sum k ; multilinear", {{4, 6}, {6, 8}}, {{4, 8}}),
            "B,B->B  S(0),B->S(0)  S(1),S(0)->P  B,S(1)->S(1)  P,B->P  B,P->P");
}

TEST(ShardingRuleTest, BatchedMatmulBroadcastsLeadingDims) {
  EXPECT_EQ(Signatures("... m k, ... k n -> ... m n ; sum k ; multilinear", {{5, 4, 6}, {6, 8}},
                       {{5, 4, 8}}),
            "B,B->B  S(0),B->S(0)  S(1),B->S(1)  S(2),S(0)->P  B,S(1)->S(2)  P,B->P  B,P->P");
}

TEST(ShardingRuleTest, AddWithBroadcasting) {
  EXPECT_EQ(Signatures("..., ... -> ... ; linear", {{4, 6}, {4, 6}}, {{4, 6}}),
            "B,B->B  S(0),S(0)->S(0)  S(1),S(1)->S(1)  P,P->P");
  EXPECT_EQ(Signatures("..., ... -> ... ; linear", {{4, 6}, {6}}, {{4, 6}}),
            "B,B->B  S(0),B->S(0)  S(1),S(0)->S(1)  P,P->P");
  EXPECT_EQ(Signatures("..., ... -> ... ; linear", {{4, 1}, {1, 6}}, {{4, 6}}),
            "B,B->B  S(0),B->S(0)  B,S(1)->S(1)  P,P->P");
  EXPECT_EQ(Signatures("..., ... -> ... ; linear", {{}, {3}}, {{3}}),
            "B,B->B  B,S(0)->S(0)  P,P->P");
}

TEST(ShardingRuleTest, LayerNorm) {
  EXPECT_EQ(Signatures("... c, c, c -> ... c ; whole c", {{2, 4, 8}, {8}, {8}}, {{2, 4, 8}}),
            "B,B,B->B  S(0),B,B->S(0)  S(1),B,B->S(1)");
}

TEST(ShardingRuleTest, Embedding) {
  EXPECT_EQ(Signatures("v c, n -> n c ; sum v", {{100, 8}, {6}}, {{6, 8}}),
            "B,B->B  S(0),B->P  S(1),B->S(1)  B,S(0)->S(0)");
}

TEST(ShardingRuleTest, Reshape) {
  EXPECT_EQ(Signatures("(a b) c -> a (b c) ; linear", {{6, 4}}, {{2, 12}}),
            "B->B  S(0)->S(0)  P->P");
  EXPECT_EQ(Signatures("a b c -> (a b) c ; linear", {{7, 32, 5}}, {{224, 5}}),
            "B->B  S(0)->S(0)  S(2)->S(1)  P->P");
  // A leading factor of extent 1 leaves the next one in front.
  EXPECT_EQ(Signatures("a b c -> (a b) c ; linear", {{1, 32, 5}}, {{32, 5}}),
            "B->B  S(1)->S(0)  S(2)->S(1)  P->P");
}

TEST(ShardingRuleTest, Conv2d) {
  EXPECT_EQ(Signatures("n h w c, k c r s -> n p q k ; sum c ; whole h w r s p q ; multilinear",
                       {{8, 16, 16, 4}, {6, 4, 3, 3}}, {{8, 14, 14, 6}}),
            "B,B->B  S(0),B->S(0)  S(3),S(1)->P  B,S(0)->S(3)  P,B->P  B,P->P");
}

TEST(ShardingRuleTest, Attention) {
  EXPECT_EQ(Signatures("b h s d, b h t d, b h t d -> b h s d ; whole t d",
                       {{2, 4, 8, 16}, {2, 4, 9, 16}, {2, 4, 9, 16}}, {{2, 4, 8, 16}}),
            "B,B,B->B  S(0),S(0),S(0)->S(0)  S(1),S(1),S(1)->S(1)  S(2),B,B->S(2)");
}

TEST(ShardingRuleTest, Reductions) {
  EXPECT_EQ(Signatures("a b -> a ; sum b ; linear", {{4, 6}}, {{4}}),
            "B->B  S(0)->S(0)  S(1)->P  P->P");
  EXPECT_EQ(Signatures("a b -> a ; max b", {{4, 6}}, {{4}}), "B->B  S(0)->S(0)  S(1)->P(max)");
  EXPECT_EQ(Signatures("a b -> a 1 ; min b", {{4, 6}}, {{4, 1}}), "B->B  S(0)->S(0)  S(1)->P(min)");
  // keepdim may also be written with the factor: a dim of extent 1 does not have it.
  EXPECT_EQ(Signatures("a b -> a b ; sum b", {{4, 6}}, {{4, 1}}), "B->B  S(0)->S(0)  S(1)->P");
  EXPECT_EQ(Signatures("... -> . ; sum ...", {{4, 6}}, {{}}), "B->B  S(0)->P  S(1)->P");
  // Undeclared: the factor is not splittable.
  EXPECT_EQ(Signatures("a b -> a", {{4, 6}}, {{4}}), "B->B  S(0)->S(0)");
}

TEST(ShardingRuleTest, EveryOutputMustObey) {
  EXPECT_EQ(Signatures("n c, n -> n, n c ; whole c", {{8, 10}, {8}}, {{8}, {8, 10}}),
            "B,B->B,B  S(0),S(0)->S(0),S(0)");
  EXPECT_EQ(Signatures("n c -> c, n c ; sum n", {{8, 10}}, {{10}, {8, 10}}),
            "B->B,B  S(0)->P,S(0)  S(1)->S(0),S(1)");
  EXPECT_EQ(Signatures("n c -> c, n c", {{8, 10}}, {{10}, {8, 10}}), "B->B,B  S(1)->S(0),S(1)");
}

TEST(ShardingRuleTest, LiteralsAndSides) {
  // A literal leads its dim: what stands behind it cannot be split.
  EXPECT_EQ(Signatures("n (3 h) -> n h", {{4, 24}}, {{4, 8}}), "B->B  S(0)->S(0)");
  EXPECT_EQ(Signatures("n (h 3) -> n h", {{4, 24}}, {{4, 8}}), "B->B  S(0)->S(0)  S(1)->S(1)");
  EXPECT_EQ(Signatures("(a:2 b) c -> (a d) e ; whole c e ; linear", {{4, 6}}, {{6, 4}}),
            "B->B  S(0)->S(0)  P->P");
  EXPECT_EQ(Signatures("-> n c", {}, {{4, 6}}), "->B  ->S(0)  ->S(1)");
  EXPECT_EQ(Signatures("n ->", {{4}}, {}), "B->  S(0)->");
  EXPECT_EQ(Signatures(". -> . ; linear", {{}}, {{}}), "B->B  P->P");
}

TEST(ShardingRuleTest, LinearInSomeInputs) {
  EXPECT_EQ(Signatures("..., ..., ... -> ... ; linear 1 2", {{4}, {4}, {4}}, {{4}}),
            "B,B,B->B  S(0),S(0),S(0)->S(0)  B,P,P->P");
  EXPECT_EQ(Signatures("..., . -> ... ; multilinear 0", {{4}, {}}, {{4}}),
            "B,B->B  S(0),B->S(0)  P,B->P");
  // The same signature stands once.
  EXPECT_EQ(Signatures("... -> ... ; linear ; multilinear", {{4}}, {{4}}),
            "B->B  S(0)->S(0)  P->P");
}

TEST(ShardingRuleTest, ExtentOneIsNotSplittable) {
  EXPECT_EQ(Signatures("m k, k n -> m n ; sum k", {{1, 6}, {6, 1}}, {{1, 1}}),
            "B,B->B  S(1),S(0)->P");
  EXPECT_EQ(Signatures("a -> a", {{0}}, {{0}}), "B->B");
}

TEST(ShardingRuleTest, NamesTheFactor) {
  const BoundRule rule = Bind("m k, k n -> m n ; sum k", {{4, 6}, {6, 8}}, {{4, 8}});
  std::string factors;
  for (const AxisSignature& signature : rule.signatures()) factors += "[" + signature.factor + "]";
  EXPECT_EQ(factors, "[][m][k][n]");
}

// ---- rules that do not bind ----

TEST(ShardingRuleTest, RefusesMalformedText) {
  const std::vector<Shape> in = {{4}};
  for (const char* bad : {"",
                          "a",
                          "a - a",
                          "a -> a ;",
                          "a -> a ; sum",
                          "a -> a ; sum b",
                          "a -> a ; foo a",
                          "a, -> a",
                          ", a -> a",
                          "() -> a",
                          "(a -> a",
                          "a) -> a",
                          "a -> a -> a",
                          "a ... ... -> a",
                          "a: -> a",
                          "a -> a ; linear 1",
                          "a -> a ; linear x",
                          "a a -> a",
                          "(a a) -> a",
                          "a -> a ; sum a ; max a",
                          "a:99999999999999999999 -> a",
                          ". a -> a",
                          "a -> a ; whole",
                          "a -> a\n",
                          "\xff -> a"}) {
    EXPECT_NE(BindError(bad, in, in), "") << bad;
  }
  EXPECT_THAT(BindError("a -> (b", in, in), HasSubstr("column 8: ')' is missing"));
}

TEST(ShardingRuleTest, RefusesShapesThatDoNotFit) {
  EXPECT_THAT(BindError("a b -> a b", {{4}}, {{4}}), HasSubstr("input 0 has rank 1"));
  EXPECT_THAT(BindError("... a b -> a b", {{4}}, {{4, 4}}), HasSubstr("input 0 has rank 1"));
  EXPECT_THAT(BindError("a -> a", {{4}, {4}}, {{4}}), HasSubstr("1 inputs, the node has 2"));
  EXPECT_THAT(BindError("m k, k n -> m n", {{4, 5}, {6, 8}}, {{4, 8}}),
              HasSubstr("factor k is 5 elsewhere but 6"));
  EXPECT_THAT(BindError("(a b) -> a", {{7}}, {{2}}), HasSubstr("no multiple of 2"));
  EXPECT_THAT(BindError("(a b) -> (b a)", {{6}}, {{6}}), HasSubstr("write 'a:<extent>'"));
  EXPECT_THAT(BindError("a b -> (a b)", {{2, 3}}, {{5}}), HasSubstr("the factors make 6"));
  EXPECT_THAT(BindError("a:3 -> a", {{4}}, {{4}}), HasSubstr("factor a is 3 elsewhere"));
  EXPECT_THAT(BindError("a -> a", {{-4}}, {{-4}}), HasSubstr("impossible shape"));
  const int64_t huge = int64_t{1} << 40;
  EXPECT_THAT(BindError("a, b -> (a b)", {{huge}, {huge}}, {{4}}), HasSubstr("overflow"));
}

// ---- Apply ----

TEST(ShardingRuleTest, EachAxisChooses) {
  const std::vector<Axis> axes = {{"micro", 1}, {"dp", 2}, {"tp", 2}};
  const BoundRule rule = Bind("m k, k n -> m n ; sum k ; multilinear", {{4, 6}, {6, 8}}, {{4, 8}});
  const auto apply = [&](const std::string& dp, const std::string& tp) {
    return Text(rule.Apply({0, Number(rule, dp), Number(rule, tp)}, axes, {}, 0), axes);
  };
  EXPECT_EQ(apply("S(0),B->S(0)", "B,S(1)->S(1)"), "(S(0),B) (B,S(1)) -> (S(0),S(1))");
  EXPECT_EQ(apply("S(0),B->S(0)", "S(1),S(0)->P"), "(S(0),S(1)) (B,S(0)) -> (S(0),P)");
  EXPECT_EQ(apply("S(0),B->S(0)", "S(0),B->S(0)"), "(S(0),S(0)) (B,B) -> (S(0),S(0))");
  EXPECT_EQ(apply("P,B->P", "B,P->P"), "(P,B) (B,P) -> (P,P)");
}

TEST(ShardingRuleTest, UnevenSamplesStayWholeThroughAView) {
  // [7,32,V].view(-1,V) under dp=2: 4 and 3 samples, 128 and 96 rows.
  const BoundRule view = Bind("a b c -> (a b) c ; linear", {{7, 32, 5}}, {{224, 5}});
  const Sharding samples = Canonical({0, {Sbp::B(), Sbp::S(0)}, {}}, kDp2, {7, 32, 5});
  const NodeShardings viewed = view.Apply({0, Number(view, "S(0)->S(0)")}, kDp2, {&samples}, 0);
  EXPECT_EQ(viewed.inputs[0], samples);
  EXPECT_EQ(viewed.outputs[0].ToString(kDp2), "(S(0)/7u)");
  EXPECT_EQ(SliceOf(viewed.outputs[0], kDp2, {224, 5}, {0, 0}), (Slice{{0, 0}, {128, 5}}));
  EXPECT_EQ(SliceOf(viewed.outputs[0], kDp2, {224, 5}, {0, 1}), (Slice{{128, 0}, {96, 5}}));
  EXPECT_TRUE(view.IsLegal(viewed, kDp2));

  // The units travel on through an op that knows only rows, and back through the other view.
  const BoundRule unary = Bind("... -> ...", {{224, 5}}, {{224, 5}});
  const NodeShardings rows =
      unary.Apply({0, Number(unary, "S(0)->S(0)")}, kDp2, {&viewed.outputs[0]}, 0);
  EXPECT_EQ(rows.outputs[0], viewed.outputs[0]);
  const BoundRule back = Bind("(a b) c -> a b c ; linear", {{224, 5}}, {{7, 32, 5}});
  EXPECT_EQ(back.Apply({0, Number(back, "S(0)->S(0)")}, kDp2, {&rows.outputs[0]}, 0).outputs[0],
            samples);

  // 224 rows cut evenly are another layout: the view back must refuse it and ask for the units.
  const Sharding even = Canonical({0, {Sbp::B(), Sbp::S(0)}, {}}, kDp2, {224, 5});
  EXPECT_EQ(even.ToString(kDp2), "(S(0))");
  const NodeShardings asked = back.Apply({0, Number(back, "S(0)->S(0)")}, kDp2, {&even}, 0);
  EXPECT_EQ(asked.inputs[0], viewed.outputs[0]);
  std::string why;
  EXPECT_FALSE(back.IsLegal({{even}, {samples}}, kDp2, &why));
  EXPECT_THAT(why, HasSubstr("factor a of extent 7 cannot be dealt out"));
  EXPECT_FALSE(view.IsLegal({{samples}, {even}}, kDp2, &why));
  EXPECT_FALSE(unary.IsLegal({{viewed.outputs[0]}, {even}}, kDp2, &why));
  EXPECT_THAT(why, HasSubstr("7 units in one tensor and in 2 in another"));
}

TEST(ShardingRuleTest, SecondInputFollowsTheUnitsOfTheFirst) {
  const BoundRule add = Bind("..., ... -> ... ; linear", {{224}, {224}}, {{224}});
  const int split = Number(add, "S(0),S(0)->S(0)");
  const Sharding uneven = Canonical({0, {Sbp::B(), Sbp::S(0)}, {7}}, kDp2, {224});
  const Sharding even = Canonical({0, {Sbp::B(), Sbp::S(0)}, {}}, kDp2, {224});
  EXPECT_EQ(Text(add.Apply({0, split}, kDp2, {&even, &uneven}, 0), kDp2),
            "(S(0)/7u) (S(0)/7u) -> (S(0)/7u)");
  EXPECT_EQ(Text(add.Apply({0, split}, kDp2, {nullptr, nullptr}, 0), kDp2),
            "(S(0)) (S(0)) -> (S(0))");
}

TEST(ShardingRuleTest, MicroAndDpOnOneFactor) {
  const std::vector<Axis> axes = {{"micro", 4}, {"dp", 2}};
  const auto extents = [&](const BoundRule& rule, const Shape& output, const Sharding* current) {
    const int split = Number(rule, "S(0)->S(0)");
    const NodeShardings s = rule.Apply({split, split}, axes, {current}, 0);
    EXPECT_TRUE(rule.IsLegal(s, axes));
    std::string text = s.outputs[0].ToString(axes) + ":";
    for (int64_t m = 0; m < 4; ++m) {
      for (int64_t d = 0; d < 2; ++d) {
        text += " " + std::to_string(SliceOf(s.outputs[0], axes, output, {m, d}).extent[0]);
      }
    }
    return text;
  };
  EXPECT_EQ(extents(Bind("n -> n", {{16}}, {{16}}), {16}, nullptr),
            "micro:S(0) (S(0)): 2 2 2 2 2 2 2 2");
  // 12 samples: micro-batches of 3, dealt out 2 and 1, every micro-batch alike.
  EXPECT_EQ(extents(Bind("n -> n", {{12}}, {{12}}), {12}, nullptr),
            "micro:S(0)/12u (S(0)/12u): 2 1 2 1 2 1 2 1");
  // The same samples as rows: from the sample's factor, and from the current input.
  EXPECT_EQ(extents(Bind("a b -> (a b)", {{12, 4}}, {{48}}), {48}, nullptr),
            "micro:S(0)/12u (S(0)/12u): 8 4 8 4 8 4 8 4");
  const Sharding rows = Canonical({0, {Sbp::S(0), Sbp::S(0)}, {12}}, axes, {48});
  EXPECT_EQ(extents(Bind("n -> n", {{48}}, {{48}}), {48}, &rows),
            "micro:S(0)/12u (S(0)/12u): 8 4 8 4 8 4 8 4");
}

TEST(ShardingRuleTest, EvenUnitsOfFewerAxesAreNotCarried) {
  // 8 rows, cut in 2 by dp; now dp and tp both cut: 4 equal parts, not 2 units for 4 devices.
  const std::vector<Axis> axes = {{"micro", 1}, {"dp", 2}, {"tp", 2}};
  const BoundRule rule = Bind("n -> n", {{8}}, {{8}});
  const Sharding current = Canonical({0, {Sbp::B(), Sbp::S(0), Sbp::B()}, {}}, axes, {8});
  const NodeShardings s = rule.Apply({0, 1, 1}, axes, {&current}, 0);
  EXPECT_EQ(s.inputs[0].units, (std::vector<int64_t>{4}));
}

TEST(ShardingRuleTest, AxisOfSizeOneIsBroadcast) {
  const std::vector<Axis> axes = {{"micro", 1}, {"dp", 1}};
  const BoundRule rule = Bind("n -> n ; linear", {{8}}, {{8}});
  for (int number : {0, 1, 2}) {
    const NodeShardings s = rule.Apply({0, number}, axes, {}, 3);
    EXPECT_EQ(s.outputs[0], Sharding::Broadcast(3, 2, 1));
    EXPECT_TRUE(rule.IsLegal(s, axes));
  }
}

// ---- nested signatures ----

TEST(ShardingRuleTest, GroupsOfSamples) {
  // batch_norm's sums in 4 groups of 6 samples.
  const BoundRule sums = Bind("(g n) h c -> g c ; sum n h ; linear", {{24, 5, 8}}, {{4, 8}});
  EXPECT_EQ(List(sums.signatures()), "B->B  S(0)->S(0)  S(1)->P  S(2)->S(1)  P->P");
  EXPECT_EQ(List(sums.nested_signatures()), "S(0)->P after g");
  const int g = Number(sums, "S(0)->S(0)");
  const int n = Number(sums, "S(0)->P");
  const std::vector<Axis> axes = {{"micro", 4}, {"dp", 2}};
  // accumulate = groups: a group per micro-batch, whose samples dp shares.
  EXPECT_TRUE(sums.IsLegalChoice({g, n}, axes));
  const NodeShardings s = sums.Apply({g, n}, axes, {}, 0);
  EXPECT_EQ(Text(s, axes), "micro:S(0) (S(0)) -> micro:S(0) (P)");
  EXPECT_EQ(s.inputs[0].units, (std::vector<int64_t>{8, 0, 0}));
  EXPECT_TRUE(sums.IsLegal(s, axes));
  // Not without the outer cut, not inside out, not with groups left over.
  std::string why;
  EXPECT_FALSE(sums.IsLegalChoice({0, n}, axes, &why));
  EXPECT_THAT(why, HasSubstr("outer axes must cut g into its 4 elements"));
  EXPECT_FALSE(sums.IsLegalChoice({n, g}, axes));
  EXPECT_FALSE(sums.IsLegalChoice({g, n}, {{"micro", 2}, {"dp", 2}}));
  // groups = accumulate x dp: both axes cut groups.
  EXPECT_TRUE(sums.IsLegalChoice({g, g}, {{"micro", 2}, {"dp", 2}}));
  EXPECT_TRUE(sums.IsLegalChoice({g, g, n}, {{"micro", 2}, {"dp", 2}, {"tp", 3}}));
  EXPECT_FALSE(sums.IsLegal(
      {{s.inputs[0]}, {Canonical({0, {Sbp::B(), Sbp::P()}, {}}, axes, {4, 8})}}, axes));
}

TEST(ShardingRuleTest, GroupsOfUnevenSamples) {
  // 2 groups of 3 samples; dp deals 2 and 1 of each group, and labels that carry only n follow.
  const BoundRule rule = Bind("(g n), n -> g n", {{6}, {3}}, {{2, 3}});
  const std::vector<Axis> axes = {{"micro", 2}, {"dp", 2}};
  const int g = Number(rule, "S(0),B->S(0)");
  const int n = Number(rule, "S(0),S(0)->S(1)");
  const NodeShardings s = rule.Apply({g, n}, axes, {}, 0);
  EXPECT_EQ(Text(s, axes), "micro:S(0)/6u (S(0)/6u) (S(0)/3u) -> micro:S(0) (S(1)/3u)");
  EXPECT_TRUE(rule.IsLegal(s, axes));
  EXPECT_EQ(rule.Apply({g, n}, axes, {&s.inputs[0], &s.inputs[1]}, 0).inputs[0], s.inputs[0]);
}

// ---- IsLegal ----

TEST(ShardingRuleTest, IsLegalNamesTheReason) {
  const BoundRule rule = Bind("m k, k n -> m n ; sum k", {{4, 6}, {6, 8}}, {{4, 8}});
  const Sharding b = Sharding::Broadcast(0, 2, 2);
  const auto sharding = [&](const char* text, const Shape& shape) {
    return Canonical(*Sharding::Parse(text, 2, 2), kDp2, shape);
  };
  std::string why;
  EXPECT_TRUE(rule.IsLegal({{b, b}, {b}}, kDp2, &why));
  EXPECT_TRUE(rule.IsLegal(
      {{sharding("(S(1))", {4, 6}), sharding("(S(0))", {6, 8})}, {sharding("(P)", {4, 8})}}, kDp2));
  EXPECT_FALSE(
      rule.IsLegal({{sharding("(S(1))", {4, 6}), sharding("(S(0))", {6, 8})}, {b}}, kDp2, &why));
  EXPECT_THAT(why, HasSubstr("on axis dp it has S(1),S(0)->B, legal are B,B->B"));
  EXPECT_FALSE(rule.IsLegal({{b}, {b}}, kDp2, &why));
  EXPECT_THAT(why, HasSubstr("number of tensors"));
  Sharding other_stage = b;
  other_stage.stage = 1;
  EXPECT_FALSE(rule.IsLegal({{b, other_stage}, {b}}, kDp2, &why));
  EXPECT_THAT(why, HasSubstr("two stages"));
  EXPECT_FALSE(rule.IsLegal({{b, Sharding::Broadcast(0, 3, 2)}, {b}}, kDp2, &why));
  EXPECT_THAT(why, HasSubstr("3 Sbps for 2 layout axes"));
}

TEST(ShardingRuleTest, TwoKindsOfPartialDoNotMix) {
  const std::vector<Axis> axes = {{"micro", 1}, {"dp", 2}, {"tp", 2}};
  const BoundRule rule = Bind("a b -> . ; sum a ; max b", {{4, 4}}, {{}});
  std::string why;
  EXPECT_FALSE(rule.IsLegalChoice({0, 1, 2}, axes, &why));
  EXPECT_THAT(why, HasSubstr("two kinds of Partial"));
  EXPECT_TRUE(rule.IsLegalChoice({0, 1, 1}, axes));
}

TEST(ShardingRuleTest, WhateverApplyGivesIsLegal) {
  struct Case {
    const char* rule;
    std::vector<Shape> inputs;
    std::vector<Shape> outputs;
  };
  const std::vector<Case> cases = {
      {"m k, k n -> m n ; sum k ; multilinear", {{5, 6}, {6, 7}}, {{5, 7}}},
      {"..., ... -> ... ; linear", {{3, 1, 5}, {4, 5}}, {{3, 4, 5}}},
      {"a b c -> (a b) c ; linear", {{7, 4, 3}}, {{28, 3}}},
      {"(a b) c -> a (b c) ; linear", {{12, 4}}, {{4, 12}}},
      {"(g n) h c -> g c ; sum n h", {{12, 2, 3}}, {{4, 3}}},
      {"v c, n -> n c ; sum v", {{9, 4}, {6}}, {{6, 4}}}};
  std::mt19937 random(7);
  int nested = 0;
  for (int trial = 0; trial < 4000; ++trial) {
    const Case& c = cases[random() % cases.size()];
    const BoundRule rule = Bind(c.rule, c.inputs, c.outputs);
    std::vector<Axis> axes = {{"micro", 1 + static_cast<int64_t>(random() % 4)}};
    for (size_t i = random() % 3; i > 0; --i)
      axes.push_back({"x", 1 + static_cast<int64_t>(random() % 4)});
    std::vector<int> choice;
    const size_t numbers = rule.signatures().size() + rule.nested_signatures().size();
    bool has_nested = false;
    for (size_t i = 0; i < axes.size(); ++i) {
      choice.push_back(static_cast<int>(random() % numbers));
      has_nested |= static_cast<size_t>(choice.back()) >= rule.signatures().size();
    }
    if (!rule.IsLegalChoice(choice, axes)) {
      ASSERT_TRUE(has_nested);
      continue;
    }
    nested += has_nested ? 1 : 0;
    std::vector<Sharding> current;
    for (const Shape& shape : c.inputs) {
      Sharding sharding = Sharding::Broadcast(0, axes.size(), shape.size());
      for (Sbp& sbp : sharding.sbps) {
        if (random() % 2 == 0) sbp = Sbp::S(static_cast<int>(random() % shape.size()));
      }
      for (int64_t& units : sharding.units) units = static_cast<int64_t>(random() % 8);
      current.push_back(Canonical(sharding, axes, shape));
    }
    std::vector<const Sharding*> pointers;
    for (const Sharding& sharding : current) pointers.push_back(&sharding);
    const NodeShardings s = rule.Apply(choice, axes, pointers, 0);
    std::string why;
    ASSERT_TRUE(rule.IsLegal(s, axes, &why)) << c.rule << " " << Text(s, axes) << ": " << why;
    // Applying again on the result changes nothing.
    for (size_t i = 0; i < s.inputs.size(); ++i) pointers[i] = &s.inputs[i];
    ASSERT_EQ(Text(rule.Apply(choice, axes, pointers, 0), {}), Text(s, {})) << c.rule;
  }
  EXPECT_GT(nested, 10);
}

TEST(ShardingRuleTest, TotalOnArbitraryText) {
  const std::string alphabet = "abk .,;:->()123 summaxwholelinear";
  std::mt19937 random(11);
  const std::string seed = "(a b) ... k, k n:8 -> a (b n) ; sum k ; whole n ; linear 0 1";
  int bound = 0;
  for (int trial = 0; trial < 20000; ++trial) {
    std::string text = seed;
    for (size_t edits = 1 + random() % 4; edits > 0; --edits) {
      const size_t at = random() % (text.size() + 1);
      const char c =
          random() % 8 == 0 ? static_cast<char>(random()) : alphabet[random() % alphabet.size()];
      if (random() % 3 == 0) {
        text.insert(at, 1, c);
      } else if (at < text.size() && random() % 2 == 0) {
        text.erase(at, 1 + random() % 3);
      } else if (at < text.size()) {
        text[at] = c;
      }
    }
    const auto rule = BoundRule::Bind(text, {{6, 2, 4}, {4, 8}}, {{2, 24}});
    if (!rule.ok()) continue;
    ++bound;
    ASSERT_EQ(rule->signatures()[0].ToString(), "B,B->B");
  }
  EXPECT_GT(bound, 0);
}

}  // namespace
}  // namespace oneflow
