#include "plan/content.h"

#include "gtest/gtest.h"

namespace oneflow {
namespace {

// All of a value of `shape`, with one contribution of `parts`.
Content ValueIn(const Shape& shape, int64_t part = 0, int64_t parts = 1) {
  Cell cell;
  cell.value = 0;
  cell.nest = Nest::Of(0, shape, StridesOf(shape));
  cell.parts = Parts(parts);
  cell.parts.Add(part);
  return Content::Whole(shape, cell);
}
Content Part(const Content& content, const Shape& begin, const Shape& extent) {
  return *Extract(content, {begin, extent});
}
std::string WriteTo(const Content& source, const Shape& begin, Combine mode, Content* target,
                    std::optional<Sbp::Reduce> reduce = Sbp::kSum) {
  return Write(
      source, begin, mode, [&](int) { return reduce; }, target);
}

TEST(Nest, EqualSequencesAreEqualNests) {
  // Rows 1 and 2 of [4, 6] are one run, whatever the shape says.
  EXPECT_EQ(Nest::Of(6, {2, 6}, {6, 1}), Nest::Of(6, {12}, {1}));
  EXPECT_EQ(Nest::Of(6, {2, 1, 6}, {6, 99, 1}), Nest::Of(6, {12}, {1}));
  // A column block is not.
  EXPECT_NE(Nest::Of(0, {4, 3}, {6, 1}), Nest::Of(0, {12}, {1}));
  EXPECT_EQ(Nest::Of(0, {4, 3}, {6, 1}).elements(), 12);
  EXPECT_EQ(Nest::Of(0, {12}, {1}).StridesIn({4, 3}), (Shape{3, 1}));
  EXPECT_FALSE(Nest::Of(0, {4, 3}, {6, 1}).StridesIn({12}).has_value());
}

TEST(Content, PiecesPutTogetherAreTheWholeUnderEveryFrame) {
  const Content whole = ValueIn({4, 6});
  Content built{{4, 6}, {}};
  EXPECT_EQ(WriteTo(Part(whole, {0, 0}, {4, 3}), {0, 0}, Combine::kCopy, &built), "");
  EXPECT_FALSE(built.Covered());
  EXPECT_EQ(WriteTo(Part(whole, {0, 3}, {4, 3}), {0, 3}, Combine::kCopy, &built), "");
  EXPECT_TRUE(built.Covered());
  const std::optional<Content> flat = Reframed(built, {24});
  ASSERT_TRUE(flat.has_value());
  ASSERT_EQ(flat->cells.size(), 1u);
  EXPECT_TRUE(flat->cells[0].SameElements(Reframed(whole, {24})->cells[0]));
  // Crosswise they are not one box of the value.
  Content crossed{{4, 6}, {}};
  WriteTo(Part(whole, {0, 0}, {4, 3}), {0, 3}, Combine::kCopy, &crossed);
  WriteTo(Part(whole, {0, 3}, {4, 3}), {0, 0}, Combine::kCopy, &crossed);
  EXPECT_FALSE(Reframed(crossed, {24}).has_value());
}

TEST(Content, AShareOfAFlatBufferGoesOutAndBack) {
  // A column block [4, 3] of [4, 6], flat, cut into shares that are no boxes of it.
  const Content block = Part(ValueIn({4, 6}), {0, 3}, {4, 3});
  const Content flat = *Reframed(block, {12});
  Content back{{12}, {}};
  EXPECT_EQ(WriteTo(Part(flat, {5}, {7}), {5}, Combine::kCopy, &back), "");
  EXPECT_EQ(WriteTo(Part(flat, {0}, {5}), {0}, Combine::kCopy, &back), "");
  const std::optional<Content> again = Reframed(back, {4, 3});
  ASSERT_TRUE(again.has_value());
  EXPECT_TRUE(again->cells[0].SameElements(block.cells[0]));
}

TEST(Content, ContributionsCombineOnceInTheirOwnWay) {
  Content sum = ValueIn({4}, 0, 3);
  EXPECT_EQ(WriteTo(ValueIn({4}, 1, 3), {0}, Combine::kSum, &sum), "");
  EXPECT_EQ(sum.cells[0].parts.count(), 2);
  EXPECT_EQ(WriteTo(ValueIn({4}, 1, 3), {0}, Combine::kSum, &sum), "adds a contribution twice");
  EXPECT_NE(WriteTo(ValueIn({4}, 2, 3), {0}, Combine::kMax, &sum), "");
  EXPECT_NE(WriteTo(ValueIn({4}, 2, 3), {0}, Combine::kSum, &sum, std::nullopt), "");
  EXPECT_NE(WriteTo(Part(ValueIn({8}, 2, 3), {4}, {4}), {0}, Combine::kSum, &sum), "");
  // Zeros add nothing; bytes that nobody wrote are no zeros.
  Content zeros = Content::Whole({4}, Cell());
  EXPECT_EQ(WriteTo(ValueIn({4}, 2, 3), {0}, Combine::kSum, &zeros), "");
  EXPECT_EQ(zeros.cells[0].parts.count(), 1);
  Content nothing{{4}, {}};
  EXPECT_NE(WriteTo(ValueIn({4}, 2, 3), {0}, Combine::kSum, &nothing), "");
}

}  // namespace
}  // namespace oneflow
