// Convolutions in bf16 and their gradients, by each instruction set that the machine has, against sums
// in double of the same bf16 operands.
#include "kernels/cpu/bf16_convolution.h"

#include <limits>
#include <vector>

#include "kernels/cpu/bf16_weight_gradient.h"
#include "kernels/cpu/convolution_case.h"
#include "kernels/cpu/depthwise.h"

namespace oneflow::kernels {
namespace {

using Direction = TapConvolution::Direction;

std::vector<Bf16Tiles> AllOfThisMachine() {
  std::vector<Bf16Tiles> all;
  if (HostHasAvx512Bf16()) all.push_back(Avx512Bf16Tiles());
  if (HostHasAmxBf16()) all.push_back(AmxBf16Tiles());
  return all;
}

float ToBf16(float value) { return BF16(value); }
float ToF16(float value) { return F16(value); }

// Beside those of f32: whole blocks of channels, strips that end inside a tap, groups of all widths,
// several shares of pixels, several phases of which some have no tap, a team.
std::vector<ConvolutionRow> Rows() {
  std::vector<ConvolutionRow> rows = ConvolutionRows();
  for (const ConvolutionRow& row :
       std::vector<ConvolutionRow>{{2, 9, 8, 64, 64, 3, 3, 1, {1, 1}, {1, 1}, {1, 1}},
                                   {2, 9, 8, 64, 40, 3, 3, 1, {2, 2}, {1, 1}, {1, 1}},
                                   {1, 8, 8, 32, 96, 3, 3, 1, {1, 1}, {2, 2}, {2, 2}},
                                   {2, 7, 9, 96, 64, 3, 3, 2, {1, 1}, {1, 1}, {1, 1}},
                                   {1, 7, 9, 128, 128, 3, 3, 32, {2, 1}, {1, 1}, {1, 2}},
                                   {1, 6, 6, 33, 35, 2, 2, 1, {3, 3}, {0, 1}, {1, 1}},
                                   {1, 6, 6, 33, 66, 1, 1, 33, {1, 1}, {0, 0}, {1, 1}},
                                   {3, 9, 9, 32, 64, 1, 1, 1, {2, 2}, {0, 0}, {1, 1}},
                                   {2, 9, 7, 50, 34, 1, 1, 1, {1, 1}, {0, 0}, {1, 1}},
                                   {2, 9, 7, 50, 34, 1, 1, 1, {1, 1}, {1, 2}, {1, 1}},
                                   {2, 48, 48, 32, 32, 1, 1, 1, {1, 1}, {0, 0}, {1, 1}},
                                   {2, 9, 7, 70, 70, 3, 3, 70, {1, 1}, {1, 1}, {1, 1}},
                                   {2, 9, 7, 128, 128, 3, 2, 128, {2, 2}, {2, 1}, {2, 1}},
                                   {4, 17, 16, 64, 64, 5, 5, 64, {2, 1}, {2, 2}, {1, 1}}}) {
    rows.push_back(row);
  }
  return rows;
}

ConvolutionProblem ProblemOf(const ConvolutionRow& v, const Reference& ref) {
  ConvolutionProblem c;
  c.n = v.n, c.h = v.h, c.w = v.w, c.c = v.c;
  c.k = v.k, c.p = ref.y_shape[1], c.q = ref.y_shape[2];
  c.r = v.r, c.s = v.s, c.groups = v.groups;
  c.stride = {v.stride[0], v.stride[1]};
  c.padding = {v.padding[0], v.padding[1]};
  c.dilation = {v.dilation[0], v.dilation[1]};
  return c;
}

std::vector<BF16> Rounded(const std::vector<float>& values) {
  std::vector<BF16> rounded;
  for (const float value : values) rounded.emplace_back(value);
  return rounded;
}

template <typename Made>
std::vector<BF16> ResultOf(const Made& made, const std::vector<BF16>& a, const std::vector<BF16>& b,
                           size_t n, const std::string& where) {
  const GuardedBytes space(made.workspace_bytes());
  // What the kernel does not write itself must not count: it is NaN.
  std::memset(space.data(), 0xFF, made.workspace_bytes());
  const TestTensor out = TestTensor::Empty(DType::kBF16, {static_cast<int64_t>(n)});
  made.Run(a.data(), b.data(), static_cast<BF16*>(out.bytes->data()), space.data());
  EXPECT_TRUE(out.bytes->Intact() && space.Intact()) << where;
  return out.Values<BF16>();
}

// A sum in f32, rounded once to eight bits.
template <typename Made>
void Check(const Made& made, const std::vector<float>& a, const std::vector<float>& b,
           const std::vector<double>& expected, const std::string& where) {
  double scale = 1;
  for (const double value : expected) scale = std::max(scale, std::abs(value));
  const std::vector<BF16> actual = ResultOf(made, Rounded(a), Rounded(b), expected.size(), where);
  ExpectClose(std::vector<float>(actual.begin(), actual.end()), expected, 1.0 / 256, 1e-5 * scale,
              where);
}

TEST(Bf16Convolution, EqualsSumsInDouble) {
  for (const ConvolutionRow& row : Rows()) {
    if (row.n == 0 || row.c == 0 || row.k == 0) continue;
    const Reference ref = ReferenceOf(row, ToBf16);
    const ConvolutionProblem c = ProblemOf(row, ref);
    for (const int threads : {1, 2}) {
      for (const Bf16Tiles& tiles : AllOfThisMachine()) {
        const std::string where = std::string(tiles.name) + " " + Text(row);
        Check(Bf16Convolution(Direction::kForward, c, tiles, threads), ref.x, ref.w, ref.y,
              where + " y");
        Check(Bf16Convolution(Direction::kGradInput, c, tiles, threads), ref.dy, ref.w, ref.dx,
              where + " dx");
        Check(Bf16WeightGradient(c, tiles, HostMicroKernels(), threads), ref.x, ref.dy, ref.dw,
              where + " dw");
      }
      if (!IsDepthwise(c)) continue;
      const std::string where = "depthwise " + Text(row);
      Check(Depthwise<BF16>(Direction::kForward, c, threads), ref.x, ref.w, ref.y, where + " y");
      Check(Depthwise<BF16>(Direction::kGradInput, c, threads), ref.dy, ref.w, ref.dx,
            where + " dx");
      Check(DepthwiseWeightGradient<BF16>(c, threads), ref.x, ref.dy, ref.dw, where + " dw");
    }
  }
}

// The kernels of the table, whatever this machine has; f16 is widened everywhere.
template <typename T>
void CheckKernels(float (*round)(float), double unit) {
  for (const ConvolutionRow& row : Rows()) {
    const Reference ref = ReferenceOf(row, round);
    const auto tensor = [](const Shape& shape, const std::vector<float>& values) {
      std::vector<T> rounded;
      for (const float value : values) rounded.emplace_back(value);
      return TestTensor::Of<T>(shape, rounded);
    };
    const TestTensor x = tensor(ref.x_shape, ref.x);
    const TestTensor w = tensor(ref.w_shape, ref.w);
    const TestTensor dy = tensor(ref.y_shape, ref.dy);
    Attrs attrs = AttrsOf(row);
    for (const auto& [name, value] :
         {std::pair{"h", row.h}, {"w", row.w}, {"kh", row.r}, {"kw", row.s}}) {
      attrs.Set(name, value);
    }
    const auto check = [&](const std::string& op, const TestTensor& a, const TestTensor& b,
                           const Shape& shape, const std::vector<double>& expected) {
      KernelCase test(op, attrs, {a, b}, {TestTensor::Empty(DTypeOf<T>(), shape)}, 2);
      test.Run();
      const std::vector<T> actual = test.Output<T>();
      double scale = 1;
      for (const double value : expected) scale = std::max(scale, std::abs(value));
      ExpectClose(std::vector<float>(actual.begin(), actual.end()), expected, unit, 1e-5 * scale,
                  op + " " + Text(row));
    };
    check("conv2d", x, w, ref.y_shape, ref.y);
    check("conv2d_grad_input", dy, w, ref.x_shape, ref.dx);
    check("conv2d_grad_weight", x, dy, ref.w_shape, ref.dw);
  }
}
TEST(Bf16Convolution, KernelsEqualSumsInDouble) {
  CheckKernels<float>(nullptr, 1e-5);
  CheckKernels<BF16>(ToBf16, 1.0 / 256);
  CheckKernels<F16>(ToF16, 1.0 / 2048);
}

TEST(Bf16Convolution, TheTeamChangesNoBit) {
  const std::vector<ConvolutionRow> rows = {{2, 40, 40, 48, 40, 3, 3, 1, {1, 1}, {1, 1}, {1, 1}},
                                            {2, 60, 40, 32, 64, 1, 1, 1, {1, 1}, {0, 0}, {1, 1}},
                                            {2, 40, 40, 80, 80, 3, 3, 80, {1, 1}, {1, 1}, {1, 1}}};
  for (const ConvolutionRow& row : rows) {
    const Reference ref = ReferenceOf(row, ToBf16);
    const ConvolutionProblem c = ProblemOf(row, ref);
    const std::vector<BF16> x = Rounded(ref.x), w = Rounded(ref.w), dy = Rounded(ref.dy);
    const auto same = [&](const auto& make, const std::vector<BF16>& a, const std::vector<BF16>& b,
                          size_t n) {
      const std::vector<BF16> one = ResultOf(make(1), a, b, n, Text(row));
      for (const int threads : {2, 3}) {
        const std::vector<BF16> more = ResultOf(make(threads), a, b, n, Text(row));
        EXPECT_EQ(std::memcmp(one.data(), more.data(), 2 * n), 0) << Text(row) << threads;
      }
    };
    for (const Bf16Tiles& tiles : AllOfThisMachine()) {
      same([&](int team) { return Bf16Convolution(Direction::kForward, c, tiles, team); }, x, w,
           dy.size());
      same([&](int team) { return Bf16Convolution(Direction::kGradInput, c, tiles, team); }, dy, w,
           x.size());
      same([&](int team) { return Bf16WeightGradient(c, tiles, HostMicroKernels(), team); }, x, dy,
           w.size());
    }
    if (!IsDepthwise(c)) continue;
    same([&](int team) { return Depthwise<BF16>(Direction::kForward, c, team); }, x, w, dy.size());
    same([&](int team) { return Depthwise<BF16>(Direction::kGradInput, c, team); }, dy, w,
         x.size());
    same([&](int team) { return DepthwiseWeightGradient<BF16>(c, team); }, x, dy, w.size());
  }
}

}  // namespace
}  // namespace oneflow::kernels
