#include "kernels/cpu/convolution.h"

#include <algorithm>

#include "kernels/cpu/parallel.h"

namespace oneflow::kernels {
namespace {

constexpr int64_t kTilesTogether = 16;  // tiles that use a strip of weights while it is near
constexpr int64_t kMaxTapsTogether = 64;
constexpr int64_t kPixelBlock = 128;  // pixels of a gradient whose pointers are made at once
constexpr double kFlopsPerPart = 3e6;
constexpr int64_t kFewChannels = 8;  // below, the start of each tap costs more than its terms
constexpr int64_t kPadding = INT64_MIN / 4;

int64_t Up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Forward: target line i reads source line i * stride - padding + tap * dilation.
TapLines ForwardLines(int64_t sources, int64_t targets, int64_t taps, int64_t stride,
                      int64_t padding, int64_t dilation) {
  TapLines lines;
  for (int64_t tap = 0; tap < taps; ++tap) lines.taps.push_back(tap);
  for (int64_t i = 0; i < targets; ++i) {
    lines.targets.push_back(i);
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t at = i * stride - padding + tap * dilation;
      lines.source.push_back(at >= 0 && at < sources ? at : -1);
    }
  }
  return lines;
}

// Gradient: target line h of the image was read by line (h + padding - tap * dilation) / stride of
// the result, where that divides; which taps do depends on h mod stride alone.
TapLines GradientLines(int64_t sources, int64_t targets, int64_t taps, int64_t stride,
                       int64_t padding, int64_t dilation, int64_t phase) {
  TapLines lines;
  for (int64_t tap = 0; tap < taps; ++tap) {
    if ((phase + padding - tap * dilation) % stride == 0) lines.taps.push_back(tap);
  }
  for (int64_t h = phase; h < targets; h += stride) {
    lines.targets.push_back(h);
    for (const int64_t tap : lines.taps) {
      const int64_t at = h + padding - tap * dilation;
      lines.source.push_back(at >= 0 && at / stride < sources ? at / stride : -1);
    }
  }
  return lines;
}

}  // namespace

TapConvolution::TapConvolution(Direction direction, const ConvolutionProblem& problem,
                               const MicroKernels& kernels, int threads)
    : direction_(direction), problem_(problem), kernels_(kernels) {
  const ConvolutionProblem& c = problem_;
  const bool forward = direction == Direction::kForward;
  parts_ = c.flops() >= 2 * kFlopsPerPart ? threads : 1;
  in_channels_ = (forward ? c.c : c.k) / c.groups;
  out_channels_ = (forward ? c.k : c.c) / c.groups;
  padded_channels_ = Up(out_channels_, kernels_.width);
  source_size_ = forward ? std::array<int64_t, 2>{c.h, c.w} : std::array<int64_t, 2>{c.p, c.q};
  target_size_ = forward ? std::array<int64_t, 2>{c.p, c.q} : std::array<int64_t, 2>{c.h, c.w};
  strips_ = CutIntoStrips(0, out_channels_, kernels_.width);
  zeros_.assign(in_channels_ * c.groups, 0.0f);
  const std::array<int64_t, 2> kernel = {c.r, c.s};
  const auto lines = [&](int dim, int64_t phase) {
    return forward ? ForwardLines(source_size_[dim], target_size_[dim], kernel[dim], c.stride[dim],
                                  c.padding[dim], c.dilation[dim])
                   : GradientLines(source_size_[dim], target_size_[dim], kernel[dim], c.stride[dim],
                                   c.padding[dim], c.dilation[dim], phase);
  };
  // A phase beyond the image has no pixels.
  for (int64_t row = 0; row < (forward ? 1 : std::min(c.stride[0], c.h)); ++row) {
    for (int64_t column = 0; column < (forward ? 1 : std::min(c.stride[1], c.w)); ++column) {
      Phase phase{lines(0, row), lines(1, column), workspace_floats_};
      if (phase.pixels() == 0) continue;
      workspace_floats_ += c.groups * phase.taps() * in_channels_ * padded_channels_;
      const int64_t in_stride = in_channels_ * c.groups;
      const size_t column_taps = phase.columns.taps.size();
      const auto offset = [](int64_t line, int64_t stride) {
        return line < 0 ? kPadding : line * stride;
      };
      for (size_t i = 0; i < phase.rows.source.size(); ++i) {
        phase.row_offset.insert(phase.row_offset.end(), column_taps,
                                offset(phase.rows.source[i], source_size_[1] * in_stride));
      }
      for (size_t j = 0; j < phase.columns.targets.size(); ++j) {
        for (size_t a = 0; a < phase.rows.taps.size(); ++a) {
          for (size_t b = 0; b < column_taps; ++b) {
            phase.column_offset.push_back(
                offset(phase.columns.source[j * column_taps + b], in_stride));
          }
        }
      }
      phases_.push_back(std::move(phase));
    }
  }
  workspace_floats_ = Up(workspace_floats_, 16);
  unrolls_ = c.groups == 1 && in_channels_ < kFewChannels;
  if (unrolls_) {
    unrolled_at_ = workspace_floats_;
    unrolled_floats_ = Up(kTilesTogether * kernels_.rows * kMaxTapsTogether * in_channels_, 16);
    workspace_floats_ += parts_ * unrolled_floats_;
  }
}

void TapConvolution::Run(const float* source, const float* weight, float* target,
                         void* workspace) const {
  float* space = static_cast<float*>(workspace);
  for (const Phase& phase : phases_) {
    PackWeights(phase, weight, space + phase.packed);
    const int64_t pixels = problem_.n * phase.pixels();
    const int64_t tiles = (pixels + kernels_.rows - 1) / kernels_.rows;
    ForEachPart(parts_, tiles, [&](int part, int64_t begin, int64_t end) {
      RunTiles(phase, source, space + phase.packed, target, begin, end,
               space + unrolled_at_ + part * unrolled_floats_);
    });
  }
}

// packed[group][strip][tap][in channel][column of the strip], 0 behind the last column.
void TapConvolution::PackWeights(const Phase& phase, const float* weight, float* packed) const {
  const ConvolutionProblem& c = problem_;
  const int64_t kernel = c.r * c.s;
  const int64_t filter = c.c / c.groups * kernel;  // floats of one output channel's weights
  const bool forward = direction_ == Direction::kForward;
  const int64_t in_stride = forward ? kernel : filter;
  const int64_t out_stride = forward ? filter : kernel;
  const int64_t taps = phase.taps();
  const int64_t strips = static_cast<int64_t>(strips_.size());
  const int64_t floats = c.groups * taps * in_channels_ * padded_channels_;
  ForEachPart(
      PartsOf(parts_, floats, kGrain), c.groups * strips, [&](int, int64_t begin, int64_t end) {
        for (int64_t item = begin; item < end; ++item) {
          const int64_t group = item / strips;
          const ColumnStrip& strip = strips_[item % strips];
          const int64_t width = int64_t{strip.vectors} * kernels_.width;
          // A group's weights begin at its first output channel of the forward pass.
          const float* from = weight + group * (c.k / c.groups) * filter + strip.begin * out_stride;
          float* to = packed + (group * padded_channels_ + strip.begin) * taps * in_channels_;
          for (const int64_t a : phase.rows.taps) {
            for (const int64_t b : phase.columns.taps) {
              const float* tap = from + a * c.s + b;
              for (int64_t i = 0; i < in_channels_; ++i, to += width) {
                for (int64_t j = 0; j < strip.columns; ++j)
                  to[j] = tap[i * in_stride + j * out_stride];
                std::fill(to + strip.columns, to + width, 0.0f);
              }
            }
          }
        }
      });
}

void TapConvolution::RunTiles(const Phase& phase, const float* source, const float* packed,
                              float* target, int64_t begin, int64_t end, float* unrolled) const {
  const ConvolutionProblem& c = problem_;
  const int64_t taps = phase.taps();
  const int64_t columns = static_cast<int64_t>(phase.columns.targets.size());
  const int64_t pixels = phase.pixels();
  const int64_t all_pixels = c.n * pixels;
  const int64_t in_stride = in_channels_ * c.groups;
  const int64_t out_stride = out_channels_ * c.groups;
  // Kernels with very many taps are done in passes; a phase that no tap reaches leaves zeros.
  const int64_t together = std::clamp<int64_t>(taps, 1, kMaxTapsTogether);
  const float* a[kTilesTogether * kMaxTapsTogether * kMaxTileRows];
  float* out[kTilesTogether * kMaxTileRows];
  const int64_t rows = kernels_.rows;
  for (int64_t first = begin; first < end; first += kTilesTogether) {
    const int64_t tiles = std::min(kTilesTogether, end - first);
    for (int64_t tap0 = 0; tap0 == 0 || tap0 < taps; tap0 += together) {
      const int64_t tap_count = std::min(together, taps - tap0);
      int64_t image = first * rows / pixels;
      int64_t row = first * rows % pixels / columns;
      int64_t column = first * rows % columns;
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t count = std::min(rows, all_pixels - (first + tile) * rows);
        const float** to = a + tile * tap_count * rows;
        for (int64_t i = 0; i < count; ++i) {
          out[tile * rows + i] =
              target + ((image * target_size_[0] + phase.rows.targets[row]) * target_size_[1] +
                        phase.columns.targets[column]) *
                           out_stride;
          const float* base = source + image * source_size_[0] * source_size_[1] * in_stride;
          const int64_t* row_offset = phase.row_offset.data() + row * taps + tap0;
          const int64_t* column_offset = phase.column_offset.data() + column * taps + tap0;
          if (unrolls_) {
            float* copy = unrolled + (tile * rows + i) * tap_count * in_channels_;
            to[i] = copy;
            for (int64_t t = 0; t < tap_count; ++t) {
              const int64_t offset = row_offset[t] + column_offset[t];
              const float* from = offset < 0 ? zeros_.data() : base + offset;
              for (int64_t j = 0; j < in_channels_; ++j) *copy++ = from[j];
            }
          } else {
            for (int64_t t = 0; t < tap_count; ++t) {
              const int64_t offset = row_offset[t] + column_offset[t];
              to[t * count + i] = offset < 0 ? zeros_.data() : base + offset;
            }
          }
          if (++column == columns) {
            column = 0;
            if (++row == static_cast<int64_t>(phase.rows.targets.size())) {
              row = 0;
              ++image;
            }
          }
        }
      }
      for (int64_t group = 0; group < c.groups; ++group) {
        for (const ColumnStrip& strip : strips_) {
          TileCall call;
          call.a_offset = group * in_channels_;
          call.taps = unrolls_ ? 1 : tap_count;
          call.k = unrolls_ ? tap_count * in_channels_ : in_channels_;
          call.b = packed + (group * padded_channels_ + strip.begin) * taps * in_channels_ +
                   tap0 * in_channels_ * strip.vectors * kernels_.width;
          call.c_offset = group * out_channels_ + strip.begin;
          call.columns = strip.columns;
          call.accumulate = tap0 > 0;
          for (int64_t tile = 0; tile < tiles; ++tile) {
            const int64_t count = std::min(rows, all_pixels - (first + tile) * rows);
            call.a = a + tile * tap_count * rows;
            call.c = out + tile * rows;
            kernels_.tile[count - 1][strip.vectors - 1](call);
          }
        }
      }
    }
  }
}

WeightGradient::WeightGradient(const ConvolutionProblem& problem, const MicroKernels& kernels,
                               int threads)
    : problem_(problem), kernels_(kernels) {
  const ConvolutionProblem& c = problem_;
  parts_ = c.flops() >= 2 * kFlopsPerPart && c.n >= threads ? threads : 1;
  rows_ = ForwardLines(c.h, c.p, c.r, c.stride[0], c.padding[0], c.dilation[0]);
  columns_ = ForwardLines(c.w, c.q, c.s, c.stride[1], c.padding[1], c.dilation[1]);
  zeros_.assign(c.c, 0.0f);
  channels_ = c.c / c.groups;
  filters_ = c.k / c.groups;
  width_ = c.r * c.s * channels_;
  unrolls_ = c.groups == 1 && channels_ < kFewChannels;
  // Unrolled, the channels of all taps lie side by side as if they were one tap's.
  const int64_t taps = unrolls_ ? 1 : c.r * c.s;
  const int64_t channels = unrolls_ ? width_ : channels_;
  for (int64_t tap = 0; tap < taps; ++tap) {
    for (int64_t channel = 0; channel < channels; channel += kernels_.width) {
      vectors_.push_back({tap, channel, std::min<int64_t>(kernels_.width, channels - channel)});
    }
  }
}

int64_t WeightGradient::workspace_bytes() const {
  const int64_t pointers = problem_.r * problem_.s * kPixelBlock * 2;  // in floats
  const int64_t unrolled = unrolls_ ? kPixelBlock * width_ : 0;
  return parts_ * (pointers + unrolled + Up(problem_.k * width_, 16)) *
         static_cast<int64_t>(sizeof(float));
}

WeightGradient::Space WeightGradient::SpaceOf(void* workspace, int part) const {
  char* at = static_cast<char*>(workspace) + part * (workspace_bytes() / parts_);
  Space space;
  space.rows = reinterpret_cast<const float**>(at);
  at += problem_.r * problem_.s * kPixelBlock * static_cast<int64_t>(sizeof(float*));
  space.unrolled = reinterpret_cast<float*>(at);
  space.sums = space.unrolled + (unrolls_ ? kPixelBlock * width_ : 0);
  return space;
}

void WeightGradient::Run(const float* x, const float* dy, float* dweight, void* workspace) const {
  const ConvolutionProblem& c = problem_;
  ForEachPart(parts_, c.n * c.p * c.q, [&](int part, int64_t begin, int64_t end) {
    SumShare(x, dy, begin, end, SpaceOf(workspace, part));
  });
  // dweight[k][channel][tap] = sum of the shares [k][tap][channel].
  const int64_t taps = c.r * c.s;
  ParallelFor(parts_, c.k, kGrain / std::max<int64_t>(1, width_) + 1,
              [&](int64_t begin, int64_t end) {
                for (int part = 0; part < parts_; ++part) {
                  const float* sums = SpaceOf(workspace, part).sums;
                  for (int64_t k = begin; k < end; ++k) {
                    for (int64_t tap = 0; tap < taps; ++tap) {
                      const float* from = sums + k * width_ + tap * channels_;
                      float* to = dweight + k * width_ + tap;
                      for (int64_t channel = 0; channel < channels_; ++channel) {
                        float& total = to[channel * taps];
                        total = part == 0 ? from[channel] : total + from[channel];
                      }
                    }
                  }
                }
              });
}

// rows[tap * kPixelBlock + i]: the channels of x that pixel begin + i of the result reads through
// tap.
void WeightGradient::FillPointers(const float* x, int64_t begin, int64_t end,
                                  const float** rows) const {
  const ConvolutionProblem& c = problem_;
  for (int64_t at = begin; at < end;) {
    // A run of pixels in one line of the result.
    const int64_t column = at % c.q;
    const int64_t count = std::min(end - at, c.q - column);
    const int64_t line = at / c.q;
    const float* image = x + line / c.p * c.h * c.w * c.c;
    for (int64_t a = 0; a < c.r; ++a) {
      const int64_t y = rows_.source[line % c.p * c.r + a];
      for (int64_t b = 0; b < c.s; ++b) {
        const float** to = rows + (a * c.s + b) * kPixelBlock + at - begin;
        if (y < 0) {
          std::fill(to, to + count, zeros_.data());
          continue;
        }
        const float* source = image + y * c.w * c.c;
        for (int64_t i = 0; i < count; ++i) {
          const int64_t from = columns_.source[(column + i) * c.s + b];
          to[i] = from < 0 ? zeros_.data() : source + from * c.c;
        }
      }
    }
    at += count;
  }
}

// The channels of all taps of each pixel side by side; the pointers of tap 0 then lead there.
void WeightGradient::Unroll(int64_t pixels, const Space& space) const {
  const int64_t taps = problem_.r * problem_.s;
  for (int64_t i = 0; i < pixels; ++i) {
    float* copy = space.unrolled + i * width_;
    for (int64_t tap = 0; tap < taps; ++tap) {
      const float* from = space.rows[tap * kPixelBlock + i];
      for (int64_t j = 0; j < channels_; ++j) *copy++ = from[j];
    }
  }
  for (int64_t i = 0; i < pixels; ++i) space.rows[i] = space.unrolled + i * width_;
}

void WeightGradient::SumShare(const float* x, const float* dy, int64_t begin, int64_t end,
                              const Space& space) const {
  const ConvolutionProblem& c = problem_;
  if (begin == end) std::fill(space.sums, space.sums + c.k * width_, 0.0f);
  const int64_t vectors = static_cast<int64_t>(vectors_.size());
  for (int64_t pixel = begin; pixel < end; pixel += kPixelBlock) {
    const int64_t last = std::min(end, pixel + kPixelBlock);
    FillPointers(x, pixel, last, space.rows);
    if (unrolls_) Unroll(last - pixel, space);
    OuterCall call;
    call.a_step = c.k;
    call.k = last - pixel;
    call.c_row = width_;
    call.accumulate = pixel > begin;
    for (int64_t group = 0; group < c.groups; ++group) {
      for (int64_t v = 0; v < vectors;) {
        const int64_t left = vectors - v;
        const int count = left == 4 || left == 2 ? 2 : static_cast<int>(std::min<int64_t>(left, 3));
        for (int i = 0; i < count; ++i) {
          const Column& column = vectors_[v + i];
          call.b[i] = space.rows + column.tap * kPixelBlock;
          call.b_offset[i] = group * channels_ + column.channel;
          call.count[i] = column.count;
          call.column[i] = column.tap * channels_ + column.channel;
        }
        for (int64_t k = 0; k < filters_; k += kernels_.rows) {
          const int64_t filter = group * filters_ + k;
          call.a = dy + pixel * c.k + filter;
          call.c = space.sums + filter * width_;
          kernels_.outer[std::min<int64_t>(kernels_.rows, filters_ - k) - 1][count - 1](call);
        }
        v += count;
      }
    }
  }
}

}  // namespace oneflow::kernels
