#include "kernels/cpu/panel_gemm.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/lines_ahead.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/team_grid.h"

namespace oneflow::kernels {
namespace {

// kGemmDepth terms of these rows are 1 MiB: they stay in the second cache while strips of b pass by.
// More terms at once were slower: panels came from the third.
constexpr int64_t kChunkRows = 1036;
// Fewer columns do not pay for a packed a.
constexpr int64_t kLeastColumns = 128;
constexpr int64_t kLeastRows = 96;
constexpr int64_t kLeastDepth = 32;
constexpr int64_t kRowsUncut = 4;  // by the team
// In 32nds of a cycle of a Xeon: a product of 14 x 32 takes 14; to pack an element of a takes one, of b,
// which is fetched ahead, half of one.
constexpr ProductCosts kCosts = {1, 32, 16, kChunkRows};
// Panels that are packed together where rows of a lie side by side: a term's lines are read once.
constexpr int64_t kPanelsTogether = 8;
// Of the next chunk of a that are fetched while this one is multiplied: half a MiB, for the second
// cache holds this chunk as well.
constexpr int64_t kLinesAhead = 8192;
constexpr int64_t kMaxFetch = 48;  // lines while a panel is multiplied
// Strips by which a chunk of a is multiplied before the next terms are added: what they write is still
// in the third cache then.
constexpr int64_t kStripsTogether = 64;

constexpr int64_t kAligned = 16;  // floats of a line

int64_t Up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

}  // namespace

bool PanelGemm::Suits(const GemmProblem& problem, const MicroKernels& kernels) {
  return kernels.panel_rows > 0 && problem.m >= kLeastRows && problem.k >= kLeastDepth &&
         problem.n >= kLeastColumns;
}

PanelGemm::PanelGemm(const GemmProblem& problem, const MicroKernels& kernels, int parts)
    : problem_(problem), kernels_(kernels), parts_(parts) {
  const GemmProblem& g = problem_;
  const int64_t width = kernels_.width;
  const TeamGrid grid = GridOf(parts_, g.m, g.n, kRowsUncut, width, kCosts);
  int64_t most_rows = 0;
  for (int part = 0; part < parts_; ++part) {
    const TeamRectangle cut = grid.Rectangle(part, g.m, g.n, kRowsUncut, width);
    Rectangle& rectangle = rectangles_.emplace_back();
    rectangle.row = cut.row;
    rectangle.rows = cut.rows;
    most_rows = std::max(most_rows, cut.rows);
    const int64_t end = cut.column + cut.columns;
    for (int64_t at = cut.column; at < end;) {
      const int64_t columns = std::min(end - at, kMaxPanelVectors * width);
      rectangle.strips.push_back({at, columns, static_cast<int>((columns + width - 1) / width)});
      at += columns;
    }
  }
  const int64_t chunks = (most_rows + kChunkRows - 1) / kChunkRows;
  chunk_rows_ = Up((most_rows + chunks - 1) / chunks, kernels_.panel_rows);
  const int64_t depth = std::min(kGemmDepth, g.k);
  packed_a_floats_ = Up(chunk_rows_ * depth, kAligned);
  part_floats_ = packed_a_floats_ + Up(depth * kMaxPanelVectors * width, kAligned);
}

void PanelGemm::Run(const float* a, const float* b, float* c, float* workspace) const {
  ForEachPart(parts_, parts_, [&](int part, int64_t, int64_t) {
    const Rectangle& rectangle = rectangles_[part];
    if (rectangle.rows == 0 || rectangle.strips.empty()) return;
    float* const packed_a = workspace + part * part_floats_;
    float* const packed_b = packed_a + packed_a_floats_;
    Chunk chunk = FirstOf(rectangle);
    while (chunk.rows > 0) {
      const Chunk next = Behind(rectangle, chunk);
      PackA(a, chunk, packed_a);
      Multiply(a, packed_a, b, c, chunk, next, rectangle.strips, packed_b);
      chunk = next;
    }
  });
}

PanelGemm::Chunk PanelGemm::FirstOf(const Rectangle& rectangle) const {
  return {rectangle.row,
          std::min(chunk_rows_, rectangle.rows),
          0,
          std::min(kGemmDepth, problem_.k),
          0,
          std::min(kStripsTogether, static_cast<int64_t>(rectangle.strips.size()))};
}

PanelGemm::Chunk PanelGemm::Behind(const Rectangle& rectangle, const Chunk& chunk) const {
  Chunk next = chunk;
  const auto strips = static_cast<int64_t>(rectangle.strips.size());
  next.p += chunk.depth;
  if (next.p == problem_.k) {
    next.p = 0;
    next.first_strip = chunk.last_strip;
    if (next.first_strip == strips) {
      next.first_strip = 0;
      next.row += chunk.rows;
      next.rows = std::min(chunk_rows_, rectangle.row + rectangle.rows - next.row);
    }
    next.last_strip = std::min(next.first_strip + kStripsTogether, strips);
  }
  next.depth = std::min(kGemmDepth, problem_.k - next.p);
  return next;
}

// packed[panel][p][row].
void PanelGemm::PackA(const float* a, const Chunk& chunk, float* packed) const {
  const GemmProblem& g = problem_;
  const int64_t height = kernels_.panel_rows;
  const int64_t depth = chunk.depth;
  const float* const block = a + chunk.row * g.a_row + chunk.p * g.a_column;
  if (g.a_column == 1) {
    for (int64_t i = 0; i < chunk.rows; i += height) {
      kernels_.transpose(block + i * g.a_row, g.a_row, depth, std::min(height, chunk.rows - i),
                         packed + i * depth, height);
    }
    return;
  }
  const int64_t step = height * kPanelsTogether;
  for (int64_t first = 0; first < chunk.rows; first += step) {
    const int64_t last = std::min(chunk.rows, first + step);
    for (int64_t q = 0; q < depth; ++q) {
      for (int64_t i = first; i < last; i += height) {
        const float* const from = block + q * g.a_column + i * g.a_row;
        float* const to = packed + i * depth + q * height;
        if (g.a_row == 1 && last - i >= kMaxPanelRows) {
          std::memcpy(to, from, kMaxPanelRows * sizeof(float));
          continue;
        }
        for (int64_t r = 0; r < std::min(height, last - i); ++r) to[r] = from[r * g.a_row];
      }
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

void PanelGemm::Multiply(const float* a, const float* packed_a, const float* b, float* c,
                         const Chunk& chunk, const Chunk& next,
                         const std::vector<ColumnStrip>& strips, float* packed_b) const {
  const GemmProblem& g = problem_;
  const int64_t height = kernels_.panel_rows;
  const int64_t panels = (chunk.rows + height - 1) / height;
  LinesAhead of_a = LinesAhead::Of(a + next.row * g.a_row + next.p * g.a_column, next.rows,
                                   next.depth, g.a_row, g.a_column);
  const int64_t tiles = panels * (chunk.last_strip - chunk.first_strip);
  const int64_t a_at_once = (std::min(of_a.left(), kLinesAhead) + tiles - 1) / tiles;
  PanelCall call;
  call.k = chunk.depth;
  call.b = packed_b;
  call.c_row = g.c_row;
  call.accumulate = chunk.p > 0;
  for (int64_t s = chunk.first_strip; s < chunk.last_strip; ++s) {
    const ColumnStrip& strip = strips[s];
    PackStrip(b, strip, chunk.p, chunk.depth, packed_b);
    const ColumnStrip* then = nullptr;
    int64_t then_p = chunk.p, then_depth = chunk.depth;
    if (s + 1 < chunk.last_strip) {
      then = &strips[s + 1];
    } else if (next.rows > 0) {
      then = &strips[next.first_strip];
      then_p = next.p;
      then_depth = next.depth;
    }
    LinesAhead of_b;
    if (then != nullptr) {
      of_b = LinesAhead::Of(b + then_p * g.b_row + then->begin * g.b_column, then_depth,
                            then->columns, g.b_row, g.b_column);
    }
    const int64_t b_at_once = (of_b.left() + panels - 1) / panels;
    call.columns = strip.columns;
    for (int64_t row = 0; row < chunk.rows; row += height) {
      const int64_t rows = std::min(height, chunk.rows - row);
      const void* fetch[kMaxFetch];
      int64_t count = of_b.Take(std::min(b_at_once, kMaxFetch), fetch);
      count += of_a.Take(std::min(a_at_once, kMaxFetch - count), fetch + count);
      call.fetch = fetch;
      call.fetch_end = fetch + count;
      call.a = packed_a + row * chunk.depth;
      call.c = c + (chunk.row + row) * g.c_row + strip.begin;
      kernels_.panel[rows - 1][strip.vectors - 1](call);
    }
  }
}

}  // namespace oneflow::kernels
