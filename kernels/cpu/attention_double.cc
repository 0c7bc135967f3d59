#include "kernels/cpu/attention_double.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scalar_types.h"

namespace oneflow::kernels {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double MaskValue(const AttentionProblem& a, const void* mask, int64_t at) {
  return DispatchDType(a.mask_dtype, [&]<typename T>() -> double {
    const T value = static_cast<const T*>(mask)[at];
    if constexpr (std::is_same_v<T, Bool>) {
      return value.value != 0 ? 0.0 : -kInfinity;
    } else {
      return static_cast<double>(value);
    }
  });
}

// What row `query` of a head of this call has: scores of all keys, and factors of dropout.
class Row {
 public:
  Row(const AttentionProblem& a, const KernelArgs& args, int64_t b, int64_t h, int64_t query,
      double* scores)
      : a_(a), args_(args), b_(b), h_(h), query_(query), scores_(scores) {
    const double* q = In<double>(args, 0) + a.q_at(b, h) + query * a.q_row();
    const double* k = In<double>(args, 1) + a.k_at(b, h / a.group());
    const int64_t seen = a.causal ? std::min(a.keys, a.FirstQuery(args.micro) + query + 1) : a.keys;
    for (int64_t j = 0; j < a.keys; ++j) {
      double score = 0;
      for (int64_t c = 0; c < a.width; ++c) score += q[c] * k[j * a.k_row() + c];
      score *= a.scale;
      if (a.mask_input >= 0) {
        const auto& stride = a.mask_stride;
        score += MaskValue(a, args.inputs[a.mask_input],
                           b * stride[0] + h * stride[1] + query * stride[2] + j * stride[3]);
      }
      scores[j] = j < seen ? score : -kInfinity;
    }
  }
  double Keep(int64_t key) const {
    if (!a_.drops) return 1;
    const auto step = static_cast<uint64_t>(*In<int64_t>(args_, a_.step_input));
    const uint64_t index = a_.WeightIndex(args_.micro, b_, h_, query_, key);
    return PhiloxBlock(a_.dropout.key, step, index / 4)[index % 4] >= a_.dropout.threshold
               ? static_cast<double>(a_.dropout.scale)
               : 0.0;
  }

 private:
  const AttentionProblem& a_;
  const KernelArgs& args_;
  int64_t b_, h_, query_;
  double* scores_;
};

void ForwardRow(const AttentionProblem& a, const KernelArgs& args, int64_t b, int64_t h,
                int64_t query, double* scores) {
  const Row row(a, args, b, h, query, scores);
  const double* v = In<double>(args, 2) + a.v_at(b, h / a.group());
  double* out = Out<double>(args, 0) + a.out_at(b, h) + query * a.out_row();
  double most = -kInfinity;
  for (int64_t j = 0; j < a.keys; ++j) most = std::max(most, scores[j]);
  const double base = most == -kInfinity ? 0 : most;
  double sum = 0;
  std::fill_n(out, a.value_width, 0.0);
  for (int64_t j = 0; j < a.keys; ++j) {
    const double weight = std::exp(scores[j] - base);
    sum += weight;
    const double kept = weight * row.Keep(j);
    for (int64_t c = 0; c < a.value_width; ++c) out[c] += kept * v[j * a.v_row() + c];
  }
  for (int64_t c = 0; c < a.value_width && sum != 0; ++c) out[c] /= sum;
  Out<double>(args, 1)[(b * a.heads + h) * a.queries + query] = base + std::log(sum);
}

void BackwardRow(const AttentionProblem& a, const KernelArgs& args, int64_t b, int64_t h,
                 int64_t query, double* scores) {
  const Row row(a, args, b, h, query, scores);
  const int64_t g = h / a.group();
  const int64_t q_at = a.q_at(b, h) + query * a.q_row();
  const int64_t out_at = a.out_at(b, h) + query * a.out_row();
  const int64_t lse_at = (b * a.heads + h) * a.queries + query;
  const double lse = In<double>(args, 4)[lse_at];
  const double* dout = In<double>(args, 5) + out_at;
  double dot = a.dlse_input < 0 ? 0 : -In<double>(args, a.dlse_input)[lse_at];
  for (int64_t c = 0; c < a.value_width; ++c) dot += In<double>(args, 3)[out_at + c] * dout[c];
  for (int64_t j = 0; j < a.keys && lse != -kInfinity; ++j) {
    const int64_t k_at = a.k_at(b, g) + j * a.k_row();
    const int64_t v_at = a.v_at(b, g) + j * a.v_row();
    const double weight = std::exp(scores[j] - lse);
    const double keep = row.Keep(j);
    double slope = 0;
    for (int64_t c = 0; c < a.value_width; ++c) {
      slope += dout[c] * In<double>(args, 2)[v_at + c];
      Out<double>(args, 2)[v_at + c] += weight * keep * dout[c];
    }
    slope = weight * (slope * keep - dot) * a.scale;
    for (int64_t c = 0; c < a.width; ++c) {
      Out<double>(args, 0)[q_at + c] += slope * In<double>(args, 1)[k_at + c];
      Out<double>(args, 1)[k_at + c] += slope * In<double>(args, 0)[q_at + c];
    }
  }
}

}  // namespace

int64_t DoubleAttentionBytes(const AttentionProblem& problem, int threads) {
  return problem.keys * threads * static_cast<int64_t>(sizeof(double));
}

KernelOr MakeDoubleAttention(const AttentionProblem& problem, AttentionPass pass, int threads) {
  return KernelOf([a = problem, pass, threads](const KernelArgs& given) {
    const AttentionArgs placed(a, pass, given);
    const KernelArgs& args = placed.get();
    // One head of k is one thread's: its gradients are sums over queries.
    ForEachPart(threads, a.batch * a.key_heads, [&](int part, int64_t begin, int64_t end) {
      double* scores = static_cast<double*>(args.workspace) + part * a.keys;
      for (int64_t item = begin; item < end; ++item) {
        const int64_t b = item / a.key_heads;
        const int64_t g = item % a.key_heads;
        if (pass == AttentionPass::kBackward) {
          for (int64_t j = 0; j < a.keys; ++j) {
            std::fill_n(Out<double>(args, 1) + a.k_at(b, g) + j * a.k_row(), a.width, 0.0);
            std::fill_n(Out<double>(args, 2) + a.v_at(b, g) + j * a.v_row(), a.value_width, 0.0);
          }
        }
        for (int64_t h = g * a.group(); h < (g + 1) * a.group(); ++h) {
          for (int64_t query = 0; query < a.queries; ++query) {
            if (pass == AttentionPass::kForward) {
              ForwardRow(a, args, b, h, query, scores);
              continue;
            }
            std::fill_n(Out<double>(args, 0) + a.q_at(b, h) + query * a.q_row(), a.width, 0.0);
            BackwardRow(a, args, b, h, query, scores);
          }
        }
      }
    });
  });
}

}  // namespace oneflow::kernels
