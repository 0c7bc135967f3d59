// The portable set, and the choice. Portable tiles are 4 x 12: plain loops that the compiler
// vectorises for whatever the build targets.
#include "kernels/cpu/micro_kernels.h"

#include <utility>

#include "kernels/cpu/simd.h"

namespace oneflow::kernels {
namespace {

constexpr int kWidth = 4;

template <int kRows, int kVectors>
void Tile(const TileCall& call) {
  constexpr int kColumns = kVectors * kWidth;
  float sum[kRows][kColumns] = {};
  const float* b = call.b;
  for (int64_t tap = 0; tap < call.taps; ++tap) {
    for (int64_t p = 0; p < call.k; ++p, b += kColumns) {
      for (int i = 0; i < kRows; ++i) {
        const float element = call.a[tap * kRows + i][call.a_offset + p * call.a_step];
        for (int j = 0; j < kColumns; ++j) sum[i][j] += element * b[j];
      }
    }
  }
  for (int i = 0; i < kRows; ++i) {
    float* c = call.c[i] + call.c_offset;
    for (int64_t j = 0; j < call.columns; ++j) c[j] = (call.accumulate ? c[j] : 0.0f) + sum[i][j];
  }
}

template <int kRows, int kVectors>
void Outer(const OuterCall& call) {
  for (int v = 0; v < kVectors; ++v) {
    float sum[kRows][kWidth] = {};
    for (int64_t p = 0; p < call.k; ++p) {
      const float* b = call.b[v][p] + call.b_offset[v];
      for (int i = 0; i < kRows; ++i) {
        const float element = call.a[p * call.a_step + i];
        for (int64_t j = 0; j < call.count[v]; ++j) sum[i][j] += element * b[j];
      }
    }
    for (int i = 0; i < kRows; ++i) {
      float* c = call.c + i * call.c_row + call.column[v];
      for (int64_t j = 0; j < call.count[v]; ++j) {
        c[j] = (call.accumulate ? c[j] : 0.0f) + sum[i][j];
      }
    }
  }
}

void Transpose(const float* source, int64_t source_stride, int64_t k, int64_t columns,
               float* destination, int64_t stride) {
  for (int64_t p = 0; p < k; ++p) {
    for (int64_t j = 0; j < columns; ++j) {
      destination[p * stride + j] = source[j * source_stride + p];
    }
  }
}

template <int... kRows>
void Fill(MicroKernels* kernels, std::integer_sequence<int, kRows...>) {
  ((kernels->tile[kRows] = {Tile<kRows + 1, 1>, Tile<kRows + 1, 2>, Tile<kRows + 1, 3>}), ...);
  ((kernels->outer[kRows] = {Outer<kRows + 1, 1>, Outer<kRows + 1, 2>, Outer<kRows + 1, 3>}), ...);
}

MicroKernels Choose() {
  switch (HostIsa()) {
    case Isa::kAvx512:
      return Avx512MicroKernels();
    case Isa::kAvx2:
      return Avx2MicroKernels();
    case Isa::kPortable:
      break;
  }
  return PortableMicroKernels();
}

}  // namespace

MicroKernels PortableMicroKernels() {
  MicroKernels kernels;
  kernels.width = kWidth;
  kernels.rows = 4;
  Fill(&kernels, std::make_integer_sequence<int, 4>());
  kernels.transpose = Transpose;
  return kernels;
}

const MicroKernels& HostMicroKernels() {
  static const MicroKernels kernels = Choose();
  return kernels;
}

}  // namespace oneflow::kernels
