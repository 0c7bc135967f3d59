#include "kernels/cpu/gemm.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/parallel.h"

namespace oneflow::kernels {
namespace {

constexpr int64_t kDepth = kGemmDepth;  // a strip of b stays in the nearest caches
constexpr int64_t kRowBlock = 128;  // rows of a that stay in the second cache while strips pass by
constexpr int64_t kFarApart =
    512;  // floats between terms beyond which a is packed: a page holds two
constexpr int64_t kFlopsPerPart = 3'000'000;

int64_t Up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

}  // namespace

std::vector<ColumnStrip> CutIntoStrips(int64_t begin, int64_t end, int width) {
  std::vector<ColumnStrip> strips;
  while (begin < end) {
    const int64_t left = (end - begin + width - 1) / width;
    const int vectors = left == 4 || left == 2 ? 2 : static_cast<int>(std::min<int64_t>(left, 3));
    const int64_t columns = std::min<int64_t>(end - begin, int64_t{vectors} * width);
    strips.push_back({begin, columns, vectors});
    begin += columns;
  }
  return strips;
}

Gemm::Gemm(const GemmProblem& problem, const MicroKernels& kernels, int threads)
    : problem_(problem), kernels_(kernels) {
  const GemmProblem& g = problem_;
  const int width = kernels_.width;
  const double flops =
      2.0 * static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k);
  parts_ = flops >= 2.0 * kFlopsPerPart ? threads : 1;
  if (PanelGemm::Suits(g, kernels_)) {
    panels_.emplace(g, kernels_, parts_);
    workspace_floats_ = panels_->workspace_floats();
    return;
  }
  const int64_t vectors = (g.n + width - 1) / width;
  by_columns_ = g.m <= g.n && vectors >= parts_;
  pack_a_ = g.a_column >= kFarApart && g.n > width;
  if (pack_a_) packed_a_floats_ = Up(Up(g.m, kernels_.rows) * g.k, 16);
  const int64_t depth = std::min(kDepth, g.k);
  if (by_columns_) {
    for (int part = 0; part < parts_; ++part) {
      strips_.push_back(CutIntoStrips(std::min(g.n, PartBegin(vectors, parts_, part) * width),
                                      std::min(g.n, PartBegin(vectors, parts_, part + 1) * width),
                                      width));
    }
    space_floats_ = Up(depth * kMaxTileVectors * width, 16);
    workspace_floats_ = packed_a_floats_ + parts_ * space_floats_;
  } else {
    strips_.push_back(CutIntoStrips(0, g.n, width));
    workspace_floats_ = packed_a_floats_ + g.k * vectors * width;
  }
}

void Gemm::Run(const float* a, const float* b, float* c, void* workspace) const {
  float* space = static_cast<float*>(workspace);
  if (panels_.has_value()) return panels_->Run(a, b, c, space);
  const float* packed_a = nullptr;
  if (pack_a_) {
    PackA(a, space);
    packed_a = space;
    space += packed_a_floats_;
  }
  if (by_columns_) {
    RunByColumns(a, b, c, packed_a, space);
  } else {
    RunByRows(a, b, c, packed_a, space);
  }
}

// Tiles of `rows` rows over all of k: packed[tile][p][row].
void Gemm::PackA(const float* a, float* packed) const {
  const GemmProblem& g = problem_;
  const int64_t rows = kernels_.rows;
  const int64_t tiles = (g.m + rows - 1) / rows;
  // One line of the cache holds 16 / rows tiles: neighbours are packed together, so it is read
  // once.
  const int64_t together = std::max<int64_t>(1, 16 / rows);
  ForEachPart(parts_, (tiles + together - 1) / together, [&](int, int64_t begin, int64_t end) {
    for (int64_t p0 = 0; p0 < g.k; p0 += kDepth) {
      const int64_t p1 = std::min(g.k, p0 + kDepth);
      for (int64_t tile = begin * together; tile < std::min(tiles, end * together); ++tile) {
        const int64_t count = std::min(rows, g.m - tile * rows);
        float* out = packed + tile * rows * g.k;
        const float* in = a + tile * rows * g.a_row;
        for (int64_t p = p0; p < p1; ++p) {
          for (int64_t i = 0; i < count; ++i) {
            out[p * rows + i] = in[i * g.a_row + p * g.a_column];
          }
        }
      }
    }
  });
}

// packed[p][column], 0 behind the last column.
void Gemm::PackStrip(const float* b, const ColumnStrip& strip, int64_t p, int64_t depth,
                     float* packed) const {
  const GemmProblem& g = problem_;
  const int64_t width = int64_t{strip.vectors} * kernels_.width;
  const float* in = b + p * g.b_row + strip.begin * g.b_column;
  if (strip.columns < width) {
    for (int64_t i = 0; i < depth; ++i) {
      std::fill(packed + i * width + strip.columns, packed + (i + 1) * width, 0.0f);
    }
  }
  if (g.b_column == 1) {
    for (int64_t i = 0; i < depth; ++i) {
      std::memcpy(packed + i * width, in + i * g.b_row, strip.columns * sizeof(float));
    }
  } else if (g.b_row == 1) {
    kernels_.transpose(in, g.b_column, depth, strip.columns, packed, width);
  } else {
    for (int64_t i = 0; i < depth; ++i) {
      for (int64_t j = 0; j < strip.columns; ++j) {
        packed[i * width + j] = in[i * g.b_row + j * g.b_column];
      }
    }
  }
}

void Gemm::Multiply(const float* a, int64_t begin, int64_t end, const ColumnStrip& strip, int64_t p,
                    int64_t depth, const float* packed_b, const float* packed_a, float* c) const {
  const GemmProblem& g = problem_;
  const float* a_rows[kMaxTileRows];
  float* c_rows[kMaxTileRows];
  TileCall call;
  call.a = a_rows;
  call.a_step = pack_a_ ? kernels_.rows : g.a_column;
  call.k = depth;
  call.b = packed_b;
  call.c = c_rows;
  call.c_offset = strip.begin;
  call.columns = strip.columns;
  call.accumulate = p > 0;
  for (int64_t row = begin; row < end; row += kernels_.rows) {
    const int rows = static_cast<int>(std::min<int64_t>(kernels_.rows, end - row));
    for (int i = 0; i < rows; ++i) {
      // `row` is a multiple of the tile's rows where a is packed.
      a_rows[i] = pack_a_ ? packed_a + row * g.k + p * kernels_.rows + i
                          : a + (row + i) * g.a_row + p * g.a_column;
      c_rows[i] = c + (row + i) * g.c_row;
    }
    kernels_.tile[rows - 1][strip.vectors - 1](call);
  }
}

void Gemm::RunByColumns(const float* a, const float* b, float* c, const float* packed_a,
                        float* space) const {
  const GemmProblem& g = problem_;
  ForEachPart(parts_, parts_, [&](int part, int64_t, int64_t) {
    float* packed = space + part * space_floats_;
    for (int64_t p = 0; p < g.k; p += kDepth) {
      const int64_t depth = std::min(kDepth, g.k - p);
      for (const ColumnStrip& strip : strips_[part]) {
        PackStrip(b, strip, p, depth, packed);
        Multiply(a, 0, g.m, strip, p, depth, packed, packed_a, c);
      }
    }
  });
}

void Gemm::RunByRows(const float* a, const float* b, float* c, const float* packed_a,
                     float* space) const {
  const GemmProblem& g = problem_;
  const std::vector<ColumnStrip>& strips = strips_[0];
  const int64_t count = static_cast<int64_t>(strips.size());
  const int64_t vectors = (g.n + kernels_.width - 1) / kernels_.width;
  // Block p of k begins at p * (all columns), a strip in it at its columns * depth.
  const auto packed_at = [&](const ColumnStrip& strip, int64_t p, int64_t depth) {
    return space + p * vectors * kernels_.width + strip.begin * depth;
  };
  const int64_t blocks = (g.k + kDepth - 1) / kDepth;
  const auto pack = [&](int, int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const ColumnStrip& strip = strips[item % count];
      const int64_t p = item / count * kDepth;
      const int64_t depth = std::min(kDepth, g.k - p);
      PackStrip(b, strip, p, depth, packed_at(strip, p, depth));
    }
  };
  ForEachPart(g.k * g.n >= 2 * kGrain ? parts_ : 1, blocks * count, pack);
  const int64_t tiles = (g.m + kernels_.rows - 1) / kernels_.rows;
  ForEachPart(parts_, tiles, [&](int, int64_t begin, int64_t end) {
    const int64_t last = std::min(g.m, end * kernels_.rows);
    for (int64_t p = 0; p < g.k; p += kDepth) {
      const int64_t depth = std::min(kDepth, g.k - p);
      for (int64_t row = begin * kernels_.rows; row < last; row += kRowBlock) {
        for (const ColumnStrip& strip : strips) {
          Multiply(a, row, std::min(last, row + kRowBlock), strip, p, depth,
                   packed_at(strip, p, depth), packed_a, c);
        }
      }
    }
  });
}

}  // namespace oneflow::kernels
