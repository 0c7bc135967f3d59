// PanelGemm: c = a . b in f32 for large products: both operands are packed, a into panels of rows, b
// strip by strip where it is used. The result is cut into rectangles, one for each thread of the team,
// which works on it alone, from packing on.
//
// Part of a Gemm, which is asked first whether a problem suits. Threads: as Gemm. Invariants: Run
// allocates nothing; a sum has Gemm's order, so its bits are those of a Gemm without panels; the
// workspace is bounded (1.1 MiB for each thread), whatever the problem.
// Read next: kernels/cpu/team_grid.h, kernels/cpu/micro_kernels.h.
#ifndef ONEFLOW_KERNELS_CPU_PANEL_GEMM_H_
#define ONEFLOW_KERNELS_CPU_PANEL_GEMM_H_

#include <cstdint>
#include <vector>

#include "kernels/cpu/gemm_problem.h"
#include "kernels/cpu/micro_kernels.h"

namespace oneflow::kernels {

class PanelGemm {
 public:
  // The set has panels, and packing a is worth it.
  static bool Suits(const GemmProblem& problem, const MicroKernels& kernels);
  // REQUIRES: it suits.
  PanelGemm(const GemmProblem& problem, const MicroKernels& kernels, int parts);

  int64_t workspace_floats() const { return parts_ * part_floats_; }
  // `workspace` is 64-byte aligned.
  void Run(const float* a, const float* b, float* c, float* workspace) const;

 private:
  // What one part computes.
  struct Rectangle {
    int64_t row, rows;
    std::vector<ColumnStrip> strips;
  };
  // Rows [row, row + rows) and terms [p, p + depth) of a, depth up to kGemmDepth, and the strips by
  // which they are multiplied.
  struct Chunk {
    int64_t row, rows, p, depth, first_strip, last_strip;
  };
  Chunk FirstOf(const Rectangle& rectangle) const;
  Chunk Behind(const Rectangle& rectangle, const Chunk& chunk) const;  // of no rows behind the last
  void PackA(const float* a, const Chunk& chunk, float* packed) const;
  void PackStrip(const float* b, const ColumnStrip& strip, int64_t p, int64_t depth,
                 float* packed) const;
  // `next` is the chunk that comes then.
  void Multiply(const float* a, const float* packed_a, const float* b, float* c, const Chunk& chunk,
                const Chunk& next, const std::vector<ColumnStrip>& strips, float* packed_b) const;

  GemmProblem problem_;
  MicroKernels kernels_;
  int parts_;
  std::vector<Rectangle> rectangles_;  // of each part
  int64_t chunk_rows_;                 // a multiple of the panel's
  int64_t packed_a_floats_;
  int64_t part_floats_;  // of the workspace
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_PANEL_GEMM_H_
