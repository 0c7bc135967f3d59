// AVX-512 BF16: 8 x 32 floats of c in 16 registers; a pair of terms takes two loads of b, 8 broadcasts
// of a and 16 products of pairs.
#include <immintrin.h>

#include "kernels/cpu/bf16_tiles.h"

namespace oneflow::kernels {
namespace {

#define OF_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

constexpr int kRows = 8;

template <int kVectors>
OF_AVX512_BF16 void MultiplyRows(const Bf16TileCall& call, const uint16_t* a, float* c,
                                 int64_t c_row, bool accumulate) {
  const uint16_t* b = call.b;
  __m512 sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      sum[i][v] = accumulate ? _mm512_loadu_ps(c + i * c_row + v * 16) : _mm512_setzero_ps();
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
    for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(c + i * c_row + v * 16, sum[i][v]);
  }
}

void Multiply(const Bf16TileCall& call) {
  alignas(64) float own[2 * kBf16Rows * kBf16Wide];
  float* const sums = call.sums != nullptr ? call.sums : own;
  for (int64_t row = 0; row < call.rows; row += kRows) {
    const uint16_t* a = call.a + row / kBf16Rows * call.a_next + row % kBf16Rows * call.a_row;
    (call.vectors() == 2 ? MultiplyRows<2> : MultiplyRows<1>)(call, a, sums + row * kBf16Wide,
                                                              kBf16Wide, call.accumulate);
  }
  if (call.sums == nullptr) StoreRounded(call, sums);
}

void Sum(const Bf16TileCall& call, float* sums, int64_t sums_row, bool accumulate) {
  for (int64_t row = 0; row < 2 * kBf16Rows; row += kRows) {
    const uint16_t* a = call.a + row / kBf16Rows * call.a_next + row % kBf16Rows * call.a_row;
    MultiplyRows<2>(call, a, sums + row * sums_row, sums_row, accumulate);
  }
}

void Nothing() {}

}  // namespace

OF_AVX512_BF16 void StoreRounded(const Bf16TileCall& call, const float* sums) {
  const __mmask32 mask = static_cast<__mmask32>((uint64_t{1} << call.columns) - 1);
  uint16_t* c = call.c;
  for (int64_t i = 0; i < call.rows; ++i, sums += kBf16Wide, c += call.c_row) {
    // The second operand becomes the lower half.
    const __m512bh rounded = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(sums + 16), _mm512_loadu_ps(sums));
    _mm512_mask_storeu_epi16(c, mask, (__m512i)rounded);
  }
}

Bf16Tiles Avx512Bf16Tiles() { return {"avx512_bf16", Nothing, Nothing, Multiply, Sum}; }

}  // namespace oneflow::kernels
