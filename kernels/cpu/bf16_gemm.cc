#include "kernels/cpu/bf16_gemm.h"

#include <algorithm>

#include "kernels/cpu/lines_ahead.h"
#include "kernels/cpu/parallel.h"

namespace oneflow::kernels {
namespace {

constexpr int64_t kFlopsPerPart = 20'000'000;
constexpr int64_t kStripsOfUnpacked = 8;
constexpr int64_t kPair = 2 * kBf16Rows;  // rows of a call
// A strip of b of so many terms (32 KiB) stays in the first cache while a passes by.
constexpr int64_t kMostTerms = 512;
// b is packed once for each block of rows, a once for each panel of columns and span of terms.
constexpr int64_t kMostRows = 512;
constexpr int64_t kMostColumns = 1024;
constexpr int64_t kMostSpan = 3072;
// Of the sums of neighbouring strips, which share what they read of a: they leave room for as many terms of a
// in the second cache.
constexpr int64_t kSumsTogether = 512 << 10;
constexpr int64_t kStays = 24 << 10;  // bytes of a that stay in the first cache as well
constexpr int64_t kMaxFetch = 64;     // lines while a pair is multiplied
// To multiply an element of a and one of b takes 2 / 1900 ns for each term, to pack one about 1 / 10.
constexpr ProductCosts kCosts = {1, 96, 96, kMostRows};

int64_t Blocks(int64_t n, int64_t block) { return (n + block - 1) / block; }
int64_t Up(int64_t n, int64_t multiple) { return Blocks(n, multiple) * multiple; }

// `n` in equal pieces of at most `most`, multiples of `multiple`.
int64_t Piecewise(int64_t n, int64_t most, int64_t multiple) {
  return Up(Blocks(n, std::max<int64_t>(1, Blocks(n, most))), multiple);
}

}  // namespace

Bf16Gemm::Bf16Gemm(const GemmProblem& problem, const Bf16Tiles& tiles, const MicroKernels& vectors,
                   int threads)
    : problem_(problem), tiles_(tiles), packing_(vectors) {
  const GemmProblem& g = problem_;
  const double flops =
      2.0 * static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k);
  if (flops >= 2.0 * kFlopsPerPart) parts_ = threads;
  grid_ = GridOf(parts_, g.m, g.n, kPair, kBf16Wide, kCosts);
  const TeamRectangle largest = grid_.Rectangle(0, g.m, g.n, kPair, kBf16Wide);
  row_block_ = Piecewise(largest.rows, kMostRows, kPair);
  column_panel_ = Piecewise(largest.columns, kMostColumns, kBf16Wide);
  terms_ = Piecewise(g.k, kMostTerms, kBf16Depth);
  span_ = Piecewise(g.k, kMostSpan, terms_);
  const int64_t strip_sums = row_block_ * kBf16Wide * static_cast<int64_t>(sizeof(float));
  const int64_t strips = column_panel_ / kBf16Wide;
  strips_together_ = std::min(strips, std::max<int64_t>(1, kSumsTogether / strip_sums));
  // Whole tiles may be read where they lie; not by many strips, since their rows are far apart.
  pack_a_ = g.a_column != 1 || g.m % kBf16Rows != 0 || g.k % kBf16Depth != 0 ||
            Blocks(largest.columns, kBf16Wide) > kStripsOfUnpacked;
  if (pack_a_) packed_a_bytes_ = row_block_ * std::min(span_, Up(g.k, kBf16Depth)) * 2;
  // With one span a sum is done when its group of strips is.
  sums_bytes_ = terms_ >= g.k ? 0 : strip_sums * (span_ >= g.k ? strips_together_ : strips);
  part_bytes_ = packed_a_bytes_ + sums_bytes_ + terms_ * kBf16Wide * 2;
}

void Bf16Gemm::Run(const BF16* a, const BF16* b, BF16* c, void* workspace) const {
  ForEachPart(parts_, parts_, [&](int part, int64_t, int64_t) {
    char* const own = static_cast<char*>(workspace) + part * part_bytes_;
    const Workspace space = {
        reinterpret_cast<uint16_t*>(own),
        reinterpret_cast<uint16_t*>(own + packed_a_bytes_ + sums_bytes_),
        reinterpret_cast<float*>(own + packed_a_bytes_),
    };
    RunRectangle(grid_.Rectangle(part, problem_.m, problem_.n, kPair, kBf16Wide),
                 reinterpret_cast<const uint16_t*>(a), reinterpret_cast<const uint16_t*>(b),
                 reinterpret_cast<uint16_t*>(c), space);
  });
}

void Bf16Gemm::RunRectangle(const TeamRectangle& rectangle, const uint16_t* a, const uint16_t* b,
                            uint16_t* c, const Workspace& space) const {
  if (rectangle.rows == 0 || rectangle.columns == 0) return;
  tiles_.begin();
  for (int64_t i = 0; i < rectangle.rows; i += row_block_) {
    for (int64_t j = 0; j < rectangle.columns; j += column_panel_) {
      for (int64_t p = 0; p < problem_.k; p += span_) {
        const Piece piece = {rectangle.row + i,
                             std::min(row_block_, rectangle.rows - i),
                             rectangle.column + j,
                             std::min(column_panel_, rectangle.columns - j),
                             p,
                             std::min(span_, problem_.k - p)};
        // With one span it is there from the first panel on.
        if (pack_a_ && (j == 0 || span_ < problem_.k)) PackA(a, piece, space.packed_a);
        Multiply(a, b, c, piece, space);
      }
    }
  }
  tiles_.end();
}

// [terms_ of the span][tile]: what a strip meets at once lies together.
void Bf16Gemm::PackA(const uint16_t* a, const Piece& piece, uint16_t* packed) const {
  const GemmProblem& g = problem_;
  const int64_t tiles = Blocks(piece.rows, kBf16Rows);
  for (int64_t q = 0; q < piece.depth; q += terms_) {
    const int64_t depth = std::min(terms_, piece.depth - q);
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t row = tile * kBf16Rows;
      packing_.PackRows(
          {a + (piece.row + row) * g.a_row + (piece.p + q) * g.a_column, g.a_row, g.a_column},
          std::min(kBf16Rows, piece.rows - row), depth, packed);
      packed += Blocks(depth, kBf16Depth) * kBf16Tile;
    }
  }
}

void Bf16Gemm::Multiply(const uint16_t* a, const uint16_t* b, uint16_t* c, const Piece& piece,
                        const Workspace& space) const {
  const GemmProblem& g = problem_;
  const int64_t strips = Blocks(piece.columns, kBf16Wide);
  const auto matrix_at = [&](int64_t strip, int64_t q) {
    return Bf16Matrix{b + (piece.p + q) * g.b_row + (piece.column + strip * kBf16Wide) * g.b_column,
                      g.b_row, g.b_column};
  };
  const auto columns_of = [&](int64_t strip) {
    return std::min(kBf16Wide, piece.columns - strip * kBf16Wide);
  };
  for (int64_t first = 0; first < strips; first += strips_together_) {
    const int64_t last = std::min(strips, first + strips_together_);
    for (int64_t q = 0; q < piece.depth; q += terms_) {
      const int64_t depth = std::min(terms_, piece.depth - q);
      for (int64_t strip = first; strip < last; ++strip) {
        packing_.PackStrip(matrix_at(strip, q), columns_of(strip), depth, space.packed_b);
        // What is packed then.
        int64_t next = strip + 1, next_q = q;
        if (next == last && q + terms_ < piece.depth) {
          next = first;
          next_q = q + terms_;
        } else if (next == last) {
          next_q = 0;
        }
        const int64_t slot = span_ >= g.k ? strip - first : strip;
        MultiplyStrip(a, c, piece, piece.column + strip * kBf16Wide, q, space,
                      space.sums + slot * row_block_ * kBf16Wide,
                      next < strips ? matrix_at(next, next_q) : Bf16Matrix(),
                      next < strips ? std::min(terms_, piece.depth - next_q) : 0,
                      next < strips ? columns_of(next) : 0);
      }
    }
  }
}

void Bf16Gemm::MultiplyStrip(const uint16_t* a, uint16_t* c, const Piece& piece, int64_t column,
                             int64_t p, const Workspace& space, float* sums, const Bf16Matrix& next,
                             int64_t next_rows, int64_t next_columns) const {
  const GemmProblem& g = problem_;
  Bf16TileCall call;
  call.blocks = Blocks(std::min(terms_, piece.depth - p), kBf16Depth);
  const uint16_t* from = nullptr;
  if (pack_a_) {
    call.a_next = call.blocks * kBf16Tile;
    from = space.packed_a + p / kBf16Depth * kBf16Tile * Blocks(piece.rows, kBf16Rows);
  } else {
    call.a_next = kBf16Rows * g.a_row;
    call.a_row = g.a_row;
    call.a_block = kBf16Depth;
    from = a + piece.row * g.a_row + piece.p + p;
  }
  call.b = space.packed_b;
  call.c_row = g.c_row;
  call.columns = std::min(kBf16Wide, piece.column + piece.columns - column);
  call.accumulate = piece.p + p > 0;
  const bool done = piece.p + std::min(p + terms_, piece.depth) == g.k;
  call.round = done;
  call.sums_by_tiles = true;
  call.a_passes_by = piece.rows * call.blocks * kBf16Depth * 2 > kStays;
  LinesAhead ahead = LinesAhead::Of(next.data, next_rows, next_columns, next.row, next.column);
  const int64_t at_once = std::min(kMaxFetch, Blocks(ahead.left(), Blocks(piece.rows, kPair)));
  for (int64_t row = 0; row < piece.rows; row += kPair) {
    const void* fetch[kMaxFetch];
    call.fetch = fetch;
    call.fetch_end = fetch + ahead.Take(at_once, fetch);
    call.a = from + row / kBf16Rows * call.a_next;
    call.rows = std::min(kPair, piece.rows - row);
    call.sums = terms_ >= g.k ? nullptr : sums + row * kBf16Wide;
    if (done) call.c = c + (piece.row + row) * g.c_row + column;
    tiles_.multiply(call);
  }
}

}  // namespace oneflow::kernels
