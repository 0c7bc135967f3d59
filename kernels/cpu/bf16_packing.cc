#include "kernels/cpu/bf16_packing.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/bf16_tiles.h"
#include "kernels/cpu/simd.h"

namespace oneflow::kernels {
namespace {

struct InterleaveLoop {
  OF_LOOP static void Run(const uint16_t* first, const uint16_t* second, uint32_t* pairs,
                          int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      pairs[i] = first[i] | static_cast<uint32_t>(second[i]) << 16;
    }
  }
};

}  // namespace

Bf16Packing::Bf16Packing(const MicroKernels& vectors)
    : transpose_(vectors.transpose), interleave_(Vectorised<InterleaveLoop>()) {}

// [block][row][term]; zeros behind the last row and the last term.
void Bf16Packing::PackRows(Bf16Matrix a, int64_t rows, int64_t terms, uint16_t* packed) const {
  const uint16_t* in = a.data;
  for (int64_t p = 0; p < terms; p += kBf16Depth, packed += kBf16Tile) {
    const int64_t depth = std::min(kBf16Depth, terms - p);
    if (rows < kBf16Rows || depth < kBf16Depth) std::memset(packed, 0, 2 * kBf16Tile);
    if (a.column == 1) {
      for (int64_t i = 0; i < rows; ++i) {
        std::memcpy(packed + i * kBf16Depth, in + i * a.row + p, 2 * depth);
      }
    } else if (a.row == 1) {
      // Terms lie in rows: pairs of rows are interleaved, then pairs change places as floats do.
      alignas(64) uint32_t pairs[kBf16Depth / 2 * kBf16Rows];
      alignas(64) static constexpr uint16_t kZeros[kBf16Rows] = {};
      for (int64_t q = 0; q < depth; q += 2) {
        const uint16_t* first = in + (p + q) * a.column;
        interleave_(first, q + 1 < depth ? first + a.column : kZeros, pairs + q / 2 * kBf16Rows,
                    rows);
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
void Bf16Packing::PackStrip(Bf16Matrix b, int64_t columns, int64_t terms, uint16_t* packed) const {
  const uint16_t* in = b.data;
  alignas(64) static constexpr uint16_t kZeros[kBf16Wide] = {};
  for (int64_t p = 0; p < terms; p += kBf16Depth, packed += kBf16Strip) {
    const int64_t depth = std::min(kBf16Depth, terms - p);
    if (columns < kBf16Wide || depth < kBf16Depth) std::memset(packed, 0, 2 * kBf16Strip);
    if (b.column == 1) {
      for (int64_t q = 0; q < depth; q += 2) {
        const uint16_t* first = in + (p + q) * b.row;
        interleave_(first, q + 1 < depth ? first + b.row : kZeros,
                    reinterpret_cast<uint32_t*>(packed + q * kBf16Wide), columns);
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
