// Bf16Convolution: conv2d on NHWC images in bf16 with sums in f32, and the gradient of the image, on the
// machine's tiles for bf16.
//
// Owned by the kernel that made it. Threads: one call at a time per workspace; the team is the
// caller's. Invariants: Run allocates nothing; its bits depend on neither the team nor the cut.
// Of the source a few tiles of pixels at a time are unrolled, the channels of all taps of a pixel side
// by side; the whole is never. Weights are packed once per call; the gradient has one sub-image per
// phase of the stride, so that no tap multiplies zeros. Read next: kernels/cpu/tap_axis.h,
// kernels/cpu/bf16_tiles.h.
#ifndef ONEFLOW_KERNELS_CPU_BF16_CONVOLUTION_H_
#define ONEFLOW_KERNELS_CPU_BF16_CONVOLUTION_H_

#include <array>
#include <cstdint>
#include <vector>

#include "kernels/cpu/bf16_tiles.h"
#include "kernels/cpu/convolution.h"
#include "kernels/cpu/tap_axis.h"
#include "kernels/scalar/types.h"

namespace oneflow::kernels {

// y(x, weight), or dx(dy, weight).
class Bf16Convolution {
 public:
  using Direction = TapConvolution::Direction;
  Bf16Convolution(Direction direction, const ConvolutionProblem& problem, const Bf16Tiles& tiles,
                  int threads);

  int64_t workspace_bytes() const { return workspace_bytes_; }
  // `workspace` is 64-byte aligned.
  void Run(const BF16* source, const BF16* weight, BF16* target, void* workspace) const;

 private:
  // Taps of one line of the kernel whose channels lie side by side in the source.
  struct Piece {
    int64_t column = 0;  // offset of its first tap
    int64_t count = 0;   // elements
  };
  struct Phase : TapPhase {
    std::vector<Piece> pieces;
    std::vector<int64_t> weights;  // of each tap: its place in a filter
    int64_t depth = 0;             // terms of a sum
    int64_t blocks = 0;
    int64_t row = 0;     // elements from one unrolled pixel to the next
    int64_t packed = 0;  // its weights in the workspace, in elements
  };

  Phase MakePhase(const TapPhase& taps) const;
  void PackWeights(const Phase& phase, const uint16_t* weight, uint16_t* packed) const;
  void PackStrip(const Phase& phase, const uint16_t* weight, int64_t columns,
                 uint16_t* packed) const;
  void RunTiles(const Phase& phase, const uint16_t* source, const uint16_t* packed,
                uint16_t* target, int64_t begin, int64_t end, uint16_t* unrolled) const;
  // The terms of one pixel of the target: its image, group, row and column.
  void Unroll(const Phase& phase, const uint16_t* image, int64_t group, int64_t row, int64_t column,
              uint16_t* to) const;

  Direction direction_;
  ConvolutionProblem problem_;
  Bf16Tiles tiles_;
  int parts_ = 1;
  int64_t in_channels_ = 0;   // of the source, per group
  int64_t out_channels_ = 0;  // of the target, per group
  int64_t strips_ = 0;        // of a group's channels of the target
  std::array<int64_t, 2> source_size_ = {};
  std::array<int64_t, 2> target_size_ = {};
  std::vector<Phase> phases_;
  int64_t together_ = 1;     // tiles of pixels unrolled at a time
  int64_t unrolled_at_ = 0;  // in the workspace, in elements
  int64_t unrolled_ = 0;     // per part
  int64_t workspace_bytes_ = 0;
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_BF16_CONVOLUTION_H_
