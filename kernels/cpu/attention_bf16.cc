#include "kernels/cpu/attention_bf16.h"

#include <algorithm>

#include "kernels/cpu/simd.h"
#include "kernels/scalar/types.h"

namespace oneflow::kernels {
namespace {

constexpr int64_t kPair = 2 * kBf16Rows;                   // rows of a call
constexpr int64_t kQueryTiles = kQueryBlock / kBf16Rows;   // of 16
constexpr int64_t kQueryTerms = kQueryBlock / kBf16Depth;  // blocks of 32
constexpr int64_t kKeyTerms = kKeyBlock / kBf16Depth;      // blocks of 32
static_assert(kQueryBlock % kPair == 0 && kKeyBlock % kBf16Wide == 0);

int64_t Blocks(int64_t n) { return (n + kBf16Depth - 1) / kBf16Depth; }

const uint16_t* Bits(const void* elements) { return static_cast<const uint16_t*>(elements); }

// A block of floats as operand a, whose terms are keys: [tile][block of terms][16][32].
struct PackRowsLoop {
  OF_LOOP static void Run(const float* block, int64_t rows, uint16_t* tiles) {
    for (int64_t i = 0; i < rows; ++i) {
      uint16_t* row = tiles + i / kBf16Rows * kKeyTerms * kBf16Tile + i % kBf16Rows * kBf16Depth;
      for (int64_t b = 0; b < kKeyTerms; ++b) {
        const float* x = block + i * kKeyBlock + b * kBf16Depth;
#pragma omp simd
        for (int64_t j = 0; j < kBf16Depth; ++j) row[b * kBf16Tile + j] = BF16(x[j]).bits;
      }
    }
  }
};

// A block of floats as operand b, whose terms are queries: [strip of 32 keys][block of
// terms][16 pairs][32][2]; zeros behind the last row.
struct PackPairsLoop {
  OF_LOOP static void Run(const float* block, int64_t rows, uint32_t* strips) {
    for (int64_t i = 0; i < Blocks(rows) * kBf16Depth; i += 2) {
      for (int64_t s = 0; s < kKeyTerms; ++s) {
        uint32_t* to = strips + (s * kQueryTerms * kBf16Depth + i) / 2 * kBf16Wide;
        const float* first = block + i * kKeyBlock + s * kBf16Wide;
        const float* second = first + kKeyBlock;
        if (i + 1 < rows) {
#pragma omp simd
          for (int64_t j = 0; j < kBf16Wide; ++j) {
            to[j] = BF16(first[j]).bits | static_cast<uint32_t>(BF16(second[j]).bits) << 16;
          }
        } else {
          for (int64_t j = 0; j < kBf16Wide; ++j) to[j] = i < rows ? BF16(first[j]).bits : 0;
        }
      }
    }
  }
};

struct RoundRowLoop {
  OF_LOOP static void Run(const float* x, uint16_t* to, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) to[i] = BF16(x[i]).bits;
  }
};

}  // namespace

Bf16Products::Bf16Products(const AttentionProblem& problem, AttentionPass pass, DType dtype)
    : problem_(problem),
      pass_(pass),
      tiles_(*HostBf16Tiles()),
      packing_(HostMicroKernels()),
      transpose_(HostMicroKernels().transpose),
      widen_(NarrowOf(dtype).widen),
      width_(problem.width),
      value_width_(problem.value_width),
      round_(Vectorised<RoundRowLoop>()),
      pack_rows_(Vectorised<PackRowsLoop>()),
      pack_pairs_(Vectorised<PackPairsLoop>()) {}

Bf16Products::Space::Space(const Bf16Products& products, AttentionSpace* space) {
  const bool backward = products.pass_ == AttentionPass::kBackward;
  const int64_t d = products.width_.up();
  const int64_t e = products.value_width_.up();
  const int64_t keys = products.keys_up();
  const auto bits = [&](bool needed, int64_t count) {
    return needed ? space->Take<uint16_t>(count) : nullptr;
  };
  const auto floats = [&](bool needed, int64_t count) {
    return needed ? space->Take<float>(count) : nullptr;
  };
  k_columns = bits(true, keys * d);
  v_columns = bits(backward, keys * e);
  k_rows = bits(backward, keys * d);
  v_rows = bits(!backward, keys * e);
  q_rows = bits(true, kQueryBlock * d);
  dout_rows = bits(backward, kQueryBlock * e);
  q_columns = bits(backward, kQueryBlock * d);
  dout_columns = bits(backward, kQueryBlock * e);
  weight_rows = bits(true, kQueryBlock * kKeyBlock);
  weights = bits(backward, kQueryBlock * kKeyBlock);
  slopes = bits(backward, kQueryBlock * kKeyBlock);
  result = floats(true, kQueryBlock * (backward ? d : e));
  wide_out = floats(backward, kQueryBlock * e);
  wide_dout = floats(backward, kQueryBlock * e);
  dk = floats(backward, keys * d);
  dv = floats(backward, keys * e);
  this->keys = floats(backward, kKeyBlock * std::max(d, e));
}

void Bf16Products::PackQueries(const void* rows, int64_t count, int64_t row, const Width& width,
                               uint16_t* by_rows, uint16_t* by_columns) const {
  for (int64_t tile = 0; tile < kQueryTiles; ++tile) {
    const int64_t left = std::clamp<int64_t>(count - tile * kBf16Rows, 0, kBf16Rows);
    packing_.PackRows({Bits(rows) + (left > 0 ? tile * kBf16Rows * row : 0), row, 1}, left,
                      width.columns, by_rows + tile * width.blocks * kBf16Tile);
  }
  for (int64_t tile = 0; by_columns != nullptr && tile < 2 * width.blocks; ++tile) {
    const int64_t left = std::clamp<int64_t>(width.columns - tile * kBf16Rows, 0, kBf16Rows);
    packing_.PackRows({Bits(rows) + (left > 0 ? tile * kBf16Rows : 0), 1, row}, left, count,
                      by_columns + tile * kQueryTerms * kBf16Tile);
  }
}

void Bf16Products::PackKeyColumns(const void* rows, int64_t row, const Width& width,
                                  uint16_t* packed) const {
  for (int64_t key = 0; key < problem_.keys; key += kBf16Wide) {
    packing_.PackStrip({Bits(rows) + key * row, 1, row}, std::min(kBf16Wide, problem_.keys - key),
                       width.columns, packed + key * width.up());
  }
}

void Bf16Products::PackKeyRows(const void* rows, int64_t row, const Width& width,
                               uint16_t* packed) const {
  for (int64_t strip = 0; strip < width.blocks; ++strip) {
    packing_.PackStrip({Bits(rows) + strip * kBf16Wide, row, 1},
                       std::min(kBf16Wide, width.columns - strip * kBf16Wide), problem_.keys,
                       packed + strip * keys_up() * kBf16Wide);
  }
}

void Bf16Products::MultiplySeen(const ScorePlace& at, const Width& width, const uint16_t* rows,
                                const uint16_t* key_columns, float* to) const {
  Bf16TileCall call;
  call.a_next = width.blocks * kBf16Tile;
  call.blocks = width.blocks;
  for (int64_t strip = 0; strip < at.keys; strip += kBf16Wide) {
    call.b = key_columns + (at.key + strip) * width.up();
    for (int64_t row = 0; row < at.rows; row += kPair) {
      if (at.Seen(std::min(row + kPair, at.rows) - 1) <= strip) continue;
      call.a = rows + row * width.up();
      tiles_.sum(call, to + row * kKeyBlock + strip, kKeyBlock, false);
    }
  }
}

void Bf16Products::MultiplyKeys(const ScorePlace& at, const Width& width, const uint16_t* weights,
                                const uint16_t* key_rows, float* to, bool accumulate) const {
  Bf16TileCall call;
  call.a_next = kKeyTerms * kBf16Tile;
  for (int64_t row = 0; row < at.rows; row += kPair) {
    call.blocks = Blocks(at.Seen(std::min(row + kPair, at.rows) - 1));
    call.a = weights + row * kKeyBlock;
    for (int64_t strip = 0; strip < width.blocks; ++strip) {
      call.b = key_rows + (strip * keys_up() + at.key) * kBf16Wide;
      tiles_.sum(call, to + row * width.up() + strip * kBf16Wide, width.up(), accumulate);
    }
  }
}

void Bf16Products::MultiplyQueries(const ScorePlace& at, const Width& width,
                                   const uint16_t* columns, const uint16_t* weights,
                                   float* to) const {
  Bf16TileCall call;
  call.a_next = kQueryTerms * kBf16Tile;
  for (int64_t strip = 0; strip < at.keys; strip += kBf16Wide) {
    // Blocks of queries that see none of the strip come first.
    int64_t first = 0;
    while (first < at.rows && at.Seen(std::min(first + kBf16Depth, at.rows) - 1) <= strip) {
      first += kBf16Depth;
    }
    if (first >= at.rows) continue;
    call.blocks = Blocks(at.rows - first);
    call.b = weights + strip * kQueryBlock + first * kBf16Wide;
    for (int64_t column = 0; column < width.up(); column += kPair) {
      call.a = columns + column * kQueryBlock + first * kBf16Rows;
      tiles_.sum(call, to + column * keys_up() + at.key + strip, keys_up(), true);
    }
  }
}

void Bf16Products::StoreRows(const float* from, int64_t from_row, int64_t count, const Width& width,
                             void* to, int64_t row) const {
  for (int64_t i = 0; i < count; ++i) {
    round_(from + i * from_row, static_cast<uint16_t*>(to) + i * row, width.columns);
  }
}

void Bf16Products::StoreTransposed(const float* from, const Width& width, float* keys, void* to,
                                   int64_t row) const {
  for (int64_t key = 0; key < problem_.keys; key += kKeyBlock) {
    const int64_t count = std::min(kKeyBlock, problem_.keys - key);
    transpose_(from + key, keys_up(), count, width.columns, keys, width.columns);
    StoreRows(keys, width.columns, count, width, static_cast<uint16_t*>(to) + key * row, row);
  }
}

void Bf16Products::TakeKeys(const void* k, const void* v, Space* space) const {
  PackKeyColumns(k, problem_.k_row(), width_, space->k_columns);
  if (pass_ == AttentionPass::kForward) {
    PackKeyRows(v, problem_.v_row(), value_width_, space->v_rows);
  } else {
    PackKeyRows(k, problem_.k_row(), width_, space->k_rows);
    PackKeyColumns(v, problem_.v_row(), value_width_, space->v_columns);
  }
}

void Bf16Products::TakeQueries(const void* q, int64_t rows, Space* space) const {
  PackQueries(q, rows, problem_.q_row(), width_, space->q_rows, space->q_columns);
}

FloatRows Bf16Products::TakeResult(void*, Space* space) const {
  return {space->result, value_width_.up()};
}

void Bf16Products::StoreResult(void* out, int64_t rows, Space* space) const {
  StoreRows(space->result, value_width_.up(), rows, value_width_, out, problem_.out_row());
}

void Bf16Products::Scores(const ScorePlace& at, const Space& space, float* scores) const {
  MultiplySeen(at, width_, space.q_rows, space.k_columns, scores);
}

void Bf16Products::AddValues(const ScorePlace& at, const Space& space, const float* weights,
                             bool first) const {
  pack_rows_(weights, at.rows, space.weight_rows);
  MultiplyKeys(at, value_width_, space.weight_rows, space.v_rows, space.result, !first);
}

void Bf16Products::TakeSlopes(const void* out, const void* dout, int64_t rows, Space* space,
                              ConstFloatRows* out_rows, ConstFloatRows* dout_rows) const {
  const int64_t row = problem_.out_row();
  const int64_t columns = value_width_.columns;
  for (int64_t i = 0; i < rows; ++i) {
    widen_(Bits(out) + i * row, space->wide_out + i * columns, columns);
    widen_(Bits(dout) + i * row, space->wide_dout + i * columns, columns);
  }
  *out_rows = {space->wide_out, columns};
  *dout_rows = {space->wide_dout, columns};
  PackQueries(dout, rows, row, value_width_, space->dout_rows, space->dout_columns);
}

void Bf16Products::TakeKeyGradients(void*, void*, Space* space) const {
  std::fill_n(space->dk, keys_up() * width_.up(), 0.0f);
  std::fill_n(space->dv, keys_up() * value_width_.up(), 0.0f);
}

void Bf16Products::TakeQueryGradients(void*, int64_t rows, Space* space) const {
  if (problem_.keys == 0) std::fill_n(space->result, rows * width_.up(), 0.0f);
}

void Bf16Products::Slopes(const ScorePlace& at, const Space& space, float* slopes) const {
  MultiplySeen(at, value_width_, space.dout_rows, space.v_columns, slopes);
}

void Bf16Products::AddGradients(const ScorePlace& at, const Space& space, const ScoreBlock& block,
                                bool first) const {
  pack_pairs_(block.scores, at.rows, reinterpret_cast<uint32_t*>(space.weights));
  MultiplyQueries(at, value_width_, space.dout_columns, space.weights, space.dv);
  pack_pairs_(block.slopes, at.rows, reinterpret_cast<uint32_t*>(space.slopes));
  MultiplyQueries(at, width_, space.q_columns, space.slopes, space.dk);
  pack_rows_(block.slopes, at.rows, space.weight_rows);
  MultiplyKeys(at, width_, space.weight_rows, space.k_rows, space.result, !first);
}

void Bf16Products::StoreQueryGradients(void* dq, int64_t rows, Space* space) const {
  StoreRows(space->result, width_.up(), rows, width_, dq, problem_.q_row());
}

void Bf16Products::StoreKeyGradients(void* dk, void* dv, Space* space) const {
  StoreTransposed(space->dk, width_, space->keys, dk, problem_.k_row());
  StoreTransposed(space->dv, value_width_, space->keys, dv, problem_.v_row());
}

}  // namespace oneflow::kernels
