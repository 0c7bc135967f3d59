// Bf16Tiles: the innermost loop of products in bf16, a tile of the result kept in registers while the
// sum runs; one set for each instruction set that multiplies bf16 (AMX, AVX-512 BF16).
//
// A table of plain functions, const. Threads: any. Invariants: allocate nothing; a sum is f32, runs
// over k in order, two terms at a time, and takes denormals for zero (both instructions do); a result
// does not depend on how rows and columns are cut. Read next: kernels/cpu/bf16_gemm.h.
#ifndef ONEFLOW_KERNELS_CPU_BF16_TILES_H_
#define ONEFLOW_KERNELS_CPU_BF16_TILES_H_

#include <cstdint>
#include <string_view>

namespace oneflow::kernels {

inline constexpr int64_t kBf16Rows = 16;                       // of a packed tile of a
inline constexpr int64_t kBf16Depth = 32;                      // terms of a sum in a block of k
inline constexpr int64_t kBf16Wide = 32;                       // columns of a packed strip of b
inline constexpr int64_t kBf16Tile = kBf16Rows * kBf16Depth;   // elements of one block of a
inline constexpr int64_t kBf16Strip = kBf16Depth * kBf16Wide;  // elements of one block of b

// c[i][j] = sum over p of a[i][p] * b[p][j] for i < rows <= 32, j < columns <= 32, in blocks of 32
// terms. Of a whole tiles of 16 rows are read, of b whole vectors of 16 columns:
//     term p of row i of a: a[i / 16 * a_next + i % 16 * a_row + p / 32 * a_block + p % 32]
//     b: [block][16 pairs of terms][32 columns][2]
// With `sums` nothing is rounded: the sums in f32 are left there, of which whole tiles of 16 x 16 are
// written; with `accumulate` they go on from what is there, and with `round` as well they are rounded
// into c then and not written back.
struct Bf16TileCall {
  const uint16_t* a = nullptr;
  int64_t a_next = 0;
  int64_t a_row = kBf16Depth;
  int64_t a_block = kBf16Tile;
  const uint16_t* b = nullptr;
  int64_t blocks = 0;
  uint16_t* c = nullptr;
  int64_t c_row = 0;
  int64_t rows = 0;
  int64_t columns = 0;
  float* sums = nullptr;  // 64-byte aligned
  int64_t sums_row = kBf16Wide;
  bool sums_by_tiles = false;  // [tile of rows][tile of columns][16][16], and no sums_row
  bool accumulate = false;
  bool round = false;
  bool a_passes_by =
      false;  // a is read once while b stays: it need not push b out of the first cache
  // Lines of memory that are needed soon: as many of them are fetched as the sum leaves time for.
  const void* const* fetch = nullptr;
  const void* const* fetch_end = nullptr;

  int row_tiles() const { return rows > kBf16Rows ? 2 : 1; }
  int vectors() const { return columns > 16 ? 2 : 1; }
};

// Where the sums of a call lie: element (i, j) at i / 16 * lower + i % 16 * row + j / 16 * right + j %
// 16.
struct Bf16SumsLayout {
  int64_t row = 16;
  int64_t right = 256;
  int64_t lower = 512;
};
inline constexpr Bf16SumsLayout kBf16SumsByTiles;
inline constexpr int64_t kBf16Sums = 2 * kBf16Rows * kBf16Wide;  // of a call
inline Bf16SumsLayout LayoutOfSums(const Bf16TileCall& call) {
  if (call.sums_by_tiles) return kBf16SumsByTiles;
  return {call.sums_row, 16, kBf16Rows * call.sums_row};
}

struct Bf16Tiles {
  std::string_view name;
  // Around the calls of one thread: the registers' shape is its state.
  void (*begin)() = nullptr;
  void (*end)() = nullptr;
  void (*multiply)(const Bf16TileCall& call) = nullptr;
};

// Rounds the sums of a call, by tiles, into its c. REQUIRES: AVX-512 BF16.
void StoreRounded(const Bf16TileCall& call, const float* sums);

// REQUIRES: a machine with AVX-512 BF16, or AMX BF16 that the kernel of the system lets this process use.
Bf16Tiles Avx512Bf16Tiles();
Bf16Tiles AmxBf16Tiles();
bool HostHasAvx512Bf16();
bool HostHasAmxBf16();  // asks the system for leave, once

// The best of this machine; nullptr if it has no instruction for bf16.
const Bf16Tiles* HostBf16Tiles();

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_BF16_TILES_H_
