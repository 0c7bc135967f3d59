// AVX2 and FMA: tiles of 4 x 24. Per term of the sum 3 loads, 4 broadcasts and 12 fused
// multiply-adds into 12 of the 16 registers.
#include <immintrin.h>

#include <utility>

#include "kernels/cpu/micro_kernels.h"

namespace oneflow::kernels {
namespace {

#define OF_AVX2 __attribute__((target("avx2,fma")))

constexpr int kWidth = 8;

// All ones in the first `count` lanes.
OF_AVX2 inline __m256i MaskOf(int64_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

OF_AVX2 inline void Store(float* c, __m256i mask, __m256 value, bool accumulate) {
  if (accumulate) value = _mm256_add_ps(_mm256_maskload_ps(c, mask), value);
  _mm256_maskstore_ps(c, mask, value);
}

template <int kRows, int kVectors>
OF_AVX2 void Tile(const TileCall& call) {
  __m256 sum[kRows][kVectors];
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) sum[i][v] = _mm256_setzero_ps();
  }
  const float* b = call.b;
  for (int64_t tap = 0; tap < call.taps; ++tap) {
    const float* a[kRows];
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) a[i] = call.a[tap * kRows + i] + call.a_offset;
    const int64_t end = call.k * call.a_step;
    for (int64_t p = 0; p < end; p += call.a_step) {
      __m256 row[kVectors];
#pragma GCC unroll 3
      for (int v = 0; v < kVectors; ++v) row[v] = _mm256_loadu_ps(b + v * kWidth);
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i) {
        const __m256 element = _mm256_broadcast_ss(a[i] + p);
#pragma GCC unroll 3
        for (int v = 0; v < kVectors; ++v) sum[i][v] = _mm256_fmadd_ps(element, row[v], sum[i][v]);
      }
      b += kVectors * kWidth;
    }
  }
  const __m256i last = MaskOf(call.columns - (kVectors - 1) * kWidth);
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
    float* c = call.c[i] + call.c_offset;
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) {
      Store(c + v * kWidth, v + 1 < kVectors ? _mm256_set1_epi32(-1) : last, sum[i][v],
            call.accumulate);
    }
  }
}

template <int kRows, int kVectors>
OF_AVX2 void Outer(const OuterCall& call) {
  __m256 sum[kRows][kVectors];
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) sum[i][v] = _mm256_setzero_ps();
  }
  const float* a = call.a;
  for (int64_t p = 0; p < call.k; ++p) {
    __m256 row[kVectors];
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) {
      row[v] = _mm256_maskload_ps(call.b[v][p] + call.b_offset[v], MaskOf(call.count[v]));
    }
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      const __m256 element = _mm256_broadcast_ss(a + i);
#pragma GCC unroll 3
      for (int v = 0; v < kVectors; ++v) sum[i][v] = _mm256_fmadd_ps(element, row[v], sum[i][v]);
    }
    a += call.a_step;
  }
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) {
      Store(call.c + i * call.c_row + call.column[v], MaskOf(call.count[v]), sum[i][v],
            call.accumulate);
    }
  }
}

// 8 x 8 blocks exchanged in registers, the rest element by element.
OF_AVX2 void Transpose(const float* source, int64_t source_stride, int64_t k, int64_t columns,
                       float* destination, int64_t stride) {
  int64_t j = 0;
  for (; j + 8 <= columns; j += 8) {
    const float* in = source + j * source_stride;
    float* out = destination + j;
    int64_t p = 0;
    for (; p + 8 <= k; p += 8) {
      __m256 r[8], s[8];
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(in + i * source_stride + p);
#pragma GCC unroll 4
      for (int i = 0; i < 8; i += 2) {
        s[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        s[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
      }
#pragma GCC unroll 2
      for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(s[i], s[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(s[i], s[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0xee);
      }
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        _mm256_storeu_ps(out + (p + i) * stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        _mm256_storeu_ps(out + (p + i + 4) * stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
      }
    }
    for (; p < k; ++p) {
      for (int i = 0; i < 8; ++i) out[p * stride + i] = in[i * source_stride + p];
    }
  }
  for (; j < columns; ++j) {
    for (int64_t p = 0; p < k; ++p) destination[p * stride + j] = source[j * source_stride + p];
  }
}

template <int... kRows>
void Fill(MicroKernels* kernels, std::integer_sequence<int, kRows...>) {
  ((kernels->tile[kRows] = {Tile<kRows + 1, 1>, Tile<kRows + 1, 2>, Tile<kRows + 1, 3>}), ...);
  ((kernels->outer[kRows] = {Outer<kRows + 1, 1>, Outer<kRows + 1, 2>, Outer<kRows + 1, 3>}), ...);
}

}  // namespace

MicroKernels Avx2MicroKernels() {
  MicroKernels kernels;
  kernels.width = kWidth;
  kernels.rows = 4;
  Fill(&kernels, std::make_integer_sequence<int, 4>());
  kernels.transpose = Transpose;
  return kernels;
}

}  // namespace oneflow::kernels
