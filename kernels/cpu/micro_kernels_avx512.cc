// AVX-512: tiles of 8 x 48. Per term of the sum 3 loads of b, 8 broadcasts of a and 24 fused
// multiply-adds into 24 of the 32 registers: 12 cycles on two FMA ports, 11 loads. Panels are 14 x 32:
// 28 registers, and a strip of b of 256 terms (32 KiB) leaves room for a panel of a in the first cache.
// GCC 12 warns of its own header where nothing is uninitialised (bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include <utility>

#include "kernels/cpu/micro_kernels.h"

namespace oneflow::kernels {
namespace {

#define OF_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,avx2")))

constexpr int kWidth = 16;
constexpr int kTermsTogether = 4;  // of a panel, in one turn of its loop

OF_AVX512 inline __mmask16 MaskOf(int64_t count) {
  return static_cast<__mmask16>((1u << count) - 1);
}

template <int kRows, int kVectors>
OF_AVX512 void Tile(const TileCall& call) {
  __m512 sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) {
      sum[i][v] = _mm512_setzero_ps();
      __builtin_prefetch(call.c[i] + call.c_offset + v * kWidth, 1);  // needed when the sum is done
    }
  }
  const float* b = call.b;
  for (int64_t tap = 0; tap < call.taps; ++tap) {
    const float* a[kRows];
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) a[i] = call.a[tap * kRows + i] + call.a_offset;
    const int64_t end = call.k * call.a_step;
    for (int64_t p = 0; p < end; p += call.a_step) {
      __m512 row[kVectors];
#pragma GCC unroll 3
      for (int v = 0; v < kVectors; ++v) row[v] = _mm512_loadu_ps(b + v * kWidth);
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) {
        const __m512 element = _mm512_set1_ps(a[i][p]);
#pragma GCC unroll 3
        for (int v = 0; v < kVectors; ++v) sum[i][v] = _mm512_fmadd_ps(element, row[v], sum[i][v]);
      }
      b += kVectors * kWidth;
    }
  }
  const __mmask16 last = MaskOf(call.columns - (kVectors - 1) * kWidth);
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
    float* c = call.c[i] + call.c_offset;
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) {
      const __mmask16 mask = v + 1 < kVectors ? static_cast<__mmask16>(0xffff) : last;
      __m512 value = sum[i][v];
      if (call.accumulate) {
        value = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, c + v * kWidth), value);
      }
      _mm512_mask_storeu_ps(c + v * kWidth, mask, value);
    }
  }
}

template <int kRows, int kVectors>
OF_AVX512 void Outer(const OuterCall& call) {
  __m512 sum[kRows][kVectors];
  __mmask16 mask[kVectors];
  const float* const* b[kVectors];
  int64_t offset[kVectors];
#pragma GCC unroll 3
  for (int v = 0; v < kVectors; ++v) {
    mask[v] = MaskOf(call.count[v]);
    b[v] = call.b[v];
    offset[v] = call.b_offset[v];
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) sum[i][v] = _mm512_setzero_ps();
  }
  const float* a = call.a;
  for (int64_t p = 0; p < call.k; ++p) {
    __m512 row[kVectors];
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) {
      row[v] = _mm512_maskz_loadu_ps(mask[v], b[v][p] + offset[v]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const __m512 element = _mm512_set1_ps(a[i]);
#pragma GCC unroll 3
      for (int v = 0; v < kVectors; ++v) sum[i][v] = _mm512_fmadd_ps(element, row[v], sum[i][v]);
    }
    a += call.a_step;
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) {
      float* c = call.c + i * call.c_row + call.column[v];
      __m512 value = sum[i][v];
      if (call.accumulate) value = _mm512_add_ps(_mm512_maskz_loadu_ps(mask[v], c), value);
      _mm512_mask_storeu_ps(c, mask[v], value);
    }
  }
}

template <int kRows, int kVectors>
OF_AVX512 void Panel(const PanelCall& given) {
  const PanelCall call = given;  // not read again behind each store
  __m512 sum[kRows][kVectors];
#pragma GCC unroll 14
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sum[i][v] = _mm512_setzero_ps();
  }
  const float* a = call.a;
  const float* b = call.b;
  const auto add_term = [&](int q) OF_AVX512 __attribute__((always_inline)) {
    __m512 row[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) row[v] = _mm512_loadu_ps(b + (q * kVectors + v) * kWidth);
#pragma GCC unroll 14
    for (int i = 0; i < kRows; ++i) {
      const __m512 element = _mm512_set1_ps(a[q * kMaxPanelRows + i]);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sum[i][v] = _mm512_fmadd_ps(element, row[v], sum[i][v]);
    }
  };
  // c is fetched row by row while the sum runs: all at once, its lines would take every fill buffer
  // of the first cache, and a, which comes from the second, would wait for the third. Then the rest.
  const float* next_c = call.c;
  int rows_to_fetch = kRows;
  const void* const* fetch = call.fetch;
  int64_t p = 0;
  for (; p + kTermsTogether <= call.k; p += kTermsTogether) {
    if (rows_to_fetch > 0) {
      --rows_to_fetch;
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) __builtin_prefetch(next_c + v * kWidth, 1);
      __builtin_prefetch(next_c + kVectors * kWidth - 1, 1);  // rows need not begin with a line
      next_c += call.c_row;
    } else if (fetch != call.fetch_end) {
      __builtin_prefetch(*fetch, 0, 2);  // into the second cache
      ++fetch;
    }
#pragma GCC unroll 4
    for (int q = 0; q < kTermsTogether; ++q) add_term(q);
    a += kTermsTogether * kMaxPanelRows;
    b += kTermsTogether * kVectors * kWidth;
  }
  for (; p < call.k; ++p) {
    add_term(0);
    a += kMaxPanelRows;
    b += kVectors * kWidth;
  }
  const __mmask16 last = MaskOf(call.columns - (kVectors - 1) * kWidth);
  // All of c is read before it is written: rows 4 KiB apart look alike to the processor, which lets
  // a load wait for the store before it.
  if (call.accumulate) {
    const float* c = call.c;
#pragma GCC unroll 14
    for (int i = 0; i < kRows; ++i, c += call.c_row) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        const __m512 before = v + 1 < kVectors ? _mm512_loadu_ps(c + v * kWidth)
                                               : _mm512_maskz_loadu_ps(last, c + v * kWidth);
        sum[i][v] = _mm512_add_ps(before, sum[i][v]);
      }
    }
  }
  float* c = call.c;
#pragma GCC unroll 14
  for (int i = 0; i < kRows; ++i, c += call.c_row) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      if (v + 1 < kVectors) {
        _mm512_storeu_ps(c + v * kWidth, sum[i][v]);
      } else {
        _mm512_mask_storeu_ps(c + v * kWidth, last, sum[i][v]);
      }
    }
  }
}

// 16 x 16, in registers.
OF_AVX512 inline void TransposeBlock(__m512 (&r)[16]) {
  __m512 s[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    s[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    s[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_shuffle_ps(s[i], s[i + 2], 0x44);
    r[i + 1] = _mm512_shuffle_ps(s[i], s[i + 2], 0xee);
    r[i + 2] = _mm512_shuffle_ps(s[i + 1], s[i + 3], 0x44);
    r[i + 3] = _mm512_shuffle_ps(s[i + 1], s[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    s[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
    s[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
    s[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
    s[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_f32x4(s[i], s[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_f32x4(s[i], s[i + 8], 0xdd);
    r[i + 4] = _mm512_shuffle_f32x4(s[i + 4], s[i + 12], 0x88);
    r[i + 12] = _mm512_shuffle_f32x4(s[i + 4], s[i + 12], 0xdd);
  }
}

OF_AVX512 void Transpose(const float* source, int64_t source_stride, int64_t k, int64_t columns,
                         float* destination, int64_t stride) {
  for (int64_t j = 0; j < columns; j += kWidth) {
    const int64_t count = columns - j < kWidth ? columns - j : kWidth;
    const __mmask16 written = MaskOf(count);
    const float* in = source + j * source_stride;
    float* out = destination + j;
    for (int64_t p = 0; p < k; p += kWidth) {
      const int64_t terms = k - p < kWidth ? k - p : kWidth;
      const __mmask16 read = MaskOf(terms);
      __m512 r[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
        r[i] = i < count ? _mm512_maskz_loadu_ps(read, in + i * source_stride + p)
                         : _mm512_setzero_ps();
      }
      TransposeBlock(r);
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
        if (i < terms) _mm512_mask_storeu_ps(out + (p + i) * stride, written, r[i]);
      }
    }
  }
}

template <int... kRows>
void FillPanels(MicroKernels* kernels, std::integer_sequence<int, kRows...>) {
  ((kernels->panel[kRows] = {Panel<kRows + 1, 1>, Panel<kRows + 1, 2>}), ...);
}

template <int... kRows>
void Fill(MicroKernels* kernels, std::integer_sequence<int, kRows...>) {
  ((kernels->tile[kRows] = {Tile<kRows + 1, 1>, Tile<kRows + 1, 2>, Tile<kRows + 1, 3>}), ...);
  ((kernels->outer[kRows] = {Outer<kRows + 1, 1>, Outer<kRows + 1, 2>, Outer<kRows + 1, 3>}), ...);
}

}  // namespace

MicroKernels Avx512MicroKernels() {
  MicroKernels kernels;
  kernels.width = kWidth;
  kernels.rows = 8;
  Fill(&kernels, std::make_integer_sequence<int, 8>());
  kernels.transpose = Transpose;
  kernels.panel_rows = kMaxPanelRows;
  FillPanels(&kernels, std::make_integer_sequence<int, kMaxPanelRows>());
  return kernels;
}

}  // namespace oneflow::kernels
