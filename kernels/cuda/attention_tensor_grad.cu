// attention_grad on tensor cores: dq, dk and dv in one pass over the pairs, bf16 and f16 with f32 sums.
//
// A block has 128 keys of a head of k, a warp 16 of them, and goes over the queries of all heads of q in
// the group, tile by tile: weights and slopes are computed transposed, [keys, queries], so that they are
// left operands of the products for dv and dk as they lie in fragments; slopes go through shared memory
// to the product for dq, which is the block's whole. Where there are more keys the block takes them tile
// by tile and carries dq from one to the next in its workspace, each thread its own elements. Where
// there are few heads several blocks share the keys of one and a last kernel adds their sums in order.
// So every sum has one owner and a fixed order, and no float is added atomically.
//
// Bytes: q, k, v, out, dout, dq, dk, dv once; q, dout and twice dq in f32 again for each further tile of
// keys. Operations: 10 d for a pair of a query and a key of width d, and an exp2 and about 10 more. Measured
// on an H100 in bf16, 16 heads of d = 64, PyTorch 2.11's in brackets: a batch of 128 by 128 tokens 0.241 ms
// (0.302), 0.285 with dropout (0.310); 32 by 512 tokens 0.535 (0.485), 0.693 with dropout (0.504), 0.375 causal
// (0.461); d = 128 takes 1.4 to 1.8 times PyTorch's time. Bound by the reads of operands from shared memory
// and by latency, for registers leave a multiprocessor 8 warps.
#include "base/dtype.h"
#include "kernels/cuda/attention_tensor.h"
#include "kernels/cuda/attention_tiles.h"

namespace oneflow::kernels {
namespace {

constexpr int kWarps = 8;
constexpr int kBlockThreads = kWarps * kWarp;
constexpr int kKeys = static_cast<int>(kGradKeys);
static_assert(kKeys == 16 * kWarps);
#ifdef __CUDACC__
constexpr int64_t kBlocks = kGradBlocks;
#else
constexpr int64_t kBlocks = 2;  // small problems too have blocks with several tiles of keys
#endif

template <int kColumns>
constexpr int kQueries = kColumns == 64 ? 128 : 32;
// Queries whose scores are in registers at a time. On GPUs before sm_90 the assembler is a few registers short of 32
// beside the sums of wide heads.
template <int kColumns>
__device__ constexpr int PartOf() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
  return kColumns == 64 ? 32 : 16;
#else
  return 32;
#endif
}
// What each row of pairs needs beside its operands: an exponent is a score less lse; `less` is the sum of out and
// dout less dlse.
struct alignas(8) RowNumbers {
  float exponent;  // -lse; -inf where the query saw nothing
  float less;
};
// Two stages of q, dout and row numbers; k and v; slopes of this tile and of the one before.
template <int kColumns>
constexpr int kStage = kQueries<kColumns> * (2 * TileRow(kColumns) * 2 + int{sizeof(RowNumbers)});
template <int kColumns>
constexpr int kSpace = 2 * kStage<kColumns> + 2 * kKeys * TileRow(kColumns) * 2 +
                       2 * kKeys * TileRow(kQueries<kColumns>) * 2;
static_assert(std::max(kSpace<64>, kSpace<128>) <= kAttentionSharedBytes);
// Elements of dq that a thread has of a tile, and columns that a warp has.
template <int kColumns>
constexpr int kDqColumns = kColumns / (kWarps / (kQueries<kColumns> / 16));

template <typename T>
struct Inputs {
  const T* q;
  const T* k;
  const T* v;
  const T* dout;
  const RowNumbers* rows;  // as lse lies
  AttentionOperands extra;
};
template <typename T>
struct Results {
  T* dq;
  T* dk;
  T* dv;
  float* partial;  // of dq
  int shares, tiles_of_share;
};

// The numbers of each row: kColumns / 8 threads have one.
template <typename T, int kColumns>
__global__ void RowKernel(CudaAttention a, const T* out, const T* dout, const float* lse,
                          const float* dlse, RowNumbers* rows) {
  constexpr int kPieces = kColumns / kPiece;
  const int64_t row = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / kPieces;
  const int column = static_cast<int>(threadIdx.x) % kPieces * kPiece;
  const int64_t h = row % a.heads;  // rows as they lie
  const int64_t token = row / a.heads;
  const bool real = token < a.batch * a.queries;
  float total = 0;
  if (real && column < a.width) {
    const auto x = *reinterpret_cast<const AttentionPiece*>(out + row * a.width + column);
    const auto y = *reinterpret_cast<const AttentionPiece*>(dout + row * a.width + column);
    OF_UNROLL
    for (int w = 0; w < kPiece; ++w) {
      T left, right;
      left.bits = static_cast<uint16_t>(x.pair[w / 2] >> (w % 2 * 16));
      right.bits = static_cast<uint16_t>(y.pair[w / 2] >> (w % 2 * 16));
      total = FusedMultiplyAdd(static_cast<float>(left), static_cast<float>(right), total);
    }
  }
  OF_UNROLL
  for (int lanes = 1; lanes < kPieces; lanes *= 2) total += ShuffleXor(total, lanes);
  if (!real || column != 0) return;
  const int64_t at = (token / a.queries * a.heads + h) * a.queries + token % a.queries;
  const float sum = lse[at];
  rows[at] = {sum == kMinusInfinity ? sum : -sum * kLog2E,
              dlse == nullptr ? total : total - dlse[at]};
}

// Elements of dq that this thread has of a tile: in which rows and columns they lie.
template <int kColumns>
struct DqFragment {
  static constexpr int kTiles = kDqColumns<kColumns> / 8;
  float sums[kTiles][4] = {};

  __device__ __forceinline__ static int Row() {
    return static_cast<int>(threadIdx.x) / kWarp % (kQueries<kColumns> / 16) * 16;
  }
  __device__ __forceinline__ static int Column() {
    return static_cast<int>(threadIdx.x) / kWarp / (kQueries<kColumns> / 16) * kDqColumns<kColumns>;
  }
  // A tile's part of the workspace, as it lies in the fragments of the block.
  __device__ __forceinline__ static int64_t PlaceOf(const CudaAttention& a, int64_t shares,
                                                    int64_t share, int64_t b, int64_t h,
                                                    int64_t tile) {
    const int64_t tiles = (a.queries + kQueries<kColumns> - 1) / kQueries<kColumns>;
    return (((b * a.heads + h) * tiles + tile) * shares + share) * kQueries<kColumns> * kColumns +
           static_cast<int64_t>(threadIdx.x) * 4;
  }
  __device__ __forceinline__ void Add(const float* place) {
    OF_UNROLL
    for (int c = 0; c < kTiles; ++c) {
      const Four<float> more = *reinterpret_cast<const Four<float>*>(place + c * kBlockThreads * 4);
      OF_UNROLL
      for (int e = 0; e < 4; ++e) sums[c][e] += more.item[e];
    }
  }
  __device__ __forceinline__ void Keep(float* place) const {
    OF_UNROLL
    for (int c = 0; c < kTiles; ++c) {
      Four<float> all;
      OF_UNROLL
      for (int e = 0; e < 4; ++e) all.item[e] = sums[c][e];
      *reinterpret_cast<Four<float>*>(place + c * kBlockThreads * 4) = all;
    }
  }
  template <typename T>
  __device__ __forceinline__ void Store(const AttentionPairs<float>& head, int64_t query,
                                        T* dq) const {
    const float scale = static_cast<float>(head.a.scale);
    OF_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int64_t i = query + Row() + half * 8 + Lane() / 4;
      if (i >= head.a.queries) continue;
      T* const row = dq + head.QueryAt(i);
      OF_UNROLL
      for (int c = 0; c < kTiles; ++c) {
        const int column = Column() + c * 8 + Lane() % 4 * 2;
        if (column >= head.a.width) continue;
        *reinterpret_cast<uint32_t*>(row + column) =
            PackPair<T>(sums[c][2 * half] * scale, sums[c][2 * half + 1] * scale);
      }
    }
  }
};

// The first tile of queries that sees the keys from `key` on.
template <int kColumns>
__device__ __forceinline__ int FirstTile(const CudaAttention& a, int64_t key) {
  return a.causal && key > a.first_query
             ? static_cast<int>((key - a.first_query) / kQueries<kColumns>)
             : 0;
}

template <typename T, int kColumns>
__global__ void __launch_bounds__(kBlockThreads)
    GradKernel(CudaAttention a, Inputs<T> in, Results<T> results) {
  constexpr int kRow = TileRow(kColumns);
  constexpr int kTiles = kColumns / 8;
  constexpr int kM = kQueries<kColumns>;
  constexpr int kPart = PartOf<kColumns>();
  constexpr int kSlopeRow = TileRow(kM);
  char* const space = SharedSpace<kSpace<kColumns>>();
  T* const k_tile = reinterpret_cast<T*>(space + 2 * kStage<kColumns>);
  T* const v_tile = k_tile + kKeys * kRow;
  T* const slopes = v_tile + kKeys * kRow;

  const int share = static_cast<int>(blockIdx.x) % results.shares;
  const int g = static_cast<int>(static_cast<int>(blockIdx.x) / results.shares % a.key_heads);
  const int b = static_cast<int>(static_cast<int>(blockIdx.x) / results.shares / a.key_heads);
  const int heads = static_cast<int>(a.heads / a.key_heads);
  const int query_tiles = static_cast<int>((a.queries + kM - 1) / kM);
  const int key_tiles = static_cast<int>((a.keys + kKeys - 1) / kKeys);
  const int first_of_share = share * results.tiles_of_share;
  const int end_of_share = first_of_share + results.tiles_of_share < key_tiles
                               ? first_of_share + results.tiles_of_share
                               : key_tiles;
  const int width = static_cast<int>(a.width);
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int group = Lane() / 4, quad = Lane() % 4;
  const float scale = static_cast<float>(a.scale) * kLog2E;
  const float keep = a.drops ? a.keep : 1.0f;
  const bool key_mask = in.extra.mask != nullptr && MaskIsOfKeys(a);
  const bool pair_mask = in.extra.mask != nullptr && !MaskIsOfKeys(a);
  const Draws draws(a, in.extra.step);

  using QueryCopies = RowCopies<InOrder, kM, kColumns, kBlockThreads>;
  const QueryCopies query_copies(a.q_pitch, a.width);
  const auto begin_queries = [&](int stage, int h, int tile) {
    const AttentionPairs<float> head(a, in.extra, b, h);
    const int64_t query = int64_t{tile} * kM;
    T* const q_tile = reinterpret_cast<T*>(space + stage * kStage<kColumns>);
    const int count = static_cast<int>(a.queries - query);
    query_copies.Begin(q_tile, in.q + head.QueryAt(query), count);
    QueryCopies(a.heads * a.width, a.width)
        .Begin(q_tile + kM * kRow, in.dout + head.OutAt(query), count);
    if (threadIdx.x < kM) {
      RowNumbers* const numbers = reinterpret_cast<RowNumbers*>(q_tile + 2 * kM * kRow);
      const RowNumbers* const from = in.rows + head.RowAt(query);
      const bool real = static_cast<int>(threadIdx.x) < count;
      CopyAsync8(numbers + threadIdx.x, real ? from + threadIdx.x : from, real);
    }
    CommitCopies();
  };

  for (int key_tile = first_of_share; key_tile < end_of_share; ++key_tile) {
    const int64_t key = int64_t{key_tile} * kKeys;
    const int first_tile = FirstTile<kColumns>(a, key);
    const int tiles = first_tile < query_tiles ? query_tiles - first_tile : 0;
    const int real_keys = a.keys - key < kKeys ? static_cast<int>(a.keys - key) : kKeys;
    const AttentionPairs<float> first_head(a, in.extra, b, g * heads);
    __syncthreads();
    if (tiles > 0) {
      const RowCopies<KeysAsRows, kKeys, kColumns, kBlockThreads> copies(a.k_pitch, a.width);
      copies.Begin(k_tile, in.k + first_head.KeyAt(key), real_keys);
      copies.Begin(v_tile, in.v + first_head.ValueAt(key), real_keys);
      begin_queries(0, g * heads, first_tile);
    }

    // dq of a tile of queries from the slopes that all warps have left.
    const auto take_query_grads = [&](const T* from, int h, int tile) {
      using Fragment = DqFragment<kColumns>;
      Fragment dq;
      for (int j = 0; j < real_keys; j += 16) {
        uint32_t slope[4];
        LoadTransposed(slope, LeftColumn(from + j * kSlopeRow + Fragment::Row(), kSlopeRow));
        OF_UNROLL
        for (int c = 0; c < Fragment::kTiles; c += 2) {
          uint32_t k[4];
          LoadTransposed(k, RightRow(k_tile + j * kRow + Fragment::Column() + c * 8, kRow));
          MultiplyFragments<T>(dq.sums[c], slope, k[0], k[1]);
          MultiplyFragments<T>(dq.sums[c + 1], slope, k[2], k[3]);
        }
      }
      float* const place =
          results.partial + Fragment::PlaceOf(a, results.shares, share, b, h, tile);
      if (key_tile > first_of_share) dq.Add(place);
      const bool last = key_tile + 1 == end_of_share || FirstTile<kColumns>(a, key + kKeys) > tile;
      if (last && results.shares == 1) {
        dq.Store(AttentionPairs<float>(a, in.extra, b, h), int64_t{tile} * kM, results.dq);
      } else {
        dq.Keep(place);
      }
    };

    float dk[kTiles][4] = {}, dv[kTiles][4] = {};
    const bool key_bias = key_mask || real_keys < kKeys;
    const int64_t first_key = key + warp * 16 + 2 * group;  // of the lane; the next is its other
    float bias[2] = {0, 0};
    const int turns = tiles * heads;
    int h = g * heads, tile = first_tile;
    int h_before = h, tile_before = tile;
    for (int turn = 0; turn < turns; ++turn) {
      const AttentionPairs<float> head(a, in.extra, b, h);
      WaitForCopies<0>();
      __syncthreads();
      const int this_tile = tile, this_h = h;
      if (++tile == query_tiles) {
        tile = first_tile;
        ++h;
      }
      if (turn + 1 < turns) begin_queries((turn + 1) % 2, h, tile);
      if (turn > 0) {
        take_query_grads(slopes + (turn + 1) % 2 * kKeys * kSlopeRow, h_before, tile_before);
      }
      if (key_bias && (turn == 0 || this_h != h_before)) {
        bias[0] = BiasOfKey(head, first_key);
        bias[1] = BiasOfKey(head, first_key + 1);
      }
      h_before = this_h;
      tile_before = this_tile;

      const T* const q_tile = reinterpret_cast<const T*>(space + turn % 2 * kStage<kColumns>);
      const T* const dout_tile = q_tile + kM * kRow;
      const RowNumbers* const numbers = reinterpret_cast<const RowNumbers*>(q_tile + 2 * kM * kRow);
      T* const slopes_now = slopes + turn % 2 * kKeys * kSlopeRow;
      const int parts = warp * 16 < real_keys ? kM / kPart : 0;
      OF_ROLLED
      for (int part = 0; part < parts; ++part) {
        const int64_t query = int64_t{this_tile} * kM + part * kPart;
        const T* const q_part = q_tile + part * kPart * kRow;
        const T* const dout_part = dout_tile + part * kPart * kRow;
        float weights[kPart / 8][4] = {}, grads[kPart / 8][4] = {};
        OF_UNROLL
        for (int d = 0; d < kColumns / 16; ++d) {
          uint32_t k[4], v[4];
          LoadFragments(k, LeftRow(k_tile + warp * 16 * kRow + d * 16, kRow));
          LoadFragments(v, LeftRow(v_tile + warp * 16 * kRow + d * 16, kRow));
          OF_UNROLL
          for (int u = 0; u < kPart / 8; u += 2) {
            uint32_t q[4], dout[4];
            LoadFragments(q, RightColumn(q_part + u * 8 * kRow + d * 16, kRow));
            MultiplyFragments<T>(weights[u], k, q[0], q[1]);
            MultiplyFragments<T>(weights[u + 1], k, q[2], q[3]);
            LoadFragments(dout, RightColumn(dout_part + u * 8 * kRow + d * 16, kRow));
            MultiplyFragments<T>(grads[u], v, dout[0], dout[1]);
            MultiplyFragments<T>(grads[u + 1], v, dout[2], dout[3]);
          }
        }

        // The lane's queries are 2 quad and the next of each 8.
        const bool diagonal = a.causal && key + warp * 16 + 15 > a.first_query + query;
        const bool plain = !key_bias && !pair_mask && !diagonal;
        const float factor = plain ? scale : 1.0f;
        if (!plain) {
          OF_UNROLL
          for (int u = 0; u < kPart / 8; ++u) {
            OF_UNROLL
            for (int e = 0; e < 4; ++e) {
              weights[u][e] = FusedMultiplyAdd(weights[u][e], scale, bias[e / 2]);
            }
          }
        }
        if (pair_mask) {
          OF_UNROLL
          for (int u = 0; u < kPart / 8; ++u) {
            OF_UNROLL
            for (int e = 0; e < 4; ++e) {
              const int64_t i = query + u * 8 + quad * 2 + e % 2, j = first_key + e / 2;
              if (i < a.queries && j < a.keys) weights[u][e] += head.MaskOf(i, j) * kLog2E;
            }
          }
        }
        if (diagonal) {
          // Queries of the part that do not see the lane's first key; one less sees its second.
          const int64_t before = first_key - a.first_query - query;
          const int unseeing = static_cast<int>(before < kPart ? before : kPart) - quad * 2;
          OF_UNROLL
          for (int u = 0; u < kPart / 8; ++u) {
            OF_UNROLL
            for (int e = 0; e < 4; ++e) {
              if (u * 8 + e % 2 - e / 2 < unseeing) weights[u][e] = kMinusInfinity;
            }
          }
        }
        // Four draws for one of the two queries; those of the other are the neighbour's.
        const bool odd = group % 2 != 0;
        uint32_t kept[2] = {};
        if (a.drops) {
          const uint64_t index =
              head.IndexOf(query + quad * 2 + (odd ? 1 : 0), key + warp * 16 + group / 2 * 4);
          uint32_t mine = 0;
          if (draws.fours()) {
            OF_UNROLL
            for (int u = 0; u < kPart / 8; ++u) {
              mine |= draws.KeepFour(index + static_cast<uint64_t>(u * 8) * a.index_stride[2])
                      << (4 * u);
            }
          } else {
            OF_ROLLED
            for (int u = 0; u < kPart / 8; ++u) {
              mine |= draws.KeepAnyFour(index + static_cast<uint64_t>(u * 8) * a.index_stride[2])
                      << (4 * u);
            }
          }
          const uint32_t other = ShuffleXor(mine, 4);
          kept[0] = odd ? other >> 2 : mine;
          kept[1] = odd ? mine >> 2 : other;
        }
        const int rest = a.queries - query < kPart ? static_cast<int>(a.queries - query) : kPart;
        OF_UNROLL
        for (int u = 0; u < kPart / 8; ++u) {
          OF_UNROLL
          for (int c = 0; c < 2; ++c) {
            const int column = u * 8 + quad * 2 + c;
            const RowNumbers row = numbers[part * kPart + column];
            const float exponent = column < rest ? row.exponent : kMinusInfinity;
            OF_UNROLL
            for (int e = c; e < 4; e += 2) {
              const float weight = Exp2(FusedMultiplyAdd(weights[u][e], factor, exponent));
              float grad = grads[u][e];
              weights[u][e] = weight;
              if (a.drops) {
                const bool stays = (kept[c] >> (4 * u + e / 2) & 1) != 0;
                grad = stays ? grad * keep : 0.0f;
                weights[u][e] = stays ? weight : 0.0f;
              }
              grads[u][e] = weight * (grad - row.less);
            }
          }
        }

        OF_UNROLL
        for (int u = 0; u < kPart / 8; u += 2) {
          uint32_t weight[4], slope[4];
          OF_UNROLL
          for (int w = 0; w < 4; ++w) {
            const int n = u + w / 2, e = w % 2 * 2;
            weight[w] = PackPair<T>(weights[n][e], weights[n][e + 1]);
            slope[w] = PackPair<T>(grads[n][e], grads[n][e + 1]);
            const int row = warp * 16 + w % 2 * 8 + group;
            *reinterpret_cast<uint32_t*>(slopes_now + row * kSlopeRow + part * kPart + n * 8 +
                                         quad * 2) = slope[w];
          }
          OF_UNROLL
          for (int c = 0; c < kTiles; c += 2) {
            uint32_t dout[4], q[4];
            LoadTransposed(dout, RightRow(dout_part + u * 8 * kRow + c * 8, kRow));
            MultiplyFragments<T>(dv[c], weight, dout[0], dout[1]);
            MultiplyFragments<T>(dv[c + 1], weight, dout[2], dout[3]);
            LoadTransposed(q, RightRow(q_part + u * 8 * kRow + c * 8, kRow));
            MultiplyFragments<T>(dk[c], slope, q[0], q[1]);
            MultiplyFragments<T>(dk[c + 1], slope, q[2], q[3]);
          }
        }
      }
    }
    if (turns > 0) {
      __syncthreads();
      take_query_grads(slopes + (turns + 1) % 2 * kKeys * kSlopeRow, h_before, tile_before);
    }

    OF_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int64_t j = key + warp * 16 + 2 * group + half;
      if (j >= a.keys) continue;
      OF_UNROLL
      for (int c = 0; c < kTiles; ++c) {
        const int column = c * 8 + quad * 2;
        if (column >= width) continue;
        *reinterpret_cast<uint32_t*>(results.dk + first_head.KeyAt(j) + column) =
            PackPair<T>(dk[c][2 * half] * static_cast<float>(a.scale),
                        dk[c][2 * half + 1] * static_cast<float>(a.scale));
        *reinterpret_cast<uint32_t*>(results.dv + first_head.ValueAt(j) + column) =
            PackPair<T>(dv[c][2 * half] * keep, dv[c][2 * half + 1] * keep);
      }
    }
  }
}

// dq from the sums of the shares. Block: a tile of queries of a head.
template <typename T, int kColumns>
__global__ void __launch_bounds__(kBlockThreads) JoinKernel(CudaAttention a, Results<T> results) {
  const int64_t tiles = (a.queries + kQueries<kColumns> - 1) / kQueries<kColumns>;
  const int64_t tile = int64_t{blockIdx.x} % tiles;
  const AttentionOperands none = {};
  const AttentionPairs<float> head(a, none, int64_t{blockIdx.x} / tiles / a.heads,
                                   int64_t{blockIdx.x} / tiles % a.heads);
  DqFragment<kColumns> dq;
  for (int share = 0; share < results.shares; ++share) {
    const int64_t key = int64_t{share} * results.tiles_of_share * kKeys;
    if (key >= a.keys || FirstTile<kColumns>(a, key) > tile) break;
    dq.Add(results.partial + dq.PlaceOf(a, results.shares, share, head.b, head.h, tile));
  }
  dq.Store(head, tile * kQueries<kColumns>, results.dq);
}

template <typename T, int kColumns>
CudaError Run(const CudaAttention& a, const CudaOperands& o, CudaStreamHandle stream) {
  RowNumbers* const rows = static_cast<RowNumbers*>(o.workspace);
  const T* const dout = static_cast<const T*>(o.in[5]);
  const int64_t count = a.batch * a.queries * a.heads;
  CudaError error = LaunchBlocks(
      &RowKernel<T, kColumns>, (count * (kColumns / kPiece) + kThreads - 1) / kThreads, kThreads,
      stream, a, static_cast<const T*>(o.in[3]), dout, static_cast<const float*>(o.in[4]),
      static_cast<const float*>(a.dlse_input < 0 ? nullptr : o.in[a.dlse_input]), rows);
  if (error != 0) return error;
  const Inputs<T> in = {static_cast<const T*>(o.in[0]),
                        static_cast<const T*>(o.in[1]),
                        static_cast<const T*>(o.in[2]),
                        dout,
                        rows,
                        AttentionOperandsOf(a, o)};
  // Behind the rows, whose bytes are rounded up to 32; not there where a block has all keys.
  float* const partial =
      static_cast<float*>(o.workspace) + (a.keys > kKeys ? (count + 3) / 4 * 8 : 0);
  const int shares = static_cast<int>(GradShares(kBlocks, a.batch, a.key_heads, a.keys));
  const int key_tiles = static_cast<int>((a.keys + kKeys - 1) / kKeys);
  const Results<T> results = {static_cast<T*>(o.out[0]),
                              static_cast<T*>(o.out[1]),
                              static_cast<T*>(o.out[2]),
                              partial,
                              shares,
                              (key_tiles + shares - 1) / shares};
  error = LaunchShared<kSpace<kColumns>>(&GradKernel<T, kColumns>, a.batch * a.key_heads * shares,
                                         kBlockThreads, stream, a, in, results);
  if (error != 0 || shares == 1) return error;
  const int64_t tiles = (a.queries + kQueries<kColumns> - 1) / kQueries<kColumns>;
  return LaunchBlocks(&JoinKernel<T, kColumns>, a.batch * a.heads * tiles, kBlockThreads, stream, a,
                      results);
}

}  // namespace

template <typename T>
CudaError TensorBackward(const CudaAttention& a, const CudaOperands& o, CudaStreamHandle stream) {
  return AttentionColumns(a.width) == 64 ? Run<T, 64>(a, o, stream) : Run<T, 128>(a, o, stream);
}
template CudaError TensorBackward<BF16>(const CudaAttention&, const CudaOperands&,
                                        CudaStreamHandle);
template CudaError TensorBackward<F16>(const CudaAttention&, const CudaOperands&, CudaStreamHandle);

}  // namespace oneflow::kernels
