// cumsum and sort along a dim: results as in kernels/cpu/indexing.cc and kernels/cpu/sort.cc.
//
// cumsum: floats are added in f64. 2 T bytes per element. A thread per line where neighbouring lines
// lie side by side or lines are short: predicted 60 % of the copy rate if there are 100,000 lines. A
// block per line else, tile by tile: 31 % measured there on lines of 4096. sort: stable merges of index rows, a thread per
// element and pass, which finds its place by a binary search: log2 n passes of 16 bytes and log2 n
// scattered reads of T; 2 % of the copy rate on an H100, lines of 4096.
#include "base/dtype.h"
#include "kernels/cuda/device_code.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/families.h"
#include "kernels/scalar/types.h"

namespace oneflow::kernels {
namespace {

constexpr int64_t kShortLine = 64;

__device__ __forceinline__ int64_t FirstOf(const CudaRows& rows, int64_t line) {
  return line / rows.inner * rows.extent * rows.inner + line % rows.inner;
}

template <typename T>
using SumOf = std::conditional_t<std::is_floating_point_v<Compute<T>>, double, uint64_t>;

template <typename T>
__device__ __forceinline__ SumOf<T> Widened(T x) {
  return static_cast<SumOf<T>>(static_cast<Compute<T>>(x));
}

template <typename T>
__global__ void CumsumByThread(CudaCumsum p, const T* x, T* y) {
  for (int64_t line = FirstItem(); line < p.rows.rows; line += ItemStride()) {
    const int64_t first = FirstOf(p.rows, line);
    SumOf<T> sum = 0;
    for (int64_t i = 0; i < p.rows.extent; ++i) {
      const int64_t at = first + (p.reverse ? p.rows.extent - 1 - i : i) * p.rows.inner;
      sum += Widened(x[at]);
      y[at] = Convert<T>(sum);
    }
  }
}

template <typename T>
__global__ void CumsumByBlock(CudaCumsum p, const T* x, T* y) {
  __shared__ SumOf<T> sums[kThreads];
  for (int64_t line = blockIdx.x; line < p.rows.rows; line += gridDim.x) {
    const int64_t first = FirstOf(p.rows, line);
    SumOf<T> before = 0;
    for (int64_t tile = 0; tile < p.rows.extent; tile += blockDim.x) {
      const int64_t i = tile + threadIdx.x;
      const bool in = i < p.rows.extent;
      const int64_t at = first + (p.reverse ? p.rows.extent - 1 - i : i) * p.rows.inner;
      sums[threadIdx.x] = in ? Widened(x[at]) : SumOf<T>{0};
      __syncthreads();
      for (unsigned step = 1; step < blockDim.x; step *= 2) {
        const SumOf<T> other = threadIdx.x >= step ? sums[threadIdx.x - step] : SumOf<T>{0};
        __syncthreads();
        sums[threadIdx.x] += other;
        __syncthreads();
      }
      if (in) y[at] = Convert<T>(before + sums[threadIdx.x]);
      before += sums[blockDim.x - 1];
      __syncthreads();
    }
  }
}

template <typename T>
CudaError Cumsum(const CudaCumsum* p, const CudaOperands* a, CudaStreamHandle stream) {
  const T* x = static_cast<const T*>(a->in[0]);
  T* y = static_cast<T*>(a->out[0]);
  if (p->rows.inner > 1 || p->rows.extent <= kShortLine) {
    return Launch(&CumsumByThread<T>, BlocksFor(p->rows.rows), kThreads, stream, *p, x, y);
  }
  return LaunchBlocks(&CumsumByBlock<T>, std::min(p->rows.rows, kMaxBlocks), kThreads, stream, *p,
                      x, y);
}
CudaRun<CudaCumsum> FindCumsum(int number) {
  const DType dtype = static_cast<DType>(number);
  return FindElement<Elements::kNumbers, CudaRun<CudaCumsum>>(
      dtype, []<typename T>() -> CudaRun<CudaCumsum> { return &Cumsum<T>; });
}

// ---- sort ----

// nan is the greatest, as on the CPU.
template <typename C>
__device__ __forceinline__ bool IsLess(C a, C b) {
  return a < b || (b != b && a == a);
}

// Merges sorted runs of `width`; `from` is nullptr in the first pass, where runs are elements.
template <typename T>
__global__ void MergeKernel(CudaSort p, int64_t width, const T* x, const int64_t* from,
                            int64_t* to) {
  const int64_t n = p.rows.extent;
  for (int64_t item = FirstItem(); item < p.rows.rows * n; item += ItemStride()) {
    const int64_t first = FirstOf(p.rows, item / n);
    const int64_t place = item % n;
    const auto named = [&](int64_t i) {
      return from == nullptr ? i : from[first + i * p.rows.inner];
    };
    const auto at = [&](int64_t i) -> Compute<T> { return x[first + i * p.rows.inner]; };
    const auto before = [&](int64_t i, int64_t j) {
      return p.descending ? IsLess(at(j), at(i)) : IsLess(at(i), at(j));
    };
    const int64_t begin = place / (2 * width) * (2 * width);
    const int64_t middle = begin + width < n ? begin + width : n;
    const int64_t end = begin + 2 * width < n ? begin + 2 * width : n;
    const int64_t mine = named(place);
    const bool left = place < middle;
    // How many of the other run stand before this element: equal ones only if they are of the left.
    int64_t low = left ? middle : begin;
    int64_t high = left ? end : middle;
    const int64_t others = low;
    while (low < high) {
      const int64_t half = (low + high) / 2;
      const bool stands_before = left ? before(named(half), mine) : !before(mine, named(half));
      if (stands_before) {
        low = half + 1;
      } else {
        high = half;
      }
    }
    const int64_t own = left ? place - begin : place - middle;
    to[first + (begin + own + low - others) * p.rows.inner] = mine;
  }
}

template <typename T>
__global__ void TakeSorted(CudaSort p, const T* x, int64_t* indices, bool sorted, T* values) {
  const int64_t n = p.rows.extent;
  for (int64_t item = FirstItem(); item < p.rows.rows * n; item += ItemStride()) {
    const int64_t first = FirstOf(p.rows, item / n);
    const int64_t at = first + item % n * p.rows.inner;
    if (!sorted) indices[at] = item % n;
    values[at] = x[first + indices[at] * p.rows.inner];
  }
}

template <typename T>
CudaError Sort(const CudaSort* p, const CudaOperands* a, CudaStreamHandle stream) {
  const T* x = static_cast<const T*>(a->in[0]);
  int64_t* indices = static_cast<int64_t*>(a->out[1]);
  int64_t* other = static_cast<int64_t*>(a->workspace);
  const int64_t n = p->rows.extent;
  const int64_t blocks = BlocksFor(p->rows.rows * n);
  int passes = 0;
  for (int64_t width = 1; width < n; width *= 2) ++passes;
  const int64_t* from = nullptr;
  int64_t width = 1;
  for (int pass = 0; pass < passes; ++pass, width *= 2) {
    int64_t* to = (passes - 1 - pass) % 2 == 0 ? indices : other;  // the last into its output
    const CudaError error =
        Launch(&MergeKernel<T>, blocks, kThreads, stream, *p, width, x, from, to);
    if (error != 0) return error;
    from = to;
  }
  return Launch(&TakeSorted<T>, blocks, kThreads, stream, *p, x, indices, passes > 0,
                static_cast<T*>(a->out[0]));
}
CudaRun<CudaSort> FindSort(int number) {
  const DType dtype = static_cast<DType>(number);
  if (dtype == DType::kBool) return &Sort<Bool>;
  return FindElement<Elements::kNumbers, CudaRun<CudaSort>>(
      dtype, []<typename T>() -> CudaRun<CudaSort> { return &Sort<T>; });
}

}  // namespace

void AddLines(CudaApi* api) {
  api->find_cumsum = &FindCumsum;
  api->find_sort = &FindSort;
}

}  // namespace oneflow::kernels
