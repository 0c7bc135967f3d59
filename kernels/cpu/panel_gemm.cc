#include "kernels/cpu/panel_gemm.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/cpu/parallel.h"

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
// Panels that are packed together where rows of a lie side by side: a term's lines are read once.
constexpr int64_t kPanelsTogether = 8;
// Of the next chunk of a that are fetched while this one is multiplied: half a MiB, for the second
// cache holds this chunk as well.
constexpr int64_t kLinesAhead = 8192;
constexpr int64_t kMaxFetch = 48;  // lines while a panel is multiplied
constexpr int64_t kLine = 16;      // floats
// Strips by which a chunk of a is multiplied before the next terms are added: what they write is still
// in the third cache then.
constexpr int64_t kStripsTogether = 64;

int64_t Up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Lines of a block of an operand in the order in which it is packed, to be fetched ahead.
class Lines {
 public:
  Lines() = default;
  // `runs` runs of `floats` floats, `stride` apart.
  Lines(const float* block, int64_t runs, int64_t stride, int64_t floats)
      : run_(block), stride_(stride), floats_(floats), left_(runs * PerRun()) {}

  int64_t left() const { return left_; }
  const float* Take() {
    const float* const line = run_ + std::min(at_, floats_ - 1);
    --left_;
    at_ += kLine;
    if (at_ >= floats_ + kLine) {
      at_ = 0;
      run_ += stride_;
    }
    return line;
  }

 private:
  // One more where a run does not begin with a line.
  int64_t PerRun() const { return (floats_ + kLine - 1) / kLine + 1; }

  const float* run_ = nullptr;
  int64_t stride_ = 0;
  int64_t floats_ = 0;
  int64_t at_ = 0;
  int64_t left_ = 0;
};

// Element (i, j) of the block is block[i * row + j * column].
Lines LinesOf(const float* block, int64_t rows, int64_t columns, int64_t row, int64_t column) {
  if (column == 1) return Lines(block, rows, row, columns);
  if (row == 1) return Lines(block, columns, column, rows);
  return Lines();
}

}  // namespace

TeamGrid GridOf(int64_t m, int64_t n, int width, int parts) {
  TeamGrid best;
  int64_t least = std::numeric_limits<int64_t>::max();
  for (int rows = 1; rows <= parts; ++rows) {
    if (parts % rows != 0) continue;
    const int columns = parts / rows;
    const int64_t height = Up((m + rows - 1) / rows, kRowsUncut);
    const int64_t breadth = Up((n + columns - 1) / columns, width);
    // Cycles for each term of the sums on a Xeon: a product of 14 x 32 takes 14, to pack an element of
    // a takes one, of b, which is fetched ahead, half of one.
    const int64_t cost = height * breadth / 32 + height + breadth / 2;
    if (cost < least) {
      least = cost;
      best = {rows, columns};
    }
  }
  return best;
}

bool PanelGemm::Suits(const GemmProblem& problem, const MicroKernels& kernels) {
  return kernels.panel_rows > 0 && problem.m >= kLeastRows && problem.k >= kLeastDepth &&
         problem.n >= kLeastColumns;
}

PanelGemm::PanelGemm(const GemmProblem& problem, const MicroKernels& kernels, int parts)
    : problem_(problem), kernels_(kernels), parts_(parts) {
  const GemmProblem& g = problem_;
  const int64_t width = kernels_.width;
  const TeamGrid grid = GridOf(g.m, g.n, kernels_.width, parts_);
  const int64_t groups = (g.m + kRowsUncut - 1) / kRowsUncut;
  const int64_t vectors = (g.n + width - 1) / width;
  const auto row_at = [&](int i) {
    return std::min(g.m, PartBegin(groups, grid.rows, i) * kRowsUncut);
  };
  const auto column_at = [&](int j) {
    return std::min(g.n, PartBegin(vectors, grid.columns, j) * width);
  };
  int64_t most_rows = 0;
  for (int part = 0; part < parts_; ++part) {
    const int i = part / grid.columns;
    const int j = part % grid.columns;
    Rectangle& rectangle = rectangles_.emplace_back();
    rectangle.row = row_at(i);
    rectangle.rows = row_at(i + 1) - rectangle.row;
    most_rows = std::max(most_rows, rectangle.rows);
    const int64_t end = column_at(j + 1);
    for (int64_t at = column_at(j); at < end;) {
      const int64_t columns = std::min(end - at, kMaxPanelVectors * width);
      rectangle.strips.push_back({at, columns, static_cast<int>((columns + width - 1) / width)});
      at += columns;
    }
  }
  const int64_t chunks = (most_rows + kChunkRows - 1) / kChunkRows;
  chunk_rows_ = Up((most_rows + chunks - 1) / chunks, kernels_.panel_rows);
  const int64_t depth = std::min(kGemmDepth, g.k);
  packed_a_floats_ = Up(chunk_rows_ * depth, kLine);
  part_floats_ = packed_a_floats_ + Up(depth * kMaxPanelVectors * width, kLine);
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
  Lines of_a = LinesOf(a + next.row * g.a_row + next.p * g.a_column, next.rows, next.depth, g.a_row,
                       g.a_column);
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
    Lines of_b;
    if (s + 1 < chunk.last_strip) {
      of_b = LinesOf(b + chunk.p * g.b_row + strips[s + 1].begin * g.b_column, chunk.depth,
                     strips[s + 1].columns, g.b_row, g.b_column);
    } else if (next.rows > 0) {
      const ColumnStrip& first = strips[next.first_strip];
      of_b = LinesOf(b + next.p * g.b_row + first.begin * g.b_column, next.depth, first.columns,
                     g.b_row, g.b_column);
    }
    const int64_t b_at_once = (of_b.left() + panels - 1) / panels;
    call.columns = strip.columns;
    for (int64_t row = 0; row < chunk.rows; row += height) {
      const int64_t rows = std::min(height, chunk.rows - row);
      const float* fetch[kMaxFetch];
      int64_t count = 0;
      for (int64_t i = std::min({b_at_once, of_b.left(), kMaxFetch}); i > 0; --i) {
        fetch[count++] = of_b.Take();
      }
      for (int64_t i = std::min({a_at_once, of_a.left(), kMaxFetch - count}); i > 0; --i) {
        fetch[count++] = of_a.Take();
      }
      call.fetch = fetch;
      call.fetch_end = fetch + count;
      call.a = packed_a + row * chunk.depth;
      call.c = c + (chunk.row + row) * g.c_row + strip.begin;
      kernels_.panel[rows - 1][strip.vectors - 1](call);
    }
  }
}

}  // namespace oneflow::kernels
