// Reductions: sum and amax over any dims, argmax over one. Every element is read once: T bytes and an
// operation for each, so they are bound by bytes; predicted 85 % of the copy rate, argmax 30 %. Sums of
// floats are made in f64, so the error does not grow with the length. Two forms: a thread per result where
// neighbouring results are neighbouring inputs (a bias gradient) or little is joined, a block per
// result else; few results are shared out and their shares joined in order by a second kernel.
// A sum over nothing is 0, a maximum over nothing the least value.
#include <cstring>
#include <limits>

#include "base/dtype.h"
#include "kernels/cuda/block_join.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/families.h"
#include "kernels/scalar/types.h"

namespace oneflow::kernels {
namespace {

template <typename Element>
struct SumFloat {
  using T = Element;
  using R = Element;
  using Wide = double;
  __device__ __forceinline__ static Wide Identity() { return 0; }
  __device__ __forceinline__ static Wide Widen(T x) { return static_cast<Compute<T>>(x); }
  __device__ __forceinline__ static Wide Join(Wide a, Wide b) { return a + b; }
};
template <typename Element, typename Result>
struct SumInt {
  using T = Element;
  using R = Result;
  using Wide = uint64_t;  // wraps
  __device__ __forceinline__ static Wide Identity() { return 0; }
  __device__ __forceinline__ static Wide Widen(T x) {
    return static_cast<Wide>(static_cast<int64_t>(x));
  }
  __device__ __forceinline__ static Wide Join(Wide a, Wide b) { return a + b; }
};
template <typename Element>
struct Max {
  using T = Element;
  using R = Element;
  using Wide = Compute<Element>;
  __device__ __forceinline__ static Wide Identity() {
    if constexpr (std::numeric_limits<Wide>::has_infinity) {
      return -std::numeric_limits<Wide>::infinity();
    } else {
      return std::numeric_limits<Element>::lowest();
    }
  }
  __device__ __forceinline__ static Wide Widen(T x) { return x; }
  __device__ __forceinline__ static Wide Join(Wide a, Wide b) {
    return b > a || b != b ? b : a;  // NaN wins, as in PyTorch
  }
};

// Share `split` of the reduced elements.
struct Range {
  int64_t begin, end;
};
__device__ __forceinline__ Range ShareOf(const CudaReduction& problem, int64_t split) {
  const int64_t n = problem.reduced.elements;
  return {n * split / problem.splits, n * (split + 1) / problem.splits};
}

// The join of elements begin, begin + step, .. of the reduced dims, in this order. Several loads are
// on their way before the first is needed.
template <typename Op>
__device__ __forceinline__ typename Op::Wide JoinRun(const CudaNest<1>& nest,
                                                     const typename Op::T* in, int64_t begin,
                                                     int64_t end, int64_t step) {
  constexpr int kLoads = 8;
  typename Op::Wide total = Op::Identity();
  int64_t i = begin;
  if (nest.rank == 1) {
    const int64_t stride = nest.stride[0][0];
    for (; i + (kLoads - 1) * step < end; i += kLoads * step) {
      typename Op::T items[kLoads];
      OF_UNROLL
      for (int k = 0; k < kLoads; ++k) items[k] = in[(i + k * step) * stride];
      OF_UNROLL
      for (int k = 0; k < kLoads; ++k) total = Op::Join(total, Op::Widen(items[k]));
    }
  }
  for (; i < end; i += step) {
    int64_t at;
    OffsetsOf(nest, i, &at);
    total = Op::Join(total, Op::Widen(in[at]));
  }
  return total;
}

template <typename Op>
__device__ __forceinline__ void Write(const CudaReduction& problem, int64_t item,
                                      typename Op::Wide total, typename Op::R* out,
                                      typename Op::Wide* shares) {
  if (problem.splits == 1) {
    out[item] = Convert<typename Op::R>(total);
  } else {
    shares[item] = total;
  }
}

// Item i: share i / results of result i % results, so that neighbours read neighbours.
template <typename Op>
__global__ void ReduceByThread(CudaReduction problem, const typename Op::T* in, typename Op::R* out,
                               typename Op::Wide* shares) {
  const int64_t results = problem.kept.elements;
  for (int64_t item = FirstItem(); item < results * problem.splits; item += ItemStride()) {
    int64_t first;
    OffsetsOf(problem.kept, item % results, &first);
    const Range range = ShareOf(problem, item / results);
    const typename Op::Wide total =
        JoinRun<Op>(problem.reduced, in + first, range.begin, range.end, 1);
    Write<Op>(problem, item, total, out, shares);
  }
}

template <typename Op>
__global__ void ReduceByBlock(CudaReduction problem, const typename Op::T* in, typename Op::R* out,
                              typename Op::Wide* shares) {
  __shared__ typename Op::Wide space[kThreads];
  const int64_t results = problem.kept.elements;
  for (int64_t item = blockIdx.x; item < results * problem.splits; item += gridDim.x) {
    int64_t first;
    OffsetsOf(problem.kept, item % results, &first);
    const Range range = ShareOf(problem, item / results);
    typename Op::Wide total =
        JoinRun<Op>(problem.reduced, in + first, range.begin + threadIdx.x, range.end, blockDim.x);
    total = BlockJoin(total, space, &Op::Join);
    if (threadIdx.x == 0) Write<Op>(problem, item, total, out, shares);
  }
}

template <typename Op>
__global__ void JoinShares(int64_t results, int32_t splits, const typename Op::Wide* shares,
                           typename Op::R* out) {
  for (int64_t i = FirstItem(); i < results; i += ItemStride()) {
    typename Op::Wide total = shares[i];
    for (int32_t s = 1; s < splits; ++s) total = Op::Join(total, shares[s * results + i]);
    out[i] = Convert<typename Op::R>(total);
  }
}

template <typename Op>
CudaError RunReduce(const CudaReduction* problem, const void* in, void* out, void* workspace,
                    CudaStreamHandle stream) {
  using T = typename Op::T;
  using R = typename Op::R;
  using Wide = typename Op::Wide;
  const int64_t items = problem->kept.elements * problem->splits;
  const T* from = static_cast<const T*>(in);
  R* to = static_cast<R*>(out);
  Wide* shares = static_cast<Wide*>(workspace);
  const CudaError error = problem->columns
                              ? Launch(&ReduceByThread<Op>, BlocksFor(items), kThreads, stream,
                                       *problem, from, to, shares)
                              : LaunchBlocks(&ReduceByBlock<Op>, std::min(items, kMaxBlocks),
                                             kThreads, stream, *problem, from, to, shares);
  if (error != 0 || problem->splits == 1) return error;
  return Launch(&JoinShares<Op>, BlocksFor(problem->kept.elements), kThreads, stream,
                problem->kept.elements, problem->splits, static_cast<const Wide*>(shares), to);
}

CudaReduce FindReduce(const char* op, int in_number, int out_number) {
  const DType in = static_cast<DType>(in_number);
  const DType out = static_cast<DType>(out_number);
  if (std::strcmp(op, "amax") == 0) {
    if (in != out) return nullptr;
    return FindElement<Elements::kNumbers, CudaReduce>(
        in, []<typename T>() -> CudaReduce { return &RunReduce<Max<T>>; });
  }
  if (std::strcmp(op, "sum") != 0) return nullptr;
  const CudaReduce of_floats =
      FindFloat<CudaReduce>(in, []<typename T>() -> CudaReduce { return &RunReduce<SumFloat<T>>; });
  if (of_floats != nullptr) return in == out ? of_floats : nullptr;
  if (in == DType::kBool && out == DType::kI64) return &RunReduce<SumInt<Bool, int64_t>>;
  if (in == DType::kBool || (in != out && out != DType::kI64)) return nullptr;
  return FindElement<Elements::kBits, CudaReduce>(in, [&]<typename T>() -> CudaReduce {
    if (in == out) return &RunReduce<SumInt<T, T>>;
    return &RunReduce<SumInt<T, int64_t>>;
  });
}

// The first greatest element of a row; NaN counts as greatest.
template <typename T>
__global__ void ArgmaxKernel(CudaRows rows, const T* in, int64_t* out) {
  for (int64_t i = FirstItem(); i < rows.rows; i += ItemStride()) {
    const T* line = in + i / rows.inner * rows.extent * rows.inner + i % rows.inner;
    int64_t best = 0;
    for (int64_t k = 1; k < rows.extent; ++k) {
      const Compute<T> a = line[best * rows.inner];
      const Compute<T> b = line[k * rows.inner];
      if (b > a || (b != b && a == a)) best = k;
    }
    out[i] = best;
  }
}
template <typename T>
CudaError RunArgmax(const CudaRows* rows, const void* in, int64_t* out, CudaStreamHandle stream) {
  return Launch(&ArgmaxKernel<T>, BlocksFor(rows->rows), kThreads, stream, *rows,
                static_cast<const T*>(in), out);
}
CudaArgmax FindArgmax(int dtype) {
  switch (static_cast<DType>(dtype)) {
    case DType::kF32:
      return &RunArgmax<float>;
    case DType::kBF16:
      return &RunArgmax<BF16>;
    case DType::kF16:
      return &RunArgmax<F16>;
    case DType::kF64:
      return &RunArgmax<double>;
    case DType::kI16:
      return &RunArgmax<int16_t>;
    case DType::kI64:
      return &RunArgmax<int64_t>;
    case DType::kI32:
      return &RunArgmax<int32_t>;
    case DType::kI8:
      return &RunArgmax<int8_t>;
    case DType::kU8:
      return &RunArgmax<uint8_t>;
    case DType::kBool:
      return &RunArgmax<Bool>;
    case DType::kInvalid:
      break;
  }
  return nullptr;
}

}  // namespace

void AddReductions(CudaApi* api) {
  api->find_reduce = &FindReduce;
  api->find_argmax = &FindArgmax;
}

}  // namespace oneflow::kernels
