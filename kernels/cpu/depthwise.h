// Depthwise: conv2d of one channel per group and one filter per channel, in f32 or bf16 with sums in
// f32, and its two gradients: a loop over channels per tap, no product. Of any machine.
//
// Owned by the kernel that made it. Threads: one call at a time per workspace; the team is the
// caller's. Invariants: Run allocates nothing; its bits depend on neither the team nor the cut: sums
// run over taps in order, those of the weight's gradient over shares of the lines, whose number
// follows from the problem. Bytes moved: the result once, the source once per tap from near caches.
// Read next: kernels/cpu/tap_axis.h.
#ifndef ONEFLOW_KERNELS_CPU_DEPTHWISE_H_
#define ONEFLOW_KERNELS_CPU_DEPTHWISE_H_

#include <array>
#include <cstdint>
#include <vector>

#include "kernels/cpu/convolution.h"
#include "kernels/cpu/tap_axis.h"
#include "kernels/scalar/types.h"

namespace oneflow::kernels {

inline bool IsDepthwise(const ConvolutionProblem& problem) {
  return problem.groups > 1 && problem.groups == problem.c && problem.k == problem.c;
}

// y(x, weight), or dx(dy, weight). T: float, BF16. REQUIRES: IsDepthwise.
template <typename T>
class Depthwise {
 public:
  using Direction = TapConvolution::Direction;
  Depthwise(Direction direction, const ConvolutionProblem& problem, int threads);

  int64_t workspace_bytes() const { return workspace_bytes_; }
  void Run(const T* source, const T* weight, T* target, void* workspace) const;

 private:
  // The taps of one pixel that are not padding.
  struct Reached {
    const T* source;
    const float* weight;
  };
  using SumTaps = void (*)(const Reached* taps, int64_t count, int64_t channels, T* out);

  void RunLines(const TapPhase& phase, const T* source, const float* weight, T* target,
                int64_t begin, int64_t end, Reached* reached) const;

  ConvolutionProblem problem_;
  SumTaps sum_taps_ = nullptr;
  int parts_ = 1;
  std::array<int64_t, 2> source_size_ = {};
  std::array<int64_t, 2> target_size_ = {};
  std::vector<TapPhase> phases_;
  int64_t reached_at_ = 0;  // in the workspace, bytes
  int64_t workspace_bytes_ = 0;
};

// dweight(x, dy). T: float, BF16. REQUIRES: IsDepthwise.
template <typename T>
class DepthwiseWeightGradient {
 public:
  DepthwiseWeightGradient(const ConvolutionProblem& problem, int threads);

  int64_t workspace_bytes() const { return workspace_bytes_; }
  void Run(const T* x, const T* dy, T* dweight, void* workspace) const;

 private:
  using SumPixels = void (*)(const T* x, int64_t x_step, const T* dy, int64_t dy_step,
                             int64_t pixels, int64_t channels, float* sums);

  // Lines [begin, end) of all images' results by channels [first, first + channels).
  void SumLines(const T* x, const T* dy, int64_t begin, int64_t end, int64_t first,
                int64_t channels, float* sums) const;

  ConvolutionProblem problem_;
  SumPixels sum_pixels_ = nullptr;
  TapAxis rows_;
  TapAxis columns_;
  int parts_ = 1;
  int64_t shares_ = 1;
  int64_t workspace_bytes_ = 0;
};

extern template class Depthwise<float>;
extern template class Depthwise<BF16>;
extern template class DepthwiseWeightGradient<float>;
extern template class DepthwiseWeightGradient<BF16>;

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_DEPTHWISE_H_
