// PanelGemm: c = a . b in f32 for large products: both operands are packed, a for the whole team into
// panels of rows, b strip by strip where it is used.
//
// Part of a Gemm, which is asked first whether a problem suits. Threads: as Gemm. Invariants: Run
// allocates nothing; a sum has Gemm's order, so its bits are those of a Gemm without panels; the
// workspace is bounded (1 MiB and 32 KiB for each thread), whatever the problem.
// Read next: kernels/cpu/micro_kernels.h.
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
  static bool Suits(const GemmProblem& problem, const MicroKernels& kernels, int parts);
  // REQUIRES: it suits.
  PanelGemm(const GemmProblem& problem, const MicroKernels& kernels, int parts);

  int64_t workspace_floats() const { return workspace_floats_; }
  // `workspace` is 64-byte aligned.
  void Run(const float* a, const float* b, float* c, float* workspace) const;

 private:
  // Rows [first, first + rows) and terms [p, p + depth) of a, depth up to kGemmDepth.
  struct Chunk {
    int64_t first, rows, p, depth;
  };
  void PackA(const float* a, const Chunk& chunk, float* packed) const;
  void PackPanels(const float* a, int64_t row, int64_t rows, int64_t p, int64_t depth,
                  float* packed) const;
  void PackStrip(const float* b, const ColumnStrip& strip, int64_t p, int64_t depth,
                 float* packed) const;
  void Multiply(const float* packed_a, const float* b, float* c, const Chunk& chunk,
                const std::vector<ColumnStrip>& strips, float* packed_b) const;

  GemmProblem problem_;
  MicroKernels kernels_;
  int parts_;
  int64_t chunk_rows_;                            // a multiple of the panel's
  std::vector<std::vector<ColumnStrip>> strips_;  // of each part
  int64_t packed_a_floats_;
  int64_t packed_b_floats_;  // of each part
  int64_t workspace_floats_;
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_PANEL_GEMM_H_
