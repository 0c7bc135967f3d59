// attention and attention_grad against double loops: every shape around the blocks, masks, groups of
// heads, dropout, dtypes; shards against the whole; rows that see nothing; the same bits for any team.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/philox.h"
#include "kernels/cpu/kernel_case.h"

namespace oneflow::kernels {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Problem {
  int64_t batch = 1, queries = 1, keys = 1, heads = 1, key_heads = 1, width = 1, value_width = 1;
  bool causal = false;
  double p = 0;
  Shape mask = {};  // none if empty
  bool bool_mask = false;
  bool dlse = false;

  Shape q() const { return {batch, queries, heads, width}; }
  Shape k() const { return {batch, keys, key_heads, width}; }
  Shape v() const { return {batch, keys, key_heads, value_width}; }
  Shape out() const { return {batch, queries, heads, value_width}; }
  Shape lse() const { return {batch, heads, queries}; }
  double scale() const { return 1.25 / std::sqrt(static_cast<double>(width)); }
  Attrs attrs() const {
    Attrs attrs = {{"causal", causal}, {"scale", scale()}};
    if (p > 0) {
      attrs.Set("p", p);
      attrs.Set("seed", int64_t{42});
      attrs.Set("key", int64_t{7});
    }
    return attrs;
  }
  std::string name() const {
    return ToString(q()) + ToString(k()) + ToString(v()) + (causal ? " causal" : "") +
           (p > 0 ? " dropout" : "") + ToString(mask) + (bool_mask ? " bool" : "") +
           (dlse ? " dlse" : "");
  }
};

constexpr int64_t kStep = 5;

// The inputs as doubles that the tested dtype holds exactly, and what the formulas make of them.
struct Reference {
  std::vector<double> q, k, v, dout, mask, dlse;
  std::vector<double> out, lse, dq, dk, dv;
};

template <typename T>
std::vector<double> Draw(int64_t n, uint32_t seed) {
  std::vector<double> values;
  for (const float x : RandomFloats(n, seed, -1.5, 1.5)) values.push_back(T(x));
  return values;
}

Reference Solve(const Problem& a, Reference r) {
  r.out.assign(NumElements(a.out()), 0);
  r.lse.assign(NumElements(a.lse()), -kInfinity);
  r.dq.assign(r.q.size(), 0);
  r.dk.assign(r.k.size(), 0);
  r.dv.assign(r.v.size(), 0);
  const int64_t group = a.heads / a.key_heads;
  for (int64_t b = 0; b < a.batch; ++b) {
    for (int64_t h = 0; h < a.heads; ++h) {
      for (int64_t i = 0; i < a.queries; ++i) {
        const auto q_at = [&](int64_t c) {
          return ((b * a.queries + i) * a.heads + h) * a.width + c;
        };
        const auto out_at = [&](int64_t c) {
          return ((b * a.queries + i) * a.heads + h) * a.value_width + c;
        };
        const auto k_at = [&](int64_t j, int64_t c) {
          return ((b * a.keys + j) * a.key_heads + h / group) * a.width + c;
        };
        const auto v_at = [&](int64_t j, int64_t c) {
          return ((b * a.keys + j) * a.key_heads + h / group) * a.value_width + c;
        };
        const int64_t lse_at = (b * a.heads + h) * a.queries + i;
        std::vector<double> x(a.keys), keep(a.keys, 1);
        double sum = 0;
        for (int64_t j = 0; j < a.keys; ++j) {
          for (int64_t c = 0; c < a.width; ++c) x[j] += r.q[q_at(c)] * r.k[k_at(j, c)];
          x[j] *= a.scale();
          if (!a.mask.empty()) x[j] += r.mask[BroadcastPosition(a.mask, {b, h, i, j})];
          if (a.causal && j > i) x[j] = -kInfinity;
          sum += std::exp(x[j]);
          if (a.p > 0) {
            const uint64_t index = static_cast<uint64_t>(lse_at * a.keys + j);
            const uint32_t word = PhiloxBlock(PhiloxKey(42, 7), kStep, index / 4)[index % 4];
            keep[j] = word >= a.p * 4294967296.0 ? 1 / (1 - a.p) : 0;
          }
        }
        if (sum == 0) continue;
        r.lse[lse_at] = std::log(sum);
        double dot = r.dlse.empty() ? 0 : -r.dlse[lse_at];
        for (int64_t j = 0; j < a.keys; ++j) {
          x[j] = std::exp(x[j]) / sum;
          for (int64_t c = 0; c < a.value_width; ++c) {
            r.out[out_at(c)] += x[j] * keep[j] * r.v[v_at(j, c)];
            dot += x[j] * keep[j] * r.v[v_at(j, c)] * r.dout[out_at(c)];
          }
        }
        for (int64_t j = 0; j < a.keys; ++j) {
          double slope = 0;
          for (int64_t c = 0; c < a.value_width; ++c) {
            slope += r.dout[out_at(c)] * r.v[v_at(j, c)];
            r.dv[v_at(j, c)] += x[j] * keep[j] * r.dout[out_at(c)];
          }
          slope = x[j] * (slope * keep[j] - dot) * a.scale();
          for (int64_t c = 0; c < a.width; ++c) {
            r.dq[q_at(c)] += slope * r.k[k_at(j, c)];
            r.dk[k_at(j, c)] += slope * r.q[q_at(c)];
          }
        }
      }
    }
  }
  return r;
}

template <typename T>
Reference ReferenceOf(const Problem& a) {
  Reference r;
  r.q = Draw<T>(NumElements(a.q()), 1);
  r.k = Draw<T>(NumElements(a.k()), 2);
  r.v = Draw<T>(NumElements(a.v()), 3);
  r.dout = Draw<T>(NumElements(a.out()), 4);
  if (!a.mask.empty()) r.mask = Draw<T>(NumElements(a.mask), 5);
  for (double& value : r.mask) {
    if (a.bool_mask) value = value > -0.5 ? 0 : -kInfinity;
  }
  if (a.dlse) r.dlse = Draw<float>(NumElements(a.lse()), 6);
  return Solve(a, std::move(r));
}

template <typename T>
TestTensor Typed(const Shape& shape, const std::vector<double>& values) {
  std::vector<T> typed;
  for (const double value : values) typed.push_back(T(static_cast<Compute<T>>(value)));
  return TestTensor::Of<T>(shape, typed);
}

// step and mask behind the others, as far as the problem has them.
template <typename T>
void AddOptional(const Problem& a, const Reference& r, std::vector<TestTensor>* inputs) {
  if (a.p > 0 || !a.mask.empty() || a.dlse) {
    inputs->push_back(TestTensor::Of<int64_t>({}, {kStep}));
  }
  if (!a.mask.empty() && a.bool_mask) {
    std::vector<Bool> taken;
    for (const double value : r.mask) taken.push_back(Bool(value == 0));
    inputs->push_back(TestTensor::Of<Bool>(a.mask, taken));
  } else if (!a.mask.empty()) {
    inputs->push_back(Typed<T>(a.mask, r.mask));
  } else if (a.dlse) {
    inputs->push_back(TestTensor::Of<Bool>({1, 1, 1, 1}, {Bool(true)}));
  }
}

template <typename T>
using SumOf = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <typename T>
KernelCase Forward(const Problem& a, const Reference& r, int threads) {
  std::vector<TestTensor> inputs = {Typed<T>(a.q(), r.q), Typed<T>(a.k(), r.k),
                                    Typed<T>(a.v(), r.v)};
  AddOptional<T>(a, r, &inputs);
  return KernelCase(
      "attention", a.attrs(), inputs,
      {TestTensor::Empty(DTypeOf<T>(), a.out()), TestTensor::Empty(DTypeOf<SumOf<T>>(), a.lse())},
      threads);
}
template <typename T>
KernelCase Backward(const Problem& a, const Reference& r, int threads) {
  std::vector<TestTensor> inputs = {Typed<T>(a.q(), r.q),
                                    Typed<T>(a.k(), r.k),
                                    Typed<T>(a.v(), r.v),
                                    Typed<T>(a.out(), r.out),
                                    Typed<SumOf<T>>(a.lse(), r.lse),
                                    Typed<T>(a.out(), r.dout)};
  AddOptional<T>(a, r, &inputs);
  if (a.dlse) inputs.push_back(Typed<SumOf<T>>(a.lse(), r.dlse));
  return KernelCase("attention_grad", a.attrs(), inputs,
                    {TestTensor::Empty(DTypeOf<T>(), a.q()), TestTensor::Empty(DTypeOf<T>(), a.k()),
                     TestTensor::Empty(DTypeOf<T>(), a.v())},
                    threads);
}

template <typename T>
std::vector<float> Floats(const KernelCase& test, int output) {
  std::vector<float> values;
  for (const T value : test.Output<T>(output)) values.push_back(static_cast<float>(value));
  return values;
}

// |ours - expected| relative to the largest expected element of the tensor.
void ExpectNear(const std::vector<float>& ours, const std::vector<double>& expected,
                double tolerance, const std::string& what) {
  double largest = 0.05;  // what cancels is as exact as its terms
  for (const double value : expected) {
    if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
  }
  ExpectClose(ours, expected, 0, tolerance * largest, what);
}

template <typename T>
void ExpectFormulas(const Problem& a, double tolerance) {
  const Reference r = ReferenceOf<T>(a);
  for (const int threads : {1, 3}) {
    SCOPED_TRACE(a.name() + " threads " + std::to_string(threads));
    KernelCase forward = Forward<T>(a, r, threads);
    forward.Run();
    ExpectNear(Floats<T>(forward, 0), r.out, tolerance, "out");
    ExpectNear(Floats<SumOf<T>>(forward, 1), r.lse, std::min(tolerance, 1e-4), "lse");
    KernelCase backward = Backward<T>(a, r, threads);
    backward.Run();
    ExpectNear(Floats<T>(backward, 0), r.dq, tolerance, "dq");
    ExpectNear(Floats<T>(backward, 1), r.dk, tolerance, "dk");
    ExpectNear(Floats<T>(backward, 2), r.dv, tolerance, "dv");
    if (::testing::Test::HasFatalFailure()) return;
  }
}

std::vector<Problem> Problems() {
  std::vector<Problem> problems = {
      {2, 64, 96, 3, 3, 16, 16},   {1, 65, 97, 2, 2, 8, 24},   {1, 1, 1, 1, 1, 1, 1},
      {2, 130, 200, 2, 1, 64, 64}, {1, 7, 5, 4, 2, 3, 5},      {1, 33, 193, 1, 1, 40, 33},
      {3, 5, 300, 2, 2, 17, 1},    {1, 200, 48, 1, 1, 80, 72}, {1, 96, 96, 6, 2, 32, 32},
  };
  const size_t plain = problems.size();
  for (size_t i = 0; i < plain; ++i) {
    Problem a = problems[i];
    a.causal = true;
    problems.push_back(a);
    a.p = 0.3;
    problems.push_back(a);
    a.causal = false;
    a.dlse = true;
    problems.push_back(a);
    a.mask = {a.batch, 1, a.queries, a.keys};
    problems.push_back(a);
    a.p = 0;
    a.dlse = false;
    a.bool_mask = true;
    a.mask = {1, a.heads, 1, a.keys};
    problems.push_back(a);
    a.mask = {a.batch, 1, a.queries, 1};
    a.causal = true;
    problems.push_back(a);
  }
  return problems;
}

// q, k and v as heads of one tensor, and their gradients in one like it: the bits of three tensors.
template <typename T>
void ExpectPackedIsTheSame(const Problem& a, std::array<int64_t, 3> first) {
  const Reference r = ReferenceOf<T>(a);
  const int64_t all = a.heads + 2 * a.key_heads;
  // [.., all, width] <-> [.., heads of a part, width], token by token.
  const auto move = [&](std::vector<T>* whole, std::vector<T>* part, int64_t begin, bool pack) {
    const int64_t heads = static_cast<int64_t>(part->size()) / (a.batch * a.keys * a.width);
    for (int64_t token = 0; token < a.batch * a.keys; ++token) {
      for (int64_t c = 0; c < heads * a.width; ++c) {
        T& outer = (*whole)[static_cast<size_t>((token * all + begin) * a.width + c)];
        T& inner = (*part)[static_cast<size_t>(token * heads * a.width + c)];
        (pack ? outer : inner) = pack ? inner : outer;
      }
    }
  };
  const Shape shape = {a.batch, a.keys, all, a.width};
  std::vector<T> whole(static_cast<size_t>(NumElements(shape)));
  const Shape shapes[] = {a.q(), a.k(), a.v()};
  const std::vector<double>* const values[] = {&r.q, &r.k, &r.v};
  for (size_t i = 0; i < 3; ++i) {
    std::vector<T> part = Typed<T>(shapes[i], *values[i]).template Values<T>();
    move(&whole, &part, first[i], true);
  }
  const TestTensor packed = TestTensor::Of<T>(shape, whole);
  Attrs attrs = a.attrs();
  attrs.Set("packed", std::vector<int64_t>{first[0], first[1], first[2], a.heads, a.key_heads});
  const auto optional = [&](std::vector<TestTensor> inputs) {
    AddOptional<T>(a, r, &inputs);
    return inputs;
  };
  for (const int threads : {1, 3}) {
    SCOPED_TRACE(a.name() + " threads " + std::to_string(threads));
    KernelCase forward = Forward<T>(a, r, threads);
    forward.Run();
    const DType sums = DTypeOf<SumOf<T>>();
    KernelCase one("attention", attrs, optional({packed, packed, packed}),
                   {TestTensor::Empty(DTypeOf<T>(), a.out()), TestTensor::Empty(sums, a.lse())},
                   threads);
    one.Run();
    EXPECT_EQ(Floats<T>(one, 0), Floats<T>(forward, 0));
    EXPECT_EQ(Floats<SumOf<T>>(one, 1), Floats<SumOf<T>>(forward, 1));
    KernelCase backward = Backward<T>(a, r, threads);
    backward.Run();
    std::vector<TestTensor> inputs =
        optional({packed, packed, packed, Typed<T>(a.out(), r.out), Typed<SumOf<T>>(a.lse(), r.lse),
                  Typed<T>(a.out(), r.dout)});
    if (a.dlse) inputs.push_back(Typed<SumOf<T>>(a.lse(), r.dlse));
    KernelCase all_three("attention_grad", attrs, inputs, {TestTensor::Empty(DTypeOf<T>(), shape)},
                         threads);
    all_three.Run();
    std::vector<T> gradient = all_three.Output<T>(0);
    for (size_t i = 0; i < 3; ++i) {
      std::vector<T> part(static_cast<size_t>(NumElements(shapes[i])));
      move(&gradient, &part, first[i], false);
      std::vector<float> floats;
      for (const T value : part) floats.push_back(static_cast<float>(value));
      EXPECT_EQ(floats, Floats<T>(backward, static_cast<int>(i))) << i;
    }
  }
}

TEST(Attention, PackedHeadsHaveTheBitsOfThreeTensors) {
  for (Problem a : std::vector<Problem>{{2, 64, 64, 3, 3, 16, 16},
                                        {2, 70, 70, 4, 2, 32, 32, true, 0.3},
                                        {1, 5, 5, 2, 1, 7, 7, false, 0, {1, 1, 5, 5}, true},
                                        {2, 130, 130, 2, 2, 64, 64, false, 0.1, {}, false, true}}) {
    const int64_t k = a.key_heads;
    for (const auto& first :
         {std::array<int64_t, 3>{0, a.heads, a.heads + k}, std::array<int64_t, 3>{2 * k, k, 0}}) {
      ExpectPackedIsTheSame<float>(a, first);
      ExpectPackedIsTheSame<BF16>(a, first);
      ExpectPackedIsTheSame<double>(a, first);
    }
  }
}

TEST(Attention, F32) {
  for (const Problem& a : Problems()) ExpectFormulas<float>(a, 2e-5);
}

TEST(Attention, F64) {
  for (const Problem& a : Problems()) ExpectFormulas<double>(a, 2e-7);
}

TEST(Attention, NarrowTypes) {
  for (const Problem& a : Problems()) {
    ExpectFormulas<BF16>(a, 3e-2);
    ExpectFormulas<F16>(a, 4e-3);
  }
}

template <typename T>
void ExpectSameBits(const Problem& a) {
  const Reference r = ReferenceOf<T>(a);
  KernelCase forward = Forward<T>(a, r, 1);
  KernelCase backward = Backward<T>(a, r, 1);
  forward.Run();
  backward.Run();
  for (const int threads : {2, 3, 4}) {
    KernelCase other = Forward<T>(a, r, threads);
    other.Run();
    EXPECT_EQ(Floats<T>(other, 0), Floats<T>(forward, 0));
    EXPECT_EQ(other.Output<float>(1), forward.Output<float>(1));
    KernelCase gradient = Backward<T>(a, r, threads);
    gradient.Run();
    for (int i = 0; i < 3; ++i) EXPECT_EQ(Floats<T>(gradient, i), Floats<T>(backward, i)) << i;
  }
}

TEST(Attention, TheTeamChangesNoBit) {
  const Problem a = {2, 200, 300, 3, 3, 24, 16, true, 0.2};
  ExpectSameBits<float>(a);
  ExpectSameBits<BF16>(a);
  ExpectSameBits<F16>(a);
}

// A shard of queries, heads or batch, or a micro-batch, sees what the whole sees: causal places and
// dropout masks are those of the logical tensor.
TEST(Attention, ShardsAndMicroBatchesAreRowsOfTheWhole) {
  const Problem whole = {4, 150, 120, 4, 4, 8, 8, true, 0.4};
  const Reference r = ReferenceOf<float>(whole);
  struct Row {
    Shape begin, shape;  // of q
    int micro_dim;
    int64_t micro_stride;
    uint32_t micro;
  };
  for (const Row& row : std::vector<Row>{{{0, 70, 0, 0}, {4, 80, 4, 8}, 0, 0, 0},
                                         {{0, 0, 1, 0}, {4, 150, 2, 8}, 0, 0, 0},
                                         {{3, 0, 0, 0}, {1, 150, 4, 8}, 0, 0, 0},
                                         {{1, 149, 3, 0}, {2, 1, 1, 8}, 0, 0, 0},
                                         {{0, 0, 0, 0}, {1, 150, 4, 8}, 0, 1, 2},
                                         {{0, 30, 0, 0}, {4, 30, 4, 8}, 1, 30, 3}}) {
    Shape begin = row.begin;
    begin[row.micro_dim] += row.micro_stride * row.micro;
    Problem a = whole;
    a.batch = row.shape[0], a.queries = row.shape[1], a.heads = a.key_heads = row.shape[2];
    // The part of [batch, tokens, heads, 8] from `at` on.
    const auto part = [&](const std::vector<double>& values, int64_t tokens, const Shape& at,
                          const Shape& shape) {
      std::vector<double> cut;
      for (const Shape& i : Indices(shape)) {
        cut.push_back(values[BroadcastPosition({4, tokens, 4, 8},
                                               {i[0] + at[0], i[1] + at[1], i[2] + at[2], i[3]})]);
      }
      return cut;
    };
    const Shape keys_at = {begin[0], 0, begin[2], 0};
    Reference local;
    local.q = part(r.q, 150, begin, a.q());
    local.k = part(r.k, 120, keys_at, a.k());
    local.v = part(r.v, 120, keys_at, a.v());
    local.out = part(r.out, 150, begin, a.out());
    local.dout = part(r.dout, 150, begin, a.out());
    for (const Shape& i : Indices(a.lse())) {
      local.lse.push_back(r.lse[BroadcastPosition(
          whole.lse(), {i[0] + begin[0], i[1] + begin[2], i[2] + begin[1]})]);
    }
    const auto place = [&](KernelCase* test) {
      Operand& q = test->spec().inputs[0];
      q.logical_shape = whole.q();
      q.begin = row.begin;
      q.micro_dim = row.micro_dim;
      q.micro_stride = row.micro_stride;
    };
    KernelCase forward = Forward<float>(a, local, 2);
    place(&forward);
    forward.Run(row.micro);
    ExpectNear(forward.Output<float>(0), local.out, 2e-5, ToString(row.begin));
    ExpectNear(forward.Output<float>(1), local.lse, 2e-5, ToString(row.begin));
    KernelCase backward = Backward<float>(a, local, 2);
    place(&backward);
    backward.Run(row.micro);
    ExpectNear(backward.Output<float>(0), part(r.dq, 150, begin, a.q()), 3e-5, ToString(row.begin));
  }
}

TEST(Attention, ARowThatSeesNothingIsZero) {
  Problem a = {1, 4, 100, 2, 2, 4, 4};
  a.mask = {1, 1, 4, 1};
  a.bool_mask = true;
  Reference r = ReferenceOf<float>(a);
  r.mask = {0, -kInfinity, 0, -kInfinity};
  r = Solve(a, r);
  EXPECT_EQ(r.lse[1], -kInfinity);
  KernelCase forward = Forward<float>(a, r, 1);
  forward.Run();
  ExpectNear(forward.Output<float>(0), r.out, 2e-5, "out");
  EXPECT_EQ(forward.Output<float>(1)[3], -std::numeric_limits<float>::infinity());
  KernelCase backward = Backward<float>(a, r, 1);
  backward.Run();
  ExpectNear(backward.Output<float>(0), r.dq, 2e-5, "dq");
  ExpectNear(backward.Output<float>(1), r.dk, 2e-5, "dk");
}

TEST(Attention, NothingToSeeAndNothingToDo) {
  for (const DType dtype : {DType::kF32, DType::kF64, DType::kBF16}) {
    for (const auto& [queries, keys, heads] :
         {std::array<int64_t, 3>{3, 0, 2}, {0, 3, 2}, {3, 3, 0}, {0, 0, 2}}) {
      const DType sums = dtype == DType::kF64 ? dtype : DType::kF32;
      const auto empty = [](DType type, const Shape& shape) {
        TestTensor tensor = TestTensor::Empty(type, shape);
        std::memset(tensor.bytes->data(), 0x3f, NumElements(shape) * SizeOf(type));
        return tensor;
      };
      const TestTensor q = empty(dtype, {1, queries, heads, 4});
      const TestTensor k = empty(dtype, {1, keys, heads, 4});
      const TestTensor out = empty(dtype, {1, queries, heads, 4});
      const TestTensor lse = empty(sums, {1, heads, queries});
      KernelCase forward("attention", {}, {q, k, k}, {out, lse}, 2);
      forward.Run();
      KernelCase backward(
          "attention_grad", {}, {q, k, k, out, lse, out},
          {empty(dtype, q.type.shape), empty(dtype, k.type.shape), empty(dtype, k.type.shape)}, 2);
      backward.Run();
      if (dtype != DType::kF32) continue;
      if (keys == 0) {
        EXPECT_EQ(forward.Output<float>(0), std::vector<float>(NumElements(out.type.shape), 0));
        EXPECT_EQ(backward.Output<float>(0), std::vector<float>(NumElements(q.type.shape), 0));
      }
      if (queries == 0) {
        EXPECT_EQ(backward.Output<float>(1), std::vector<float>(NumElements(k.type.shape), 0));
      }
    }
  }
}

TEST(Attention, AHeadOfAPlanFileHasABoundedWidth) {
  for (const int64_t width : {int64_t{0}, int64_t{1} << 17, int64_t{1} << 38}) {
    KernelSpec spec{"attention", {}, {}, {}, 1};
    for (int i = 0; i < 4; ++i) {
      Operand operand;
      operand.dtype = DType::kF32;
      operand.shape = operand.logical_shape = {1, 2, 1, width};
      operand.begin = {0, 0, 0, 0};
      (i < 3 ? spec.inputs : spec.outputs).push_back(operand);
    }
    spec.outputs.push_back(TestTensor::Empty(DType::kF32, {1, 1, 2}).type);
    EXPECT_NE(MessageOf(CpuKernels().Check(spec)).find("1 to 65536 columns"), std::string::npos)
        << width;
  }
}

TEST(Attention, LargeScoresAndNanStayInTheirRows) {
  Problem a = {1, 3, 130, 1, 1, 2, 2};
  Reference r = ReferenceOf<float>(a);
  r.q[0] = 1e4;
  r.q[2] = std::numeric_limits<double>::quiet_NaN();
  KernelCase forward = Forward<float>(a, r, 1);
  forward.Run();
  const std::vector<float> out = forward.Output<float>(0);
  EXPECT_TRUE(std::isfinite(out[0]) && std::isfinite(out[1]));
  EXPECT_TRUE(std::isnan(out[2]) && std::isnan(out[3]));
  EXPECT_TRUE(std::isfinite(out[4]) && std::isfinite(out[5]));
}

}  // namespace
}  // namespace oneflow::kernels
