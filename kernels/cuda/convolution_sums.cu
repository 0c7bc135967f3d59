// Pivots: a block per channel, one product of a filter and a window: 2 k r s c / groups bytes of filters, 4.7 MB at
// most of ResNet-50's, and as much from the cache; predicted 3 us. Statistics of sums: a thread per channel, a launch.
#include "base/dtype.h"
#include "kernels/cuda/block_join.h"
#include "kernels/cuda/convolution_sums.h"
#include "kernels/cuda/device_code.h"
#include "kernels/scalar/types.h"

namespace oneflow::kernels {
namespace {

template <typename T>
__global__ void PivotKernel(CudaConvolution p, const T* x, const T* filters, float* pivots) {
  __shared__ float space[kThreads];
  const int64_t c_each = p.c / p.groups, taps = p.r * p.s;
  const int64_t up = p.p / 2 * p.stride[0] - p.padding[0];
  const int64_t left = p.q / 2 * p.stride[1] - p.padding[1];
  for (int64_t filter = blockIdx.x; filter < p.k; filter += gridDim.x) {
    const int64_t first = filter / (p.k / p.groups) * c_each;  // channel of the image
    float sum = 0;
    for (int64_t i = threadIdx.x; i < c_each * taps; i += blockDim.x) {
      const int64_t channel = i / taps, tap = i % taps;
      const int64_t h = up + tap / p.s * p.dilation[0], w = left + tap % p.s * p.dilation[1];
      if (h < 0 || h >= p.h || w < 0 || w >= p.w) continue;
      sum += static_cast<float>(x[(h * p.w + w) * p.c + first + channel]) *
             static_cast<float>(filters[filter * c_each * taps + i]);
    }
    sum = BlockJoin(sum, space, Plus());
    if (threadIdx.x == 0) pivots[filter] = sum;
  }
}

__global__ void SumsKernel(int64_t channels, double rows, const float* pivots,
                           const float* raw_sums, const float* raw_squares, float* sums,
                           float* squares) {
  for (int64_t k = FirstItem(); k < channels; k += ItemStride()) {
    const double sum = raw_sums[k];
    const double apart = raw_squares[k] - sum * sum / rows;
    sums[k] = static_cast<float>(sum + rows * pivots[k]);
    squares[k] = apart < 0 ? 0.0f : static_cast<float>(apart);
  }
}

}  // namespace

CudaError ChannelPivots(const CudaConvolution& p, const void* x, const void* filters, float* pivots,
                        CudaStreamHandle stream) {
  const auto launch = [&]<typename T>(const T* image) {
    return LaunchBlocks(&PivotKernel<T>, std::min<int64_t>(p.k, kMaxBlocks), kThreads, stream, p,
                        image, static_cast<const T*>(filters), pivots);
  };
  return static_cast<DType>(p.dtype) == DType::kBF16 ? launch(static_cast<const BF16*>(x))
                                                     : launch(static_cast<const F16*>(x));
}

CudaError PivotedSums(const CudaConvolution& p, const float* pivots, const float* raw_sums,
                      const float* raw_squares, float* sums, float* squares,
                      CudaStreamHandle stream) {
  return Launch(&SumsKernel, BlocksFor(p.k), kThreads, stream, p.k,
                static_cast<double>(p.n * p.p * p.q), pivots, raw_sums, raw_squares, sums, squares);
}

}  // namespace oneflow::kernels
