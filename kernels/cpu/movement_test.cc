// The movement tasks by brute force: pieces placed by index, a whole ring played over its devices.
#include <numeric>

#include "kernels/cpu/kernel_case.h"

namespace oneflow::kernels {
namespace {

using Longs = std::vector<int64_t>;
using Strings = std::vector<std::string>;

TEST(Pack, TakesARegion) {
  const std::vector<float> x = RandomFloats(4 * 5 * 6, 1);
  for (const Shape& begin : {Shape{0, 0, 0}, Shape{1, 2, 3}, Shape{2, 0, 1}}) {
    const Shape extent = {2, 3, 3};
    std::vector<float> expected;
    for (const Shape& index : Indices(extent)) {
      expected.push_back(
          x[((begin[0] + index[0]) * 5 + begin[1] + index[1]) * 6 + begin[2] + index[2]]);
    }
    EXPECT_EQ(RunKernel("pack", {{"begin", begin}, {"extent", extent}},
                        {TestTensor::Of<float>({4, 5, 6}, x)}, extent),
              expected);
  }
}

TEST(Pack, RefusesARegionOutside) {
  KernelCase test("pack", {{"begin", Longs{3, 0}}, {"extent", Longs{2, 5}}},
                  {RandomTensor({4, 5}, 1)}, {TestTensor::Empty(DType::kF32, {2, 5})});
  EXPECT_FALSE(test.Make());
  EXPECT_EQ(KindOf(test.status), ErrorKind::kPlan);
}

TEST(Pack, EmptyAndScalar) {
  KernelCase empty("pack", {{"begin", Longs{4, 0}}, {"extent", Longs{0, 5}}},
                   {RandomTensor({4, 5}, 1)}, {TestTensor::Empty(DType::kF32, {0, 5})});
  empty.Run();
  KernelCase scalar("pack", {{"begin", Longs{}}, {"extent", Longs{}}},
                    {TestTensor::Of<int64_t>({}, {42})}, {TestTensor::Empty(DType::kI64, {})});
  scalar.Run();
  EXPECT_EQ(scalar.Output<int64_t>(), Longs{42});
}

TEST(Assemble, PiecesInOrder) {
  // Two inputs fill the two halves, a third is added over the middle.
  KernelCase test(
      "assemble",
      {{"mode", std::string("copy")},
       {"rank", int64_t{2}},
       {"zero", false},
       {"piece_input", Longs{0, 1, 2}},
       {"piece_mode", Strings{"copy", "copy", "sum"}},
       {"src_begin", Longs{0, 0, 1, 0, 0, 1}},
       {"dst_begin", Longs{0, 0, 2, 0, 1, 0}},
       {"extent", Longs{2, 2, 1, 2, 2, 1}}},
      {TestTensor::Of<int64_t>({2, 2}, {1, 2, 3, 4}), TestTensor::Of<int64_t>({2, 2}, {9, 9, 5, 6}),
       TestTensor::Of<int64_t>({2, 2}, {0, 10, 0, 20})},
      {TestTensor::Empty(DType::kI64, {3, 2})});
  test.Run();
  EXPECT_EQ(test.Output<int64_t>(), (Longs{1, 2, 13, 4, 25, 6}));
}

TEST(Assemble, ZeroMaxMinAndModeWithoutPieceModes) {
  const Attrs base = {{"rank", int64_t{1}},    {"zero", true},          {"piece_input", Longs{0}},
                      {"src_begin", Longs{0}}, {"dst_begin", Longs{1}}, {"extent", Longs{2}}};
  const TestTensor x = TestTensor::Of<float>({2}, {-3, 5});
  const std::vector<std::pair<std::string, std::vector<float>>> rows = {{"copy", {0, -3, 5, 0}},
                                                                        {"sum", {0, -3, 5, 0}},
                                                                        {"max", {0, 0, 5, 0}},
                                                                        {"min", {0, -3, 0, 0}}};
  for (const auto& [mode, expected] : rows) {
    Attrs attrs = base;
    attrs.Set("mode", mode);
    EXPECT_EQ(RunKernel("assemble", attrs, {x}, {4}), expected) << mode;
  }
}

TEST(Assemble, Scalars) {
  KernelCase test("assemble",
                  {{"mode", std::string("sum")},
                   {"rank", int64_t{0}},
                   {"zero", false},
                   {"piece_input", Longs{0, 1}},
                   {"piece_mode", Strings{"copy", "sum"}},
                   {"src_begin", Longs{}},
                   {"dst_begin", Longs{}},
                   {"extent", Longs{}}},
                  {TestTensor::Of<float>({}, {2}), TestTensor::Of<float>({}, {3})},
                  {TestTensor::Empty(DType::kF32, {})});
  test.Run();
  EXPECT_EQ(test.Output<float>(), (std::vector<float>{5}));
}

TEST(Assemble, InPlaceOnlyWhereItCopiesAll) {
  const auto needs = [](Shape in, Longs source, Longs extent, const std::string& mode) {
    KernelCase test("assemble",
                    {{"mode", mode},
                     {"rank", int64_t{1}},
                     {"zero", false},
                     {"piece_input", Longs{0}},
                     {"src_begin", std::move(source)},
                     {"dst_begin", Longs{0}},
                     {"extent", std::move(extent)}},
                    {RandomTensor(in, 1)}, {TestTensor::Empty(DType::kF32, {4})});
    EXPECT_TRUE(test.Make());
    return test.needs().aliases;
  };
  EXPECT_EQ(needs({4}, {0}, {4}, "copy"), (std::vector<Alias>{{0, 0}}));
  EXPECT_TRUE(needs({5}, {1}, {4}, "copy").empty());
  EXPECT_TRUE(needs({4}, {0}, {3}, "copy").empty());
  EXPECT_TRUE(needs({4}, {0}, {4}, "sum").empty());  // it would add to itself
}

TEST(Assemble, RefusesStrayPieces) {
  const auto make = [](int64_t input, Longs dst) {
    KernelCase test("assemble",
                    {{"mode", std::string("copy")},
                     {"rank", int64_t{1}},
                     {"zero", false},
                     {"piece_input", Longs{input}},
                     {"piece_mode", Strings{"copy"}},
                     {"src_begin", Longs{0}},
                     {"dst_begin", std::move(dst)},
                     {"extent", Longs{2}}},
                    {RandomTensor({2}, 1)}, {TestTensor::Empty(DType::kF32, {4})});
    return test.Make();
  };
  EXPECT_TRUE(make(0, {2}));
  EXPECT_FALSE(make(0, {3}));
  EXPECT_FALSE(make(0, {-1}));
  EXPECT_FALSE(make(1, {0}));
  EXPECT_FALSE(make(0, {}));
}

// First element and count of share i when n is dealt out balanced, larger shares first.
std::pair<int64_t, int64_t> Deal(int64_t n, int64_t parts, int64_t i) {
  const int64_t small = n / parts;
  const int64_t larger = n % parts;
  return {i * small + std::min(i, larger), small + (i < larger ? 1 : 0)};
}

// Plays a ring all-reduce over `parts` devices with the kernels: reduce-scatter in parts - 1 turns of
// so many pieces, then all-gather in parts - 1 more. Device d sends share d first.
void PlayRing(const Shape& shape, int64_t dim, int64_t units, int64_t parts, int64_t pieces = 1) {
  const int64_t unit = shape[dim] / units;
  Shape chunk_shape = shape;
  chunk_shape[dim] = Deal(Deal(units, parts, 0).second, pieces, 0).second * unit;
  std::vector<TestTensor> buffers, sent;
  std::vector<double> expected(NumElements(shape), 0);
  for (int64_t d = 0; d < parts; ++d) {
    buffers.push_back(RandomTensor(shape, static_cast<uint32_t>(10 + d)));
    sent.push_back(TestTensor::Empty(DType::kF32, chunk_shape));
    const std::vector<float> values = buffers.back().Values<float>();
    for (size_t i = 0; i < values.size(); ++i) expected[i] += values[i];
  }
  for (int64_t chunk = 0; chunk < 2 * (parts - 1) * pieces; ++chunk) {
    for (int64_t d = 0; d < parts; ++d) {
      KernelCase send(
          "ring_send",
          {{"dim", dim}, {"units", units}, {"parts", parts}, {"pieces", pieces}, {"base", d}},
          {buffers[d]}, {sent[d]});
      send.Run(0, static_cast<uint32_t>(chunk));
    }
    for (int64_t d = 0; d < parts; ++d) {
      KernelCase reduce("ring_reduce",
                        {{"dim", dim},
                         {"units", units},
                         {"parts", parts},
                         {"pieces", pieces},
                         {"base", d},
                         {"reduce_chunks", (parts - 1) * pieces},
                         {"mode", std::string("sum")}},
                        {buffers[d], sent[(d + parts - 1) % parts]}, {buffers[d]});
      reduce.Run(0, static_cast<uint32_t>(chunk));
      EXPECT_TRUE(reduce.needs().MayAlias(0, 0));
    }
  }
  for (int64_t d = 0; d < parts; ++d) {
    ExpectClose(buffers[d].Values<float>(), expected, 1e-6, 1e-6, "device " + std::to_string(d));
    EXPECT_EQ(buffers[d].Values<float>(), buffers[0].Values<float>()) << "replicas differ";
  }
}

TEST(Ring, AllReduce) {
  PlayRing({8, 3}, 0, 8, 2);
  PlayRing({8, 3}, 0, 8, 4);
  PlayRing({7, 3}, 0, 7, 3);
  PlayRing({3, 14, 2}, 1, 7, 3);
  PlayRing({2, 5}, 0, 2, 3);  // one share is empty
  PlayRing({5}, 0, 5, 2);
}

TEST(Ring, SharesTravelInPieces) {
  PlayRing({24, 3}, 0, 24, 2, 3);
  PlayRing({23}, 0, 23, 3, 2);       // unequal ones
  PlayRing({3, 14, 2}, 1, 7, 2, 2);  // not in a row
  PlayRing({2, 5}, 0, 2, 2, 4);      // some are empty
}

TEST(Ring, ReduceNotInPlaceCopiesTheBufferFirst) {
  const TestTensor out = TestTensor::Empty(DType::kF32, {4});
  KernelCase test("ring_reduce",
                  {{"dim", int64_t{0}},
                   {"units", int64_t{4}},
                   {"parts", int64_t{2}},
                   {"base", int64_t{1}},
                   {"reduce_chunks", int64_t{1}},
                   {"mode", std::string("max")}},
                  {TestTensor::Of<float>({4}, {1, 2, 3, 4}), TestTensor::Of<float>({2}, {5, 0})},
                  {out});
  test.Run(0, 0);  // share (1 - 1 - 0) mod 2 = 0, combined by max
  EXPECT_EQ(out.Values<float>(), (std::vector<float>{5, 2, 3, 4}));
  test.Run(0, 1);  // share (1 - 1 - 1) mod 2 = 1, overwritten
  EXPECT_EQ(out.Values<float>(), (std::vector<float>{5, 2, 5, 0}));
}

TEST(Accumulate, FirstMicroBatchCopies) {
  const TestTensor in = TestTensor::Of<float>({3}, {1, -2, 3});
  for (const auto& [mode, expected] : std::vector<std::pair<std::string, std::vector<float>>>{
           {"sum", {2, -4, 6}}, {"max", {1, -2, 3}}, {"min", {1, -2, 3}}}) {
    KernelCase test("accumulate", {{"mode", mode}}, {in}, {TestTensor::Empty(DType::kF32, {3})});
    test.Run(0);
    EXPECT_EQ(test.Output<float>(), (std::vector<float>{1, -2, 3}));
    test.Run(1);
    EXPECT_EQ(test.Output<float>(), expected) << mode;
  }
}

TEST(Micro, SliceAndConcatAreInverse) {
  for (const int64_t dim : {0, 1}) {
    const TestTensor whole = RandomTensor({6, 9}, 3);
    Shape part = {6, 9};
    part[dim] /= 3;
    const TestTensor piece = TestTensor::Empty(DType::kF32, part);
    const TestTensor again = TestTensor::Empty(DType::kF32, {6, 9});
    KernelCase slice("micro_slice", {{"dim", dim}}, {whole}, {piece});
    KernelCase concat("micro_concat", {{"dim", dim}}, {piece}, {again});
    for (uint32_t micro = 0; micro < 3; ++micro) {
      slice.Run(micro);
      // Element [0, 0] of the m-th part.
      const int64_t at = dim == 0 ? micro * 2 * 9 : micro * 3;
      EXPECT_EQ(piece.Values<float>()[0], whole.Values<float>()[at]);
      concat.Run(micro);
    }
    EXPECT_EQ(again.Values<float>(), whole.Values<float>());
  }
}

TEST(Micro, MaskKeepsTheFirst) {
  const TestTensor in = RandomTensor({5}, 1);
  KernelCase test("micro_mask", {}, {in}, {TestTensor::Empty(DType::kF32, {5})});
  test.Run(0);
  EXPECT_EQ(test.Output<float>(), in.Values<float>());
  test.Run(1);
  EXPECT_EQ(test.Output<float>(), std::vector<float>(5, 0.0f));
}

TEST(Movement, EveryElementSize) {
  const auto check = [](auto element) {
    using T = decltype(element);
    KernelCase test("pack", {{"begin", Longs{0, 1}}, {"extent", Longs{2, 2}}},
                    {TestTensor::Of<T>({2, 3}, {T(1), T(2), T(3), T(4), T(5), T(6)})},
                    {TestTensor::Empty(DTypeOf<T>(), {2, 2})});
    test.Run();
    const std::vector<T> out = test.Output<T>();
    EXPECT_EQ(static_cast<double>(out[0]), 2);
    EXPECT_EQ(static_cast<double>(out[3]), 6);
  };
  check(float{});
  check(BF16{});
  check(F16{});
  check(int64_t{});
  check(int32_t{});
  check(int8_t{});
  check(uint8_t{});
}

}  // namespace
}  // namespace oneflow::kernels
