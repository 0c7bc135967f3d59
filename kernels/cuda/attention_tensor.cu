// attention on tensor cores: out and lse in one pass over the keys, bf16 and f16 with f32 sums.
//
// A block has a tile of queries of a head, a warp 16 rows of it, and goes over the keys 64 at
// a time. Scores stay in the warp's fragments, where exp turns them into the left operand of the product
// with v; the largest score and the sum of a row are kept as the keys go by, and out is rescaled where
// the largest grows. The next keys and values are copied to shared memory meanwhile. Tiles that no
// query sees are left out. Weights are rounded to T as operands, their sum is not.
//
// Bytes: q, k, v, out once, k and v once more for each tile of queries. Operations: 4 d for a pair of a
// query and a key of width d, and an exp2 and about 8 more. Measured on an H100 in bf16, 16 heads of d =
// 64, PyTorch 2.11's flash attention in brackets: a batch of 128 by 128 tokens 0.070 ms (0.076), 0.106
// with dropout (0.085); 32 by 512 tokens 0.161 (0.119), 0.329 with dropout (0.232), 0.114 causal (0.090). Few
// tokens are bound by bytes (65 % of 3 TB/s), many by latency: half of the issue slots are used. A draw of
// Philox costs as much as the rest of its four pairs.
#include "kernels/cuda/attention_tensor.h"
#include "kernels/cuda/attention_tiles.h"

namespace oneflow::kernels {
namespace {

constexpr int kKeys = 64;
constexpr int kKeyTiles = kKeys / 8;  // of 8 columns
constexpr int kR = 1;                 // tiles of 16 rows of a warp

// Two blocks of a multiprocessor, with registers for 8 warps each where a head is narrow.
template <int kColumns>
constexpr int kWarps = kColumns == 64 ? 8 : 4;
template <int kColumns>
constexpr int kBlockThreads = kWarps<kColumns> * kWarp;
template <int kColumns>
constexpr int kQueries = 16 * kR * kWarps<kColumns>;
// q, and k, v and what is added to a key's scores twice.
template <int kColumns>
constexpr int kSpace =
    (kQueries<kColumns> + 4 * kKeys) * TileRow(kColumns) * 2 + 2 * kKeys * int{sizeof(float)};
static_assert(std::max(kSpace<64>, kSpace<128>) <= kAttentionSharedBytes);

template <typename T>
struct Operands {
  const T* q;
  const T* k;
  const T* v;
  AttentionOperands extra;
};

template <typename T, int kColumns>
__global__ void __launch_bounds__(kBlockThreads<kColumns>, 2)
    ForwardKernel(CudaAttention a, Operands<T> in, T* out, float* lse) {
  constexpr int kRow = TileRow(kColumns);
  constexpr int kThreadsOfBlock = kBlockThreads<kColumns>;
  constexpr int kTiles = kColumns / 8;
  T* const q_tile = reinterpret_cast<T*>(SharedSpace<kSpace<kColumns>>());
  T* const kv_tiles = q_tile + kQueries<kColumns> * kRow;
  float* const biases = reinterpret_cast<float*>(kv_tiles + 4 * kKeys * kRow);

  // Late tiles of queries first: where it is causal they see the most keys.
  const int64_t tiles = (a.queries + kQueries<kColumns> - 1) / kQueries<kColumns>;
  const int64_t item = blockIdx.x;
  const int64_t query = (tiles - 1 - item % tiles) * kQueries<kColumns>;
  const AttentionPairs<float> head(a, in.extra, item / tiles / a.heads, item / tiles % a.heads);
  const int width = static_cast<int>(a.width);
  const int rows = static_cast<int>(query + kQueries<kColumns> < a.queries ? kQueries<kColumns>
                                                                           : a.queries - query);
  const int keys = static_cast<int>(a.keys);
  const int key_tiles = (static_cast<int>(head.Seen(query + rows - 1)) + kKeys - 1) / kKeys;
  const int before = static_cast<int>(a.first_query + query);  // queries that see no more
  const bool key_mask = in.extra.mask != nullptr && MaskIsOfKeys(a);
  const bool pair_mask = in.extra.mask != nullptr && !MaskIsOfKeys(a);

  const int64_t stride = a.k_pitch;  // of v too: it is as wide
  const RowCopies<KeysAsColumns, kKeys, kColumns, kThreadsOfBlock> copies(stride, a.width);
  const auto begin_keys = [&](int tile) {
    const int begun = tile * kKeys;
    T* const k_tile = kv_tiles + tile % 2 * 2 * kKeys * kRow;
    const int64_t rows_at = head.KeyAt(begun);
    copies.Begin(k_tile, in.k + rows_at, keys - begun);
    copies.Begin(k_tile + kKeys * kRow, in.v + rows_at, keys - begun);
    CommitCopies();
    if ((key_mask || begun + kKeys > keys) && threadIdx.x < kKeys) {
      biases[tile % 2 * kKeys + threadIdx.x] = BiasOfKey(head, int64_t{begun} + threadIdx.x);
    }
  };
  RowCopies<InOrder, kQueries<kColumns>, kColumns, kThreadsOfBlock>(a.q_pitch, a.width)
      .Begin(q_tile, in.q + head.QueryAt(query), rows);
  begin_keys(0);

  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  T* const warp_rows = q_tile + warp * 16 * kR * kRow;
  const int first_row = warp * 16 * kR;
  const float scale = static_cast<float>(a.scale) * kLog2E;
  const Draws draws(a, in.extra.step);

  uint32_t q[kR][kColumns / 16][4];
  float sums[kR][kTiles][4] = {};
  float most[kR][2], total[kR][2];
  OF_UNROLL
  for (int r = 0; r < kR; ++r) {
    most[r][0] = most[r][1] = kMinusInfinity;
    total[r][0] = total[r][1] = 0;
  }

  for (int tile = 0; tile < key_tiles; ++tile) {
    WaitForCopies<0>();
    __syncthreads();
    if (tile == 0) {
      OF_UNROLL
      for (int r = 0; r < kR; ++r) {
        OF_UNROLL
        for (int d = 0; d < kColumns / 16; ++d) {
          LoadFragments(q[r][d], LeftRow(warp_rows + r * 16 * kRow + d * 16, kRow));
        }
      }
    }
    if (tile + 1 < key_tiles) begin_keys(tile + 1);
    const int key = tile * kKeys;
    const int group = Lane() / 4, quad = Lane() % 4;
    if (first_row >= rows || (a.causal && key >= before + first_row + 16 * kR)) continue;
    const T* const k_tile = kv_tiles + tile % 2 * 2 * kKeys * kRow;
    const T* const v_tile = k_tile + kKeys * kRow;
    const float* const bias = biases + tile % 2 * kKeys;

    float scores[kR][kKeyTiles][4] = {};
    OF_UNROLL
    for (int d = 0; d < kColumns / 16; ++d) {
      OF_UNROLL
      for (int u = 0; u < kKeyTiles; u += 2) {
        uint32_t k[4];
        LoadFragments(k, RightColumn(k_tile + u * 8 * kRow + d * 16, kRow));
        OF_UNROLL
        for (int r = 0; r < kR; ++r) {
          MultiplyFragments<T>(scores[r][u], q[r][d], k[0], k[1]);
          MultiplyFragments<T>(scores[r][u + 1], q[r][d], k[2], k[3]);
        }
      }
    }

    // Exponents, left to be scaled where nothing is added; the lane's keys of 16 are 4 quad to 4 quad + 3.
    const bool partial = key + kKeys > keys;
    const bool diagonal = a.causal && key + kKeys > before + first_row + 1;
    const bool plain = scale > 0 && !key_mask && !pair_mask && !partial && !diagonal;
    const float factor_of_scores = plain ? scale : 1.0f;
    if (!plain) {
      OF_UNROLL
      for (int u = 0; u < kKeyTiles; ++u) {
        const int first = u / 2 * 16 + quad * 4 + u % 2 * 2;
        float added[2] = {0, 0};
        if (key_mask || partial) {
          added[0] = bias[first];
          added[1] = bias[first + 1];
        }
        OF_UNROLL
        for (int r = 0; r < kR; ++r) {
          OF_UNROLL
          for (int e = 0; e < 4; ++e) {
            scores[r][u][e] = FusedMultiplyAdd(scores[r][u][e], scale, added[e % 2]);
          }
        }
      }
    }
    if (pair_mask) {
      OF_UNROLL
      for (int r = 0; r < kR; ++r) {
        OF_UNROLL
        for (int u = 0; u < kKeyTiles; ++u) {
          OF_UNROLL
          for (int e = 0; e < 4; ++e) {
            const int64_t i = query + first_row + r * 16 + e / 2 * 8 + group;
            const int64_t j = key + u / 2 * 16 + quad * 4 + u % 2 * 2 + e % 2;
            if (i < a.queries && j < a.keys) scores[r][u][e] += head.MaskOf(i, j) * kLog2E;
          }
        }
      }
    }
    if (diagonal) {
      // Of the tile, less the lane's first of 16, for the first row.
      const int seen_keys = before + first_row - key + group - quad * 4;
      OF_UNROLL
      for (int r = 0; r < kR; ++r) {
        OF_UNROLL
        for (int u = 0; u < kKeyTiles; ++u) {
          OF_UNROLL
          for (int e = 0; e < 4; ++e) {
            const int past = u / 2 * 16 + u % 2 * 2 + e % 2 - r * 16 - e / 2 * 8;
            if (past > seen_keys) scores[r][u][e] = kMinusInfinity;
          }
        }
      }
    }

    OF_UNROLL
    for (int r = 0; r < kR; ++r) {
      OF_UNROLL
      for (int half = 0; half < 2; ++half) {
        float now = kMinusInfinity;
        OF_UNROLL
        for (int u = 0; u < kKeyTiles; ++u) {
          now = fmaxf(now, fmaxf(scores[r][u][2 * half], scores[r][u][2 * half + 1]));
        }
        now = fmaxf(most[r][half], now * factor_of_scores);
        now = fmaxf(now, ShuffleXor(now, 1));
        now = fmaxf(now, ShuffleXor(now, 2));
        const float base = now == kMinusInfinity ? 0.0f : now;
        const float factor = Exp2(most[r][half] - base);
        most[r][half] = now;
        float sum = 0;
        OF_UNROLL
        for (int u = 0; u < kKeyTiles; ++u) {
          OF_UNROLL
          for (int e = 2 * half; e < 2 * half + 2; ++e) {
            scores[r][u][e] = Exp2(FusedMultiplyAdd(scores[r][u][e], factor_of_scores, -base));
            sum += scores[r][u][e];
          }
        }
        total[r][half] = FusedMultiplyAdd(total[r][half], factor, sum);
        OF_UNROLL
        for (int c = 0; c < kTiles; ++c) {
          sums[r][c][2 * half] *= factor;
          sums[r][c][2 * half + 1] *= factor;
        }
      }
    }

    if (a.drops) {
      OF_UNROLL
      for (int r = 0; r < kR; ++r) {
        OF_UNROLL
        for (int half = 0; half < 2; ++half) {
          const uint64_t index =
              head.IndexOf(query + first_row + r * 16 + half * 8 + group, key + quad * 4);
          uint32_t kept = 0;
          if (draws.fours()) {
            OF_UNROLL
            for (int u = 0; u < kKeyTiles; u += 2) {
              kept |= draws.KeepFour(index + static_cast<uint64_t>(u * 8)) << (2 * u);
            }
          } else {
            OF_ROLLED
            for (int u = 0; u < kKeyTiles; u += 2) {
              kept |= draws.KeepAnyFour(index + static_cast<uint64_t>(u * 8)) << (2 * u);
            }
          }
          OF_UNROLL
          for (int u = 0; u < kKeyTiles; ++u) {
            OF_UNROLL
            for (int e = 0; e < 2; ++e) {
              float* const weight = &scores[r][u][2 * half + e];
              *weight = (kept >> (2 * u + e) & 1) != 0 ? *weight : 0.0f;
            }
          }
        }
      }
    }

    OF_UNROLL
    for (int u = 0; u < kKeyTiles; u += 2) {
      uint32_t weights[kR][4];
      OF_UNROLL
      for (int r = 0; r < kR; ++r) {
        OF_UNROLL
        for (int w = 0; w < 4; ++w) {
          const float* const from = &scores[r][u + w / 2][w % 2 * 2];
          weights[r][w] = PackPair<T>(from[0], from[1]);
        }
      }
      OF_UNROLL
      for (int c = 0; c < kTiles; c += 2) {
        uint32_t v[4];
        LoadTransposed(v, RightRow(v_tile + u * 8 * kRow + c * 8, kRow));
        OF_UNROLL
        for (int r = 0; r < kR; ++r) {
          MultiplyFragments<T>(sums[r][c], weights[r], v[0], v[1]);
          MultiplyFragments<T>(sums[r][c + 1], weights[r], v[2], v[3]);
        }
      }
    }
  }
  if (first_row >= rows) return;
  const int group = Lane() / 4, quad = Lane() % 4;

  // Through the warp's rows of q, so that whole rows are stored.
  OF_UNROLL
  for (int r = 0; r < kR; ++r) {
    OF_UNROLL
    for (int half = 0; half < 2; ++half) {
      float sum = total[r][half];
      sum += ShuffleXor(sum, 1);
      sum += ShuffleXor(sum, 2);
      const float factor = sum == 0 ? 0.0f : (a.drops ? a.keep : 1.0f) / sum;  // 0: it saw nothing
      const int row = r * 16 + half * 8 + group;
      OF_UNROLL
      for (int c = 0; c < kTiles; ++c) {
        *reinterpret_cast<uint32_t*>(warp_rows + row * kRow + c * 8 + quad * 2) =
            PackPair<T>(sums[r][c][2 * half] * factor, sums[r][c][2 * half + 1] * factor);
      }
      if (quad == 0 && first_row + row < rows) {
        lse[head.RowAt(query + first_row + row)] =
            sum == 0 ? kMinusInfinity : most[r][half] * kLn2 + std::log(sum);
      }
    }
  }
  WarpBarrier();
  constexpr int kPieces = kColumns / kPiece;
  OF_UNROLL
  for (int e = Lane(); e < 16 * kR * kPieces; e += kWarp) {
    const int row = e / kPieces, column = e % kPieces * kPiece;
    if (first_row + row >= rows || column >= width) continue;
    *reinterpret_cast<AttentionPiece*>(out + head.OutAt(query + first_row + row) + column) =
        *reinterpret_cast<const AttentionPiece*>(warp_rows + row * kRow + column);
  }
}

template <typename T, int kColumns>
CudaError Run(const CudaAttention& a, const CudaOperands& o, CudaStreamHandle stream) {
  const Operands<T> in = {static_cast<const T*>(o.in[0]), static_cast<const T*>(o.in[1]),
                          static_cast<const T*>(o.in[2]), AttentionOperandsOf(a, o)};
  const int64_t tiles = (a.queries + kQueries<kColumns> - 1) / kQueries<kColumns>;
  return LaunchShared<kSpace<kColumns>>(&ForwardKernel<T, kColumns>, a.batch * a.heads * tiles,
                                        kBlockThreads<kColumns>, stream, a, in,
                                        static_cast<T*>(o.out[0]), static_cast<float*>(o.out[1]));
}

}  // namespace

bool TakesTensorCores(const CudaAttention& a, const CudaOperands& o, bool forward) {
  if (!HasTensorWidth(a.width, a.value_width) || a.queries == 0 || a.keys == 0) return false;
  if (!HasSharedSpace(kAttentionSharedBytes)) return false;
  // Tokens, and blocks, are counted in 32 bits.
  const int64_t longest = std::max(a.queries, a.keys);
  if (longest > INT32_MAX / 4 || a.batch * a.heads > INT32_MAX / (longest / 32 + 1)) return false;
  uintptr_t places = 0;
  for (int i = 0; i < (forward ? 3 : 6); ++i) places |= reinterpret_cast<uintptr_t>(o.in[i]);
  for (int i = 0; i < (forward ? 1 : 3); ++i) places |= reinterpret_cast<uintptr_t>(o.out[i]);
  if (!forward) places |= reinterpret_cast<uintptr_t>(o.workspace);
  return places % 16 == 0;
}

template <typename T>
CudaError TensorForward(const CudaAttention& a, const CudaOperands& o, CudaStreamHandle stream) {
  return AttentionColumns(a.width) == 64 ? Run<T, 64>(a, o, stream) : Run<T, 128>(a, o, stream);
}
template CudaError TensorForward<BF16>(const CudaAttention&, const CudaOperands&, CudaStreamHandle);
template CudaError TensorForward<F16>(const CudaAttention&, const CudaOperands&, CudaStreamHandle);

}  // namespace oneflow::kernels
