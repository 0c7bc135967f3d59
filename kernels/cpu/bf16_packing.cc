#include "kernels/cpu/bf16_packing.h"

// GCC 12 warns of its own header where nothing is uninitialised (bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "kernels/cpu/bf16_tiles.h"

namespace oneflow::kernels {
namespace {

#define OF_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))

// pairs[i] = first[i], second[i] for i < n <= 32.
OF_AVX512 inline void Interleave(const uint16_t* first, const uint16_t* second, int64_t n,
                                 uint16_t* pairs) {
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask =
        static_cast<__mmask16>((uint32_t{1} << std::min<int64_t>(n - i, 16)) - 1);
    const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, first + i));
    const __m512i high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, second + i));
    _mm512_mask_storeu_epi32(pairs + 2 * i, mask,
                             _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
  }
}

// A whole tile whose rows are lines of memory.
OF_AVX512 inline void CopyTile(const uint16_t* in, int64_t row, uint16_t* packed) {
  for (int64_t i = 0; i < kBf16Rows; ++i) {
    _mm512_storeu_si512(packed + i * kBf16Depth, _mm512_loadu_si512(in + i * row));
  }
}

alignas(64) constexpr uint16_t kZeros[kBf16Wide] = {};

}  // namespace

Bf16Packing::Bf16Packing(const MicroKernels& vectors) : transpose_(vectors.transpose) {}

// [block][row][term]; zeros behind the last row and the last term.
OF_AVX512 void Bf16Packing::PackRows(Bf16Matrix a, int64_t rows, int64_t terms,
                                     uint16_t* packed) const {
  const uint16_t* in = a.data;
  for (int64_t p = 0; p < terms; p += kBf16Depth, packed += kBf16Tile) {
    const int64_t depth = std::min(kBf16Depth, terms - p);
    if (rows < kBf16Rows || depth < kBf16Depth) std::memset(packed, 0, 2 * kBf16Tile);
    if (a.column == 1 && rows == kBf16Rows && depth == kBf16Depth) {
      CopyTile(in + p, a.row, packed);
    } else if (a.column == 1) {
      for (int64_t i = 0; i < rows; ++i) {
        std::memcpy(packed + i * kBf16Depth, in + i * a.row + p, 2 * depth);
      }
    } else if (a.row == 1) {
      // Terms lie in rows: pairs of rows are interleaved, then pairs change places as floats do.
      alignas(64) uint16_t pairs[kBf16Depth * kBf16Rows];
      for (int64_t q = 0; q < depth; q += 2) {
        const uint16_t* first = in + (p + q) * a.column;
        // The terms of the next block: they are too far apart for the processor to foresee.
        if (p + q + kBf16Depth + 1 < terms) {
          __builtin_prefetch(first + kBf16Depth * a.column);
          __builtin_prefetch(first + (kBf16Depth + 1) * a.column);
        }
        Interleave(first, q + 1 < depth ? first + a.column : kZeros, rows, pairs + q * kBf16Rows);
      }
      transpose_(reinterpret_cast<const float*>(pairs), kBf16Rows, rows, (depth + 1) / 2,
                 reinterpret_cast<float*>(packed), kBf16Depth / 2);
    } else {
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t q = 0; q < depth; ++q) {
          packed[i * kBf16Depth + q] = in[i * a.row + (p + q) * a.column];
        }
      }
    }
  }
}

// [block][pair][column][2]; zeros behind the last column and the last term.
OF_AVX512 void Bf16Packing::PackStrip(Bf16Matrix b, int64_t columns, int64_t terms,
                                      uint16_t* packed) const {
  const uint16_t* in = b.data;
  for (int64_t p = 0; p < terms; p += kBf16Depth, packed += kBf16Strip) {
    const int64_t depth = std::min(kBf16Depth, terms - p);
    if (columns < kBf16Wide || depth < kBf16Depth) std::memset(packed, 0, 2 * kBf16Strip);
    if (b.column == 1) {
      for (int64_t q = 0; q < depth; q += 2) {
        const uint16_t* first = in + (p + q) * b.row;
        Interleave(first, q + 1 < depth ? first + b.row : kZeros, columns, packed + q * kBf16Wide);
      }
    } else if (b.row == 1 && b.column % 2 == 0 && depth % 2 == 0 &&
               reinterpret_cast<uintptr_t>(in) % sizeof(float) == 0) {
      transpose_(reinterpret_cast<const float*>(in + p), b.column / 2, depth / 2, columns,
                 reinterpret_cast<float*>(packed), kBf16Wide);
    } else {
      for (int64_t q = 0; q < depth; ++q) {
        for (int64_t j = 0; j < columns; ++j) {
          packed[(q / 2 * kBf16Wide + j) * 2 + q % 2] = in[(p + q) * b.row + j * b.column];
        }
      }
    }
  }
}

}  // namespace oneflow::kernels
