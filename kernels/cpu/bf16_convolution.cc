#include "kernels/cpu/bf16_convolution.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/clipped_copy.h"
#include "kernels/cpu/parallel.h"

namespace oneflow::kernels {
namespace {

constexpr double kFlopsPerPart = 20e6;
constexpr int64_t kPixels = 2 * kBf16Rows;  // of a tile of the target
constexpr int64_t kMaxTogether = 8;
constexpr int64_t kUnrolledBytes = 768
                                   << 10;  // which strips of weights pass by in the second cache
constexpr int64_t kLine = 32;              // elements of a line of the cache

int64_t Blocks(int64_t n, int64_t block) { return (n + block - 1) / block; }

}  // namespace

Bf16Convolution::Bf16Convolution(Direction direction, const ConvolutionProblem& problem,
                                 const Bf16Tiles& tiles, int threads)
    : direction_(direction), problem_(problem), tiles_(tiles) {
  const ConvolutionProblem& c = problem_;
  const bool forward = direction == Direction::kForward;
  parts_ = c.flops() >= 2 * kFlopsPerPart ? threads : 1;
  in_channels_ = (forward ? c.c : c.k) / c.groups;
  out_channels_ = (forward ? c.k : c.c) / c.groups;
  strips_ = Blocks(out_channels_, kBf16Wide);
  source_size_ = forward ? std::array<int64_t, 2>{c.h, c.w} : std::array<int64_t, 2>{c.p, c.q};
  target_size_ = forward ? std::array<int64_t, 2>{c.p, c.q} : std::array<int64_t, 2>{c.h, c.w};
  int64_t widest = kLine;
  for (const TapPhase& taps : PhasesOf(direction, c)) {
    phases_.push_back(MakePhase(taps));
    phases_.back().packed = unrolled_at_;
    unrolled_at_ += c.groups * strips_ * phases_.back().blocks * kBf16Strip;
    widest = std::max(widest, phases_.back().row);
  }
  together_ = std::clamp<int64_t>(kUnrolledBytes / (2 * kPixels * widest), 1, kMaxTogether);
  unrolled_ = together_ * kPixels * widest;
  workspace_bytes_ = 2 * (unrolled_at_ + parts_ * unrolled_);
}

Bf16Convolution::Phase Bf16Convolution::MakePhase(const TapPhase& taps) const {
  Phase phase;
  static_cast<TapPhase&>(phase) = taps;
  const TapAxis& columns = phase.columns;
  for (int64_t b = 0; b < columns.count(); ++b) {
    const bool follows =
        problem_.groups == 1 && b > 0 && columns.offsets[b] == columns.offsets[b - 1] + 1;
    if (!follows) phase.pieces.push_back({columns.offsets[b], 0});
    phase.pieces.back().count += in_channels_;
  }
  for (const int64_t a : phase.rows.taps) {
    for (const int64_t b : columns.taps) phase.weights.push_back(a * problem_.s + b);
  }
  phase.depth = phase.taps() * in_channels_;
  phase.blocks = Blocks(phase.depth, kBf16Depth);
  // An odd number of lines: the rows of a tile do not meet in one set of the cache.
  phase.row = (phase.blocks | 1) * kLine;
  return phase;
}

void Bf16Convolution::Run(const BF16* source, const BF16* weight, BF16* target,
                          void* workspace) const {
  uint16_t* const space = static_cast<uint16_t*>(workspace);
  for (const Phase& phase : phases_) {
    PackWeights(phase, reinterpret_cast<const uint16_t*>(weight), space + phase.packed);
    ForEachPart(parts_, Blocks(problem_.n * phase.pixels(), kPixels),
                [&](int part, int64_t begin, int64_t end) {
                  tiles_.begin();
                  RunTiles(phase, reinterpret_cast<const uint16_t*>(source), space + phase.packed,
                           reinterpret_cast<uint16_t*>(target), begin, end,
                           space + unrolled_at_ + part * unrolled_);
                  tiles_.end();
                });
  }
}

// packed[group][strip][block][pair][column][2]: terms in order of taps, then channels.
void Bf16Convolution::PackWeights(const Phase& phase, const uint16_t* weight,
                                  uint16_t* packed) const {
  const ConvolutionProblem& c = problem_;
  const int64_t filter = c.c / c.groups * c.r * c.s;
  const int64_t out_stride = direction_ == Direction::kForward ? filter : c.r * c.s;
  const int64_t bytes = c.groups * strips_ * phase.blocks * kBf16Strip;
  ForEachPart(PartsOf(parts_, bytes, kGrain), c.groups * strips_,
              [&](int, int64_t begin, int64_t end) {
                for (int64_t item = begin; item < end; ++item) {
                  const int64_t first = item % strips_ * kBf16Wide;
                  // A group's weights begin at its first channel of the result.
                  const uint16_t* from =
                      weight + item / strips_ * (c.k / c.groups) * filter + first * out_stride;
                  PackStrip(phase, from, std::min(kBf16Wide, out_channels_ - first),
                            packed + item * phase.blocks * kBf16Strip);
                }
              });
}

void Bf16Convolution::PackStrip(const Phase& phase, const uint16_t* weight, int64_t columns,
                                uint16_t* packed) const {
  const ConvolutionProblem& c = problem_;
  const int64_t kernel = c.r * c.s;
  const int64_t filter = c.c / c.groups * kernel;
  const bool forward = direction_ == Direction::kForward;
  const int64_t in_stride = forward ? kernel : filter;
  const int64_t out_stride = forward ? filter : kernel;
  const int64_t taps = phase.taps();
  const int64_t* const place = phase.weights.data();
  if (columns < kBf16Wide || phase.depth % kBf16Depth != 0) {
    std::memset(packed, 0, 2 * phase.blocks * kBf16Strip);
  }
  const auto term_at = [](int64_t term) {
    return term / kBf16Depth * kBf16Strip + term % kBf16Depth / 2 * 2 * kBf16Wide + term % 2;
  };
  const bool whole = in_channels_ % kBf16Depth == 0;  // a tap's channels are whole blocks
  const int64_t tap_step = in_channels_ / kBf16Depth * kBf16Strip;
  // A block of channels at a time: what is read and what is written stays in the nearest cache.
  for (int64_t block = 0; block < in_channels_; block += kBf16Depth) {
    const int64_t last = std::min(in_channels_, block + kBf16Depth);
    for (int64_t j = 0; j < columns; ++j) {
      for (int64_t i = block; i < last; ++i) {
        const uint16_t* const from = weight + i * in_stride + j * out_stride;
        uint16_t* const to = packed + 2 * j;
        if (whole) {
          uint16_t* at = to + term_at(i);
          for (int64_t t = 0; t < taps; ++t, at += tap_step) *at = from[place[t]];
        } else {
          for (int64_t t = 0; t < taps; ++t) to[term_at(t * in_channels_ + i)] = from[place[t]];
        }
      }
    }
  }
}

void Bf16Convolution::Unroll(const Phase& phase, const uint16_t* image, int64_t group, int64_t row,
                             int64_t column, uint16_t* to) const {
  const int64_t pixel = in_channels_ * problem_.groups;
  const int64_t line = source_size_[1] * pixel;
  uint16_t* const end = to + phase.blocks * kBf16Depth;
  for (const int64_t offset : phase.rows.offsets) {
    const int64_t y = row * phase.rows.step + offset;
    const bool reaches = phase.rows.Reaches(y);
    for (const Piece& piece : phase.pieces) {
      const int64_t at =
          (column * phase.columns.step + piece.column) * pixel + group * in_channels_;
      if (reaches) {
        CopyClipped(image + y * line, line, at, piece.count, to);
      } else {
        std::memset(to, 0, 2 * piece.count);
      }
      to += piece.count;
    }
  }
  if (to < end) std::memset(to, 0, 2 * (end - to));
}

void Bf16Convolution::RunTiles(const Phase& phase, const uint16_t* source, const uint16_t* packed,
                               uint16_t* target, int64_t begin, int64_t end,
                               uint16_t* unrolled) const {
  const ConvolutionProblem& c = problem_;
  const int64_t pixels = phase.pixels();
  const int64_t all_pixels = c.n * pixels;
  const int64_t image_elements = source_size_[0] * source_size_[1] * in_channels_ * c.groups;
  const int64_t out_pixel = out_channels_ * c.groups;
  const bool dense = phase.pixels() == target_size_[0] * target_size_[1];
  int64_t places[kMaxTogether * kPixels];  // of the target's pixels, in elements
  alignas(64) uint16_t scattered[kPixels * kBf16Wide];
  Bf16TileCall call;
  call.a_next = kBf16Rows * phase.row;
  call.a_row = phase.row;
  call.a_block = kBf16Depth;
  call.blocks = phase.blocks;
  for (int64_t first = begin; first < end; first += together_) {
    const int64_t first_pixel = first * kPixels;
    const int64_t count =
        std::min(std::min(first + together_, end) * kPixels, all_pixels) - first_pixel;
    for (int64_t group = 0; group < c.groups; ++group) {
      int64_t image = first_pixel / pixels;
      int64_t row = first_pixel % pixels / phase.columns.targets;
      int64_t column = first_pixel % phase.columns.targets;
      for (int64_t i = 0; i < count; ++i) {
        places[i] = ((image * target_size_[0] + phase.rows.first + row * phase.rows.every) *
                         target_size_[1] +
                     phase.columns.first + column * phase.columns.every) *
                    out_pixel;
        Unroll(phase, source + image * image_elements, group, row, column,
               unrolled + i * phase.row);
        if (++column == phase.columns.targets) {
          column = 0;
          if (++row == phase.rows.targets) {
            row = 0;
            ++image;
          }
        }
      }
      for (int64_t strip = 0; strip < strips_; ++strip) {
        const int64_t channel = group * out_channels_ + strip * kBf16Wide;
        call.b = packed + (group * strips_ + strip) * phase.blocks * kBf16Strip;
        call.columns = std::min(kBf16Wide, out_channels_ - strip * kBf16Wide);
        for (int64_t pixel = 0; pixel < count; pixel += kPixels) {
          call.a = unrolled + pixel * phase.row;
          call.rows = std::min(kPixels, count - pixel);
          if (dense) {
            call.c = target + places[pixel] + channel;
            call.c_row = out_pixel;
            tiles_.multiply(call);
            continue;
          }
          call.c = scattered;
          call.c_row = kBf16Wide;
          tiles_.multiply(call);
          for (int64_t i = 0; i < call.rows; ++i) {
            std::memcpy(target + places[pixel + i] + channel, scattered + i * kBf16Wide,
                        2 * call.columns);
          }
        }
      }
    }
  }
}

}  // namespace oneflow::kernels
