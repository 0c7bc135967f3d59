// Batch norm over x [rows, c], one group of rows at a time: formulas as in
// kernels/cpu/batch_norm.cc. Statistics, weights and biases are of the compute type, sums are f64.
//
// Bytes per element of type T: bn_sum and bn_sq_sum T, bn_grad_sums 2 T, bn_apply 2 T, bn_grad_input
// 3 T; 2 to 6 operations: bound by bytes. A thread per element or per column of a share, so neighbours
// read neighbouring channels; predicted 75 % of the copy rate for c >= 32 (fewer channels leave lanes
// of a warp in other rows, whose addresses still follow).
#include <cstring>

#include "base/dtype.h"
#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/families.h"
#include "kernels/scalar/types.h"

namespace oneflow::kernels {
namespace {

template <typename U>
const U* In(const CudaOperands& a, int i) {
  return static_cast<const U*>(a.in[i]);
}
template <typename U>
U* Out(const CudaOperands& a, int i) {
  return static_cast<U*>(a.out[i]);
}

template <typename T>
struct PlainSum {
  using C = Compute<T>;
  static constexpr int kSums = 1;
  int64_t c;
  const T* x;
  C* out;
  __device__ __forceinline__ void Add(int64_t row, int64_t j, double* totals) const {
    totals[0] += static_cast<C>(x[row * c + j]);
  }
  __device__ __forceinline__ void Write(int64_t j, const double* totals) const {
    out[j] = static_cast<C>(totals[0]);
  }
};
template <typename T>
struct SquareSum {
  using C = Compute<T>;
  static constexpr int kSums = 1;
  int64_t c;
  const T* x;
  const C* mean;
  C* out;
  __device__ __forceinline__ void Add(int64_t row, int64_t j, double* totals) const {
    const C centred = static_cast<C>(x[row * c + j]) - mean[j];
    totals[0] += centred * centred;
  }
  __device__ __forceinline__ void Write(int64_t j, const double* totals) const {
    out[j] = static_cast<C>(totals[0]);
  }
};
template <typename T>
struct GradSums {
  using C = Compute<T>;
  static constexpr int kSums = 2;
  int64_t c;
  const T* x;
  const T* dy;
  const C* mean;
  const C* rstd;
  C* sum_dy;
  C* sum_dy_xhat;
  __device__ __forceinline__ void Add(int64_t row, int64_t j, double* totals) const {
    const C slope = dy[row * c + j];
    totals[0] += slope;
    totals[1] += slope * (static_cast<C>(x[row * c + j]) - mean[j]);
  }
  __device__ __forceinline__ void Write(int64_t j, const double* totals) const {
    sum_dy[j] = static_cast<C>(totals[0]);
    sum_dy_xhat[j] = static_cast<C>(totals[1] * rstd[j]);
  }
};

// The channel of element i. 32-bit divisions where they are enough: they cost a quarter.
__device__ __forceinline__ int64_t ChannelOf(int64_t i, int64_t c) {
  if (i <= INT32_MAX && c <= INT32_MAX) {
    return static_cast<uint32_t>(i) % static_cast<uint32_t>(c);
  }
  return i % c;
}

template <typename T>
__global__ void ApplyKernel(CudaBatchNorm p, const T* x, const Compute<T>* mean,
                            const Compute<T>* rstd, const Compute<T>* weight,
                            const Compute<T>* bias, T* y) {
  using C = Compute<T>;
  for (int64_t i = p.begin * p.c + FirstItem(); i < p.end * p.c; i += ItemStride()) {
    const int64_t j = ChannelOf(i, p.c);
    const C scale = rstd[j] * weight[j];
    y[i] = T((static_cast<C>(x[i]) - mean[j]) * scale + bias[j]);
  }
}

template <typename T>
__global__ void GradInputKernel(CudaBatchNorm p, const T* x, const T* dy, const Compute<T>* mean,
                                const Compute<T>* rstd, const Compute<T>* weight,
                                const Compute<T>* sum_dy, const Compute<T>* sum_dy_xhat, T* dx) {
  using C = Compute<T>;
  for (int64_t i = p.begin * p.c + FirstItem(); i < p.end * p.c; i += ItemStride()) {
    const int64_t j = ChannelOf(i, p.c);
    const C scale = weight[j] * rstd[j];
    const C shift = static_cast<C>(sum_dy[j] * p.per_count);
    const C slope = static_cast<C>(rstd[j] * p.per_count * sum_dy_xhat[j]);
    const C centred = static_cast<C>(x[i]) - mean[j];
    dx[i] = T(scale * (static_cast<C>(dy[i]) - shift - centred * slope));
  }
}

template <typename T>
struct BatchNorm {
  using C = Compute<T>;
  using Problem = CudaBatchNorm;
  static ColumnRange RangeOf(const Problem& p) { return {p.begin, p.end, p.c, p.splits}; }
  static int64_t Blocks(const Problem& p) { return BlocksFor((p.end - p.begin) * p.c); }

  static CudaError Sum(const Problem* p, const CudaOperands* a, CudaStreamHandle stream) {
    const PlainSum<T> sums = {p->c, In<T>(*a, 0), Out<C>(*a, 0) + p->group * p->c};
    return SumColumns(sums, RangeOf(*p), a->workspace, stream);
  }
  static CudaError Squares(const Problem* p, const CudaOperands* a, CudaStreamHandle stream) {
    const int64_t at = p->group * p->c;
    const SquareSum<T> sums = {p->c, In<T>(*a, 0), In<C>(*a, 1) + at, Out<C>(*a, 0) + at};
    return SumColumns(sums, RangeOf(*p), a->workspace, stream);
  }
  static CudaError Slopes(const Problem* p, const CudaOperands* a, CudaStreamHandle stream) {
    const int64_t at = p->group * p->c;
    const GradSums<T> sums = {p->c,
                              In<T>(*a, 0),
                              In<T>(*a, 1),
                              In<C>(*a, 2) + at,
                              In<C>(*a, 3) + at,
                              Out<C>(*a, 0) + at,
                              Out<C>(*a, 1) + at};
    return SumColumns(sums, RangeOf(*p), a->workspace, stream);
  }
  static CudaError Apply(const Problem* p, const CudaOperands* a, CudaStreamHandle stream) {
    const int64_t at = p->group * p->c;
    return Launch(&ApplyKernel<T>, Blocks(*p), kThreads, stream, *p, In<T>(*a, 0),
                  In<C>(*a, 1) + at, In<C>(*a, 2) + at, In<C>(*a, 3), In<C>(*a, 4), Out<T>(*a, 0));
  }
  static CudaError GradInput(const Problem* p, const CudaOperands* a, CudaStreamHandle stream) {
    const int64_t at = p->group * p->c;
    return Launch(&GradInputKernel<T>, Blocks(*p), kThreads, stream, *p, In<T>(*a, 0), In<T>(*a, 1),
                  In<C>(*a, 2) + at, In<C>(*a, 3) + at, In<C>(*a, 4), In<C>(*a, 5) + at,
                  In<C>(*a, 6) + at, Out<T>(*a, 0));
  }
};

CudaRun<CudaBatchNorm> FindBatchNorm(const char* op, int number) {
  using Found = CudaRun<CudaBatchNorm>;
  return FindFloat<Found>(static_cast<DType>(number), [&]<typename T>() -> Found {
    if (std::strcmp(op, "bn_sum") == 0) return &BatchNorm<T>::Sum;
    if (std::strcmp(op, "bn_sq_sum") == 0) return &BatchNorm<T>::Squares;
    if (std::strcmp(op, "bn_grad_sums") == 0) return &BatchNorm<T>::Slopes;
    if (std::strcmp(op, "bn_apply") == 0) return &BatchNorm<T>::Apply;
    if (std::strcmp(op, "bn_grad_input") == 0) return &BatchNorm<T>::GradInput;
    return nullptr;
  });
}

template <typename T>
__global__ void RunningUpdateKernel(CudaRunningUpdate p, const T* running, const T* stats, T* out) {
  const T keep = static_cast<T>(1 - p.momentum);
  const T take = static_cast<T>(p.momentum);
  for (int64_t j = FirstItem(); j < p.c; j += ItemStride()) {
    T value = running[j];
    for (int64_t s = 0; s < p.steps; ++s) value = keep * value + take * stats[s * p.c + j];
    out[j] = value;
  }
}
template <typename T>
CudaError RunningUpdate(const CudaRunningUpdate* p, const CudaOperands* a,
                        CudaStreamHandle stream) {
  return Launch(&RunningUpdateKernel<T>, BlocksFor(p->c), kThreads, stream, *p, In<T>(*a, 0),
                In<T>(*a, 1), Out<T>(*a, 0));
}
CudaRun<CudaRunningUpdate> FindRunningUpdate(int dtype) {
  if (static_cast<DType>(dtype) == DType::kF32) return &RunningUpdate<float>;
  if (static_cast<DType>(dtype) == DType::kF64) return &RunningUpdate<double>;
  return nullptr;
}

}  // namespace

void AddBatchNorm(CudaApi* api) {
  api->find_batch_norm = &FindBatchNorm;
  api->find_running_update = &FindRunningUpdate;
}

}  // namespace oneflow::kernels
