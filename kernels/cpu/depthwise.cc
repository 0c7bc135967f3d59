#include "kernels/cpu/depthwise.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"

namespace oneflow::kernels {
namespace {

constexpr int64_t kChannels = 64;  // whose sums stay in registers
constexpr double kTermsPerPart = 1 << 17;
constexpr int64_t kMaxShares = 16;

double TermsOf(const ConvolutionProblem& c) {
  return static_cast<double>(c.n * c.p * c.q) * static_cast<double>(c.c) *
         static_cast<double>(c.r * c.s);
}

int64_t Up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

template <typename T, typename Reached>
struct SumTapsLoop {
  OF_LOOP static void Run(const Reached* taps, int64_t count, int64_t channels, T* out) {
    int64_t c = 0;
    for (; c + kChannels <= channels; c += kChannels) {
      float sums[kChannels] = {};
      for (int64_t t = 0; t < count; ++t) {
        const T* x = taps[t].source + c;
        const float* w = taps[t].weight + c;
#pragma omp simd
        for (int64_t i = 0; i < kChannels; ++i) sums[i] += static_cast<float>(x[i]) * w[i];
      }
#pragma omp simd
      for (int64_t i = 0; i < kChannels; ++i) Store(sums[i], out + c + i);
    }
    const int64_t rest = channels - c;
    if (rest == 0) return;
    float sums[kChannels] = {};
    for (int64_t t = 0; t < count; ++t) {
      const T* x = taps[t].source + c;
      const float* w = taps[t].weight + c;
#pragma omp simd
      for (int64_t i = 0; i < rest; ++i) sums[i] += static_cast<float>(x[i]) * w[i];
    }
    for (int64_t i = 0; i < rest; ++i) Store(sums[i], out + c + i);
  }
};

template <typename T>
struct SumPixelsLoop {
  // sums[channel] += the products of the pixels, in order, for up to 64 channels.
  OF_LOOP static void Run(const T* x, int64_t x_step, const T* dy, int64_t dy_step, int64_t pixels,
                          int64_t channels, float* sums) {
    if (channels == kChannels) {
      float total[kChannels];
      for (int64_t i = 0; i < kChannels; ++i) total[i] = sums[i];
      for (int64_t p = 0; p < pixels; ++p, x += x_step, dy += dy_step) {
#pragma omp simd
        for (int64_t i = 0; i < kChannels; ++i) {
          total[i] += static_cast<float>(x[i]) * static_cast<float>(dy[i]);
        }
      }
      for (int64_t i = 0; i < kChannels; ++i) sums[i] = total[i];
      return;
    }
    for (int64_t p = 0; p < pixels; ++p, x += x_step, dy += dy_step) {
#pragma omp simd
      for (int64_t i = 0; i < channels; ++i) {
        sums[i] += static_cast<float>(x[i]) * static_cast<float>(dy[i]);
      }
    }
  }
};

}  // namespace

template <typename T>
Depthwise<T>::Depthwise(Direction direction, const ConvolutionProblem& problem, int threads)
    : problem_(problem),
      sum_taps_(Vectorised<SumTapsLoop<T, Reached>>()),
      phases_(PhasesOf(direction, problem)) {
  const ConvolutionProblem& c = problem_;
  const bool forward = direction == Direction::kForward;
  parts_ = TermsOf(c) >= 2 * kTermsPerPart ? threads : 1;
  source_size_ = forward ? std::array<int64_t, 2>{c.h, c.w} : std::array<int64_t, 2>{c.p, c.q};
  target_size_ = forward ? std::array<int64_t, 2>{c.p, c.q} : std::array<int64_t, 2>{c.h, c.w};
  reached_at_ = Up(c.r * c.s * c.c * 4, 64);
  workspace_bytes_ = reached_at_ + parts_ * c.r * c.s * static_cast<int64_t>(sizeof(Reached));
}

template <typename T>
void Depthwise<T>::Run(const T* source, const T* weight, T* target, void* workspace) const {
  const ConvolutionProblem& c = problem_;
  float* const widened = static_cast<float*>(workspace);  // [tap][channel]
  for (int64_t channel = 0; channel < c.c; ++channel) {
    for (int64_t tap = 0; tap < c.r * c.s; ++tap) widened[tap * c.c + channel] = *weight++;
  }
  auto* const reached = reinterpret_cast<Reached*>(static_cast<char*>(workspace) + reached_at_);
  for (const TapPhase& phase : phases_) {
    ForEachPart(parts_, c.n * phase.rows.targets, [&](int part, int64_t begin, int64_t end) {
      RunLines(phase, source, widened, target, begin, end, reached + part * c.r * c.s);
    });
  }
}

template <typename T>
void Depthwise<T>::RunLines(const TapPhase& phase, const T* source, const float* weight, T* target,
                            int64_t begin, int64_t end, Reached* reached) const {
  const ConvolutionProblem& c = problem_;
  const TapAxis& rows = phase.rows;
  const TapAxis& columns = phase.columns;
  for (int64_t line = begin; line < end; ++line) {
    const int64_t image = line / rows.targets;
    const int64_t row = line % rows.targets;
    const T* const from = source + image * source_size_[0] * source_size_[1] * c.c;
    T* const to =
        target + ((image * target_size_[0] + rows.first + row * rows.every) * target_size_[1] +
                  columns.first) *
                     c.c;
    for (int64_t column = 0; column < columns.targets; ++column) {
      int64_t count = 0;
      for (int64_t a = 0; a < rows.count(); ++a) {
        const int64_t y = row * rows.step + rows.offsets[a];
        if (!rows.Reaches(y)) continue;
        for (int64_t b = 0; b < columns.count(); ++b) {
          const int64_t x = column * columns.step + columns.offsets[b];
          if (!columns.Reaches(x)) continue;
          reached[count++] = {from + (y * source_size_[1] + x) * c.c,
                              weight + (rows.taps[a] * c.s + columns.taps[b]) * c.c};
        }
      }
      sum_taps_(reached, count, c.c, to + column * columns.every * c.c);
    }
  }
}

template <typename T>
DepthwiseWeightGradient<T>::DepthwiseWeightGradient(const ConvolutionProblem& problem, int threads)
    : problem_(problem),
      sum_pixels_(Vectorised<SumPixelsLoop<T>>()),
      rows_(ForwardAxis(problem, 0)),
      columns_(ForwardAxis(problem, 1)) {
  const ConvolutionProblem& c = problem_;
  if (TermsOf(c) >= 2 * kTermsPerPart) parts_ = threads;
  shares_ = std::clamp<int64_t>(c.n * c.p / 8, 1, kMaxShares);
  workspace_bytes_ = shares_ * c.r * c.s * c.c * 4;
}

template <typename T>
void DepthwiseWeightGradient<T>::Run(const T* x, const T* dy, T* dweight, void* workspace) const {
  const ConvolutionProblem& c = problem_;
  float* const sums = static_cast<float*>(workspace);  // [share][tap][channel]
  const int64_t taps = c.r * c.s;
  const int64_t pieces = Up(c.c, kChannels) / kChannels;
  ForEachPart(parts_, shares_ * pieces, [&](int, int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int share = static_cast<int>(item / pieces);
      const int64_t first = item % pieces * kChannels;
      const int parts = static_cast<int>(shares_);
      SumLines(x, dy, PartBegin(c.n * c.p, parts, share), PartBegin(c.n * c.p, parts, share + 1),
               first, std::min(kChannels, c.c - first), sums + share * taps * c.c);
    }
  });
  for (int64_t channel = 0; channel < c.c; ++channel) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      float total = sums[tap * c.c + channel];
      for (int64_t share = 1; share < shares_; ++share) {
        total += sums[(share * taps + tap) * c.c + channel];
      }
      *dweight++ = T(total);
    }
  }
}

template <typename T>
void DepthwiseWeightGradient<T>::SumLines(const T* x, const T* dy, int64_t begin, int64_t end,
                                          int64_t first, int64_t channels, float* sums) const {
  const ConvolutionProblem& c = problem_;
  for (int64_t tap = 0; tap < c.r * c.s; ++tap) {
    std::fill_n(sums + tap * c.c + first, channels, 0.0f);
  }
  const int64_t step = columns_.step;
  for (int64_t line = begin; line < end; ++line) {
    for (int64_t a = 0; a < c.r; ++a) {
      const int64_t y = line % c.p * rows_.step + rows_.offsets[a];
      if (!rows_.Reaches(y)) continue;
      const T* const from = x + (line / c.p * c.h + y) * c.w * c.c + first;
      for (int64_t b = 0; b < c.s; ++b) {
        // Columns [low, high) of the result read columns of the image through this tap.
        const int64_t offset = columns_.offsets[b];
        const int64_t low = offset < 0 ? (-offset + step - 1) / step : 0;
        const int64_t high =
            offset < c.w ? std::min(c.q, (c.w - 1 - offset) / step + 1) : int64_t{0};
        if (low >= high) continue;
        sum_pixels_(from + (low * step + offset) * c.c, step * c.c,
                    dy + (line * c.q + low) * c.c + first, c.c, high - low, channels,
                    sums + (a * c.s + b) * c.c + first);
      }
    }
  }
}

template class Depthwise<float>;
template class Depthwise<BF16>;
template class DepthwiseWeightGradient<float>;
template class DepthwiseWeightGradient<BF16>;

}  // namespace oneflow::kernels
