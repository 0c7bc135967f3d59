// MicroKernels: the innermost loops of matmul and convolution, a small tile of the result kept in
// registers while the sum runs; one set per instruction set.
//
// A table of plain functions, const. Threads: any. Invariants: allocate nothing; the order of each
// sum is that of (tap, p), one fused multiply-add per term where the machine has it, so a result
// does not depend on how rows and columns are cut into tiles. Read next: kernels/cpu/gemm.h,
// kernels/cpu/convolution.h.
#ifndef ONEFLOW_KERNELS_CPU_MICRO_KERNELS_H_
#define ONEFLOW_KERNELS_CPU_MICRO_KERNELS_H_

#include <array>
#include <cstdint>

namespace oneflow::kernels {

inline constexpr int kMaxTileRows = 8;
inline constexpr int kMaxTileVectors = 3;
inline constexpr int kMaxPanelRows = 14;
inline constexpr int kMaxPanelVectors = 2;

// c[i][j] (+)= sum over taps t < taps and p < k of
//     a[t * rows + i][a_offset + p * a_step] * b[(t * k + p) * vectors * width + j]
// for i < rows and j < columns, columns in (width * (vectors - 1), width * vectors]. A row of `a`
// is reached through a pointer, so an image needs no copy: a tap that lies in the padding points to
// zeros.
struct TileCall {
  const float* const* a = nullptr;
  int64_t a_offset = 0;
  int64_t a_step = 1;
  int64_t taps = 1;
  int64_t k = 0;
  const float* b = nullptr;   // packed; 0 behind the last column
  float* const* c = nullptr;  // rows pointers
  int64_t c_offset = 0;
  int64_t columns = 0;
  bool accumulate = false;
};
using TileKernel = void (*)(const TileCall& call);

// c[i * c_row + column[v] + j] (+)= sum over p < k of a[p * a_step + i] * b[v][p][b_offset[v] + j]
// for i < rows, v < vectors, j < count[v] <= width: products of two matrices whose rows are the
// terms of the sum (the gradient of convolution weights: rows are pixels).
struct OuterCall {
  const float* a = nullptr;
  int64_t a_step = 1;
  int64_t k = 0;
  std::array<const float* const*, kMaxTileVectors> b = {};
  std::array<int64_t, kMaxTileVectors> b_offset = {};
  std::array<int64_t, kMaxTileVectors> count = {};
  std::array<int64_t, kMaxTileVectors> column = {};
  float* c = nullptr;
  int64_t c_row = 0;
  bool accumulate = false;
};
using OuterKernel = void (*)(const OuterCall& call);

// c[i * c_row + j] (+)= sum over p < k of a[p * panel_rows + i] * b[p * vectors * width + j] for i <
// rows and j < columns, columns in (width * (vectors - 1), width * vectors]: both operands packed.
struct PanelCall {
  const float* a = nullptr;
  int64_t k = 0;
  const float* b = nullptr;  // any numbers behind the last column
  float* c = nullptr;
  int64_t c_row = 0;
  int64_t columns = 0;
  bool accumulate = false;
  // Lines of memory that are needed soon: as many of them are fetched as the sum leaves time for.
  const void* const* fetch = nullptr;
  const void* const* fetch_end = nullptr;
};
using PanelKernel = void (*)(const PanelCall& call);

// destination[p * stride + j] = source[j * source_stride + p] for p < k, j < columns.
using TransposeKernel = void (*)(const float* source, int64_t source_stride, int64_t k,
                                 int64_t columns, float* destination, int64_t stride);

// The loops of one instruction set. tile[r - 1][v - 1] computes r rows and v vectors.
struct MicroKernels {
  int width = 1;  // floats of a vector
  int rows = 1;   // most rows of a tile
  std::array<std::array<TileKernel, kMaxTileVectors>, kMaxTileRows> tile = {};
  std::array<std::array<OuterKernel, kMaxTileVectors>, kMaxTileRows> outer = {};
  TransposeKernel transpose = nullptr;
  // For large products: panel[r - 1][v - 1] computes r rows of a packed panel and v vectors.
  int panel_rows = 0;  // of a panel; 0: the set has none
  std::array<std::array<PanelKernel, kMaxPanelVectors>, kMaxPanelRows> panel = {};
};

MicroKernels PortableMicroKernels();
MicroKernels Avx2MicroKernels();    // REQUIRES: a machine with AVX2 and FMA
MicroKernels Avx512MicroKernels();  // REQUIRES: a machine with AVX-512 F, BW, DQ, VL

// The best of this machine.
const MicroKernels& HostMicroKernels();

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_MICRO_KERNELS_H_
