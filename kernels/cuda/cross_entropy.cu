// cross_entropy and its gradient: formulas as in kernels/cpu/softmax.cc, in the compute type (float for bf16
// and f16). A block per row.
//
// Forward a row is read once: each thread keeps the greatest of what it has read and the sum of exponentials
// beside it, by packs of 16 bytes. A thread owns packs by their number in the row, wherever the row begins, so
// that the bits of a loss do not depend on what stands behind the classes. The gradient reads and writes a row
// once, by the packs of memory.
//
// Bytes per element of type T: forward T, gradient 2 T. Operations: an ex2 and about 6 more forward (a row
// that does not begin on 16 bytes: about 2 more), an ex2 and about 12 more backward, so both are **predicted** to
// be bound by bytes from some hundred classes on. A label outside [0, classes) is reported, gives a NaN loss
// and gradient and reads nothing out of bounds.
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/dtype.h"
#include "kernels/cuda/block_join.h"
#include "kernels/cuda/data_error.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/families.h"
#include "kernels/cuda/labelled_rows.h"
#include "kernels/scalar/math.h"

namespace oneflow::kernels {
namespace {

// Packs of which a thread reads so many before it works on them.
constexpr int kAhead = 4;

template <typename T>
inline constexpr int kInPack = 16 / static_cast<int>(sizeof(T));
template <typename T>
using RowPack = Pack<T, kInPack<T>>;

// e^x.
__device__ __forceinline__ double RowExp(double x) { return std::exp(x); }
__device__ __forceinline__ float RowExp(float x) {
  const float scaled = x * 1.44269504f;
#ifdef __CUDACC__
  float y;  // within 2 ulp
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(scaled));
  return y;
#else
  return std::exp2(scaled);
#endif
}

// 16 bytes of memory as four words.
struct alignas(16) Words {
  uint32_t word[4];
};
// The pack at `x`, which begins `shift` bytes behind a multiple of 16, not 0 if kCut: cut out of the two blocks of
// memory that it lies in.
template <bool kCut, typename T>
__device__ __forceinline__ RowPack<T> PackAt(const T* x, unsigned shift) {
  if constexpr (!kCut) return *reinterpret_cast<const RowPack<T>*>(x);
  const Words* blocks = reinterpret_cast<const Words*>(reinterpret_cast<const char*>(x) - shift);
  const Words low = blocks[0], high = blocks[1];
  uint32_t words[8] = {low.word[0],  low.word[1],  low.word[2],  low.word[3],
                       high.word[0], high.word[1], high.word[2], high.word[3]};
  OF_UNROLL
  for (int i = 0; i < 6; ++i) words[i] = shift >= 8 ? words[i + 2] : words[i];
  OF_UNROLL
  for (int i = 0; i < 5; ++i) words[i] = (shift & 4) != 0 ? words[i + 1] : words[i];
  Words cut;
  OF_UNROLL
  for (int i = 0; i < 4; ++i) {
    const uint64_t both = uint64_t{words[i + 1]} << 32 | words[i];
    cut.word[i] = static_cast<uint32_t>(both >> (shift % 4 * 8));
  }
  return std::bit_cast<RowPack<T>>(cut);
}

// max and sum exp(x - max) of what was taken so far.
template <typename C>
struct RunningSum {
  C most = -std::numeric_limits<C>::infinity();
  C sum = 0;

  // What exponents are taken beside: not -inf, for -inf - -inf is no number.
  __device__ __forceinline__ static C Base(C most) {
    return most == -std::numeric_limits<C>::infinity() ? C{0} : most;
  }
  __device__ __forceinline__ void RaiseTo(C value) {
    const C next = value > most ? value : most;
    sum *= RowExp(most - Base(next));
    most = next;
  }
  template <typename T, int kPacks>
  __device__ __forceinline__ void Take(const RowPack<T> (&packs)[kPacks]) {
    C next = most;
    OF_UNROLL
    for (int p = 0; p < kPacks; ++p) {
      OF_UNROLL
      for (int e = 0; e < kInPack<T>; ++e) {
        const C value = packs[p].item[e];
        next = value > next ? value : next;
      }
    }
    RaiseTo(next);
    const C base = Base(most);
    OF_UNROLL
    for (int p = 0; p < kPacks; ++p) {
      C part = 0;
      OF_UNROLL
      for (int e = 0; e < kInPack<T>; ++e) {
        part += RowExp(static_cast<C>(packs[p].item[e]) - base);
      }
      sum += part;
    }
  }
};

// This thread's share of a row: packs as a block has threads apart, by kAhead as far as there are.
template <bool kCut, typename T>
__device__ __forceinline__ RunningSum<Compute<T>> ShareOf(const T* x, int64_t classes,
                                                          unsigned shift) {
  using C = Compute<T>;
  constexpr int kCount = kInPack<T>;
  const int64_t packs = (classes + kCount - 1) / kCount;
  // What the last two lie in may be no one's memory: they are read by elements.
  const int64_t whole = packs - 2;
  RunningSum<C> taken;
  int64_t pack = threadIdx.x;
  for (; pack + int64_t{kAhead - 1} * blockDim.x < whole; pack += int64_t{kAhead} * blockDim.x) {
    RowPack<T> held[kAhead];
    OF_UNROLL
    for (int a = 0; a < kAhead; ++a) {
      held[a] = PackAt<kCut>(x + (pack + int64_t{a} * blockDim.x) * kCount, shift);
    }
    taken.template Take<T>(held);
  }
  for (; pack < packs; pack += blockDim.x) {
    RowPack<T> held[1];
    if (pack < whole) {
      held[0] = PackAt<kCut>(x + pack * kCount, shift);
    } else {
      OF_UNROLL
      for (int e = 0; e < kCount; ++e) {
        const int64_t i = pack * kCount + e;
        held[0].item[e] = i < classes ? x[i] : T(-std::numeric_limits<C>::infinity());
      }
    }
    taken.template Take<T>(held);
  }
  return taken;
}

template <typename T>
__global__ void CrossEntropyKernel(CudaLabelled p, const T* logits, Indices labels,
                                   Compute<T>* loss, Compute<T>* lse, StepBlock* block,
                                   uint32_t task) {
  using C = Compute<T>;
  __shared__ C space[kThreads];
  for (int64_t row = blockIdx.x; row < p.rows; row += gridDim.x) {
    const T* x = logits + row * p.stride;
    const unsigned shift = static_cast<unsigned>(reinterpret_cast<uintptr_t>(x) % 16);
    RunningSum<C> share =
        shift == 0 ? ShareOf<false>(x, p.classes, shift) : ShareOf<true>(x, p.classes, shift);
    const C most = BlockJoin(share.most, space, Greater());
    share.RaiseTo(most);
    const C log_sum = std::log(BlockJoin(share.sum, space, Plus()));
    if (threadIdx.x == 0) {
      const int64_t label = labels[row];
      const bool legal = label >= 0 && label < p.classes;
      if (!legal) ReportWrongIndex(block, task, label, p.classes);
      // Not lse - x[label]: that loses what max + log(sum) rounds off.
      loss[row] =
          legal ? most - static_cast<C>(x[label]) + log_sum : std::numeric_limits<C>::quiet_NaN();
      lse[row] = most + log_sum;
    }
  }
}

// A block for each row, a thread for each of its packs as far as there are.
inline int64_t RowBlocks(const CudaLabelled& p) { return std::min(p.rows, 16 * kMaxBlocks); }
template <typename T>
int RowThreads(const CudaLabelled& p) {
  return ThreadsForRow((p.classes + kInPack<T> - 1) / kInPack<T>);
}

template <typename T>
CudaError CrossEntropy(const CudaLabelled* p, const CudaOperands* a, CudaStreamHandle stream) {
  using C = Compute<T>;
  return LaunchBlocks(&CrossEntropyKernel<T>, RowBlocks(*p), RowThreads<T>(*p), stream, *p,
                      static_cast<const T*>(a->in[0]), Indices{a->in[1], p->wide},
                      static_cast<C*>(a->out[0]), static_cast<C*>(a->out[1]), a->block, a->task);
}

// What the gradient of one row is made from.
template <typename C>
struct RowGradient {
  C lse, scale, dloss;
  int64_t label, classes;

  // Of a class that is not the label.
  __device__ __forceinline__ C Other(C x) const { return RowExp(x - lse) * scale; }
  __device__ __forceinline__ C At(C x, int64_t i) const {
    if (i >= classes) return 0;
    return i == label ? Other(x) - dloss : Other(x);
  }
  // All of [begin, end) are classes that are not the label.
  __device__ __forceinline__ bool AreOther(int64_t begin, int64_t end) const {
    return end <= classes && (label < begin || label >= end);
  }
};

// dlogits may be logits: a thread reads an element before it writes it, and nobody else does.
template <typename T>
__global__ void CrossEntropyGradKernel(CudaLabelled p, const T* logits, Indices labels,
                                       const Compute<T>* lse, const Compute<T>* dloss,
                                       const Compute<T>* dlse, T* dlogits) {
  using C = Compute<T>;
  constexpr int kCount = kInPack<T>;
  for (int64_t row = blockIdx.x; row < p.rows; row += gridDim.x) {
    const T* x = logits + row * p.stride;
    T* dx = dlogits + row * p.stride;
    const int64_t label = labels[row];
    const bool legal = label >= 0 && label < p.classes;
    const C scale = p.has_dlse ? dloss[row] + dlse[row] : dloss[row];
    const RowGradient<C> grad = {lse[row], legal ? scale : std::numeric_limits<C>::quiet_NaN(),
                                 dloss[row], label, p.classes};
    // Elements before the first whole pack of memory, those packs, elements behind the last.
    const unsigned shift = static_cast<unsigned>(reinterpret_cast<uintptr_t>(x) % 16);
    const bool packed = shift == reinterpret_cast<uintptr_t>(dx) % 16;
    const int64_t before = (16 - shift) % 16 / sizeof(T);
    const int64_t head = packed && before < p.stride ? before : p.stride;
    const int64_t packs = (p.stride - head) / kCount;
    for (int64_t i = threadIdx.x; i < head; i += blockDim.x) dx[i] = T(grad.At(x[i], i));
    const RowPack<T>* from = reinterpret_cast<const RowPack<T>*>(x + head);
    RowPack<T>* to = reinterpret_cast<RowPack<T>*>(dx + head);
    for (int64_t first = threadIdx.x; first < packs; first += int64_t{kAhead} * blockDim.x) {
      RowPack<T> held[kAhead];
      OF_UNROLL
      for (int a = 0; a < kAhead; ++a) {
        const int64_t pack = first + int64_t{a} * blockDim.x;
        if (pack < packs) held[a] = from[pack];
      }
      OF_UNROLL
      for (int a = 0; a < kAhead; ++a) {
        const int64_t pack = first + int64_t{a} * blockDim.x;
        if (pack >= packs) continue;
        const int64_t begin = head + pack * kCount;
        if (grad.AreOther(begin, begin + kCount)) {
          OF_UNROLL
          for (int e = 0; e < kCount; ++e) held[a].item[e] = T(grad.Other(held[a].item[e]));
        } else {
          OF_UNROLL
          for (int e = 0; e < kCount; ++e) held[a].item[e] = T(grad.At(held[a].item[e], begin + e));
        }
        to[pack] = held[a];
      }
    }
    for (int64_t i = head + packs * kCount + threadIdx.x; i < p.stride; i += blockDim.x) {
      dx[i] = T(grad.At(x[i], i));
    }
  }
}

template <typename T>
CudaError CrossEntropyGrad(const CudaLabelled* p, const CudaOperands* a, CudaStreamHandle stream) {
  using C = Compute<T>;
  return Launch(&CrossEntropyGradKernel<T>, RowBlocks(*p), RowThreads<T>(*p), stream, *p,
                static_cast<const T*>(a->in[0]), Indices{a->in[1], p->wide},
                static_cast<const C*>(a->in[2]), static_cast<const C*>(a->in[3]),
                static_cast<const C*>(p->has_dlse ? a->in[4] : nullptr),
                static_cast<T*>(a->out[0]));
}

CudaRun<CudaLabelled> FindCrossEntropy(const char* op, int dtype) {
  using Found = CudaRun<CudaLabelled>;
  const bool grad = std::strcmp(op, "cross_entropy_grad") == 0;
  return FindFloat<Found>(static_cast<DType>(dtype), [&]<typename T>() -> Found {
    return grad ? &CrossEntropyGrad<T> : &CrossEntropy<T>;
  });
}

}  // namespace

void AddCrossEntropy(CudaApi* api) { api->find_cross_entropy = &FindCrossEntropy; }

}  // namespace oneflow::kernels
