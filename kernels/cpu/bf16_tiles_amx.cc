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

constexpr int kLinesAtOnce = 4;  // of memory, while four products run

// Sums in f32: where they come from (nullptr: from zero), and where they go.
struct Sums {
  const float* from;
  Bf16SumsLayout from_layout;
  float* to;
  Bf16SumsLayout to_layout;
};

template <bool kPassesBy>
OF_AMX void MultiplyFour(const Bf16TileCall& call, const Sums& sums) {
  const uint16_t* a = call.a;
  const uint16_t* b = call.b;
  const int64_t a_row = 2 * call.a_row;
  const void* const* fetch = call.fetch;
  const uint16_t* next_c = call.c;
  int64_t rows_to_fetch = call.c != nullptr ? call.rows : 0;
  if (sums.from != nullptr) {
    const Bf16SumsLayout& layout = sums.from_layout;
    _tile_loadd(0, sums.from, 4 * layout.row);
    _tile_loadd(1, sums.from + layout.right, 4 * layout.row);
    _tile_loadd(2, sums.from + layout.lower, 4 * layout.row);
    _tile_loadd(3, sums.from + layout.lower + layout.right, 4 * layout.row);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t block = 0; block < call.blocks; ++block, a += call.a_block, b += kBf16Strip) {
    if constexpr (kPassesBy) {
      _tile_stream_loadd(4, a, a_row);
    } else {
      _tile_loadd(4, a, a_row);
    }
    _tile_loadd(6, b, kBRow);
    _tile_loadd(7, b + kBf16Wide, kBRow);
    if constexpr (kPassesBy) {
      _tile_stream_loadd(5, a + call.a_next, a_row);
    } else {
      _tile_loadd(5, a + call.a_next, a_row);
    }
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
    // c first, whose rows are far apart.
    for (int i = 0; i < kLinesAtOnce; ++i) {
      if (rows_to_fetch > 0) {
        --rows_to_fetch;
        __builtin_prefetch(next_c, 1);
        __builtin_prefetch(next_c + kBf16Wide - 1, 1);  // a row need not begin with a line
        next_c += call.c_row;
      } else if (fetch != call.fetch_end) {
        __builtin_prefetch(*fetch, 0, 2);  // into the second cache
        ++fetch;
      }
    }
  }
  const Bf16SumsLayout& layout = sums.to_layout;
  _tile_stored(0, sums.to, 4 * layout.row);
  _tile_stored(1, sums.to + layout.right, 4 * layout.row);
  _tile_stored(2, sums.to + layout.lower, 4 * layout.row);
  _tile_stored(3, sums.to + layout.lower + layout.right, 4 * layout.row);
}

OF_AMX void MultiplyOne(const Bf16TileCall& call, const uint16_t* a, const uint16_t* b,
                        const float* from, int64_t from_row, float* to, int64_t to_row) {
  if (from != nullptr) {
    _tile_loadd(0, from, 4 * from_row);
  } else {
    _tile_zero(0);
  }
  for (int64_t block = 0; block < call.blocks; ++block, a += call.a_block, b += kBf16Strip) {
    _tile_loadd(4, a, 2 * call.a_row);
    _tile_loadd(6, b, kBRow);
    _tile_dpbf16ps(0, 4, 6);
  }
  _tile_stored(0, to, 4 * to_row);
}

void Multiply(const Bf16TileCall& call) {
  alignas(64) float own[kBf16Sums];
  const bool round = call.sums == nullptr || call.round;
  const Bf16SumsLayout layout = LayoutOfSums(call);
  const Sums sums = {call.accumulate ? call.sums : nullptr, layout, round ? own : call.sums,
                     round ? kBf16SumsByTiles : layout};
  if (call.row_tiles() == 2 && call.vectors() == 2) {
    (call.a_passes_by ? MultiplyFour<true> : MultiplyFour<false>)(call, sums);
  } else {
    for (int row = 0; row < call.row_tiles(); ++row) {
      for (int v = 0; v < call.vectors(); ++v) {
        const float* const from =
            call.accumulate ? call.sums + row * layout.lower + v * layout.right : nullptr;
        MultiplyOne(call, call.a + row * call.a_next, call.b + v * 2 * 16, from, layout.row,
                    sums.to + row * sums.to_layout.lower + v * sums.to_layout.right,
                    sums.to_layout.row);
      }
    }
  }
  if (round) StoreRounded(call, own);
}

}  // namespace

Bf16Tiles AmxBf16Tiles() { return {"amx_bf16", Begin, End, Multiply}; }

}  // namespace oneflow::kernels
