// max_pool2d, avg_pool2d and their gradients over NHWC images: results as in kernels/cpu/pool.cc, and
// with its bits, for windows are added in its order. A thread per pack of neighbouring channels of the
// result where these lie on 16 bytes, else per element.
//
// Bytes: image and result once each, windows that overlap from the caches: predicted 60 % of the copy
// rate. The gradient of a maximum looks at the windows of a place again: kernel^2 reads for each, from
// the caches. An H100 took 0.6 and 1.2 ms for a maximum of 128 x 112 x 112 x 64 in bf16 and its gradient, whose
// bytes take 0.1 and 0.2, by elements and with divisions of 64 bits; by packs and 32 bits it has not run.
#include <cstring>
#include <initializer_list>
#include <limits>

#include "base/dtype.h"
#include "kernels/cuda/device_code.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/families.h"
#include "kernels/scalar/types.h"

namespace oneflow::kernels {
namespace {

struct Window {
  int64_t h0, h1, w0, w1;
};
__device__ __forceinline__ Window WindowAt(const CudaPool& p, int64_t i, int64_t j) {
  const int64_t top = i * p.stride[0] - p.padding[0];
  const int64_t left = j * p.stride[1] - p.padding[1];
  return {top > 0 ? top : 0, top + p.kernel[0] < p.h ? top + p.kernel[0] : p.h, left > 0 ? left : 0,
          left + p.kernel[1] < p.w ? left + p.kernel[1] : p.w};
}

// a / b of numbers that are not negative: a division of 32 bits costs a quarter.
__device__ __forceinline__ int64_t Quotient(int64_t a, int64_t b) {
  if (((a | b) >> 31) == 0) return static_cast<uint32_t>(a) / static_cast<uint32_t>(b);
  return a / b;
}

// Results along one dim whose windows hold place `at`.
struct Range {
  int64_t begin, end;
};
__device__ __forceinline__ Range WindowsOf(const CudaPool& p, int dim, int64_t at,
                                           int64_t results) {
  const int64_t last = Quotient(at + p.padding[dim], p.stride[dim]);
  const int64_t before =
      at + p.padding[dim] - p.kernel[dim];  // the last place that no window shares
  const int64_t begin = before < 0 ? 0 : Quotient(before, p.stride[dim]) + 1;
  return {begin, last + 1 < results ? last + 1 : results};
}

// An element [n, i, j, channel] of an image of `lines` by `columns`.
struct Element {
  int64_t n, i, j, channel;
};
__device__ __forceinline__ Element ElementAt(int64_t index, int64_t lines, int64_t columns,
                                             int64_t c) {
  const int64_t pixel = Quotient(index, c);
  const int64_t line = Quotient(pixel, columns);
  const int64_t n = Quotient(line, lines);
  return {n, line - n * lines, pixel - line * columns, index - pixel * c};
}

template <int kCount, typename T>
__global__ void MaxPoolKernel(CudaPool p, const T* x, T* y) {
  using C = Compute<T>;
  using Packed = Pack<T, kCount>;
  const int64_t packs = p.c / kCount;
  for (int64_t at = FirstItem(); at < p.n * p.p * p.q * packs; at += ItemStride()) {
    const Element e = ElementAt(at, p.p, p.q, packs);
    const Window window = WindowAt(p, e.i, e.j);
    C most[kCount];
    OF_UNROLL
    for (int k = 0; k < kCount; ++k) most[k] = -std::numeric_limits<C>::infinity();
    for (int64_t a = window.h0; a < window.h1; ++a) {
      for (int64_t b = window.w0; b < window.w1; ++b) {
        const Packed here =
            reinterpret_cast<const Packed*>(x)[((e.n * p.h + a) * p.w + b) * packs + e.channel];
        OF_UNROLL
        for (int k = 0; k < kCount; ++k) {
          const C value = here.item[k];
          most[k] = value > most[k] || value != value ? value : most[k];
        }
      }
    }
    Packed result;
    OF_UNROLL
    for (int k = 0; k < kCount; ++k) result.item[k] = T(most[k]);
    reinterpret_cast<Packed*>(y)[at] = result;
  }
}

template <typename T>
__global__ void MaxPoolGradKernel(CudaPool p, const T* x, const T* y, const T* dy, T* dx) {
  using C = Compute<T>;
  for (int64_t at = FirstItem(); at < p.n * p.h * p.w * p.c; at += ItemStride()) {
    const Element e = ElementAt(at, p.h, p.w, p.c);
    const Range lines = WindowsOf(p, 0, e.i, p.p);
    const Range columns = WindowsOf(p, 1, e.j, p.q);
    C total = 0;
    for (int64_t i = lines.begin; i < lines.end; ++i) {
      for (int64_t j = columns.begin; j < columns.end; ++j) {
        const int64_t out = ((e.n * p.p + i) * p.q + j) * p.c + e.channel;
        const C most = y[out];
        const auto wins = [&](int64_t a, int64_t b) {
          const C value = x[((e.n * p.h + a) * p.w + b) * p.c + e.channel];
          return value == most || (value != value && most != most);
        };
        if (!wins(e.i, e.j)) continue;
        // The first of the window that equals the maximum has the gradient.
        const Window window = WindowAt(p, i, j);
        bool first = true;
        for (int64_t a = window.h0; first && a <= e.i; ++a) {
          const int64_t end = a == e.i ? e.j : window.w1;
          for (int64_t b = window.w0; first && b < end; ++b) first = !wins(a, b);
        }
        if (first) total += static_cast<C>(dy[out]);
      }
    }
    dx[at] = T(total);
  }
}

// The same for a pack of channels: bit k of a mask is channel k of the pack.
template <typename T>
__global__ void MaxPoolGradPacksKernel(CudaPool p, const T* x, const T* y, const T* dy, T* dx) {
  using C = Compute<T>;
  using Packed = Pack<T, kPacked<T>>;
  const int64_t packs = p.c / kPacked<T>;
  const auto load = [](const T* data, int64_t pack) {
    return reinterpret_cast<const Packed*>(data)[pack];
  };
  for (int64_t at = FirstItem(); at < p.n * p.h * p.w * packs; at += ItemStride()) {
    const Element e = ElementAt(at, p.h, p.w, packs);
    const Range lines = WindowsOf(p, 0, e.i, p.p);
    const Range columns = WindowsOf(p, 1, e.j, p.q);
    C total[kPacked<T>] = {};
    for (int64_t i = lines.begin; i < lines.end; ++i) {
      for (int64_t j = columns.begin; j < columns.end; ++j) {
        const int64_t out = ((e.n * p.p + i) * p.q + j) * packs + e.channel;
        const Packed most = load(y, out);
        const auto wins = [&](int64_t a, int64_t b) {
          const Packed here = load(x, ((e.n * p.h + a) * p.w + b) * packs + e.channel);
          uint32_t mask = 0;
          OF_UNROLL
          for (int k = 0; k < kPacked<T>; ++k) {
            const C value = here.item[k], best = most.item[k];
            if (value == best || (value != value && best != best)) mask |= 1u << k;
          }
          return mask;
        };
        uint32_t first = wins(e.i, e.j);
        const Window window = WindowAt(p, i, j);
        for (int64_t a = window.h0; first != 0 && a <= e.i; ++a) {
          const int64_t end = a == e.i ? e.j : window.w1;
          for (int64_t b = window.w0; first != 0 && b < end; ++b) first &= ~wins(a, b);
        }
        if (first == 0) continue;
        const Packed slope = load(dy, out);
        OF_UNROLL
        for (int k = 0; k < kPacked<T>; ++k) {
          if ((first >> k & 1) != 0) total[k] += static_cast<C>(slope.item[k]);
        }
      }
    }
    Packed result;
    OF_UNROLL
    for (int k = 0; k < kPacked<T>; ++k) result.item[k] = T(total[k]);
    reinterpret_cast<Packed*>(dx)[at] = result;
  }
}

template <int kCount, typename T>
__global__ void AvgPoolKernel(CudaPool p, const T* x, T* y) {
  using C = Compute<T>;
  using Packed = Pack<T, kCount>;
  const C factor = C{1} / static_cast<C>(p.kernel[0] * p.kernel[1]);
  const int64_t packs = p.c / kCount;
  for (int64_t at = FirstItem(); at < p.n * p.p * p.q * packs; at += ItemStride()) {
    const Element e = ElementAt(at, p.p, p.q, packs);
    const Window window = WindowAt(p, e.i, e.j);
    C total[kCount] = {};
    for (int64_t a = window.h0; a < window.h1; ++a) {
      for (int64_t b = window.w0; b < window.w1; ++b) {
        const Packed here =
            reinterpret_cast<const Packed*>(x)[((e.n * p.h + a) * p.w + b) * packs + e.channel];
        OF_UNROLL
        for (int k = 0; k < kCount; ++k) total[k] += static_cast<C>(here.item[k]) * factor;
      }
    }
    Packed result;
    OF_UNROLL
    for (int k = 0; k < kCount; ++k) result.item[k] = T(total[k]);
    reinterpret_cast<Packed*>(y)[at] = result;
  }
}

template <int kCount, typename T>
__global__ void AvgPoolGradKernel(CudaPool p, const T* dy, T* dx) {
  using C = Compute<T>;
  using Packed = Pack<T, kCount>;
  const C factor = C{1} / static_cast<C>(p.kernel[0] * p.kernel[1]);
  const int64_t packs = p.c / kCount;
  for (int64_t at = FirstItem(); at < p.n * p.h * p.w * packs; at += ItemStride()) {
    const Element e = ElementAt(at, p.h, p.w, packs);
    const Range lines = WindowsOf(p, 0, e.i, p.p);
    const Range columns = WindowsOf(p, 1, e.j, p.q);
    C total[kCount] = {};
    for (int64_t i = lines.begin; i < lines.end; ++i) {
      for (int64_t j = columns.begin; j < columns.end; ++j) {
        const Packed slope =
            reinterpret_cast<const Packed*>(dy)[((e.n * p.p + i) * p.q + j) * packs + e.channel];
        OF_UNROLL
        for (int k = 0; k < kCount; ++k) total[k] += static_cast<C>(slope.item[k]) * factor;
      }
    }
    Packed result;
    OF_UNROLL
    for (int k = 0; k < kCount; ++k) result.item[k] = T(total[k]);
    reinterpret_cast<Packed*>(dx)[at] = result;
  }
}

template <typename T>
struct Pool {
  static const T* In(const CudaOperands& a, int i) { return static_cast<const T*>(a.in[i]); }
  static T* Out(const CudaOperands& a) { return static_cast<T*>(a.out[0]); }
  static bool Packed(const CudaPool& p, std::initializer_list<const void*> operands) {
    bool packed = p.c % kPacked<T> == 0;
    for (const void* data : operands) {
      packed = packed && IsAligned(data, alignof(Pack<T, kPacked<T>>));
    }
    return packed;
  }
  static int64_t Blocks(int64_t elements, bool packed) {
    return BlocksFor(packed ? elements / kPacked<T> : elements);
  }
  static int64_t Results(const CudaPool& p) { return p.n * p.p * p.q * p.c; }
  static int64_t Places(const CudaPool& p) { return p.n * p.h * p.w * p.c; }

  static CudaError Max(const CudaPool* p, const CudaOperands* a, CudaStreamHandle stream) {
    const bool packed = Packed(*p, {a->in[0], a->out[0]});
    return Launch(packed ? &MaxPoolKernel<kPacked<T>, T> : &MaxPoolKernel<1, T>,
                  Blocks(Results(*p), packed), kThreads, stream, *p, In(*a, 0), Out(*a));
  }
  static CudaError MaxGrad(const CudaPool* p, const CudaOperands* a, CudaStreamHandle stream) {
    const bool packed = Packed(*p, {a->in[0], a->in[1], a->in[2], a->out[0]});
    return Launch(packed ? &MaxPoolGradPacksKernel<T> : &MaxPoolGradKernel<T>,
                  Blocks(Places(*p), packed), kThreads, stream, *p, In(*a, 0), In(*a, 1), In(*a, 2),
                  Out(*a));
  }
  static CudaError Avg(const CudaPool* p, const CudaOperands* a, CudaStreamHandle stream) {
    const bool packed = Packed(*p, {a->in[0], a->out[0]});
    return Launch(packed ? &AvgPoolKernel<kPacked<T>, T> : &AvgPoolKernel<1, T>,
                  Blocks(Results(*p), packed), kThreads, stream, *p, In(*a, 0), Out(*a));
  }
  static CudaError AvgGrad(const CudaPool* p, const CudaOperands* a, CudaStreamHandle stream) {
    const bool packed = Packed(*p, {a->in[0], a->out[0]});
    return Launch(packed ? &AvgPoolGradKernel<kPacked<T>, T> : &AvgPoolGradKernel<1, T>,
                  Blocks(Places(*p), packed), kThreads, stream, *p, In(*a, 0), Out(*a));
  }
};

CudaRun<CudaPool> FindPool(const char* op, int dtype) {
  using Found = CudaRun<CudaPool>;
  return FindFloat<Found>(static_cast<DType>(dtype), [&]<typename T>() -> Found {
    if (std::strcmp(op, "max_pool2d") == 0) return &Pool<T>::Max;
    if (std::strcmp(op, "max_pool2d_grad") == 0) return &Pool<T>::MaxGrad;
    if (std::strcmp(op, "avg_pool2d") == 0) return &Pool<T>::Avg;
    if (std::strcmp(op, "avg_pool2d_grad") == 0) return &Pool<T>::AvgGrad;
    return nullptr;
  });
}

}  // namespace

void AddPool(CudaApi* api) { api->find_pool = &FindPool; }

}  // namespace oneflow::kernels
