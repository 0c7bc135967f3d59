// AMX: 32 x 32 floats of c in four tile registers; a block of k takes four loads of a kilobyte and four
// products of 16 x 16 x 32, 16 cycles each.
#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/bf16_tiles.h"

namespace oneflow::kernels {
namespace {

#define OF_AMX __attribute__((target("amx-tile,amx-bf16,avx512f")))

// As LDTILECFG reads it: all eight tiles have 16 rows of 64 bytes.
struct alignas(64) TileShapes {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileShapes) == 64);

// In static memory: the compiler takes the instruction to read eight bytes of it.
constexpr TileShapes kShapes;

OF_AMX void Begin() { _tile_loadconfig(&kShapes); }

OF_AMX void End() { _tile_release(); }

constexpr int64_t kBRow = kBf16Wide * 4;  // bytes
constexpr int64_t kCRow = kBf16Wide * 4;

OF_AMX void Sum(const Bf16TileCall& call, float* sums, int64_t sums_row, bool accumulate) {
  const uint16_t* a = call.a;
  const uint16_t* b = call.b;
  const int64_t a_row = 2 * call.a_row;
  const int64_t c_row = 4 * sums_row;
  float* const lower = sums + kBf16Rows * sums_row;
  if (accumulate) {
    _tile_loadd(0, sums, c_row);
    _tile_loadd(1, sums + 16, c_row);
    _tile_loadd(2, lower, c_row);
    _tile_loadd(3, lower + 16, c_row);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t block = 0; block < call.blocks; ++block, a += call.a_block, b += kBf16Strip) {
    _tile_loadd(4, a, a_row);
    _tile_loadd(6, b, kBRow);
    _tile_loadd(7, b + kBf16Wide, kBRow);
    _tile_loadd(5, a + call.a_next, a_row);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, sums, c_row);
  _tile_stored(1, sums + 16, c_row);
  _tile_stored(2, lower, c_row);
  _tile_stored(3, lower + 16, c_row);
}

OF_AMX void MultiplyOne(const Bf16TileCall& call, const uint16_t* a, const uint16_t* b,
                        float* sums) {
  if (call.accumulate) {
    _tile_loadd(0, sums, kCRow);
  } else {
    _tile_zero(0);
  }
  for (int64_t block = 0; block < call.blocks; ++block, a += call.a_block, b += kBf16Strip) {
    _tile_loadd(4, a, 2 * call.a_row);
    _tile_loadd(6, b, kBRow);
    _tile_dpbf16ps(0, 4, 6);
  }
  _tile_stored(0, sums, kCRow);
}

void Multiply(const Bf16TileCall& call) {
  alignas(64) float own[2 * kBf16Rows * kBf16Wide];
  float* const sums = call.sums != nullptr ? call.sums : own;
  if (call.row_tiles() == 2 && call.vectors() == 2) {
    Sum(call, sums, kBf16Wide, call.accumulate);
  } else {
    for (int row = 0; row < call.row_tiles(); ++row) {
      for (int v = 0; v < call.vectors(); ++v) {
        MultiplyOne(call, call.a + row * call.a_next, call.b + v * 2 * 16,
                    sums + row * kBf16Rows * kBf16Wide + v * 16);
      }
    }
  }
  if (call.sums == nullptr) StoreRounded(call, sums);
}

}  // namespace

Bf16Tiles AmxBf16Tiles() { return {"amx_bf16", Begin, End, Multiply, Sum}; }

}  // namespace oneflow::kernels
