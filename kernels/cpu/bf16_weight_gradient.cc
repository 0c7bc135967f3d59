#include "kernels/cpu/bf16_weight_gradient.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/clipped_copy.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"

namespace oneflow::kernels {
namespace {

constexpr double kFlopsPerPart = 20e6;
constexpr int64_t kBlocksTogether = 16;  // of 32 pixels, packed at a time
constexpr int64_t kPixelsTogether = kBlocksTogether * kBf16Depth;
constexpr int64_t kSumBytes = 512 << 10;  // of the strips that are summed together
constexpr int64_t kMaxStripsTogether = 16;
constexpr int64_t kMaxShares = 16;
constexpr int64_t kStripsWanted = 32;  // that a large team may share
constexpr int64_t kBlocksPerShare = 64;
constexpr int64_t kBlockPadding =
    1;  // so that tiles of filters do not meet in one set of the cache

alignas(64) constexpr uint16_t kZeros[kBf16Wide] = {};

int64_t Blocks(int64_t n, int64_t block) { return (n + block - 1) / block; }

struct InterleaveRows {
  // packed[pair][column] = both rows of the pair, for n <= 32 columns.
  OF_LOOP static void Run(const uint16_t* const* rows, int64_t pairs, int64_t n, uint32_t* packed) {
    for (int64_t pair = 0; pair < pairs; ++pair, packed += kBf16Wide) {
      const uint16_t* first = rows[2 * pair];
      const uint16_t* second = rows[2 * pair + 1];
      if (n == kBf16Wide) {
#pragma omp simd
        for (int64_t j = 0; j < kBf16Wide; ++j) {
          packed[j] = first[j] | static_cast<uint32_t>(second[j]) << 16;
        }
      } else {
        for (int64_t j = 0; j < n; ++j) {
          packed[j] = first[j] | static_cast<uint32_t>(second[j]) << 16;
        }
      }
    }
  }
};

struct RoundSumsLoop {
  // n <= 32 sums, of the shares in order.
  OF_LOOP static void Run(const float* sums, int64_t share, int64_t shares, BF16* out, int64_t n) {
    float total[kBf16Wide];
    for (int64_t j = 0; j < n; ++j) total[j] = sums[j];
    for (int64_t s = 1; s < shares; ++s) {
      const float* more = sums + s * share;
      for (int64_t j = 0; j < n; ++j) total[j] += more[j];
    }
    for (int64_t j = 0; j < n; ++j) Store(total[j], out + j);
  }
};

}  // namespace

Bf16WeightGradient::Bf16WeightGradient(const ConvolutionProblem& problem, const Bf16Tiles& tiles,
                                       const MicroKernels& vectors, int threads)
    : problem_(problem),
      tiles_(tiles),
      transpose_(vectors.transpose),
      interleave_(Vectorised<InterleaveRows>()),
      round_(Vectorised<RoundSumsLoop>()),
      rows_(ForwardAxis(problem, 0)),
      columns_(ForwardAxis(problem, 1)) {
  const ConvolutionProblem& c = problem_;
  const int64_t pixels = c.n * c.p * c.q;
  channels_ = c.c / c.groups;
  filters_ = c.k / c.groups;
  filter_tiles_ = Blocks(filters_, kBf16Rows);
  width_ = c.r * c.s * channels_;
  strips_ = Blocks(width_, kBf16Wide);
  blocks_ = Blocks(pixels, kBf16Depth);
  const double flops =
      2.0 * static_cast<double>(pixels) * static_cast<double>(c.k) * static_cast<double>(width_);
  if (flops >= 2 * kFlopsPerPart) parts_ = threads;
  shares_ = std::clamp<int64_t>(
      std::min(blocks_ / kBlocksPerShare, kStripsWanted / (strips_ * c.groups)), 1, kMaxShares);
  // Channels of neighbouring taps follow each other where nothing lies between them.
  const bool merges = c.groups == 1 && (c.s == 1 || c.dilation[1] == 1);
  const int64_t run = merges ? c.s * channels_ : channels_;
  for (int64_t strip = 0; strip < strips_; ++strip) {
    std::vector<Piece>& pieces = pieces_.emplace_back();
    const int64_t last = std::min(width_, (strip + 1) * kBf16Wide);
    for (int64_t at = strip * kBf16Wide; at < last;) {
      Piece piece;
      const int64_t tap = at / run * (merges ? c.s : 1);
      piece.row = rows_.offsets[tap / c.s];
      piece.column = columns_.offsets[tap % c.s];
      piece.channel = at % run;
      piece.to = at - strip * kBf16Wide;
      piece.count = std::min(last, (at / run + 1) * run) - at;
      at += piece.count;
      pieces.push_back(piece);
    }
  }
  const int64_t strip_bytes = filter_tiles_ * kBf16Rows * kBf16Wide * 4;
  together_ =
      std::clamp<int64_t>(kSumBytes / strip_bytes, 1, std::min(strips_, kMaxStripsTogether));
  sums_at_ = c.groups * filter_tiles_ * (blocks_ + kBlockPadding) * kBf16Tile * 2;
  parts_at_ = sums_at_ + c.groups * shares_ * strips_ * strip_bytes;
  part_bytes_ = together_ * kBlocksTogether * kBf16Strip * 2 + kPixelsTogether * kBf16Wide * 2 +
                kPixelsTogether * static_cast<int64_t>(sizeof(uint16_t*));
  workspace_bytes_ = parts_at_ + parts_ * part_bytes_;
}

Bf16WeightGradient::Space Bf16WeightGradient::SpaceOf(char* workspace, int part) const {
  char* at = workspace + parts_at_ + part * part_bytes_;
  Space space;
  space.packed = reinterpret_cast<uint16_t*>(at);
  space.copied = space.packed + together_ * kBlocksTogether * kBf16Strip;
  space.rows = reinterpret_cast<const uint16_t**>(space.copied + kPixelsTogether * kBf16Wide);
  return space;
}

int64_t Bf16WeightGradient::BlockBegin(int64_t share) const {
  return PartBegin(blocks_, static_cast<int>(shares_), static_cast<int>(share));
}

void Bf16WeightGradient::Run(const BF16* x, const BF16* dy, BF16* dweight, void* workspace) const {
  const ConvolutionProblem& c = problem_;
  char* const space = static_cast<char*>(workspace);
  uint16_t* const packed_dy = static_cast<uint16_t*>(workspace);
  float* const sums = reinterpret_cast<float*>(space + sums_at_);
  ForEachPart(parts_, blocks_, [&](int, int64_t begin, int64_t end) {
    PackGradient(reinterpret_cast<const uint16_t*>(dy), begin, end, packed_dy);
  });
  ForEachPart(parts_, c.groups * shares_ * strips_, [&](int part, int64_t begin, int64_t end) {
    tiles_.begin();
    SumStrips(reinterpret_cast<const uint16_t*>(x), packed_dy, begin, end, sums,
              SpaceOf(space, part));
    tiles_.end();
  });
  ParallelFor(parts_, c.k, kGrain / std::max<int64_t>(1, width_) + 1,
              [&](int64_t begin, int64_t end) { Round(sums, begin, end, dweight); });
}

// packed[group][tile of filters][block][filter][pixel] for blocks [begin, end); zeros behind the last
// pixel.
void Bf16WeightGradient::PackGradient(const uint16_t* dy, int64_t begin, int64_t end,
                                      uint16_t* packed) const {
  const ConvolutionProblem& c = problem_;
  const int64_t pixels = c.n * c.p * c.q;
  alignas(64) uint32_t pairs[kBf16Depth / 2 * kBf16Wide];
  const uint16_t* rows[kBf16Depth];
  for (int64_t block = begin; block < end; ++block) {
    const int64_t count = std::min(kBf16Depth, pixels - block * kBf16Depth);
    for (int64_t group = 0; group < c.groups; ++group) {
      for (int64_t tile = 0; tile < filter_tiles_; ++tile) {
        const int64_t filters = std::min(kBf16Rows, filters_ - tile * kBf16Rows);
        uint16_t* const to =
            packed +
            ((group * filter_tiles_ + tile) * (blocks_ + kBlockPadding) + block) * kBf16Tile;
        if (count < kBf16Depth) std::memset(to, 0, 2 * kBf16Tile);
        const uint16_t* from = dy + block * kBf16Depth * c.k + group * filters_ + tile * kBf16Rows;
        for (int64_t i = 0; i < kBf16Depth; ++i) rows[i] = i < count ? from + i * c.k : kZeros;
        interleave_(rows, Blocks(count, 2), filters, pairs);
        transpose_(reinterpret_cast<const float*>(pairs), kBf16Wide, filters, Blocks(count, 2),
                   reinterpret_cast<float*>(to), kBf16Depth / 2);
      }
    }
  }
}

void Bf16WeightGradient::SumStrips(const uint16_t* x, const uint16_t* packed_dy, int64_t begin,
                                   int64_t end, float* sums, const Space& space) const {
  const int64_t tile_step = (blocks_ + kBlockPadding) * kBf16Tile;
  const int64_t strip_sums = filter_tiles_ * kBf16Rows * kBf16Wide;
  Bf16TileCall call;
  call.a_next = tile_step;
  for (int64_t first = begin; first < end;) {
    const int64_t share = first / strips_ % shares_;
    const int64_t group = first / strips_ / shares_;
    const int64_t strip = first % strips_;
    const int64_t count = std::min({together_, end - first, strips_ - strip});
    const int64_t last_block = BlockBegin(share + 1);
    for (int64_t block = BlockBegin(share); block < last_block; block += kBlocksTogether) {
      call.blocks = std::min(kBlocksTogether, last_block - block);
      call.accumulate = block > BlockBegin(share);
      for (int64_t s = 0; s < count; ++s) {
        PackStrip(x, group, strip + s, block, block + call.blocks, space,
                  space.packed + s * kBlocksTogether * kBf16Strip);
      }
      for (int64_t tile = 0; tile < filter_tiles_; tile += 2) {
        call.a = packed_dy + (group * filter_tiles_ + tile) * tile_step + block * kBf16Tile;
        call.rows = std::min(2 * kBf16Rows, filters_ - tile * kBf16Rows);
        for (int64_t s = 0; s < count; ++s) {
          call.b = space.packed + s * kBlocksTogether * kBf16Strip;
          call.columns = std::min(kBf16Wide, width_ - (strip + s) * kBf16Wide);
          call.sums = sums + (first + s) * strip_sums + tile * kBf16Rows * kBf16Wide;
          tiles_.multiply(call);
        }
      }
    }
    first += count;
  }
}

// [block][pair of pixels][column][2] of blocks [begin, end); zeros behind the last pixel.
void Bf16WeightGradient::PackStrip(const uint16_t* x, int64_t group, int64_t strip, int64_t begin,
                                   int64_t end, const Space& space, uint16_t* packed) const {
  const ConvolutionProblem& c = problem_;
  const int64_t first = begin * kBf16Depth;
  const int64_t last = std::min(end * kBf16Depth, c.n * c.p * c.q);
  PointToRows(x, group, strip, first, last, space);
  std::fill(space.rows + (last - first), space.rows + (end - begin) * kBf16Depth, kZeros);
  interleave_(space.rows, (end - begin) * kBf16Depth / 2,
              std::min(kBf16Wide, width_ - strip * kBf16Wide), reinterpret_cast<uint32_t*>(packed));
}

// space.rows[i]: the columns of the strip that pixel begin + i of the result reads.
void Bf16WeightGradient::PointToRows(const uint16_t* x, int64_t group, int64_t strip, int64_t begin,
                                     int64_t end, const Space& space) const {
  const ConvolutionProblem& c = problem_;
  const std::vector<Piece>& pieces = pieces_[strip];
  const bool one = pieces.size() == 1;  // which may be read where it lies
  const int64_t line_elements = c.w * c.c;
  for (int64_t at = begin; at < end;) {
    // A run of pixels in one line of the result.
    const int64_t column = at % c.q;
    const int64_t count = std::min(end - at, c.q - column);
    const int64_t target_line = at / c.q;
    const uint16_t* const image = x + target_line / c.p * c.h * line_elements;
    const uint16_t** const rows = space.rows + (at - begin);
    uint16_t* const copied = space.copied + (at - begin) * kBf16Wide;
    for (const Piece& piece : pieces) {
      const int64_t y = target_line % c.p * rows_.step + piece.row;
      const bool reaches = rows_.Reaches(y);
      const uint16_t* const line = reaches ? image + y * line_elements : kZeros;
      int64_t from =
          (column * columns_.step + piece.column) * c.c + group * channels_ + piece.channel;
      for (int64_t i = 0; i < count; ++i, from += columns_.step * c.c) {
        if (one && (!reaches || from + piece.count <= 0 || from >= line_elements)) {
          rows[i] = kZeros;
        } else if (one && from >= 0 && from + piece.count <= line_elements) {
          rows[i] = line + from;
        } else {
          uint16_t* const to = copied + i * kBf16Wide;
          CopyClipped(line, reaches ? line_elements : 0, from, piece.count, to + piece.to);
          rows[i] = to;
        }
      }
    }
    at += count;
  }
}

// dweight[filter][channel][tap] for filters [begin, end), from sums[strip][filter][column].
void Bf16WeightGradient::Round(const float* sums, int64_t begin, int64_t end, BF16* dweight) const {
  const ConvolutionProblem& c = problem_;
  const int64_t taps = c.r * c.s;
  const int64_t strip_sums = filter_tiles_ * kBf16Rows * kBf16Wide;
  BF16 rounded[kBf16Wide];
  for (int64_t k = begin; k < end; ++k) {
    const float* const from =
        sums + k / filters_ * shares_ * strips_ * strip_sums + k % filters_ * kBf16Wide;
    BF16* const to = dweight + k * width_;
    int64_t tap = 0;
    int64_t channel = 0;
    for (int64_t strip = 0; strip < strips_; ++strip) {
      const int64_t n = std::min(kBf16Wide, width_ - strip * kBf16Wide);
      round_(from + strip * strip_sums, strips_ * strip_sums, shares_, rounded, n);
      for (int64_t j = 0; j < n; ++j) {
        to[channel * taps + tap] = rounded[j];
        if (++channel == channels_) {
          channel = 0;
          ++tap;
        }
      }
    }
  }
}

}  // namespace oneflow::kernels
