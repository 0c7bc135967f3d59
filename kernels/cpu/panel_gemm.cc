#include "kernels/cpu/panel_gemm.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/parallel.h"

namespace oneflow::kernels {
namespace {

// kGemmDepth terms of these rows are 1 MiB: they stay in the second cache while strips of b pass by.
// More terms at once would save regions of the team, and were slower: panels came from the third.
constexpr int64_t kChunkRows = 1032;
// Fewer columns do not pay for a packed a, fewer rows not for the two regions of the team.
constexpr int64_t kLeastColumns = 128;
constexpr int64_t kLeastRows = 96;
constexpr int64_t kLeastDepth = 32;
// Panels that are packed together where rows of a lie side by side: a term's lines are read once.
constexpr int64_t kPanelsTogether = 8;

int64_t Up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

}  // namespace

bool PanelGemm::Suits(const GemmProblem& problem, const MicroKernels& kernels, int parts) {
  return kernels.panel_rows > 0 && problem.m >= kLeastRows && problem.k >= kLeastDepth &&
         problem.n >= std::max<int64_t>(kLeastColumns, int64_t{3} * kernels.width * parts);
}

PanelGemm::PanelGemm(const GemmProblem& problem, const MicroKernels& kernels, int parts)
    : problem_(problem), kernels_(kernels), parts_(parts) {
  const GemmProblem& g = problem_;
  const int64_t chunks = (g.m + kChunkRows - 1) / kChunkRows;
  chunk_rows_ = Up((g.m + chunks - 1) / chunks, kernels_.panel_rows);
  const int64_t width = kernels_.width;
  const int64_t vectors = (g.n + width - 1) / width;
  for (int part = 0; part < parts_; ++part) {
    std::vector<ColumnStrip>& strips = strips_.emplace_back();
    const int64_t end = std::min(g.n, PartBegin(vectors, parts_, part + 1) * width);
    for (int64_t at = std::min(g.n, PartBegin(vectors, parts_, part) * width); at < end;) {
      const int64_t columns = std::min(end - at, kMaxPanelVectors * width);
      strips.push_back({at, columns, static_cast<int>((columns + width - 1) / width)});
      at += columns;
    }
  }
  const int64_t depth = std::min(kGemmDepth, g.k);
  packed_a_floats_ = Up(chunk_rows_ * depth, 16);
  packed_b_floats_ = Up(depth * kMaxPanelVectors * width, 16);
  workspace_floats_ = packed_a_floats_ + parts_ * packed_b_floats_;
}

void PanelGemm::Run(const float* a, const float* b, float* c, float* workspace) const {
  const GemmProblem& g = problem_;
  float* const packed_a = workspace;
  float* const packed_b = workspace + packed_a_floats_;
  for (int64_t first = 0; first < g.m; first += chunk_rows_) {
    for (int64_t p = 0; p < g.k; p += kGemmDepth) {
      const Chunk chunk = {first, std::min(chunk_rows_, g.m - first), p,
                           std::min(kGemmDepth, g.k - p)};
      PackA(a, chunk, packed_a);
      ForEachPart(parts_, parts_, [&](int part, int64_t, int64_t) {
        Multiply(packed_a, b, c, chunk, strips_[part], packed_b + part * packed_b_floats_);
      });
    }
  }
}

// packed[panel][p][row].
void PanelGemm::PackA(const float* a, const Chunk& chunk, float* packed) const {
  const int64_t step = kernels_.panel_rows * kPanelsTogether;
  const int64_t groups = (chunk.rows + step - 1) / step;
  ForEachPart(PartsOf(parts_, chunk.rows * chunk.depth, kGrain), groups,
              [&](int, int64_t begin, int64_t end) {
                for (int64_t row = begin * step; row < std::min(chunk.rows, end * step);
                     row += step) {
                  PackPanels(a, chunk.first + row, std::min(step, chunk.rows - row), chunk.p,
                             chunk.depth, packed + row * chunk.depth);
                }
              });
}

void PanelGemm::PackPanels(const float* a, int64_t row, int64_t rows, int64_t p, int64_t depth,
                           float* packed) const {
  const GemmProblem& g = problem_;
  const int64_t height = kernels_.panel_rows;
  const float* const in = a + row * g.a_row + p * g.a_column;
  if (g.a_column == 1) {
    for (int64_t i = 0; i < rows; i += height) {
      kernels_.transpose(in + i * g.a_row, g.a_row, depth, std::min(height, rows - i),
                         packed + i * depth, height);
    }
    return;
  }
  for (int64_t q = 0; q < depth; ++q) {
    for (int64_t i = 0; i < rows; i += height) {
      const float* const from = in + q * g.a_column + i * g.a_row;
      float* const to = packed + i * depth + q * height;
      if (g.a_row == 1 && rows - i >= kMaxPanelRows) {
        std::memcpy(to, from, kMaxPanelRows * sizeof(float));
        continue;
      }
      for (int64_t r = 0; r < std::min(height, rows - i); ++r) to[r] = from[r * g.a_row];
    }
  }
}

void PanelGemm::PackStrip(const float* b, const ColumnStrip& strip, int64_t p, int64_t depth,
                          float* packed) const {
  const GemmProblem& g = problem_;
  const int64_t width = int64_t{strip.vectors} * kernels_.width;
  const float* const in = b + p * g.b_row + strip.begin * g.b_column;
  if (strip.columns < width) {
    for (int64_t q = 0; q < depth; ++q) {
      std::fill(packed + q * width + strip.columns, packed + (q + 1) * width, 0.0f);
    }
  }
  if (g.b_row == 1) {
    kernels_.transpose(in, g.b_column, depth, strip.columns, packed, width);
  } else if (g.b_column == 1) {
    constexpr int64_t kWhole = 32;  // a size that the compiler knows
    for (int64_t q = 0; q < depth; ++q) {
      if (strip.columns == kWhole) {
        std::memcpy(packed + q * width, in + q * g.b_row, kWhole * sizeof(float));
      } else {
        std::memcpy(packed + q * width, in + q * g.b_row, strip.columns * sizeof(float));
      }
    }
  } else {
    for (int64_t q = 0; q < depth; ++q) {
      for (int64_t j = 0; j < strip.columns; ++j) {
        packed[q * width + j] = in[q * g.b_row + j * g.b_column];
      }
    }
  }
}

void PanelGemm::Multiply(const float* packed_a, const float* b, float* c, const Chunk& chunk,
                         const std::vector<ColumnStrip>& strips, float* packed_b) const {
  const GemmProblem& g = problem_;
  const int64_t height = kernels_.panel_rows;
  PanelCall call;
  call.k = chunk.depth;
  call.b = packed_b;
  call.c_row = g.c_row;
  call.accumulate = chunk.p > 0;
  for (const ColumnStrip& strip : strips) {
    PackStrip(b, strip, chunk.p, chunk.depth, packed_b);
    call.columns = strip.columns;
    for (int64_t row = 0; row < chunk.rows; row += height) {
      const int64_t rows = std::min(height, chunk.rows - row);
      call.a = packed_a + row * chunk.depth;
      call.c = c + (chunk.first + row) * g.c_row + strip.begin;
      kernels_.panel[rows - 1][strip.vectors - 1](call);
    }
  }
}

}  // namespace oneflow::kernels
