// Convolution: conv2d on NHWC images and its two gradients as sums over taps; no image is unrolled.
//
// Owned by the kernel that made it. Threads: one call at a time per workspace; the team is the
// caller's. Invariants: Run allocates nothing; the order of sums follows the problem and the team.
// Few channels (an image's 1 or 3) are the exception: there a few pixels at a time are unrolled.
// A tap (a, b) of the kernel reads the image shifted: a row of the product is a pixel's channels,
// reached by a pointer, which for padding points to zeros. The gradient of the image is the same
// sum over dy, one sub-image per phase of the stride, so that no tap multiplies zeros. Read next:
// kernels/cpu/micro_kernels.h.
#ifndef ONEFLOW_KERNELS_CPU_CONVOLUTION_H_
#define ONEFLOW_KERNELS_CPU_CONVOLUTION_H_

#include <array>
#include <cstdint>
#include <vector>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/micro_kernels.h"

namespace oneflow::kernels {

// Images [n, h, w, c], results [n, p, q, k], weights [k, c / groups, r, s].
struct ConvolutionProblem {
  int64_t n = 0, h = 0, w = 0, c = 0;
  int64_t k = 0, p = 0, q = 0;
  int64_t r = 0, s = 0;
  int64_t groups = 1;
  std::array<int64_t, 2> stride = {1, 1};
  std::array<int64_t, 2> padding = {0, 0};
  std::array<int64_t, 2> dilation = {1, 1};

  double flops() const {
    return 2.0 * static_cast<double>(n * p * q) * static_cast<double>(k) *
           static_cast<double>(c / groups * r * s);
  }
};

// Which source line a target line reads through which tap: along one image dim.
struct TapLines {
  std::vector<int64_t> taps;     // of the kernel, those that reach this phase
  std::vector<int64_t> targets;  // lines of the target
  std::vector<int64_t> source;   // [target][tap]: line of the source, -1 in the padding
};

// y(x, weight), or dx(dy, weight): for each target pixel the sum over taps of source pixel .
// weights.
class TapConvolution {
 public:
  enum class Direction { kForward, kGradInput };
  TapConvolution(Direction direction, const ConvolutionProblem& problem,
                 const MicroKernels& kernels, int threads);

  int64_t workspace_bytes() const {
    return workspace_floats_ * static_cast<int64_t>(sizeof(float));
  }
  void Run(const float* source, const float* weight, float* target, void* workspace) const;

 private:
  // One phase of the stride: every tap reaches all of its targets (or padding).
  struct Phase {
    TapLines rows;
    TapLines columns;
    int64_t packed = 0;  // its weights in the workspace
    // Floats from the image's begin to the line (then the pixel in it) that a target line (column)
    // reads through a tap, [line][tap]; very negative in the padding, so that the sum of both
    // tells.
    std::vector<int64_t> row_offset;
    std::vector<int64_t> column_offset;
    int64_t taps() const { return static_cast<int64_t>(rows.taps.size() * columns.taps.size()); }
    int64_t pixels() const {
      return static_cast<int64_t>(rows.targets.size() * columns.targets.size());
    }
  };

  void PackWeights(const Phase& phase, const float* weight, float* packed) const;
  void RunTiles(const Phase& phase, const float* source, const float* packed, float* target,
                int64_t begin, int64_t end, float* unrolled) const;

  Direction direction_;
  ConvolutionProblem problem_;
  MicroKernels kernels_;
  int parts_ = 1;
  int64_t in_channels_ = 0;   // of the source, per group
  int64_t out_channels_ = 0;  // of the target, per group
  int64_t padded_channels_ = 0;
  std::array<int64_t, 2> source_size_ = {};
  std::array<int64_t, 2> target_size_ = {};
  std::vector<Phase> phases_;
  std::vector<ColumnStrip> strips_;
  std::vector<float> zeros_;
  bool unrolls_ = false;     // so few channels that a pixel's taps are copied side by side first
  int64_t unrolled_at_ = 0;  // in the workspace
  int64_t unrolled_floats_ = 0;  // per part
  int64_t workspace_floats_ = 0;
};

// dweight(x, dy): for each tap the sum over pixels of dy's channels times x's. Each thread sums its
// share of the images, shares are added in order.
class WeightGradient {
 public:
  WeightGradient(const ConvolutionProblem& problem, const MicroKernels& kernels, int threads);

  int64_t workspace_bytes() const;
  void Run(const float* x, const float* dy, float* dweight, void* workspace) const;

 private:
  // A vector of the result's columns: channels [channel, channel + count) of one tap.
  struct Column {
    int64_t tap = 0;
    int64_t channel = 0;
    int64_t count = 0;
  };

  // A share's part of the workspace.
  struct Space {
    const float** rows;  // [tap][pixel of the block]
    float* unrolled;     // [pixel][tap][channel]
    float* sums;         // [k][tap][channel]
  };
  Space SpaceOf(void* workspace, int part) const;
  void FillPointers(const float* x, int64_t begin, int64_t end, const float** rows) const;
  void Unroll(int64_t pixels, const Space& space) const;
  void SumShare(const float* x, const float* dy, int64_t begin, int64_t end,
                const Space& space) const;

  ConvolutionProblem problem_;
  MicroKernels kernels_;
  int parts_ = 1;
  TapLines rows_;
  TapLines columns_;
  std::vector<Column> vectors_;
  std::vector<float> zeros_;
  int64_t channels_ = 0;  // of x, per group
  int64_t filters_ = 0;   // of dy, per group
  int64_t width_ = 0;     // columns of the sums: taps * channels_
  bool unrolls_ = false;  // as in TapConvolution
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_CONVOLUTION_H_
