// What the graphs of attention compute, by a cuDNN that does what they say, beside the formulas in f64. That the real
// one has engines for them is asked of it (tests/tools/test_cudnn_graphs.py).
#include "kernels/cuda/cudnn_attention_graph.h"

#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "base/dtype.h"
#include "gtest/gtest.h"
#include "kernels/cpu/kernel_case.h"
#include "kernels/cuda/soft_cudnn_for_test.h"
#include "kernels/scalar/types.h"

namespace oneflow::kernels {
namespace {

// Attention of q, k and v in f64, each [batch, tokens, heads, width], and its gradients for dout.
struct Formulas {
  std::vector<double> out, lse, dq, dk, dv;
};
struct Inputs {
  std::vector<double> q, k, v, dout;
};

Formulas Compute(const CudaAttention& a, const Inputs& in) {
  const int64_t group = a.heads / a.key_heads;
  Formulas f;
  f.out.resize(in.dout.size());
  f.lse.resize(static_cast<size_t>(a.batch * a.heads * a.queries));
  f.dq.resize(in.q.size());
  f.dk.resize(in.k.size());
  f.dv.resize(in.v.size());
  const auto of_queries = [&](int64_t b, int64_t i, int64_t h) {
    return static_cast<size_t>(((b * a.queries + i) * a.heads + h) * a.width);
  };
  const auto of_keys = [&](int64_t b, int64_t j, int64_t h) {
    return static_cast<size_t>(((b * a.keys + j) * a.key_heads + h / group) * a.width);
  };
  const auto width = static_cast<size_t>(a.width);
  const auto dot = [&](const std::vector<double>& x, size_t i, const std::vector<double>& y,
                       size_t j) {
    double sum = 0;
    for (size_t c = 0; c < width; ++c) sum += x[i + c] * y[j + c];
    return sum;
  };
  for (int64_t b = 0; b < a.batch; ++b) {
    for (int64_t h = 0; h < a.heads; ++h) {
      for (int64_t i = 0; i < a.queries; ++i) {
        const size_t query = of_queries(b, i, h);
        const int64_t seen = a.causal ? std::min(a.keys, i + 1) : a.keys;
        double total = 0;
        std::vector<double> weights;
        for (int64_t j = 0; j < seen; ++j) {
          weights.push_back(std::exp(a.scale * dot(in.q, query, in.k, of_keys(b, j, h))));
          total += weights.back();
        }
        f.lse[static_cast<size_t>((b * a.heads + h) * a.queries + i)] = std::log(total);
        for (int64_t j = 0; j < seen; ++j) {
          weights[static_cast<size_t>(j)] /= total;
          for (size_t c = 0; c < width; ++c) {
            f.out[query + c] += weights[static_cast<size_t>(j)] * in.v[of_keys(b, j, h) + c];
          }
        }
        const double row = dot(f.out, query, in.dout, query);
        for (int64_t j = 0; j < seen; ++j) {
          const size_t key = of_keys(b, j, h);
          const double weight = weights[static_cast<size_t>(j)];
          const double slope = weight * (dot(in.dout, query, in.v, key) - row) * a.scale;
          for (size_t c = 0; c < width; ++c) {
            f.dv[key + c] += weight * in.dout[query + c];
            f.dk[key + c] += slope * in.q[query + c];
            f.dq[query + c] += slope * in.k[key + c];
          }
        }
      }
    }
  }
  return f;
}

// A tensor in memory, in rows of a pitch.
template <typename T>
struct Memory {
  Memory(int64_t rows, int64_t row, int64_t pitch)
      : row(row), pitch(pitch), elements(static_cast<size_t>(rows * pitch), T(77.0f)) {}
  void Fill(const std::vector<double>& values) {
    for (size_t i = 0; i < values.size(); ++i) elements[At(i)] = T(static_cast<float>(values[i]));
  }
  size_t At(size_t i) const {
    return i / static_cast<size_t>(row) * static_cast<size_t>(pitch) + i % static_cast<size_t>(row);
  }
  // The largest difference.
  double From(const std::vector<double>& values) const {
    double most = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      const double apart = std::abs(static_cast<float>(elements[At(i)]) - values[i]);
      most = apart >= most ? apart : std::isnan(apart) ? HUGE_VAL : most;
    }
    return most;
  }
  int64_t row, pitch;
  std::vector<T> elements;
};

std::vector<double> Drawn(int64_t count, uint32_t seed, bool f16) {
  std::vector<double> values;
  for (const float one : RandomFloats(count, seed)) {
    values.push_back(f16 ? static_cast<float>(F16(one)) : static_cast<float>(BF16(one)));
  }
  return values;
}

class AttentionGraphTest : public ::testing::TestWithParam<bool> {};

template <typename T>
void Compare(CudaAttention a, bool f16, bool packed) {
  const int64_t all = (a.heads + 2 * a.key_heads) * a.width;
  const int64_t of_q = a.heads * a.width, of_k = a.key_heads * a.width;
  a.q_pitch = packed ? all : of_q;
  a.k_pitch = a.v_pitch = packed ? all : of_k;
  a.value_width = a.width;
  a.dtype = static_cast<int32_t>(f16 ? DType::kF16 : DType::kBF16);
  const int64_t queries = a.batch * a.queries, keys = a.batch * a.keys;
  const Inputs in = {Drawn(queries * of_q, 1, f16), Drawn(keys * of_k, 2, f16),
                     Drawn(keys * of_k, 3, f16), Drawn(queries * of_q, 4, f16)};
  const Formulas expected = Compute(a, in);
  Memory<T> q(queries, of_q, a.q_pitch), k(keys, of_k, a.k_pitch), v(keys, of_k, a.v_pitch);
  q.Fill(in.q);
  k.Fill(in.k);
  v.Fill(in.v);
  Memory<T> out(queries, of_q, of_q), dout(queries, of_q, of_q);
  Memory<float> lse(a.batch * a.heads, a.queries, a.queries), rows = lse;
  float scale = static_cast<float>(a.scale), one = 1, masked = cudnn::kMaskedScore;
  std::map<int64_t, void*> places = {
      {cudnn::kQueries, q.elements.data()}, {cudnn::kKeys, k.elements.data()},
      {cudnn::kValues, v.elements.data()},  {cudnn::kOut, out.elements.data()},
      {cudnn::kLse, lse.elements.data()},   {cudnn::kScale, &scale}};
  if (a.causal) places[cudnn::kMasked] = &masked;
  const auto forward = cudnn::PlanAttention(a, {}, 0);
  ASSERT_TRUE(forward.has_value());
  EXPECT_TRUE(cudnn::SumsComeAgain(forward->plan.get()));
  cudnn::RunSoftly(forward->plan.get(), places);
  const double close = f16 ? 0.004 : 0.03;
  EXPECT_LT(out.From(expected.out), close);
  EXPECT_LT(lse.From(expected.lse), 1e-5);

  a.backward = true;
  dout.Fill(in.dout);
  Memory<T> dq(queries, of_q, a.q_pitch), dk(keys, of_k, a.k_pitch), dv(keys, of_k, a.v_pitch);
  places[cudnn::kDout] = dout.elements.data();
  places[cudnn::kRows] = rows.elements.data();
  places[cudnn::kOne] = &one;
  places[cudnn::kDq] = dq.elements.data();
  places[cudnn::kDk] = dk.elements.data();
  places[cudnn::kDv] = dv.elements.data();
  const auto backward = cudnn::PlanAttention(a, {}, 0);
  ASSERT_TRUE(backward.has_value());
  EXPECT_TRUE(cudnn::SumsComeAgain(backward->plan.get()));
  cudnn::RunSoftly(backward->plan.get(), places);
  EXPECT_LT(dq.From(expected.dq), close);
  EXPECT_LT(dk.From(expected.dk), close);
  EXPECT_LT(dv.From(expected.dv), close);
  // What lies between the rows is others'.
  if (packed) {
    EXPECT_EQ(static_cast<float>(dq.elements[static_cast<size_t>(of_q)]), 77.0f);
  }
}

CudaAttention ProblemOf(int64_t queries, int64_t keys, int64_t heads, int64_t key_heads,
                        bool causal) {
  CudaAttention a = {};
  a.batch = 2;
  a.queries = queries;
  a.keys = keys;
  a.heads = heads;
  a.key_heads = key_heads;
  a.width = 8;
  a.scale = 0.35;
  a.causal = causal;
  a.step_input = a.mask_input = a.dlse_input = -1;
  return a;
}

TEST_P(AttentionGraphTest, ComputesTheFormulas) {
  for (const bool packed : {false, true}) {
    for (const CudaAttention& a : {ProblemOf(5, 7, 2, 2, false), ProblemOf(6, 6, 3, 3, true),
                                   ProblemOf(7, 5, 4, 2, true), ProblemOf(4, 9, 4, 1, false)}) {
      SCOPED_TRACE(testing::Message()
                   << a.queries << " queries of " << a.heads << " heads, packed " << packed);
      GetParam() ? Compare<F16>(a, true, packed) : Compare<BF16>(a, false, packed);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Narrow, AttentionGraphTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "f16" : "bf16"; });

}  // namespace
}  // namespace oneflow::kernels
