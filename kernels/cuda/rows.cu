// softmax, log_softmax, their gradients, cross_entropy and its gradient: formulas as in
// kernels/cpu/softmax.cc. A block per row; a row is read two or three times, from the nearest cache
// after the first. A label outside [0, c) gives a NaN loss and gradient and reads nothing out of
// bounds.
#include <cstring>
#include <limits>

#include "kernels/cuda/block_join.h"
#include "kernels/cuda/families.h"
#include "kernels/scalar/functions.h"

namespace oneflow::kernels {
namespace {

struct Plus {
  __device__ __forceinline__ float operator()(float a, float b) const { return a + b; }
};
struct Greater {
  __device__ __forceinline__ float operator()(float a, float b) const { return b > a ? b : a; }
};

// One row, its elements `inner` apart.
struct RowView {
  int64_t first, extent, inner;
  __device__ __forceinline__ int64_t At(int64_t i) const { return first + i * inner; }
};
__device__ __forceinline__ RowView RowAt(const CudaRows& rows, int64_t row) {
  return {row / rows.inner * rows.extent * rows.inner + row % rows.inner, rows.extent, rows.inner};
}

__device__ __forceinline__ float RowMax(const RowView& row, const float* x, float* space) {
  float most = -std::numeric_limits<float>::infinity();
  for (int64_t i = threadIdx.x; i < row.extent; i += blockDim.x) {
    const float value = x[row.At(i)];
    most = value > most ? value : most;
  }
  return BlockJoin(most, space, Greater());
}
template <typename F>
__device__ __forceinline__ float RowSum(const RowView& row, float* space, const F& f) {
  float total = 0;
  for (int64_t i = threadIdx.x; i < row.extent; i += blockDim.x) total += f(row.At(i));
  return BlockJoin(total, space, Plus());
}

// log softmax(x)[i] = x[i] - most - log_sum.
struct LogNormaliser {
  float most, log_sum;
};
__device__ __forceinline__ LogNormaliser NormaliserOf(const RowView& row, const float* x,
                                                      float* space) {
  const float most = RowMax(row, x, space);
  const float sum = RowSum(row, space, [&](int64_t at) { return ExpF(x[at] - most); });
  return {most, std::log(sum)};
}

struct Softmax {
  __device__ static void Run(const RowView& row, const float* x, const float*, float* y,
                             float* space) {
    const float most = RowMax(row, x, space);
    const float scale = 1.0f / RowSum(row, space, [&](int64_t at) { return ExpF(x[at] - most); });
    for (int64_t i = threadIdx.x; i < row.extent; i += blockDim.x) {
      y[row.At(i)] = ExpF(x[row.At(i)] - most) * scale;
    }
  }
};
struct LogSoftmax {
  __device__ static void Run(const RowView& row, const float* x, const float*, float* y,
                             float* space) {
    const LogNormaliser by = NormaliserOf(row, x, space);
    for (int64_t i = threadIdx.x; i < row.extent; i += blockDim.x) {
      y[row.At(i)] = x[row.At(i)] - by.most - by.log_sum;
    }
  }
};
struct SoftmaxGrad {
  __device__ static void Run(const RowView& row, const float* y, const float* dy, float* dx,
                             float* space) {
    const float dot = RowSum(row, space, [&](int64_t at) { return y[at] * dy[at]; });
    for (int64_t i = threadIdx.x; i < row.extent; i += blockDim.x) {
      dx[row.At(i)] = y[row.At(i)] * (dy[row.At(i)] - dot);
    }
  }
};
struct LogSoftmaxGrad {
  __device__ static void Run(const RowView& row, const float* y, const float* dy, float* dx,
                             float* space) {
    const float total = RowSum(row, space, [&](int64_t at) { return dy[at]; });
    for (int64_t i = threadIdx.x; i < row.extent; i += blockDim.x) {
      dx[row.At(i)] = dy[row.At(i)] - ExpF(y[row.At(i)]) * total;
    }
  }
};

template <typename Row>
__global__ void RowKernel(CudaRows rows, const float* a, const float* b, float* out) {
  __shared__ float space[kThreads];
  for (int64_t row = blockIdx.x; row < rows.rows; row += gridDim.x) {
    Row::Run(RowAt(rows, row), a, b, out, space);
  }
}

// A power of two of threads, no more than a row has elements but a warp.
int ThreadsFor(const CudaRows& rows) {
  int threads = 32;
  while (threads < kThreads && threads < rows.extent) threads *= 2;
  return threads;
}

template <typename Row>
CudaError RunRows(const CudaRows* rows, const float* a, const float* b, float* out,
                  CudaStreamHandle stream) {
  return LaunchBlocks(&RowKernel<Row>, std::min(rows->rows, 16 * kMaxBlocks), ThreadsFor(*rows),
                      stream, *rows, a, b, out);
}

CudaRowMap FindRowMap(const char* op) {
  if (std::strcmp(op, "softmax") == 0) return &RunRows<Softmax>;
  if (std::strcmp(op, "log_softmax") == 0) return &RunRows<LogSoftmax>;
  if (std::strcmp(op, "softmax_grad") == 0) return &RunRows<SoftmaxGrad>;
  if (std::strcmp(op, "log_softmax_grad") == 0) return &RunRows<LogSoftmaxGrad>;
  return nullptr;
}

__device__ __forceinline__ int64_t LabelAt(const void* labels, bool wide, int64_t i) {
  return wide ? static_cast<const int64_t*>(labels)[i] : static_cast<const int32_t*>(labels)[i];
}

__global__ void CrossEntropyKernel(CudaRows rows, const float* logits, const void* labels,
                                   bool wide, float* loss, float* log_probs) {
  __shared__ float space[kThreads];
  for (int64_t i = blockIdx.x; i < rows.rows; i += gridDim.x) {
    const float* x = logits + i * rows.extent;
    const LogNormaliser by = NormaliserOf(RowAt(rows, i), logits, space);
    for (int64_t k = threadIdx.x; k < rows.extent; k += blockDim.x) {
      log_probs[i * rows.extent + k] = x[k] - by.most - by.log_sum;
    }
    if (threadIdx.x == 0) {
      const int64_t label = LabelAt(labels, wide, i);
      loss[i] = label >= 0 && label < rows.extent ? -(x[label] - by.most - by.log_sum)
                                                  : std::numeric_limits<float>::quiet_NaN();
    }
  }
}
CudaError CrossEntropy(const CudaRows* rows, const float* logits, const void* labels, bool wide,
                       float* loss, float* log_probs, CudaStreamHandle stream) {
  return LaunchBlocks(&CrossEntropyKernel, std::min(rows->rows, 16 * kMaxBlocks), ThreadsFor(*rows),
                      stream, *rows, logits, labels, wide, loss, log_probs);
}

__global__ void CrossEntropyGradKernel(CudaRows rows, const float* log_probs, const void* labels,
                                       bool wide, const float* dloss, float* dlogits) {
  for (int64_t i = FirstItem(); i < rows.rows * rows.extent; i += ItemStride()) {
    const int64_t row = i / rows.extent;
    const int64_t label = LabelAt(labels, wide, row);
    const bool legal = label >= 0 && label < rows.extent;
    const float scale = legal ? dloss[row] : std::numeric_limits<float>::quiet_NaN();
    const float grad = ExpF(log_probs[i]) * scale;
    dlogits[i] = i - row * rows.extent == label ? grad - scale : grad;
  }
}
CudaError CrossEntropyGrad(const CudaRows* rows, const float* log_probs, const void* labels,
                           bool wide, const float* dloss, float* dlogits, CudaStreamHandle stream) {
  return Launch(&CrossEntropyGradKernel, BlocksFor(rows->rows * rows->extent), kThreads, stream,
                *rows, log_probs, labels, wide, dloss, dlogits);
}

}  // namespace

void AddRows(CudaApi* api) {
  api->find_row_map = &FindRowMap;
  api->cross_entropy = &CrossEntropy;
  api->cross_entropy_grad = &CrossEntropyGrad;
}

}  // namespace oneflow::kernels
