// attention and attention_grad: formulas as in kernels/cpu/attention.cc, in tiles of queries by keys, so
// that no [queries, keys] matrix is ever in memory. f32, and bf16 and f16 of the widths that tensor cores
// do not take (attention_tensor.h); sums, softmax and lse are f32. f64 is in attention_double.cu.
//
// A block has a tile of queries (of keys in the pass for dk and dv) and kTile columns of the result, and
// goes over the other side tile by tile; heads wider than kTile compute their scores once for each kTile
// columns. Backward makes two passes, dq and (dk, dv), so that every sum has one owner and a fixed order:
// no float is added atomically. Dropout draws the bits of kernels/cpu/dropout_mask.h, a draw per weight.
//
// Operations for a pair of a query and a key of widths d = e = kTile: forward 4 d + 30, backward 14 d +
// 60 (the least is 10 d: scores and their slopes are computed in both passes); causal half the tiles.
// Bytes: q, k, v, out once, and k and v once more for each tile of queries. Workspace: f32 per row of the
// backward pass. Bound by operations; predicted 25 % of a GPU's f32 rate.
#include <cstring>
#include <limits>
#include <type_traits>

#include "base/dtype.h"
#include "kernels/cuda/attention_pairs.h"
#include "kernels/cuda/attention_problem.h"
#include "kernels/cuda/attention_tensor.h"
#include "kernels/cuda/families.h"
#include "kernels/cuda/tile_product.h"
#include "kernels/scalar/functions.h"

namespace oneflow::kernels {
namespace {

constexpr int kLanes = kTileThreads / kTile;  // threads of a row of scores
constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <typename T>
struct Operands {
  const T* q;
  const T* k;
  const T* v;
  AttentionOperands extra;
};

// One head of q with its head of k, and a tile of their pairs.
template <typename T>
struct Head : AttentionPairs<float> {
  const T* q;
  const T* k;
  const T* v;

  __device__ __forceinline__ Head(const CudaAttention& problem, const Operands<T>& operands,
                                  int64_t batch, int64_t head)
      : AttentionPairs<float>(problem, operands.extra, batch, head),
        q(operands.q),
        k(operands.k),
        v(operands.v) {}

  // sums += q k' for the tile of pairs that begins at (query, key).
  __device__ __forceinline__ void Products(TileSums* sums, TileSpace* space, int64_t query,
                                           int64_t key) const {
    AddProduct<true, true>(
        sums, space, 0, a.width,
        [&](int i, int64_t c) {
          return query + i < a.queries ? static_cast<float>(q[QueryAt(query + i) + c]) : 0.0f;
        },
        [&](int64_t c, int j) {
          return key + j < a.keys ? static_cast<float>(k[KeyAt(key + j) + c]) : 0.0f;
        });
  }
};

__device__ __forceinline__ float WeightOf(float score, float base) {
  return score == -kInfinity ? 0.0f : ExpF(score - base);
}

// Block: a tile of queries of a head, kTile columns of out.
template <typename T>
__global__ void ForwardKernel(CudaAttention a, Operands<T> in, T* out, float* lse) {
  __shared__ TileSpace space;
  __shared__ float weights[kTile][kTile + 1];
  __shared__ float lane_most[kTile][kLanes], lane_sum[kTile][kLanes];
  __shared__ float row_most[kTile], row_sum[kTile], row_factor[kTile];
  const int64_t tiles = (a.queries + kTile - 1) / kTile;
  const int64_t chunks = (a.value_width + kTile - 1) / kTile;
  const T* v = in.v;
  for (int64_t item = blockIdx.x; item < a.batch * a.heads * tiles * chunks; item += gridDim.x) {
    const int64_t column = item % chunks * kTile;
    const int64_t query = item / chunks % tiles * kTile;
    const int64_t h = item / chunks / tiles % a.heads;
    const Head<T> head(a, in, item / chunks / tiles / a.heads, h);
    const int row = static_cast<int>(threadIdx.x) / kLanes;
    const int lane = static_cast<int>(threadIdx.x) % kLanes;
    if (lane == 0) {
      row_most[row] = -kInfinity;
      row_sum[row] = 0;
    }
    TileSums sums;
    const int64_t last = query + kTile < a.queries ? query + kTile - 1 : a.queries - 1;
    for (int64_t key = 0; key < head.Seen(last); key += kTile) {
      TileSums scores;
      head.Products(&scores, &space, query, key);
      scores.ForEach([&](int i, int j, const float* product) {
        weights[i][j] = head.Score(query + i, key + j, *product);
      });
      __syncthreads();
      float most = -kInfinity;
      for (int j = lane; j < kTile; j += kLanes) {
        most = weights[row][j] > most ? weights[row][j] : most;
      }
      lane_most[row][lane] = most;
      __syncthreads();
      const float before = row_most[row];
      most = before;
      for (int l = 0; l < kLanes; ++l) most = lane_most[row][l] > most ? lane_most[row][l] : most;
      const float base = most == -kInfinity ? 0.0f : most;
      float sum = 0;
      for (int j = lane; j < kTile; j += kLanes) {
        const float weight = WeightOf(weights[row][j], base);
        sum += weight;
        weights[row][j] = weight == 0 ? 0.0f : weight * head.Keep(query + row, key + j);
      }
      lane_sum[row][lane] = sum;
      __syncthreads();
      if (lane == 0) {
        const float factor = WeightOf(before, base);
        float total = row_sum[row] * factor;
        for (int l = 0; l < kLanes; ++l) total += lane_sum[row][l];
        row_sum[row] = total;
        row_most[row] = most;
        row_factor[row] = factor;
      }
      __syncthreads();
      sums.ForEach([&](int i, int, float* sum) { *sum *= row_factor[i]; });
      AddProduct<true, false>(
          &sums, &space, 0, kTile, [&](int i, int64_t j) { return weights[i][j]; },
          [&](int64_t j, int c) {
            return key + j < a.keys && column + c < a.value_width
                       ? static_cast<float>(v[head.ValueAt(key + j) + column + c])
                       : 0.0f;
          });
    }
    __syncthreads();
    sums.ForEach([&](int i, int c, const float* sum) {
      if (query + i >= a.queries || column + c >= a.value_width) return;
      const float total = row_sum[i];  // 0: it saw nothing
      out[head.OutAt(query + i) + column + c] = T(total == 0 ? 0.0f : *sum * (1.0f / total));
    });
    if (column == 0 && lane == 0 && query + row < a.queries) {
      const float total = row_sum[row];
      lse[head.RowAt(query + row)] = total == 0 ? -kInfinity : row_most[row] + std::log(total);
    }
    __syncthreads();
  }
}

struct Slopes {
  const void* dout;
  const float* lse;
  const float* dot;  // of out and dout, less dlse
};

// dot of each row.
template <typename T>
__global__ void DotKernel(CudaAttention a, const T* out, const T* dout, const float* dlse,
                          float* dot) {
  for (int64_t at = FirstItem(); at < a.batch * a.heads * a.queries; at += ItemStride()) {
    const int64_t i = at % a.queries;
    const int64_t h = at / a.queries % a.heads;
    const int64_t b = at / a.queries / a.heads;
    const int64_t first = ((b * a.queries + i) * a.heads + h) * a.value_width;
    float total = 0;
    for (int64_t c = 0; c < a.value_width; ++c) {
      total = MultiplyAdd(static_cast<float>(out[first + c]), static_cast<float>(dout[first + c]),
                          total);
    }
    dot[at] = dlse == nullptr ? total : total - dlse[at];
  }
}

// For the tile of pairs at (query, key): weights (nullptr: not wanted) are what multiplied v, slopes the
// gradients of the products q k'. Ends behind a barrier.
template <typename T>
__device__ __forceinline__ void SlopeTile(const Head<T>& head, const Slopes& in, TileSpace* space,
                                          int64_t query, int64_t key, float (*weights)[kTile + 1],
                                          float (*slopes)[kTile + 1]) {
  const CudaAttention& a = head.a;
  const T* dout = static_cast<const T*>(in.dout);
  const T* v = head.v;
  const float scale = static_cast<float>(a.scale);
  TileSums scores, gradients;
  head.Products(&scores, space, query, key);
  AddProduct<true, true>(
      &gradients, space, 0, a.value_width,
      [&](int i, int64_t c) {
        return query + i < a.queries ? static_cast<float>(dout[head.OutAt(query + i) + c]) : 0.0f;
      },
      [&](int64_t c, int j) {
        return key + j < a.keys ? static_cast<float>(v[head.ValueAt(key + j) + c]) : 0.0f;
      });
  OF_UNROLL
  for (int r = 0; r < kRowsEach; ++r) {
    const int i = TileSums::Row() + r;
    const bool real = query + i < a.queries;
    const float lse = real ? in.lse[head.RowAt(query + i)] : -kInfinity;
    const float dot = real ? in.dot[head.RowAt(query + i)] : 0.0f;
    OF_UNROLL
    for (int c = 0; c < kColumnsEach; ++c) {
      const int j = TileSums::Column() + c;
      const float score = head.Score(query + i, key + j, scores.sum[r][c]);
      const float weight = lse == -kInfinity ? 0.0f : WeightOf(score, lse);
      const float keep = weight == 0 ? 0.0f : head.Keep(query + i, key + j);
      if (weights != nullptr) weights[i][j] = weight * keep;
      slopes[i][j] = weight * (gradients.sum[r][c] * keep - dot) * scale;
    }
  }
  __syncthreads();
}

// Block: a tile of queries of a head, kTile columns of dq.
template <typename T>
__global__ void QueryGradKernel(CudaAttention a, Operands<T> in, Slopes slopes_in, T* dq) {
  __shared__ TileSpace space;
  __shared__ float slopes[kTile][kTile + 1];
  const int64_t tiles = (a.queries + kTile - 1) / kTile;
  const int64_t chunks = (a.width + kTile - 1) / kTile;
  const T* k = in.k;
  for (int64_t item = blockIdx.x; item < a.batch * a.heads * tiles * chunks; item += gridDim.x) {
    const int64_t column = item % chunks * kTile;
    const int64_t query = item / chunks % tiles * kTile;
    const int64_t h = item / chunks / tiles % a.heads;
    const Head<T> head(a, in, item / chunks / tiles / a.heads, h);
    TileSums sums;
    const int64_t last = query + kTile < a.queries ? query + kTile - 1 : a.queries - 1;
    for (int64_t key = 0; key < head.Seen(last); key += kTile) {
      SlopeTile<T>(head, slopes_in, &space, query, key, nullptr, slopes);
      AddProduct<true, false>(
          &sums, &space, 0, kTile, [&](int i, int64_t j) { return slopes[i][j]; },
          [&](int64_t j, int c) {
            return key + j < a.keys && column + c < a.width
                       ? static_cast<float>(k[head.KeyAt(key + j) + column + c])
                       : 0.0f;
          });
    }
    sums.ForEach([&](int i, int c, const float* sum) {
      if (query + i < a.queries && column + c < a.width) {
        dq[head.QueryAt(query + i) + column + c] = T(*sum);
      }
    });
  }
}

// Block: a tile of keys of a head of k, kTile columns of dk and of dv; over the heads of q in order.
template <typename T>
__global__ void KeyGradKernel(CudaAttention a, Operands<T> in, Slopes slopes_in, T* dk, T* dv) {
  __shared__ TileSpace space;
  __shared__ float weights[kTile][kTile + 1];
  __shared__ float slopes[kTile][kTile + 1];
  const int64_t tiles = (a.keys + kTile - 1) / kTile;
  const int64_t widest = a.width > a.value_width ? a.width : a.value_width;
  const int64_t chunks = (widest + kTile - 1) / kTile;
  const int64_t group = a.heads / a.key_heads;
  const T* q = in.q;
  const T* dout = static_cast<const T*>(slopes_in.dout);
  for (int64_t item = blockIdx.x; item < a.batch * a.key_heads * tiles * chunks;
       item += gridDim.x) {
    const int64_t column = item % chunks * kTile;
    const int64_t key = item / chunks % tiles * kTile;
    const int64_t g = item / chunks / tiles % a.key_heads;
    const int64_t b = item / chunks / tiles / a.key_heads;
    TileSums key_sums, value_sums;
    for (int64_t h = g * group; h < (g + 1) * group; ++h) {
      const Head<T> head(a, in, b, h);
      // The first query that sees any of these keys.
      const int64_t first = a.causal && key > a.first_query ? key - a.first_query : 0;
      for (int64_t query = first / kTile * kTile; query < a.queries; query += kTile) {
        SlopeTile<T>(head, slopes_in, &space, query, key, weights, slopes);
        AddProduct<false, false>(
            &value_sums, &space, 0, kTile, [&](int j, int64_t i) { return weights[i][j]; },
            [&](int64_t i, int c) {
              return query + i < a.queries && column + c < a.value_width
                         ? static_cast<float>(dout[head.OutAt(query + i) + column + c])
                         : 0.0f;
            });
        AddProduct<false, false>(
            &key_sums, &space, 0, kTile, [&](int j, int64_t i) { return slopes[i][j]; },
            [&](int64_t i, int c) {
              return query + i < a.queries && column + c < a.width
                         ? static_cast<float>(q[head.QueryAt(query + i) + column + c])
                         : 0.0f;
            });
      }
    }
    const Head<T> head(a, in, b, g * group);
    key_sums.ForEach([&](int j, int c, const float* sum) {
      if (key + j < a.keys && column + c < a.width) {
        dk[head.KeyAt(key + j) + column + c] = T(*sum);
      }
    });
    value_sums.ForEach([&](int j, int c, const float* sum) {
      if (key + j < a.keys && column + c < a.value_width) {
        dv[head.ValueAt(key + j) + column + c] = T(*sum);
      }
    });
  }
}

int64_t Tiles(int64_t extent) { return (extent + kTile - 1) / kTile; }
int64_t Blocks(int64_t items) { return std::min<int64_t>(items, 1 << 20); }

template <typename T>
Operands<T> OperandsOf(const CudaAttention& a, const CudaOperands& o) {
  return {static_cast<const T*>(o.in[0]), static_cast<const T*>(o.in[1]),
          static_cast<const T*>(o.in[2]), AttentionOperandsOf(a, o)};
}

template <typename T>
CudaError Forward(const CudaAttention* a, const CudaOperands* o, CudaStreamHandle stream) {
  if constexpr (!std::is_same_v<T, float>) {
    if (TakesTensorCores(*a, *o, true)) return TensorForward<T>(*a, *o, stream);
  }
  const int64_t items = a->batch * a->heads * Tiles(a->queries) * Tiles(a->value_width);
  return LaunchBlocks(&ForwardKernel<T>, Blocks(items), kTileThreads, stream, *a,
                      OperandsOf<T>(*a, *o), static_cast<T*>(o->out[0]),
                      static_cast<float*>(o->out[1]));
}

template <typename T>
CudaError Backward(const CudaAttention* a, const CudaOperands* o, CudaStreamHandle stream) {
  if constexpr (!std::is_same_v<T, float>) {
    if (TakesTensorCores(*a, *o, false)) return TensorBackward<T>(*a, *o, stream);
  }
  const T* dout = static_cast<const T*>(o->in[5]);
  float* dot = static_cast<float*>(o->workspace);
  CudaError error =
      Launch(&DotKernel<T>, BlocksFor(a->batch * a->heads * a->queries), kThreads, stream, *a,
             static_cast<const T*>(o->in[3]), dout,
             static_cast<const float*>(a->dlse_input < 0 ? nullptr : o->in[a->dlse_input]), dot);
  if (error != 0) return error;
  const Slopes slopes = {dout, static_cast<const float*>(o->in[4]), dot};
  const Operands<T> in = OperandsOf<T>(*a, *o);
  error = LaunchBlocks(&QueryGradKernel<T>,
                       Blocks(a->batch * a->heads * Tiles(a->queries) * Tiles(a->width)),
                       kTileThreads, stream, *a, in, slopes, static_cast<T*>(o->out[0]));
  if (error != 0) return error;
  const int64_t items =
      a->batch * a->key_heads * Tiles(a->keys) * Tiles(std::max(a->width, a->value_width));
  return LaunchBlocks(&KeyGradKernel<T>, Blocks(items), kTileThreads, stream, *a, in, slopes,
                      static_cast<T*>(o->out[1]), static_cast<T*>(o->out[2]));
}

}  // namespace

CudaRun<CudaAttention> FindAttention(bool backward, int32_t number) {
  const DType dtype = static_cast<DType>(number);
  if (dtype == DType::kF32) return backward ? &Backward<float> : &Forward<float>;
  if (dtype == DType::kBF16) return backward ? &Backward<BF16> : &Forward<BF16>;
  if (dtype == DType::kF16) return backward ? &Backward<F16> : &Forward<F16>;
  return dtype == DType::kF64 ? FindDoubleAttention(!backward) : nullptr;
}

}  // namespace oneflow::kernels
