#include "kernels/cpu/attention_scores.h"

#include <cmath>
#include <limits>

#include "kernels/cpu/row_sums.h"
#include "kernels/cpu/scalar_types.h"
#include "kernels/cpu/simd.h"

namespace oneflow::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// exp, 0 where it would be denormal: a processor takes a hundred cycles for such a result, and rows
// are full of them where keys are masked.
OF_LOOP float WeightOf(float x) {
  const float e = ExpOf(x < -87.0f ? -87.0f : x);
  return x < -87.0f ? 0.0f : e;
}

// The sum and the greatest of whole vectors, lanes joined in pairs: rows are short, and one lane after
// the other would take as long as the row.
struct Add {
  OF_LOOP static float Of(float a, float b) { return a + b; }
};
struct Max {
  OF_LOOP static float Of(float a, float b) { return a > b ? a : b; }
};
template <typename Join>
OF_LOOP float Joined(const float* x, int64_t whole, float start) {
  float lanes[kRowLanes];
  for (int64_t l = 0; l < kRowLanes; ++l) lanes[l] = start;
  for (int64_t i = 0; i < whole; i += kRowLanes) {
#pragma omp simd
    for (int64_t l = 0; l < kRowLanes; ++l) lanes[l] = Join::Of(lanes[l], x[i + l]);
  }
  const auto halve = [&]<int64_t kLanes>() {
#pragma omp simd
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] = Join::Of(lanes[l], lanes[l + kLanes]);
  };
  halve.template operator()<8>();
  halve.template operator()<4>();
  halve.template operator()<2>();
  return Join::Of(lanes[0], lanes[1]);
}

OF_LOOP int64_t WholeVectors(int64_t n) { return (n + kRowLanes - 1) / kRowLanes * kRowLanes; }

// x = score * scale + bias for what is seen, -inf up to the end of the last vector.
OF_LOOP void ScaleRow(float* x, const float* bias, float scale, int64_t seen, int64_t whole) {
  if (bias == nullptr) {
#pragma omp simd
    for (int64_t j = 0; j < whole; ++j) x[j] = j < seen ? x[j] * scale : -kInfinity;
  } else {
#pragma omp simd
    for (int64_t j = 0; j < whole; ++j) x[j] = j < seen ? x[j] * scale + bias[j] : -kInfinity;
  }
}

OF_LOOP void ZeroBehind(float* x, int64_t n) {
  for (int64_t j = n; j < kKeyBlock; ++j) x[j] = 0;
}

struct WeighLoop {
  OF_LOOP static void Run(const ScorePlace& at, const ScoreBlock& block, const float* bias,
                          int64_t bias_row, const float* keep, float scale, float* out,
                          int64_t out_row, int64_t columns) {
    for (int64_t i = 0; i < at.rows; ++i) {
      float* x = block.scores + i * kKeyBlock;
      const int64_t seen = at.Seen(i);
      const int64_t whole = WholeVectors(seen);
      ScaleRow(x, bias == nullptr ? nullptr : bias + i * bias_row, scale, seen, whole);
      const float before = block.most[i];
      const float here = Joined<Max>(x, whole, -kInfinity);
      const float most = here > before ? here : before;
      const float base = most == -kInfinity ? 0.0f : most;
#pragma omp simd
      for (int64_t j = 0; j < whole; ++j) x[j] = WeightOf(x[j] - base);
      const float factor = WeightOf(before - base);
      block.sum[i] = block.sum[i] * factor + Joined<Add>(x, whole, 0.0f);
      block.most[i] = most;
      if (keep != nullptr) {
        const float* k = keep + i * kKeyBlock;
#pragma omp simd
        for (int64_t j = 0; j < whole; ++j) x[j] *= k[j];
      }
      ZeroBehind(x, whole);
      if (out != nullptr && factor != 1.0f) {
        float* row = out + i * out_row;
#pragma omp simd
        for (int64_t c = 0; c < columns; ++c) row[c] *= factor;
      }
    }
  }
};

struct SlopeLoop {
  OF_LOOP static void Run(const ScorePlace& at, const ScoreBlock& block, const float* bias,
                          int64_t bias_row, const float* keep, float scale) {
    for (int64_t i = 0; i < at.rows; ++i) {
      float* x = block.scores + i * kKeyBlock;
      float* d = block.slopes + i * kKeyBlock;
      const int64_t seen = at.Seen(i);
      const int64_t whole = WholeVectors(seen);
      const float lse = block.lse[i];
      const float dot = block.dot[i];
      ScaleRow(x, bias == nullptr ? nullptr : bias + i * bias_row, scale, seen, whole);
      if (keep == nullptr) {
#pragma omp simd
        for (int64_t j = 0; j < whole; ++j) {
          x[j] = WeightOf(x[j] - lse);
          d[j] = j < seen ? x[j] * (d[j] - dot) * scale : 0.0f;
        }
      } else {
        const float* k = keep + i * kKeyBlock;
#pragma omp simd
        for (int64_t j = 0; j < whole; ++j) {
          const float p = WeightOf(x[j] - lse);
          d[j] = j < seen ? p * (d[j] * k[j] - dot) * scale : 0.0f;
          x[j] = p * k[j];
        }
      }
      ZeroBehind(x, whole);
      ZeroBehind(d, whole);
    }
  }
};

struct DotLoop {
  OF_LOOP static float Run(const float* a, const float* b, int64_t n) {
    return LaneSum<float>(n, [&](int64_t i) { return a[i] * b[i]; });
  }
};

struct ScaleLoop {
  OF_LOOP static void Run(float* x, float factor, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) x[i] *= factor;
  }
};

template <typename T>
struct MaskLoop {
  OF_LOOP static void Run(const void* mask, int64_t stride, float* bias, int64_t n) {
    const T* m = static_cast<const T*>(mask);
    const auto of = [](T value) {
      if constexpr (std::is_same_v<T, Bool>) {
        return value.value != 0 ? 0.0f : -kInfinity;
      } else {
        return static_cast<float>(value);
      }
    };
    if (stride == 0) {
      for (int64_t j = 0; j < n; ++j) bias[j] = of(m[0]);
    } else {
#pragma omp simd
      for (int64_t j = 0; j < n; ++j) bias[j] = of(m[j]);
    }
  }
};

// keep[i]: the factor of the element first + i.
struct KeepLoop {
  OF_LOOP static void Run(float* keep, int64_t n, uint64_t first, uint64_t step, DropoutMask mask) {
    ForPhiloxWords(
        mask.key, step, first,
        n, [&](const uint32_t* words, int64_t done, int64_t count) __attribute__((always_inline)) {
#pragma omp simd
          for (int64_t i = 0; i < count; ++i) {
            keep[done + i] = words[i] >= mask.threshold ? mask.scale : 0.0f;
          }
        });
  }
};

}  // namespace

ScoreBlock::ScoreBlock(const AttentionProblem& problem, AttentionPass pass, AttentionSpace* space) {
  const auto block = [&] { return space->Take<float>(kQueryBlock * kKeyBlock); };
  scores = block();
  if (pass == AttentionPass::kBackward) slopes = block();
  if (problem.mask_input >= 0) bias = block();
  if (problem.drops) keep = block();
  most = lse = space->Take<float>(kQueryBlock);
  sum = dot = space->Take<float>(kQueryBlock);
}

AttentionScores::AttentionScores(const AttentionProblem& problem) : problem_(problem) {
  if (problem_.mask_input < 0) return;
  mask_row_ = DispatchDType(problem_.mask_dtype, [&]<typename T>() -> decltype(mask_row_) {
    if constexpr (std::is_integral_v<T>) {
      return nullptr;
    } else {
      return Vectorised<MaskLoop<T>>();
    }
  });
}

int64_t AttentionScores::Prepare(const KernelArgs& args, const ScorePlace& at,
                                 const ScoreBlock& block) const {
  if (problem_.drops) {
    const auto loop = Vectorised<KeepLoop>();
    const auto step =
        static_cast<uint64_t>(*static_cast<const int64_t*>(args.inputs[problem_.step_input]));
    for (int64_t i = 0; i < at.rows; ++i) {
      loop(block.keep + i * kKeyBlock, WholeVectors(at.Seen(i)),
           problem_.WeightIndex(args.micro, at.batch, at.head, at.query + i, at.key), step,
           problem_.dropout);
    }
  }
  if (mask_row_ == nullptr) return 0;
  const auto& stride = problem_.mask_stride;
  const char* mask = static_cast<const char*>(args.inputs[problem_.mask_input]);
  const int64_t first = at.batch * stride[0] + at.head * stride[1] + at.key * stride[3];
  const int64_t rows = stride[2] == 0 ? 1 : at.rows;
  for (int64_t i = 0; i < rows; ++i) {
    mask_row_(mask + (first + (at.query + i) * stride[2]) * SizeOf(problem_.mask_dtype), stride[3],
              block.bias + i * kKeyBlock, at.keys);
  }
  return stride[2] == 0 ? 0 : kKeyBlock;
}

void AttentionScores::Weigh(const KernelArgs& args, const ScorePlace& at, const ScoreBlock& block,
                            float* out, int64_t out_row) const {
  const int64_t bias_row = Prepare(args, at, block);
  Vectorised<WeighLoop>()(at, block, block.bias, bias_row, block.keep,
                          static_cast<float>(problem_.scale), out, out_row, problem_.value_width);
}

void AttentionScores::FinishRows(const ScorePlace& at, const ScoreBlock& block, float* out,
                                 int64_t out_row, float* lse) const {
  const auto scale = Vectorised<ScaleLoop>();
  for (int64_t i = 0; i < at.rows; ++i) {
    float* row = out + i * out_row;
    const float sum = block.sum[i];
    if (sum == 0) {  // it saw nothing
      std::fill_n(row, problem_.value_width, 0.0f);
      lse[i] = -kInfinity;
    } else {
      scale(row, 1.0f / sum, problem_.value_width);
      lse[i] = block.most[i] + std::log(sum);
    }
  }
}

void AttentionScores::Slope(const KernelArgs& args, const ScorePlace& at,
                            const ScoreBlock& block) const {
  const int64_t bias_row = Prepare(args, at, block);
  Vectorised<SlopeLoop>()(at, block, block.bias, bias_row, block.keep,
                          static_cast<float>(problem_.scale));
}

void AttentionScores::PrepareRows(const ScorePlace& at, const ScoreBlock& block, const float* out,
                                  int64_t out_row, const float* dout, int64_t dout_row,
                                  const float* lse, const float* dlse) const {
  const auto dot = Vectorised<DotLoop>();
  for (int64_t i = 0; i < at.rows; ++i) {
    // A row that saw nothing has no weights.
    block.lse[i] = lse[i] == -kInfinity ? kInfinity : lse[i];
    block.dot[i] = dot(out + i * out_row, dout + i * dout_row, problem_.value_width) -
                   (dlse == nullptr ? 0.0f : dlse[i]);
  }
}

}  // namespace oneflow::kernels
