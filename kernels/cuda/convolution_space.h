// EngineRoom: how the workspace of a convolution is shared out where a library's engine serves it: room to align, the
// filters with their channels last, three numbers of each channel where it makes statistics, and the engine's own.
//
// What a plan gives is decided without a GPU and without the library (image_kernels.cc), so the engine's share is a
// budget from shapes alone: room for shares of sums, and for images whose layout an engine changes (f32 without
// tensor cores, which cuDNN does with the channels first; channels in 16 bits that are no multiple of 8, which it
// pads). Statistics are sums of tiles of 64 pixels at least. Engines that ask for more are passed over. Functions only. Threads: any. Read next:
// kernels/cuda/convolution.cu.
#ifndef ONEFLOW_KERNELS_CUDA_CONVOLUTION_SPACE_H_
#define ONEFLOW_KERNELS_CUDA_CONVOLUTION_SPACE_H_

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "base/dtype.h"
#include "kernels/cuda/cuda_api.h"
#include "kernels/cuda/library_space.h"

namespace oneflow::kernels {

inline constexpr int64_t kSumBudget = 16 << 20;

// There is something to do, of a size that a library takes. Shapes come from a plan, which may say anything.
inline bool IsForLibrary(const CudaConvolution& p) {
  constexpr int64_t kMost = INT32_MAX;
  const auto fits = [](int64_t a, int64_t b, int64_t c, int64_t d) {
    int64_t elements = 1;
    for (const int64_t extent : {a, b, c, d}) {
      if (extent <= 0 || extent > kMost / elements) return false;
      elements *= extent;
    }
    return true;
  };
  return p.groups > 0 && p.c % p.groups == 0 && p.k % p.groups == 0 && fits(p.n, p.h, p.w, p.c) &&
         fits(p.n, p.p, p.q, p.k) && fits(p.k, p.r, p.s, p.c / p.groups);
}

// The filters with their channels last; 0 where that is how they lie already.
inline int64_t FilterBytes(const CudaConvolution& p) {
  if (p.r * p.s == 1 || p.c == p.groups) return 0;
  const int64_t element = static_cast<DType>(p.dtype) == DType::kF32 ? 4 : 2;
  return AlignedBytes(p.k * (p.c / p.groups) * p.r * p.s * element);
}
// Whether a library's engine may make the statistics of the result: it sums all that it is given, so of one part.
inline bool MakesStatistics(const CudaConvolution& p) {
  return p.parts == 1 && static_cast<DType>(p.dtype) != DType::kF32;
}
// One of the three that it needs: what it sums about, and both sums.
inline int64_t ChannelBytes(const CudaConvolution& p) { return AlignedBytes(p.k * 4); }
inline int64_t StatisticBytes(const CudaConvolution& p) {
  return MakesStatistics(p) ? 3 * ChannelBytes(p) : 0;
}
// An image, as an engine may copy it.
inline int64_t CopyBytes(const CudaConvolution& p, int64_t pixels, int64_t channels) {
  if (static_cast<DType>(p.dtype) == DType::kF32) return AlignedBytes(pixels * channels * 4);
  constexpr int64_t kVector = 8;
  if (p.groups > 1 || channels % kVector == 0) return 0;
  return AlignedBytes(pixels * (channels / kVector + 1) * kVector * 2);
}
inline int64_t EngineBudget(const CudaConvolution& p) {
  constexpr int64_t kTilePixels = 64;
  const int64_t tiles = MakesStatistics(p) ? (p.n * p.p * p.q + kTilePixels - 1) / kTilePixels : 0;
  return std::max(kSumBudget, AlignedBytes(tiles * p.k * 8)) + CopyBytes(p, p.n * p.h * p.w, p.c) +
         CopyBytes(p, p.n * p.p * p.q, p.k);
}
// Of a call that an engine may serve.
inline int64_t EngineWorkspace(const CudaConvolution& p) {
  return kLibraryAlignment + FilterBytes(p) + StatisticBytes(p) + EngineBudget(p);
}
// What is the engine's; negative: the workspace was not made for one.
inline int64_t EngineRoom(const CudaConvolution& p) {
  return p.workspace_bytes - kLibraryAlignment - FilterBytes(p) - StatisticBytes(p);
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_CONVOLUTION_SPACE_H_
