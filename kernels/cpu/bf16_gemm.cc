#include "kernels/cpu/bf16_gemm.h"

#include <algorithm>

#include "kernels/cpu/parallel.h"

namespace oneflow::kernels {
namespace {

constexpr int64_t kFlopsPerPart = 20'000'000;
constexpr int64_t kStripsOfUnpacked = 8;
constexpr int64_t kPackedBytes = 16 << 20;  // of the larger operand that are packed at a time
constexpr int64_t kRowBlockBytes = 512
                                   << 10;  // of packed a, which strips pass by in the second cache

int64_t Blocks(int64_t n, int64_t block) { return (n + block - 1) / block; }

// Of `count` items of `bytes` each, how many are packed at a time: a multiple of `multiple`, or all.
int64_t Together(int64_t count, int64_t bytes, int64_t multiple) {
  const int64_t pieces = std::max<int64_t>(1, Blocks(count * bytes, kPackedBytes));
  return std::min(count, Blocks(Blocks(count, pieces), multiple) * multiple);
}

}  // namespace

Bf16Gemm::Bf16Gemm(const GemmProblem& problem, const Bf16Tiles& tiles, const MicroKernels& vectors,
                   int threads)
    : problem_(problem),
      tiles_(tiles),
      packing_(vectors),
      row_tiles_(Blocks(problem.m, kBf16Rows)),
      strips_(Blocks(problem.n, kBf16Wide)),
      blocks_(Blocks(problem.k, kBf16Depth)) {
  const double flops = 2.0 * static_cast<double>(problem.m) * static_cast<double>(problem.n) *
                       static_cast<double>(problem.k);
  if (flops >= 2.0 * kFlopsPerPart) parts_ = threads;
  // Whole tiles may be read where they lie; not by many strips, since their rows are far apart.
  pack_a_ = problem.a_column != 1 || problem.m % kBf16Rows != 0 || problem.k % kBf16Depth != 0 ||
            strips_ > kStripsOfUnpacked;
  // The gradient of a vocabulary's weights would pack 100 MB of a: the larger operand goes by in
  // pieces. (Of both, each would be packed several times.)
  const int64_t tile_bytes = pack_a_ ? blocks_ * kBf16Tile * 2 : 0;
  const int64_t strip_bytes = blocks_ * kBf16Strip * 2;
  const bool a_is_larger = row_tiles_ * tile_bytes >= strips_ * strip_bytes;
  tiles_together_ = a_is_larger ? Together(row_tiles_, tile_bytes, 2 * parts_) : row_tiles_;
  strips_together_ = a_is_larger ? strips_ : Together(strips_, strip_bytes, parts_);
  workspace_bytes_ = tiles_together_ * tile_bytes + strips_together_ * strip_bytes;
}

void Bf16Gemm::Run(const BF16* a, const BF16* b, BF16* c, void* workspace) const {
  const GemmProblem& g = problem_;
  const auto* a_bits = reinterpret_cast<const uint16_t*>(a);
  const auto* b_bits = reinterpret_cast<const uint16_t*>(b);
  auto* const c_bits = reinterpret_cast<uint16_t*>(c);
  uint16_t* const packed_a = static_cast<uint16_t*>(workspace);
  uint16_t* const packed_b = packed_a + (pack_a_ ? tiles_together_ * blocks_ * kBf16Tile : 0);
  for (int64_t tile0 = 0; tile0 < row_tiles_; tile0 += tiles_together_) {
    const int64_t tiles = std::min(tiles_together_, row_tiles_ - tile0);
    for (int64_t strip0 = 0; strip0 < strips_; strip0 += strips_together_) {
      const int64_t strips = std::min(strips_together_, strips_ - strip0);
      // One of the two is there as a whole, and stays.
      const int64_t tiles_to_pack = pack_a_ && strip0 == 0 ? tiles : 0;
      const int64_t strips_to_pack = tile0 == 0 ? strips : 0;
      ForEachPart(parts_, tiles_to_pack + strips_to_pack, [&](int, int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          if (i < tiles_to_pack) {
            const int64_t row = (tile0 + i) * kBf16Rows;
            packing_.PackRows({a_bits + row * g.a_row, g.a_row, g.a_column},
                              std::min(kBf16Rows, g.m - row), g.k,
                              packed_a + i * blocks_ * kBf16Tile);
          } else {
            const int64_t strip = i - tiles_to_pack;
            const int64_t column = (strip0 + strip) * kBf16Wide;
            packing_.PackStrip({b_bits + column * g.b_column, g.b_row, g.b_column},
                               std::min(kBf16Wide, g.n - column), g.k,
                               packed_b + strip * blocks_ * kBf16Strip);
          }
        }
      });
      const Piece piece = {pack_a_ ? packed_a : a_bits + tile0 * kBf16Rows * g.a_row, packed_b,
                           c_bits + tile0 * kBf16Rows * g.c_row + strip0 * kBf16Wide,
                           std::min(g.m - tile0 * kBf16Rows, tiles * kBf16Rows),
                           std::min(g.n - strip0 * kBf16Wide, strips * kBf16Wide)};
      const bool by_strips = strips >= tiles / 2;
      ForEachPart(parts_, by_strips ? strips : Blocks(tiles, 2),
                  [&](int, int64_t begin, int64_t end) {
                    tiles_.begin();
                    if (by_strips) {
                      Multiply(piece, 0, tiles, begin, end);
                    } else {
                      Multiply(piece, 2 * begin, std::min(2 * end, tiles), 0, strips);
                    }
                    tiles_.end();
                  });
    }
  }
}

void Bf16Gemm::Multiply(const Piece& piece, int64_t begin, int64_t end, int64_t first,
                        int64_t last) const {
  const GemmProblem& g = problem_;
  const int64_t tile = pack_a_ ? blocks_ * kBf16Tile : kBf16Rows * g.a_row;
  const int64_t row_block = std::max<int64_t>(2, kRowBlockBytes / (2 * tile) / 2 * 2);
  Bf16TileCall call;
  call.a_next = tile;
  if (!pack_a_) {
    call.a_row = g.a_row;
    call.a_block = kBf16Depth;
  }
  call.blocks = blocks_;
  call.c_row = g.c_row;
  for (int64_t block = begin; block < end; block += row_block) {
    const int64_t block_end = std::min(end, block + row_block);
    for (int64_t strip = first; strip < last; ++strip) {
      call.columns = std::min(kBf16Wide, piece.columns - strip * kBf16Wide);
      call.b = piece.b + strip * blocks_ * kBf16Strip;
      for (int64_t t = block; t < block_end; t += 2) {
        call.a = piece.a + t * tile;
        call.rows =
            std::min((std::min(t + 2, block_end) - t) * kBf16Rows, piece.rows - t * kBf16Rows);
        call.c = piece.c + t * kBf16Rows * g.c_row + strip * kBf16Wide;
        tiles_.multiply(call);
      }
    }
  }
}

}  // namespace oneflow::kernels
