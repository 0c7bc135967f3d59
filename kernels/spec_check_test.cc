// SpecCheck: each demand, that the first failure is kept, and that nothing it is asked can hurt.
#include "kernels/spec_check.h"

#include <limits>

#include "base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace oneflow::kernels {
namespace {

using ::testing::HasSubstr;
using Longs = std::vector<int64_t>;

Operand F32(const Shape& shape) {
  Operand operand;
  operand.dtype = DType::kF32;
  operand.shape = operand.logical_shape = shape;
  operand.begin = Shape(shape.size(), 0);
  return operand;
}

KernelSpec Spec(std::vector<Operand> inputs, std::vector<Operand> outputs, Attrs attrs = {}) {
  KernelSpec spec;
  spec.op = "op";
  spec.inputs = std::move(inputs);
  spec.outputs = std::move(outputs);
  spec.attrs = std::move(attrs);
  return spec;
}

std::string Message(const SpecCheck& check) { return MessageOf(check.status()); }

TEST(SpecCheck, CountsOperands) {
  const KernelSpec spec = Spec({F32({2})}, {F32({2})});
  EXPECT_TRUE(SpecCheck(spec).Inputs(1).Inputs(0, 3).Outputs(1).ok());
  EXPECT_THAT(Message(SpecCheck(spec).Inputs(2)), HasSubstr("op: takes 2 inputs, has 1"));
  EXPECT_FALSE(SpecCheck(spec).Inputs(2, 3).ok());
  EXPECT_THAT(Message(SpecCheck(spec).Outputs(0)), HasSubstr("makes 0 outputs, has room for 1"));
}

TEST(SpecCheck, KeepsTheFirstFailureAndShowsTheProblem) {
  const KernelSpec spec = Spec({F32({2, 3})}, {F32({2})}, {{"dim", int64_t{1}}});
  SpecCheck check(spec);
  check.Require(true, "one").Require(false, "two").Require(false, "three").Inputs(7);
  EXPECT_EQ(Message(check), "op: must hold: two (op{dim=1} f32[2,3] -> f32[2] x1)");
  EXPECT_EQ(KindOf(check.status()), ErrorKind::kPlan);
}

TEST(SpecCheck, ComparesTypes) {
  Operand whole = F32({2, 3});
  Operand bytes = whole;
  bytes.dtype = DType::kU8;
  const KernelSpec spec = Spec({whole, bytes}, {whole});
  SpecCheck check(spec);
  EXPECT_TRUE(check.Same(check.in(0), check.out(0)).Takes(whole, {DType::kF32}).ok());
  EXPECT_TRUE(check.HasShape(bytes, {2, 3}).Rank(bytes, 2, 2).ok());
  EXPECT_FALSE(SpecCheck(spec).Same(whole, bytes).ok());
  EXPECT_FALSE(SpecCheck(spec).SameDType().ok());
  EXPECT_FALSE(SpecCheck(spec).HasShape(whole, {3, 2}).ok());
  EXPECT_FALSE(SpecCheck(spec).Rank(whole, 3, 4).ok());
  EXPECT_FALSE(SpecCheck(spec).Scalar(whole, DType::kF32).ok());
  EXPECT_TRUE(SpecCheck(spec).Scalar(F32({}), DType::kF32).ok());
  SpecCheck floats(spec);
  EXPECT_THAT(Message(floats.Takes(bytes, {DType::kF32})), HasSubstr("does not take u8"));
  EXPECT_EQ(KindOf(floats.status()), ErrorKind::kDType);
}

TEST(SpecCheck, Broadcasts) {
  const KernelSpec spec = Spec({}, {});
  for (const Shape& from : {Shape{}, Shape{1}, Shape{3}, Shape{2, 1}, Shape{1, 3}, Shape{2, 3}}) {
    EXPECT_TRUE(SpecCheck(spec).Broadcasts(from, {2, 3}).ok()) << ToString(from);
  }
  for (const Shape& from : {Shape{2}, Shape{0}, Shape{3, 1}, Shape{1, 2, 3}}) {
    EXPECT_FALSE(SpecCheck(spec).Broadcasts(from, {2, 3}).ok()) << ToString(from);
  }
}

TEST(SpecCheck, RegionsEndInside) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  const KernelSpec spec = Spec({}, {});
  EXPECT_TRUE(SpecCheck(spec).Inside({1, 0}, {2, 3}, {3, 3}).ok());
  EXPECT_TRUE(SpecCheck(spec).Inside({3, 0}, {0, 3}, {3, 3}).ok());
  for (const auto& [begin, extent] : std::vector<std::pair<Shape, Shape>>{{{2, 0}, {2, 3}},
                                                                          {{-1, 0}, {2, 3}},
                                                                          {{0, 0}, {-1, 3}},
                                                                          {{kMax, 0}, {kMax, 3}},
                                                                          {{0}, {3}},
                                                                          {{0, 0}, {3}},
                                                                          {{0, 0, 0}, {3, 3, 1}}}) {
    EXPECT_FALSE(SpecCheck(spec).Inside(begin, extent, {3, 3}).ok()) << ToString(begin);
  }
}

TEST(SpecCheck, PlacesLieInTheLogicalTensor) {
  const KernelSpec spec = Spec({}, {});
  Operand shard = F32({2, 3});
  shard.logical_shape = {8, 3};
  shard.begin = {6, 0};
  EXPECT_TRUE(SpecCheck(spec).Placed(shard).ok());
  shard.begin = {7, 0};
  EXPECT_FALSE(SpecCheck(spec).Placed(shard).ok());
  shard.begin = {0, 0};
  shard.micro_stride = 2;
  EXPECT_TRUE(SpecCheck(spec).Placed(shard).ok());
  shard.micro_stride = 9;
  EXPECT_FALSE(SpecCheck(spec).Placed(shard).ok());
  shard.micro_stride = 2;
  shard.micro_dim = 2;
  EXPECT_FALSE(SpecCheck(spec).Placed(shard).ok());
}

TEST(SpecCheck, AttributesOfAnotherTypeAreRefusedNotRead) {
  const Attrs attrs = {{"int", int64_t{5}},          {"float", 0.5},
                       {"text", std::string("sum")}, {"bool", true},
                       {"ints", Longs{1, 2}},        {"texts", std::vector<std::string>{"a"}}};
  const KernelSpec spec = Spec({F32({2, 3})}, {}, attrs);
  SpecCheck good(spec);
  EXPECT_EQ(good.Int("int", 0, 5), 5);
  EXPECT_EQ(good.IntOr("none", 7, 0, 1), 7);
  EXPECT_EQ(good.Number("int"), 5);
  EXPECT_EQ(good.Number("float"), 0.5);
  EXPECT_EQ(good.NumberOr("none", 0.25), 0.25);
  EXPECT_EQ(good.Text("text"), "sum");
  EXPECT_EQ(good.TextOr("none", "copy"), "copy");
  EXPECT_TRUE(good.BoolOr("bool", false));
  EXPECT_EQ(good.Ints("ints"), (Longs{1, 2}));
  EXPECT_EQ(good.Texts("texts").size(), 1u);
  EXPECT_EQ(good.Pair("ints", 0, 2), (std::array<int64_t, 2>{1, 2}));
  EXPECT_EQ(good.Pair("int", 0, 5), (std::array<int64_t, 2>{5, 5}));
  good.IntOrText("int").IntOrText("text");
  EXPECT_TRUE(good.ok()) << Message(good);

  const auto refused = [&](const auto& read, const std::string& what) {
    SpecCheck check(spec);
    read(check);
    EXPECT_THAT(Message(check), HasSubstr(what));
  };
  refused([](SpecCheck& c) { c.Int("none", 0, 9); }, "attribute none is an int");
  refused([](SpecCheck& c) { c.Int("float", 0, 9); }, "attribute float is an int");
  refused([](SpecCheck& c) { c.Int("int", 6, 9); }, "attribute int is from 6 to 9, not 5");
  refused([](SpecCheck& c) { c.IntOr("text", 0, 0, 9); }, "attribute text is an int");
  refused([](SpecCheck& c) { c.Number("bool"); }, "attribute bool is a number");
  refused([](SpecCheck& c) { c.Text("ints"); }, "attribute ints is a string");
  refused([](SpecCheck& c) { c.BoolOr("int", false); }, "attribute int is true or false");
  refused([](SpecCheck& c) { c.Ints("texts"); }, "attribute texts is a list of ints");
  refused([](SpecCheck& c) { c.Texts("ints"); }, "attribute ints is a list of strings");
  refused([](SpecCheck& c) { c.Pair("float", 0, 9); }, "attribute float is a list of ints");
  refused([](SpecCheck& c) { c.Pair("ints", 0, 1); }, "attribute ints is from 0 to 1, not 2");
  refused([](SpecCheck& c) { c.IntOrText("bool"); }, "attribute bool is an int or a string");
}

TEST(SpecCheck, DimsCountFromBothEnds) {
  for (const auto& [dim, wrapped] :
       std::vector<std::pair<int64_t, size_t>>{{0, 0}, {1, 1}, {-1, 1}, {-2, 0}}) {
    const KernelSpec spec = Spec({F32({2, 3})}, {}, {{"dim", dim}});
    SpecCheck check(spec);
    EXPECT_EQ(check.Dim("dim", check.in(0)), wrapped) << dim;
    EXPECT_TRUE(check.ok());
  }
  for (const int64_t dim :
       {int64_t{2}, int64_t{-3}, std::numeric_limits<int64_t>::min(), int64_t{1} << 40}) {
    const KernelSpec spec = Spec({F32({2, 3})}, {}, {{"dim", dim}});
    SpecCheck check(spec);
    EXPECT_EQ(check.Dim("dim", check.in(0)), 0u) << dim;
    EXPECT_FALSE(check.ok()) << dim;
  }
  const KernelSpec none = Spec({}, {});
  SpecCheck check(none);
  EXPECT_EQ(check.WrappedDim(-1, F32({})), 0u);
  EXPECT_TRUE(check.ok());
}

TEST(SpecCheck, AnOperandThatIsNotThereIsEmpty) {
  const KernelSpec spec = Spec({}, {});
  SpecCheck check(spec);
  EXPECT_EQ(check.in(3).dtype, DType::kInvalid);
  EXPECT_TRUE(check.out(0).shape.empty());
}

TEST(CheckOperands, RefusesWhatCannotBeCounted) {
  EXPECT_TRUE(CheckOperands(Spec({F32({2, 0, 3})}, {F32({})})).ok());
  EXPECT_FALSE(CheckOperands(Spec({F32({-1})}, {})).ok());
  EXPECT_FALSE(CheckOperands(Spec({F32({int64_t{1} << 62})}, {})).ok());
  // A zero hides no overflow: kernels multiply some of the dims.
  EXPECT_FALSE(CheckOperands(Spec({F32({0, int64_t{1} << 40, int64_t{1} << 40})}, {})).ok());
  EXPECT_FALSE(CheckOperands(Spec({F32(Shape(17, 1))}, {})).ok());
  EXPECT_FALSE(CheckOperands(Spec({Operand()}, {})).ok());
  Operand misplaced = F32({2});
  misplaced.begin.clear();
  EXPECT_FALSE(CheckOperands(Spec({}, {misplaced})).ok());
  for (const int threads : {0, -1, kMaxTeam + 1}) {
    KernelSpec spec = Spec({F32({2})}, {});
    spec.threads = threads;
    EXPECT_FALSE(CheckOperands(spec).ok()) << threads;
  }
}

}  // namespace
}  // namespace oneflow::kernels
