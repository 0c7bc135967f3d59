// layer_norm and rms_norm over the last dims, and their gradients: formulas as in
// kernels/cpu/layer_norm.cc, in the compute type (float for bf16 and f16), sums over rows in f64.
//
// Rows of up to kWarpPacks packs a lane (1024 in f32, 2048 in 16 bits) have a warp each, which reads them
// by 16 bytes into registers and joins without barriers; others, and those that begin elsewhere, a block,
// the first kHeld elements of whose threads stay in registers between the passes. So a row of up to 2048
// is read from memory once. Bytes per element of type T: forward 2 T (read x, write y), gradient 3 T,
// weight gradient 2 T, layer_norm's both in one 3 T. Operations: 8, 12, 6, 16 an element, so all are bound by
// bytes. Measured on an H100, rows of 1024, of the copy rate: forward 91 % in f32 and 77 % in bf16, gradient 96 %
// and 88 %, weight gradient 86 % and 74 %.
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <type_traits>

#include "base/dtype.h"
#include "kernels/cuda/block_join.h"
#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/families.h"
#include "kernels/cuda/shares.h"
#include "kernels/scalar/types.h"

namespace oneflow::kernels {
namespace {

constexpr int kHeld = 8;

// This thread's elements of a row.
template <typename T>
struct ThreadRow {
  using C = Compute<T>;
  const T* row;
  int64_t n;
  C held[kHeld];

  __device__ __forceinline__ ThreadRow(const T* at, int64_t count) : row(at), n(count) {
    OF_UNROLL
    for (int k = 0; k < kHeld; ++k) {
      const int64_t i = threadIdx.x + int64_t{k} * blockDim.x;
      held[k] = i < n ? static_cast<C>(row[i]) : C{0};
    }
  }
  // body(i, k): element i, which is held[k] if k < kHeld.
  template <typename Body>
  __device__ __forceinline__ static void ForEach(int64_t n, const Body& body) {
    OF_UNROLL
    for (int k = 0; k < kHeld; ++k) {
      const int64_t i = threadIdx.x + int64_t{k} * blockDim.x;
      if (i < n) body(i, k);
    }
    for (int64_t i = threadIdx.x + int64_t{kHeld} * blockDim.x; i < n; i += blockDim.x) {
      body(i, kHeld);
    }
  }
  __device__ __forceinline__ C At(int64_t i, int k) const {
    return k < kHeld ? held[k < kHeld ? k : 0] : static_cast<C>(row[i]);
  }
};

template <typename T, bool kCentered>
__global__ void NormKernel(CudaNorm p, const T* x, const T* weight, const T* bias, T* y,
                           Compute<T>* mean_out, Compute<T>* rstd_out) {
  using C = Compute<T>;
  __shared__ C space[kThreads];
  const C count = static_cast<C>(p.n);
  for (int64_t row = blockIdx.x; row < p.rows; row += gridDim.x) {
    const ThreadRow<T> in(x + row * p.n, p.n);
    C mean = 0;
    if constexpr (kCentered) {
      C sum = 0;
      in.ForEach(p.n, [&](int64_t i, int k) { sum += in.At(i, k); });
      mean = BlockJoin(sum, space, Plus()) / count;
    }
    C square = 0;
    in.ForEach(p.n, [&](int64_t i, int k) {
      const C centred = in.At(i, k) - mean;
      square += centred * centred;
    });
    square = BlockJoin(square, space, Plus());
    const C rstd = C{1} / std::sqrt(square / count + static_cast<C>(p.eps));
    in.ForEach(p.n, [&](int64_t i, int k) {
      C value = (in.At(i, k) - mean) * rstd;
      if (p.has_weight) value = value * static_cast<C>(weight[i]);
      if (p.has_bias) value = value + static_cast<C>(bias[i]);
      y[row * p.n + i] = T(value);
    });
    if (threadIdx.x == 0) {
      if constexpr (kCentered) mean_out[row] = mean;
      rstd_out[row] = rstd;
    }
  }
}

// A row in the registers of a warp, a block of its own.
inline constexpr int kWarpPacks = 8;
template <typename T>
struct WarpRow {
  using C = Compute<T>;
  using Packed = Pack<T, kPacked<T>>;
  Packed held[kWarpPacks];

  __device__ __forceinline__ WarpRow(const T* row, int64_t n) {
    ForEachPack(n, [&](int64_t i, int k) { held[k] = reinterpret_cast<const Packed*>(row)[i]; });
  }
  // body(i, k): pack i of the row, which is held[k].
  template <typename Body>
  __device__ __forceinline__ static void ForEachPack(int64_t n, const Body& body) {
    OF_UNROLL
    for (int k = 0; k < kWarpPacks; ++k) {
      const int64_t i = threadIdx.x + k * 32;
      if (i < n / kPacked<T>) body(i, k);
    }
  }
  __device__ __forceinline__ C At(int k, int e) const { return held[k].item[e]; }
};
// Numbers by column, `none` where there are none.
template <typename T>
__device__ __forceinline__ Pack<T, kPacked<T>> ColumnPack(const T* columns, int64_t i, float none) {
  if (columns != nullptr) return reinterpret_cast<const Pack<T, kPacked<T>>*>(columns)[i];
  Pack<T, kPacked<T>> pack;
  OF_UNROLL
  for (int e = 0; e < kPacked<T>; ++e) pack.item[e] = T(none);
  return pack;
}

template <typename T, bool kCentered>
__global__ void WarpNormKernel(CudaNorm p, const T* x, const T* weight, const T* bias, T* y,
                               Compute<T>* mean_out, Compute<T>* rstd_out) {
  using C = Compute<T>;
  using Row = WarpRow<T>;
  __shared__ C space[kThreads];
  const C count = static_cast<C>(p.n);
  for (int64_t row = blockIdx.x; row < p.rows; row += gridDim.x) {
    const Row in(x + row * p.n, p.n);
    C mean = 0;
    if constexpr (kCentered) {
      C sum = 0;
      Row::ForEachPack(p.n, [&](int64_t, int k) {
        OF_UNROLL
        for (int e = 0; e < kPacked<T>; ++e) sum += in.At(k, e);
      });
      mean = BlockJoin(sum, space, Plus()) / count;
    }
    C square = 0;
    Row::ForEachPack(p.n, [&](int64_t, int k) {
      OF_UNROLL
      for (int e = 0; e < kPacked<T>; ++e) {
        const C centred = in.At(k, e) - mean;
        square += centred * centred;
      }
    });
    square = BlockJoin(square, space, Plus());
    const C rstd = C{1} / std::sqrt(square / count + static_cast<C>(p.eps));
    Row::ForEachPack(p.n, [&](int64_t i, int k) {
      const auto scale = ColumnPack(weight, i, 1);
      const auto shift = ColumnPack(bias, i, 0);
      typename Row::Packed result;
      OF_UNROLL
      for (int e = 0; e < kPacked<T>; ++e) {
        C value = (in.At(k, e) - mean) * rstd;
        if (weight != nullptr) value = value * static_cast<C>(scale.item[e]);
        if (bias != nullptr) value = value + static_cast<C>(shift.item[e]);
        result.item[e] = T(value);
      }
      reinterpret_cast<typename Row::Packed*>(y + row * p.n)[i] = result;
    });
    if (threadIdx.x == 0) {
      if constexpr (kCentered) mean_out[row] = mean;
      rstd_out[row] = rstd;
    }
  }
}

template <typename T, bool kCentered>
__global__ void WarpNormGradKernel(CudaNorm p, const T* x, const T* dy, const Compute<T>* mean_in,
                                   const Compute<T>* rstd_in, const T* weight, T* dx) {
  using C = Compute<T>;
  using Row = WarpRow<T>;
  __shared__ C space[kThreads];
  const C count = static_cast<C>(p.n);
  for (int64_t row = blockIdx.x; row < p.rows; row += gridDim.x) {
    const C mean = kCentered ? mean_in[row] : C{0};
    const C rstd = rstd_in[row];
    const Row in(x + row * p.n, p.n);
    const Row slope(dy + row * p.n, p.n);
    C along = 0, shift = 0;
    Row::ForEachPack(p.n, [&](int64_t i, int k) {
      const auto scale = ColumnPack(weight, i, 1);
      OF_UNROLL
      for (int e = 0; e < kPacked<T>; ++e) {
        const C g = slope.At(k, e) * static_cast<C>(scale.item[e]);
        along += g * (in.At(k, e) - mean);
        shift += g;
      }
    });
    along = BlockJoin(along, space, Plus()) * rstd * rstd / count;
    shift = kCentered ? BlockJoin(shift, space, Plus()) / count : C{0};
    Row::ForEachPack(p.n, [&](int64_t i, int k) {
      const auto scale = ColumnPack(weight, i, 1);
      typename Row::Packed result;
      OF_UNROLL
      for (int e = 0; e < kPacked<T>; ++e) {
        const C g = slope.At(k, e) * static_cast<C>(scale.item[e]);
        result.item[e] = T(rstd * (g - shift - (in.At(k, e) - mean) * along));
      }
      reinterpret_cast<typename Row::Packed*>(dx + row * p.n)[i] = result;
    });
  }
}

template <typename T, bool kCentered>
__global__ void NormGradKernel(CudaNorm p, const T* x, const T* dy, const Compute<T>* mean_in,
                               const Compute<T>* rstd_in, const T* weight, T* dx) {
  using C = Compute<T>;
  __shared__ C space[kThreads];
  const C count = static_cast<C>(p.n);
  for (int64_t row = blockIdx.x; row < p.rows; row += gridDim.x) {
    const C mean = kCentered ? mean_in[row] : C{0};
    const C rstd = rstd_in[row];
    const ThreadRow<T> in(x + row * p.n, p.n);
    const ThreadRow<T> slope(dy + row * p.n, p.n);
    const auto gradient = [&](int64_t i, int k) {
      return p.has_weight ? slope.At(i, k) * static_cast<C>(weight[i]) : slope.At(i, k);
    };
    C along = 0, shift = 0;
    in.ForEach(p.n, [&](int64_t i, int k) {
      const C g = gradient(i, k);
      along += g * (in.At(i, k) - mean);
      shift += g;
    });
    along = BlockJoin(along, space, Plus()) * rstd * rstd / count;
    shift = kCentered ? BlockJoin(shift, space, Plus()) / count : C{0};
    in.ForEach(p.n, [&](int64_t i, int k) {
      dx[row * p.n + i] = T(rstd * (gradient(i, k) - shift - (in.At(i, k) - mean) * along));
    });
  }
}

// dweight = sum dy * xhat, dbias = sum dy.
template <typename Element, bool kCentered>
struct WeightSums {
  using T = Element;
  using C = Compute<T>;
  static constexpr int kSums = kCentered ? 2 : 1;
  static constexpr int kRows = 4;
  int64_t n;
  const T* x;
  const T* dy;
  const C* mean;
  const C* rstd;
  T* dweight;
  T* dbias;

  template <int kCount>
  struct Own {
    __device__ __forceinline__ Own(const WeightSums&, const ColumnPlace&) {}
  };
  template <int kCount>
  struct Row {
    Pack<T, kCount> x, dy;
    C centre, rstd;
  };
  template <int kCount>
  __device__ __forceinline__ Row<kCount> Load(int64_t row, int64_t column) const {
    return {*reinterpret_cast<const Pack<T, kCount>*>(x + row * n + column),
            *reinterpret_cast<const Pack<T, kCount>*>(dy + row * n + column),
            kCentered ? mean[row] : C{0}, rstd[row]};
  }
  template <int kCount>
  __device__ __forceinline__ void Add(const Row<kCount>& row, const Own<kCount>&,
                                      double (&totals)[kSums][kCount]) const {
    OF_UNROLL
    for (int k = 0; k < kCount; ++k) {
      const C slope = row.dy.item[k];
      totals[0][k] += slope * (static_cast<C>(row.x.item[k]) - row.centre) * row.rstd;
      if constexpr (kCentered) totals[1][k] += slope;
    }
  }
  __device__ __forceinline__ void Write(const ColumnPlace& at, const double* totals) const {
    dweight[at.column] = T(static_cast<C>(totals[0]));
    if constexpr (kCentered) dbias[at.column] = T(static_cast<C>(totals[1]));
  }
};

// The columns of a row that a lane of a warp has: packs `lane`, `lane` + 32, ...
inline constexpr int kLaneColumns = kRowColumns / 32;
#ifdef __CUDACC__
inline constexpr int kWarps = kBlockWarps;
#else
inline constexpr int kWarps = 2;  // fibers are dear
#endif

// layer_norm's three gradients: dx, and of a block's rows the sums that dweight and dbias are made of, f64 [blocks, 2,
// n]. A warp has every so many rows. All of a row is on its way before any of it is needed; the sums of a lane's columns
// stay in registers from row to row. So 3 T an element are moved, where two kernels move 5 T.
// 64 sums and 64 elements a lane need more than 128 registers: a multiprocessor has one block, of twelve warps with 168
// each, which keep 96 KB under way.
// REQUIRES: GradsInOnePass.
template <typename T>
__global__ void __launch_bounds__(kWarps * 32, 1)
    NormGradsKernel(CudaNorm p, const T* x, const T* dy, const float* mean_in, const float* rstd_in,
                    const T* weight, T* dx, double* shares) {
  constexpr int kPack = kPacked<T>;
  constexpr int kPacks = kLaneColumns / kPack;
  using Packed = Pack<T, kPack>;
  __shared__ float space[kWarps][kRowColumns];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const float count = static_cast<float>(p.n);
  float of_weight[kLaneColumns] = {}, of_bias[kLaneColumns] = {};
  // All warps of a block go round as often, behind the last row with no packs.
  for (int64_t first = int64_t{blockIdx.x} * kWarps; first < p.rows;
       first += int64_t{gridDim.x} * kWarps) {
    const int64_t row = first + warp;
    const int packs = row < p.rows ? static_cast<int>(p.n / kPack) : 0;
    const auto each_pack = [&](const auto& body) {
      OF_UNROLL
      for (int k = 0; k < kPacks; ++k) {
        const int i = lane + k * 32;
        if (i < packs) body(i, k);
      }
    };
    Packed in[kPacks], slope[kPacks];
    each_pack([&](int i, int k) {
      in[k] = reinterpret_cast<const Packed*>(x + row * p.n)[i];
      slope[k] = reinterpret_cast<const Packed*>(dy + row * p.n)[i];
    });
    const float mean = packs > 0 ? mean_in[row] : 0;
    const float rstd = packs > 0 ? rstd_in[row] : 0;
    float along = 0, shift = 0;
    each_pack([&](int i, int k) {
      const auto scale = ColumnPack(weight, i, 1);
      OF_UNROLL
      for (int e = 0; e < kPack; ++e) {
        const float up = slope[k].item[e];
        const float centred = static_cast<float>(in[k].item[e]) - mean;
        const float g = up * static_cast<float>(scale.item[e]);
        along += g * centred;
        shift += g;
        of_weight[k * kPack + e] += up * centred * rstd;
        of_bias[k * kPack + e] += up;
      }
    });
    along = WarpJoin(along, space[0], Plus()) * rstd * rstd / count;
    shift = WarpJoin(shift, space[0], Plus()) / count;
    each_pack([&](int i, int k) {
      const auto scale = ColumnPack(weight, i, 1);
      Packed result;
      OF_UNROLL
      for (int e = 0; e < kPack; ++e) {
        const float g = static_cast<float>(slope[k].item[e]) * static_cast<float>(scale.item[e]);
        const float centred = static_cast<float>(in[k].item[e]) - mean;
        result.item[e] = T(rstd * (g - shift - centred * along));
      }
      reinterpret_cast<Packed*>(dx + row * p.n)[i] = result;
    });
  }
  const auto join = [&](const float(&sums)[kLaneColumns], int which) {
    OF_UNROLL
    for (int c = 0; c < kLaneColumns; ++c) {
      space[warp][(lane + c / kPack * 32) * kPack + c % kPack] = sums[c];
    }
    __syncthreads();
    for (int column = static_cast<int>(threadIdx.x); column < p.n; column += kWarps * 32) {
      double total = 0;
      for (int w = 0; w < kWarps; ++w) total += static_cast<double>(space[w][column]);
      shares[(int64_t{blockIdx.x} * 2 + which) * p.n + column] = total;
    }
    __syncthreads();
  };
  join(of_weight, 0);
  join(of_bias, 1);
}

template <typename T, bool kCentered>
struct Norm {
  using C = Compute<T>;
  static constexpr int kStats = kCentered ? 2 : 1;  // operands that hold statistics
  template <typename U>
  static const U* In(const CudaOperands& a, int i) {
    return static_cast<const U*>(a.in[i]);
  }
  template <typename U>
  static U* Out(const CudaOperands& a, int i) {
    return static_cast<U*>(a.out[i]);
  }
  static int64_t Blocks(const CudaNorm& p) { return std::min(p.rows, 16 * kMaxBlocks); }
  // Whether warps take the rows. What may be absent is nullptr, which is aligned.
  static bool ByWarps(const CudaNorm& p, std::initializer_list<const void*> operands) {
    bool packed = p.n % kPacked<T> == 0 && p.n <= 32 * kWarpPacks * kPacked<T>;
    for (const void* data : operands) {
      packed = packed && IsAligned(data, alignof(Pack<T, kPacked<T>>));
    }
    return packed;
  }

  static CudaError Forward(const CudaNorm* p, const CudaOperands* a, CudaStreamHandle stream) {
    const T* weight = p->has_weight ? In<T>(*a, 1) : nullptr;
    const T* bias = p->has_bias ? In<T>(*a, 2) : nullptr;
    const bool warps = ByWarps(*p, {a->in[0], weight, bias, a->out[0]});
    return LaunchBlocks(warps ? &WarpNormKernel<T, kCentered> : &NormKernel<T, kCentered>,
                        Blocks(*p), warps ? 32 : ThreadsForRow(p->n), stream, *p, In<T>(*a, 0),
                        weight, bias, Out<T>(*a, 0), kCentered ? Out<C>(*a, 1) : nullptr,
                        Out<C>(*a, kStats));
  }
  static CudaError Backward(const CudaNorm* p, const CudaOperands* a, CudaStreamHandle stream) {
    const T* weight = p->has_weight ? In<T>(*a, 2 + kStats) : nullptr;
    const bool warps = ByWarps(*p, {a->in[0], a->in[1], weight, a->out[0]});
    return LaunchBlocks(warps ? &WarpNormGradKernel<T, kCentered> : &NormGradKernel<T, kCentered>,
                        Blocks(*p), warps ? 32 : ThreadsForRow(p->n), stream, *p, In<T>(*a, 0),
                        In<T>(*a, 1), kCentered ? In<C>(*a, 2) : nullptr, In<C>(*a, 1 + kStats),
                        weight, Out<T>(*a, 0));
  }
  static CudaError Weights(const CudaNorm* p, const CudaOperands* a, CudaStreamHandle stream) {
    const WeightSums<T, kCentered> sums = {p->n,
                                           In<T>(*a, 0),
                                           In<T>(*a, 1),
                                           kCentered ? In<C>(*a, 2) : nullptr,
                                           In<C>(*a, 1 + kStats),
                                           Out<T>(*a, 0),
                                           kCentered ? Out<T>(*a, 1) : nullptr};
    return SumColumns(sums, {0, p->rows, p->n, p->splits}, {a->in[0], a->in[1]}, a->workspace,
                      stream);
  }
  // dx, dweight, dbias.
  static CudaError All(const CudaNorm* p, const CudaOperands* a, CudaStreamHandle stream) {
    if constexpr (kCentered && std::is_same_v<C, float>) {
      const T* weight = p->has_weight ? In<T>(*a, 4) : nullptr;
      if (GradsInOnePass(p->n, sizeof(T)) && ByWarps(*p, {a->in[0], a->in[1], weight, a->out[0]})) {
        double* shares = static_cast<double*>(a->workspace);
        const CudaError error = LaunchBlocks(&NormGradsKernel<T>, p->splits, kWarps * 32, stream,
                                             *p, In<T>(*a, 0), In<T>(*a, 1), In<float>(*a, 2),
                                             In<float>(*a, 3), weight, Out<T>(*a, 0), shares);
        if (error != 0) return error;
        const WeightSums<T, true> sums = {p->n,         In<T>(*a, 0),  In<T>(*a, 1), In<C>(*a, 2),
                                          In<C>(*a, 3), Out<T>(*a, 1), Out<T>(*a, 2)};
        return JoinShares(sums, {0, p->rows, p->n, p->splits}, shares, stream);
      }
    }
    const CudaError error = Backward(p, a, stream);
    if (error != 0) return error;
    CudaOperands weights = *a;
    ++weights.out;
    return Weights(p, &weights, stream);
  }
};

template <bool kCentered>
CudaRun<CudaNorm> FindPass(const char* pass, DType dtype) {
  return FindFloat<CudaRun<CudaNorm>>(dtype, [&]<typename T>() -> CudaRun<CudaNorm> {
    if (std::strcmp(pass, "") == 0) return &Norm<T, kCentered>::Forward;
    if (std::strcmp(pass, "_grad") == 0) return &Norm<T, kCentered>::Backward;
    if (std::strcmp(pass, "_weight_grad") == 0) return &Norm<T, kCentered>::Weights;
    if constexpr (kCentered) {
      if (std::strcmp(pass, "_grads") == 0) return &Norm<T, kCentered>::All;
    }
    return nullptr;
  });
}

CudaRun<CudaNorm> FindNorm(const char* op, int dtype) {
  if (std::strncmp(op, "layer_norm", 10) == 0) {
    return FindPass<true>(op + 10, static_cast<DType>(dtype));
  }
  if (std::strncmp(op, "rms_norm", 8) == 0) {
    return FindPass<false>(op + 8, static_cast<DType>(dtype));
  }
  return nullptr;
}

}  // namespace

void AddNorms(CudaApi* api) { api->find_norm = &FindNorm; }

}  // namespace oneflow::kernels
