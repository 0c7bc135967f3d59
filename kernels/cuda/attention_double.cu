// attention and attention_grad in f64: formulas as in kernels/cpu/attention_double.cc. A thread per
// element of a result, which goes over its row or column of pairs and computes each score again: right,
// and without a matrix of scores in memory, for comparisons; no model trains in f64.
//
// Operations for a pair of a query and a key of widths d and e: forward e (2 d + 40), backward d (4 d +
// 4 e + 80) and as many more for dk and dv; operands come from the caches. Predicted 5 % of a GPU's f64
// rate.
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cuda/attention_pairs.h"
#include "kernels/cuda/attention_problem.h"
#include "kernels/cuda/device_code.h"
#include "kernels/cuda/families.h"

namespace oneflow::kernels {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

__device__ __forceinline__ double Dot(const double* a, const double* b, int64_t n) {
  double total = 0;
  for (int64_t c = 0; c < n; ++c) total += a[c] * b[c];
  return total;
}
__device__ __forceinline__ double WeightOf(double score, double base) {
  return score == -kInfinity ? 0.0 : std::exp(score - base);
}

struct Inputs {
  const double *q, *k, *v, *out, *lse, *dout, *dlse;
};

__device__ __forceinline__ double ScoreOf(const AttentionPairs<double>& pairs, const Inputs& in,
                                          int64_t i, int64_t j) {
  return pairs.Score(i, j, Dot(in.q + pairs.QueryAt(i), in.k + pairs.KeyAt(j), pairs.a.width));
}

__global__ void ForwardKernel(CudaAttention a, AttentionOperands extra, Inputs in, double* out,
                              double* lse) {
  const int64_t e = a.value_width;
  for (int64_t at = FirstItem(); at < a.batch * a.queries * a.heads * e; at += ItemStride()) {
    const int64_t column = at % e;
    const int64_t h = at / e % a.heads;
    const int64_t i = at / e / a.heads % a.queries;
    const AttentionPairs<double> pairs(a, extra, at / e / a.heads / a.queries, h);
    double most = -kInfinity, sum = 0, total = 0;
    for (int64_t j = 0; j < pairs.Seen(i); ++j) {
      const double score = ScoreOf(pairs, in, i, j);
      const double before = most;
      most = score > most ? score : most;
      if (most == -kInfinity) continue;
      const double factor = WeightOf(before, most);
      const double weight = WeightOf(score, most);
      sum = sum * factor + weight;
      total = total * factor + weight * pairs.Keep(i, j) * in.v[pairs.ValueAt(j) + column];
    }
    out[at] = sum == 0 ? 0.0 : total / sum;
    if (column == 0) lse[pairs.RowAt(i)] = sum == 0 ? -kInfinity : most + std::log(sum);
  }
}

// The weight of a pair after dropout, and the gradient of its product q k'.
struct Slope {
  double weight, product;
};
__device__ __forceinline__ Slope SlopeOf(const AttentionPairs<double>& pairs, const Inputs& in,
                                         int64_t i, int64_t j) {
  const double lse = in.lse[pairs.RowAt(i)];
  if (lse == -kInfinity) return {0, 0};
  const double weight = WeightOf(ScoreOf(pairs, in, i, j), lse);
  if (weight == 0) return {0, 0};
  const int64_t e = pairs.a.value_width;
  const double* dout = in.dout + pairs.OutAt(i);
  const double keep = pairs.Keep(i, j);
  const double dot =
      Dot(in.out + pairs.OutAt(i), dout, e) - (in.dlse == nullptr ? 0.0 : in.dlse[pairs.RowAt(i)]);
  const double slope = Dot(dout, in.v + pairs.ValueAt(j), e);
  return {weight * keep, weight * (slope * keep - dot) * pairs.a.scale};
}

__global__ void QueryGradKernel(CudaAttention a, AttentionOperands extra, Inputs in, double* dq) {
  const int64_t d = a.width;
  for (int64_t at = FirstItem(); at < a.batch * a.queries * a.heads * d; at += ItemStride()) {
    const int64_t h = at / d % a.heads;
    const int64_t i = at / d / a.heads % a.queries;
    const AttentionPairs<double> pairs(a, extra, at / d / a.heads / a.queries, h);
    double total = 0;
    for (int64_t j = 0; j < pairs.Seen(i); ++j) {
      total += SlopeOf(pairs, in, i, j).product * in.k[pairs.KeyAt(j) + at % d];
    }
    dq[pairs.QueryAt(i) + at % d] = total;
  }
}

// dk, and dv if kValues.
template <bool kValues>
__global__ void KeyGradKernel(CudaAttention a, AttentionOperands extra, Inputs in, double* grad) {
  const int64_t width = kValues ? a.value_width : a.width;
  const int64_t group = a.heads / (a.key_heads > 0 ? a.key_heads : 1);
  for (int64_t at = FirstItem(); at < a.batch * a.keys * a.key_heads * width; at += ItemStride()) {
    int64_t place = 0;
    const int64_t column = at % width;
    const int64_t g = at / width % a.key_heads;
    const int64_t j = at / width / a.key_heads % a.keys;
    double total = 0;
    for (int64_t h = g * group; h < (g + 1) * group; ++h) {
      const AttentionPairs<double> pairs(a, extra, at / width / a.key_heads / a.keys, h);
      place = (kValues ? pairs.ValueAt(j) : pairs.KeyAt(j)) + column;
      for (int64_t i = 0; i < a.queries; ++i) {
        if (j >= pairs.Seen(i)) continue;
        const Slope slope = SlopeOf(pairs, in, i, j);
        total += kValues ? slope.weight * in.dout[pairs.OutAt(i) + column]
                         : slope.product * in.q[pairs.QueryAt(i) + column];
      }
    }
    grad[place] = total;
  }
}

const double* In(const CudaOperands& o, int input) {
  return input < 0 ? nullptr : static_cast<const double*>(o.in[input]);
}
double* Out(const CudaOperands& o, int output) { return static_cast<double*>(o.out[output]); }

CudaError Forward(const CudaAttention* a, const CudaOperands* o, CudaStreamHandle stream) {
  const Inputs in = {In(*o, 0), In(*o, 1), In(*o, 2)};
  return Launch(&ForwardKernel, BlocksFor(a->batch * a->queries * a->heads * a->value_width),
                kThreads, stream, *a, AttentionOperandsOf(*a, *o), in, Out(*o, 0), Out(*o, 1));
}

CudaError Backward(const CudaAttention* a, const CudaOperands* o, CudaStreamHandle stream) {
  const Inputs in = {
      In(*o, 0), In(*o, 1), In(*o, 2), In(*o, 3), In(*o, 4), In(*o, 5), In(*o, a->dlse_input)};
  const AttentionOperands extra = AttentionOperandsOf(*a, *o);
  CudaError error = Launch(&QueryGradKernel, BlocksFor(a->batch * a->queries * a->heads * a->width),
                           kThreads, stream, *a, extra, in, Out(*o, 0));
  if (error != 0) return error;
  const int64_t rows = a->batch * a->keys * a->key_heads;
  error = Launch(&KeyGradKernel<false>, BlocksFor(rows * a->width), kThreads, stream, *a, extra, in,
                 Out(*o, 1));
  if (error != 0) return error;
  return Launch(&KeyGradKernel<true>, BlocksFor(rows * a->value_width), kThreads, stream, *a, extra,
                in, Out(*o, 2));
}

}  // namespace

CudaRun<CudaAttention> FindDoubleAttention(bool forward) { return forward ? &Forward : &Backward; }

}  // namespace oneflow::kernels
