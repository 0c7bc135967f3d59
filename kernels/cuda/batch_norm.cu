// Batch norm over x [rows, c], one group of rows at a time: formulas as in
// kernels/cpu/batch_norm.cc. Statistics, weights and biases are of the compute type, sums are f64.
//
// Bytes per element of type T: bn_sum, bn_sq_sum and bn_sample_sums T, bn_grad_sums 2 T, bn_apply 2 T, bn_grad_input
// 3 T; 2 to 6 operations: bound by bytes. All go by 16 bytes of neighbouring channels, a thread always by the
// same, where c is a multiple of them; else by elements (kernels/cuda/column_sums.h). Measured on an H100 in whole
// steps of ResNet-50 in bf16: bn_grad_input 2.7 TB/s. Predicted for the sums: 2.4 TB/s.
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

// Neighbours of row `row` of x [rows, c], from column j on.
template <int kCount, typename T>
__device__ __forceinline__ Pack<T, kCount> NeighboursAt(const T* x, int64_t c, int64_t row,
                                                        int64_t j) {
  return *reinterpret_cast<const Pack<T, kCount>*>(x + row * c + j);
}
// The means of a thread's columns.
template <typename C, int kCount>
struct Means {
  C mean[kCount];
  __device__ __forceinline__ Means(const C* means, const ColumnPlace& at) {
    OF_UNROLL
    for (int k = 0; k < kCount; ++k) mean[k] = means[at.column + k];
  }
};

template <typename Element>
struct PlainSum {
  using T = Element;
  using C = Compute<T>;
  static constexpr int kSums = 1;
  static constexpr int kRows = 8;
  int64_t c;
  const T* x;
  C* out;
  template <int kCount>
  struct Own {
    __device__ __forceinline__ Own(const PlainSum&, const ColumnPlace&) {}
  };
  template <int kCount>
  using Row = Pack<T, kCount>;
  template <int kCount>
  __device__ __forceinline__ Row<kCount> Load(int64_t row, int64_t j) const {
    return NeighboursAt<kCount>(x, c, row, j);
  }
  template <int kCount>
  __device__ __forceinline__ void Add(const Row<kCount>& row, const Own<kCount>&,
                                      double (&totals)[kSums][kCount]) const {
    OF_UNROLL
    for (int k = 0; k < kCount; ++k) totals[0][k] += static_cast<C>(row.item[k]);
  }
  __device__ __forceinline__ void Write(const ColumnPlace& at, const double* totals) const {
    out[at.column] = static_cast<C>(totals[0]);
  }
};
template <typename Element>
struct SquareSum {
  using T = Element;
  using C = Compute<T>;
  static constexpr int kSums = 1;
  static constexpr int kRows = 8;
  int64_t c;
  const T* x;
  const C* mean;
  C* out;
  template <int kCount>
  struct Own : Means<C, kCount> {
    __device__ __forceinline__ Own(const SquareSum& sums, const ColumnPlace& at)
        : Means<C, kCount>(sums.mean, at) {}
  };
  template <int kCount>
  using Row = Pack<T, kCount>;
  template <int kCount>
  __device__ __forceinline__ Row<kCount> Load(int64_t row, int64_t j) const {
    return NeighboursAt<kCount>(x, c, row, j);
  }
  template <int kCount>
  __device__ __forceinline__ void Add(const Row<kCount>& row, const Own<kCount>& own,
                                      double (&totals)[kSums][kCount]) const {
    OF_UNROLL
    for (int k = 0; k < kCount; ++k) {
      const C centred = static_cast<C>(row.item[k]) - own.mean[k];
      totals[0][k] += centred * centred;
    }
  }
  __device__ __forceinline__ void Write(const ColumnPlace& at, const double* totals) const {
    out[at.column] = static_cast<C>(totals[0]);
  }
};
template <typename Element>
struct GradSums {
  using T = Element;
  using C = Compute<T>;
  static constexpr int kSums = 2;
  static constexpr int kRows = 4;
  int64_t c;
  const T* x;
  const T* dy;
  const C* mean;
  const C* rstd;
  C* sum_dy;
  C* sum_dy_xhat;
  template <int kCount>
  struct Own : Means<C, kCount> {
    __device__ __forceinline__ Own(const GradSums& sums, const ColumnPlace& at)
        : Means<C, kCount>(sums.mean, at) {}
  };
  template <int kCount>
  struct Row {
    Pack<T, kCount> x, dy;
  };
  template <int kCount>
  __device__ __forceinline__ Row<kCount> Load(int64_t row, int64_t j) const {
    return {NeighboursAt<kCount>(x, c, row, j), NeighboursAt<kCount>(dy, c, row, j)};
  }
  template <int kCount>
  __device__ __forceinline__ void Add(const Row<kCount>& row, const Own<kCount>& own,
                                      double (&totals)[kSums][kCount]) const {
    OF_UNROLL
    for (int k = 0; k < kCount; ++k) {
      const C slope = row.dy.item[k];
      totals[0][k] += slope;
      totals[1][k] += slope * (static_cast<C>(row.x.item[k]) - own.mean[k]);
    }
  }
  __device__ __forceinline__ void Write(const ColumnPlace& at, const double* totals) const {
    sum_dy[at.column] = static_cast<C>(totals[0]);
    sum_dy_xhat[at.column] = static_cast<C>(totals[1] * rstd[at.column]);
  }
};

// Of each sample (a matrix of the range), in one pass over it: sums of x - pivot, the pivot the sample's first number.
template <typename Element>
struct SampleSums {
  using T = Element;
  using C = Compute<T>;
  static constexpr int kSums = 2;
  static constexpr int kRows = 8;
  int64_t c;
  const T* x;
  C* sums;
  C* squares;
  __device__ __forceinline__ C PivotOf(const ColumnPlace& at, int k) const {
    return at.rows > 0 ? static_cast<C>(x[at.begin * c + at.column + k]) : C{0};
  }
  template <int kCount>
  struct Own {
    C pivot[kCount];
    __device__ __forceinline__ Own(const SampleSums& sums, const ColumnPlace& at) {
      OF_UNROLL
      for (int k = 0; k < kCount; ++k) pivot[k] = sums.PivotOf(at, k);
    }
  };
  template <int kCount>
  using Row = Pack<T, kCount>;
  template <int kCount>
  __device__ __forceinline__ Row<kCount> Load(int64_t row, int64_t j) const {
    return NeighboursAt<kCount>(x, c, row, j);
  }
  template <int kCount>
  __device__ __forceinline__ void Add(const Row<kCount>& row, const Own<kCount>& own,
                                      double (&totals)[kSums][kCount]) const {
    OF_UNROLL
    for (int k = 0; k < kCount; ++k) {
      const C centred = static_cast<C>(row.item[k]) - own.pivot[k];
      totals[0][k] += centred;
      totals[1][k] += centred * centred;
    }
  }
  __device__ __forceinline__ void Write(const ColumnPlace& at, const double* totals) const {
    const double rows = static_cast<double>(at.rows);
    const double apart = at.rows > 0 ? totals[1] - totals[0] * totals[0] / rows : 0;
    const int64_t place = at.matrix * c + at.column;
    sums[place] = static_cast<C>(totals[0] + static_cast<double>(PivotOf(at, 0)) * rows);
    squares[place] = static_cast<C>(apart < 0 ? 0 : apart);
  }
};
// The sums of squares of samples, about the mean of all.
template <typename Element>
struct JoinedSquares {
  using T = Compute<Element>;
  static constexpr int kSums = 1;
  static constexpr int kRows = 4;
  int64_t c;
  const T* sums;
  const T* squares;
  const T* mean;
  T* out;
  double per_count;  // 1 / elements of a sample
  template <int kCount>
  struct Own : Means<T, kCount> {
    __device__ __forceinline__ Own(const JoinedSquares& joined, const ColumnPlace& at)
        : Means<T, kCount>(joined.mean, at) {}
  };
  template <int kCount>
  struct Row {
    Pack<T, kCount> sum, square;
  };
  template <int kCount>
  __device__ __forceinline__ Row<kCount> Load(int64_t row, int64_t j) const {
    return {NeighboursAt<kCount>(sums, c, row, j), NeighboursAt<kCount>(squares, c, row, j)};
  }
  template <int kCount>
  __device__ __forceinline__ void Add(const Row<kCount>& row, const Own<kCount>& own,
                                      double (&totals)[kSums][kCount]) const {
    OF_UNROLL
    for (int k = 0; k < kCount; ++k) {
      const double apart = row.sum.item[k] * per_count - own.mean[k];
      totals[0][k] += row.square.item[k] + apart * apart / per_count;
    }
  }
  __device__ __forceinline__ void Write(const ColumnPlace& at, const double* totals) const {
    out[at.column] = static_cast<T>(totals[0]);
  }
};

// The channel of element i. 32-bit divisions where they are enough: they cost a quarter.
__device__ __forceinline__ int64_t ChannelOf(int64_t i, int64_t c) {
  if (i <= INT32_MAX && c <= INT32_MAX) {
    return static_cast<uint32_t>(i) % static_cast<uint32_t>(c);
  }
  return i % c;
}

// What a channel has for all its elements: y = (x - mean) * scale + bias, and the gradient of x.
template <typename T>
struct ApplyChannel {
  using C = Compute<T>;
  struct Operands {
    const C *mean, *rstd, *weight, *bias;
  };
  C mean, scale, bias;
  __device__ __forceinline__ ApplyChannel(const CudaBatchNorm&, const Operands& a, int64_t j)
      : mean(a.mean[j]), scale(a.rstd[j] * a.weight[j]), bias(a.bias[j]) {}
  ApplyChannel() = default;
  __device__ __forceinline__ T operator()(T x, T) const {
    return T((static_cast<C>(x) - mean) * scale + bias);
  }
};
template <typename T>
struct GradInputChannel {
  using C = Compute<T>;
  struct Operands {
    const C *mean, *rstd, *weight, *sum_dy, *sum_dy_xhat;
  };
  C mean, scale, shift, slope;
  __device__ __forceinline__ GradInputChannel(const CudaBatchNorm& p, const Operands& a, int64_t j)
      : mean(a.mean[j]),
        scale(a.weight[j] * a.rstd[j]),
        shift(static_cast<C>(a.sum_dy[j] * p.per_count)),
        slope(static_cast<C>(a.rstd[j] * p.per_count * a.sum_dy_xhat[j])) {}
  GradInputChannel() = default;
  __device__ __forceinline__ T operator()(T x, T dy) const {
    return T(scale * (static_cast<C>(dy) - shift - (static_cast<C>(x) - mean) * slope));
  }
};

// out[i] = channel(x[i], dy[i]); without dy, channel(x[i], 0).
template <typename Channel, typename T>
__global__ void ChannelsKernel(CudaBatchNorm p, typename Channel::Operands operands, const T* x,
                               const T* dy, T* out) {
  for (int64_t i = p.begin * p.c + FirstItem(); i < p.end * p.c; i += ItemStride()) {
    const Channel channel(p, operands, ChannelOf(i, p.c));
    out[i] = channel(x[i], dy == nullptr ? T{} : dy[i]);
  }
}

// The same, by neighbours: a thread stays with its channels, whose numbers it makes once.
template <typename Channel, typename T>
__global__ void WideChannelsKernel(CudaBatchNorm p, typename Channel::Operands operands, const T* x,
                                   const T* dy, T* out) {
  using Wide = Pack<T, kPacked<T>>;
  const int64_t wides = p.c / kPacked<T>;
  const int64_t stride = ItemStride() / wides * wides;
  if (FirstItem() >= stride) return;
  const int64_t first = ChannelOf(FirstItem(), wides) * kPacked<T>;
  Channel channels[kPacked<T>];
  OF_UNROLL
  for (int k = 0; k < kPacked<T>; ++k) channels[k] = Channel(p, operands, first + k);
  for (int64_t i = p.begin * wides + FirstItem(); i < p.end * wides; i += stride) {
    const Wide in = reinterpret_cast<const Wide*>(x)[i];
    Wide slopes = {};
    if (dy != nullptr) slopes = reinterpret_cast<const Wide*>(dy)[i];
    Wide result;
    OF_UNROLL
    for (int k = 0; k < kPacked<T>; ++k) result.item[k] = channels[k](in.item[k], slopes.item[k]);
    reinterpret_cast<Wide*>(out)[i] = result;
  }
}

template <typename Channel, typename T>
CudaError OverChannels(const CudaBatchNorm& p, const typename Channel::Operands& operands,
                       const T* x, const T* dy, T* out, CudaStreamHandle stream) {
  constexpr int kCount = kPacked<T>;
  const int64_t wide_blocks = BlocksFor((p.end - p.begin) * p.c / kCount);
  const bool aligned = IsAligned(x, 16) && IsAligned(out, 16) && IsAligned(dy, 16);
  if (p.c % kCount == 0 && aligned && wide_blocks * kThreads >= p.c / kCount) {
    return Launch(&WideChannelsKernel<Channel, T>, wide_blocks, kThreads, stream, p, operands, x,
                  dy, out);
  }
  return Launch(&ChannelsKernel<Channel, T>, BlocksFor((p.end - p.begin) * p.c), kThreads, stream,
                p, operands, x, dy, out);
}

template <typename T>
struct BatchNorm {
  using C = Compute<T>;
  using Problem = CudaBatchNorm;
  static ColumnRange RangeOf(const Problem& p) { return {p.begin, p.end - p.begin, p.c, p.splits}; }

  static CudaError Sum(const Problem* p, const CudaOperands* a, CudaStreamHandle stream) {
    const PlainSum<T> sums = {p->c, In<T>(*a, 0), Out<C>(*a, 0) + p->group * p->c};
    return SumColumns(sums, RangeOf(*p), {a->in[0]}, a->workspace, stream);
  }
  static CudaError Squares(const Problem* p, const CudaOperands* a, CudaStreamHandle stream) {
    const int64_t at = p->group * p->c;
    const SquareSum<T> sums = {p->c, In<T>(*a, 0), In<C>(*a, 1) + at, Out<C>(*a, 0) + at};
    return SumColumns(sums, RangeOf(*p), {a->in[0]}, a->workspace, stream);
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
    return SumColumns(sums, RangeOf(*p), {a->in[0], a->in[1]}, a->workspace, stream);
  }
  static CudaError Samples(const Problem* p, const CudaOperands* a, CudaStreamHandle stream) {
    const SampleSums<T> sums = {p->c, In<T>(*a, 0), Out<C>(*a, 0), Out<C>(*a, 1)};
    return SumColumns(sums, {0, p->end, p->c, p->splits, p->samples}, {a->in[0]}, a->workspace,
                      stream);
  }
  static CudaError Join(const Problem* p, const CudaOperands* a, CudaStreamHandle stream) {
    const int64_t at = p->group * p->c;
    const JoinedSquares<T> sums = {
        p->c, In<C>(*a, 0), In<C>(*a, 1), In<C>(*a, 2) + at, Out<C>(*a, 0) + at, p->per_count};
    return SumColumns(sums, RangeOf(*p), {a->in[0], a->in[1]}, a->workspace, stream);
  }
  static CudaError Apply(const Problem* p, const CudaOperands* a, CudaStreamHandle stream) {
    const int64_t at = p->group * p->c;
    return OverChannels<ApplyChannel<T>>(
        *p, {In<C>(*a, 1) + at, In<C>(*a, 2) + at, In<C>(*a, 3), In<C>(*a, 4)}, In<T>(*a, 0),
        static_cast<const T*>(nullptr), Out<T>(*a, 0), stream);
  }
  static CudaError GradInput(const Problem* p, const CudaOperands* a, CudaStreamHandle stream) {
    const int64_t at = p->group * p->c;
    return OverChannels<GradInputChannel<T>>(
        *p,
        {In<C>(*a, 2) + at, In<C>(*a, 3) + at, In<C>(*a, 4), In<C>(*a, 5) + at, In<C>(*a, 6) + at},
        In<T>(*a, 0), In<T>(*a, 1), Out<T>(*a, 0), stream);
  }
};

CudaRun<CudaBatchNorm> FindBatchNorm(const char* op, int number) {
  using Found = CudaRun<CudaBatchNorm>;
  return FindFloat<Found>(static_cast<DType>(number), [&]<typename T>() -> Found {
    if (std::strcmp(op, "bn_sum") == 0) return &BatchNorm<T>::Sum;
    if (std::strcmp(op, "bn_sq_sum") == 0) return &BatchNorm<T>::Squares;
    if (std::strcmp(op, "bn_sample_sums") == 0) return &BatchNorm<T>::Samples;
    if (std::strcmp(op, "bn_join_squares") == 0) return &BatchNorm<T>::Join;
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
