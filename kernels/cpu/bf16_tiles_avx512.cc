// AVX-512 BF16: 8 x 32 floats of c in 16 registers; a pair of terms takes two loads of b, 8 broadcasts
// of a and 16 products of pairs.
#include <immintrin.h>

#include "kernels/cpu/bf16_tiles.h"

namespace oneflow::kernels {
namespace {

#define OF_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

constexpr int kRows = 8;

// The sums go on from `from`, unless it is nullptr.
template <int kVectors>
OF_AVX512_BF16 void MultiplyRows(const Bf16TileCall& call, const uint16_t* a, const float* from,
                                 const Bf16SumsLayout& from_layout, float* to,
                                 const Bf16SumsLayout& to_layout) {
  const uint16_t* b = call.b;
  __m512 sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      sum[i][v] = from != nullptr
                      ? _mm512_loadu_ps(from + i * from_layout.row + v * from_layout.right)
                      : _mm512_setzero_ps();
    }
  }
  for (int64_t block = 0; block < call.blocks; ++block, a += call.a_block) {
    for (int64_t p = 0; p < kBf16Depth; p += 2, b += 2 * kBf16Wide) {
      __m512bh row[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) row[v] = (__m512bh)_mm512_loadu_si512(b + v * 32);
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) {
        int pair;
        __builtin_memcpy(&pair, a + i * call.a_row + p, sizeof(pair));
        const __m512bh both = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) sum[i][v] = _mm512_dpbf16_ps(sum[i][v], both, row[v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      _mm512_storeu_ps(to + i * to_layout.row + v * to_layout.right, sum[i][v]);
    }
  }
}

void Multiply(const Bf16TileCall& call) {
  alignas(64) float own[kBf16Sums];
  const bool round = call.sums == nullptr || call.round;
  const Bf16SumsLayout layout = LayoutOfSums(call);
  const Bf16SumsLayout to_layout = round ? kBf16SumsByTiles : layout;
  float* const to = round ? own : call.sums;
  for (int64_t row = 0; row < call.rows; row += kRows) {
    const int64_t tile = row / kBf16Rows;
    const int64_t i = row % kBf16Rows;
    const float* const from =
        call.accumulate ? call.sums + tile * layout.lower + i * layout.row : nullptr;
    (call.vectors() == 2
         ? MultiplyRows<2>
         : MultiplyRows<1>)(call, call.a + tile * call.a_next + i * call.a_row, from, layout,
                            to + tile * to_layout.lower + i * to_layout.row, to_layout);
  }
  if (round) StoreRounded(call, own);
}

void Nothing() {}

}  // namespace

OF_AVX512_BF16 void StoreRounded(const Bf16TileCall& call, const float* sums) {
  const __mmask32 mask = static_cast<__mmask32>((uint64_t{1} << call.columns) - 1);
  uint16_t* c = call.c;
  constexpr Bf16SumsLayout kLayout = kBf16SumsByTiles;
  for (int64_t i = 0; i < call.rows; ++i, c += call.c_row) {
    const float* const row = sums + i / kBf16Rows * kLayout.lower + i % kBf16Rows * kLayout.row;
    // The second operand becomes the lower half.
    const __m512bh rounded =
        _mm512_cvtne2ps_pbh(_mm512_loadu_ps(row + kLayout.right), _mm512_loadu_ps(row));
    _mm512_mask_storeu_epi16(c, mask, (__m512i)rounded);
  }
}

Bf16Tiles Avx512Bf16Tiles() { return {"avx512_bf16", Nothing, Nothing, Multiply}; }

}  // namespace oneflow::kernels
