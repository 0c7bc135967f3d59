// softmax, log_softmax and their gradients: formulas as in kernels/cpu/softmax.cc, in the compute type
// (float for bf16 and f16). A block per row; a row is read two or three times, from the nearest cache after
// the first.
//
// Bytes per element of type T: softmax and log_softmax 2 T, gradients 3 T; about 40 operations for an
// exponential, so f32 and narrower are bound by bytes: softmax of rows of 4096 in f32 reaches 55 % of the
// copy rate on an H100.
#include <cstring>
#include <limits>

#include "base/dtype.h"
#include "kernels/cuda/block_join.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/families.h"
#include "kernels/scalar/functions.h"

namespace oneflow::kernels {
namespace {

// One row, its elements `inner` apart.
struct RowView {
  int64_t first, extent, inner;
  __device__ __forceinline__ int64_t At(int64_t i) const { return first + i * inner; }
};
__device__ __forceinline__ RowView RowAt(const CudaRows& rows, int64_t row) {
  return {row / rows.inner * rows.extent * rows.inner + row % rows.inner, rows.extent, rows.inner};
}

template <typename T>
__device__ __forceinline__ Compute<T> RowMax(const RowView& row, const T* x, Compute<T>* space) {
  using C = Compute<T>;
  C most = -std::numeric_limits<C>::infinity();
  for (int64_t i = threadIdx.x; i < row.extent; i += blockDim.x) {
    const C value = x[row.At(i)];
    most = value > most ? value : most;
  }
  return BlockJoin(most, space, Greater());
}
template <typename C, typename F>
__device__ __forceinline__ C RowSum(const RowView& row, C* space, const F& f) {
  C total = 0;
  for (int64_t i = threadIdx.x; i < row.extent; i += blockDim.x) total += f(row.At(i));
  return BlockJoin(total, space, Plus());
}

// log softmax(x)[i] = x[i] - most - log_sum.
template <typename C>
struct LogNormaliser {
  C most, log_sum;
};
template <typename T>
__device__ __forceinline__ LogNormaliser<Compute<T>> NormaliserOf(const RowView& row, const T* x,
                                                                  Compute<T>* space) {
  using C = Compute<T>;
  const C most = RowMax(row, x, space);
  const C sum = RowSum(row, space, [&](int64_t at) { return ExpOf(static_cast<C>(x[at]) - most); });
  return {most, std::log(sum)};
}

struct Softmax {
  template <typename T>
  __device__ static void Run(const RowView& row, const T* x, const T*, T* y, Compute<T>* space) {
    using C = Compute<T>;
    const C most = RowMax(row, x, space);
    const auto weight = [&](int64_t at) { return ExpOf(static_cast<C>(x[at]) - most); };
    const C scale = C{1} / RowSum(row, space, weight);
    for (int64_t i = threadIdx.x; i < row.extent; i += blockDim.x) {
      y[row.At(i)] = T(weight(row.At(i)) * scale);
    }
  }
};
struct LogSoftmax {
  template <typename T>
  __device__ static void Run(const RowView& row, const T* x, const T*, T* y, Compute<T>* space) {
    using C = Compute<T>;
    const LogNormaliser<C> by = NormaliserOf(row, x, space);
    for (int64_t i = threadIdx.x; i < row.extent; i += blockDim.x) {
      y[row.At(i)] = T(static_cast<C>(x[row.At(i)]) - by.most - by.log_sum);
    }
  }
};
struct SoftmaxGrad {
  template <typename T>
  __device__ static void Run(const RowView& row, const T* y, const T* dy, T* dx,
                             Compute<T>* space) {
    using C = Compute<T>;
    const C dot = RowSum(
        row, space, [&](int64_t at) { return static_cast<C>(y[at]) * static_cast<C>(dy[at]); });
    for (int64_t i = threadIdx.x; i < row.extent; i += blockDim.x) {
      const int64_t at = row.At(i);
      dx[at] = T(static_cast<C>(y[at]) * (static_cast<C>(dy[at]) - dot));
    }
  }
};
struct LogSoftmaxGrad {
  template <typename T>
  __device__ static void Run(const RowView& row, const T* y, const T* dy, T* dx,
                             Compute<T>* space) {
    using C = Compute<T>;
    const C total = RowSum(row, space, [&](int64_t at) { return static_cast<C>(dy[at]); });
    for (int64_t i = threadIdx.x; i < row.extent; i += blockDim.x) {
      const int64_t at = row.At(i);
      dx[at] = T(static_cast<C>(dy[at]) - ExpOf(static_cast<C>(y[at])) * total);
    }
  }
};

template <typename Row, typename T>
__global__ void RowKernel(CudaRows rows, const T* a, const T* b, T* out) {
  __shared__ Compute<T> space[kThreads];
  for (int64_t row = blockIdx.x; row < rows.rows; row += gridDim.x) {
    Row::Run(RowAt(rows, row), a, b, out, space);
  }
}

template <typename Row, typename T, int kInputs>
CudaError RunRows(const CudaRows* rows, const CudaOperands* a, CudaStreamHandle stream) {
  return LaunchBlocks(&RowKernel<Row, T>, std::min(rows->rows, 16 * kMaxBlocks),
                      ThreadsForRow(rows->extent), stream, *rows, static_cast<const T*>(a->in[0]),
                      static_cast<const T*>(kInputs > 1 ? a->in[1] : nullptr),
                      static_cast<T*>(a->out[0]));
}

CudaRun<CudaRows> FindRowMap(const char* op, int dtype) {
  using Found = CudaRun<CudaRows>;
  return FindFloat<Found>(static_cast<DType>(dtype), [&]<typename T>() -> Found {
    if (std::strcmp(op, "softmax") == 0) return &RunRows<Softmax, T, 1>;
    if (std::strcmp(op, "log_softmax") == 0) return &RunRows<LogSoftmax, T, 1>;
    if (std::strcmp(op, "softmax_grad") == 0) return &RunRows<SoftmaxGrad, T, 2>;
    if (std::strcmp(op, "log_softmax_grad") == 0) return &RunRows<LogSoftmaxGrad, T, 2>;
    return nullptr;
  });
}

}  // namespace

void AddRows(CudaApi* api) { api->find_row_map = &FindRowMap; }

}  // namespace oneflow::kernels
