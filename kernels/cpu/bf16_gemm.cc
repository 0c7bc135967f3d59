#include "kernels/cpu/bf16_gemm.h"

#include <algorithm>

#include "kernels/cpu/parallel.h"

namespace oneflow::kernels {
namespace {

constexpr int64_t kFlopsPerPart = 20'000'000;
constexpr int64_t kStripsOfUnpacked = 8;
constexpr int64_t kRowBlockBytes = 512
                                   << 10;  // of packed a, which strips pass by in the second cache

int64_t Blocks(int64_t n, int64_t block) { return (n + block - 1) / block; }

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
  workspace_bytes_ = blocks_ * ((pack_a_ ? row_tiles_ * kBf16Tile : 0) + strips_ * kBf16Strip) * 2;
}

void Bf16Gemm::Run(const BF16* a, const BF16* b, BF16* c, void* workspace) const {
  const GemmProblem& g = problem_;
  const auto* a_bits = reinterpret_cast<const uint16_t*>(a);
  const auto* b_bits = reinterpret_cast<const uint16_t*>(b);
  auto* const c_bits = reinterpret_cast<uint16_t*>(c);
  uint16_t* const packed_a = static_cast<uint16_t*>(workspace);
  const int64_t tiles_to_pack = pack_a_ ? row_tiles_ : 0;
  uint16_t* const packed_b = packed_a + blocks_ * tiles_to_pack * kBf16Tile;
  ForEachPart(parts_, tiles_to_pack + strips_, [&](int, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (i < tiles_to_pack) {
        packing_.PackRows({a_bits + i * kBf16Rows * g.a_row, g.a_row, g.a_column},
                          std::min(kBf16Rows, g.m - i * kBf16Rows), g.k,
                          packed_a + i * blocks_ * kBf16Tile);
      } else {
        const int64_t strip = i - tiles_to_pack;
        packing_.PackStrip({b_bits + strip * kBf16Wide * g.b_column, g.b_row, g.b_column},
                           std::min(kBf16Wide, g.n - strip * kBf16Wide), g.k,
                           packed_b + strip * blocks_ * kBf16Strip);
      }
    }
  });
  const bool by_strips = strips_ >= row_tiles_ / 2;
  ForEachPart(
      parts_, by_strips ? strips_ : Blocks(row_tiles_, 2), [&](int, int64_t begin, int64_t end) {
        const uint16_t* const rows = pack_a_ ? packed_a : a_bits;
        tiles_.begin();
        if (by_strips) {
          Multiply(rows, packed_b, 0, row_tiles_, begin, end, c_bits);
        } else {
          Multiply(rows, packed_b, 2 * begin, std::min(2 * end, row_tiles_), 0, strips_, c_bits);
        }
        tiles_.end();
      });
}

void Bf16Gemm::Multiply(const uint16_t* a, const uint16_t* packed_b, int64_t begin, int64_t end,
                        int64_t first, int64_t last, uint16_t* c) const {
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
      call.columns = std::min(kBf16Wide, g.n - strip * kBf16Wide);
      call.b = packed_b + strip * blocks_ * kBf16Strip;
      for (int64_t t = block; t < block_end; t += 2) {
        call.a = a + t * tile;
        call.rows = std::min((std::min(t + 2, block_end) - t) * kBf16Rows, g.m - t * kBf16Rows);
        call.c = c + t * kBf16Rows * g.c_row + strip * kBf16Wide;
        tiles_.multiply(call);
      }
    }
  }
}

}  // namespace oneflow::kernels
