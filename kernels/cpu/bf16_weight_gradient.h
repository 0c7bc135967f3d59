// Bf16WeightGradient: conv2d's gradient of the weight in bf16 with sums in f32, on the machine's tiles
// for bf16: a product whose sum runs over the pixels of the result.
//
// Owned by the kernel that made it. Threads: one call at a time per workspace; the team is the
// caller's. Invariants: Run allocates nothing; its bits depend on neither the team nor the cut.
// A column of the result is a tap and a channel of x. dy is packed once per call; of x a few columns
// of a few hundred pixels at a time, so each element once per tap. Where there are few columns the
// pixels are cut into shares, whose number follows from the problem alone and whose sums are added in
// order. Read next: kernels/cpu/tap_axis.h, kernels/cpu/bf16_tiles.h.
#ifndef ONEFLOW_KERNELS_CPU_BF16_WEIGHT_GRADIENT_H_
#define ONEFLOW_KERNELS_CPU_BF16_WEIGHT_GRADIENT_H_

#include <cstdint>
#include <vector>

#include "kernels/cpu/bf16_tiles.h"
#include "kernels/cpu/convolution.h"
#include "kernels/cpu/micro_kernels.h"
#include "kernels/cpu/tap_axis.h"
#include "kernels/scalar/types.h"

namespace oneflow::kernels {

class Bf16WeightGradient {
 public:
  // `vectors` moves pairs of bf16 as if they were floats.
  Bf16WeightGradient(const ConvolutionProblem& problem, const Bf16Tiles& tiles,
                     const MicroKernels& vectors, int threads);

  int64_t workspace_bytes() const { return workspace_bytes_; }
  // `workspace` is 64-byte aligned.
  void Run(const BF16* x, const BF16* dy, BF16* dweight, void* workspace) const;

 private:
  // Columns of a strip that lie side by side in a line of x.
  struct Piece {
    int64_t row = 0;      // offset of its line
    int64_t column = 0;   // offset of its pixel
    int64_t channel = 0;  // elements from that pixel's first of the group
    int64_t to = 0;       // its place in the strip
    int64_t count = 0;
  };
  using Interleave = void (*)(const uint16_t* const* rows, int64_t pairs, int64_t n,
                              uint32_t* packed);
  using RoundSums = void (*)(const float* sums, int64_t share, int64_t shares, BF16* out,
                             int64_t n);

  // One thread's part of the workspace.
  struct Space {
    uint16_t* packed;       // [strip][block][pair][column][2]
    uint16_t* copied;       // [pixel][column], where a strip's columns lie apart
    const uint16_t** rows;  // [pixel]
  };
  Space SpaceOf(char* workspace, int part) const;
  int64_t BlockBegin(int64_t share) const;

  void PackGradient(const uint16_t* dy, int64_t begin, int64_t end, uint16_t* packed) const;
  // Strips [begin, end) of all groups and shares, in this order.
  void SumStrips(const uint16_t* x, const uint16_t* packed_dy, int64_t begin, int64_t end,
                 float* sums, const Space& space) const;
  void PackStrip(const uint16_t* x, int64_t group, int64_t strip, int64_t begin, int64_t end,
                 const Space& space, uint16_t* packed) const;
  void PointToRows(const uint16_t* x, int64_t group, int64_t strip, int64_t begin, int64_t end,
                   const Space& space) const;
  void Round(const float* sums, int64_t begin, int64_t end, BF16* dweight) const;

  ConvolutionProblem problem_;
  Bf16Tiles tiles_;
  TransposeKernel transpose_ = nullptr;
  Interleave interleave_ = nullptr;
  RoundSums round_ = nullptr;
  TapAxis rows_;
  TapAxis columns_;
  std::vector<std::vector<Piece>> pieces_;  // of each strip
  int parts_ = 1;
  int64_t channels_ = 0;      // of x, per group
  int64_t filters_ = 0;       // of dy, per group
  int64_t filter_tiles_ = 0;  // of a group
  int64_t width_ = 0;         // columns of a group
  int64_t strips_ = 0;        // of a group
  int64_t blocks_ = 0;        // of all pixels
  int64_t shares_ = 1;
  int64_t together_ = 1;  // strips that share a block of dy while it is near
  int64_t sums_at_ = 0;   // in the workspace, bytes
  int64_t parts_at_ = 0;
  int64_t part_bytes_ = 0;
  int64_t workspace_bytes_ = 0;
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_BF16_WEIGHT_GRADIENT_H_
