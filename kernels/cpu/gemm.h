// Gemm: c = a . b in f32, for one problem of fixed sizes and strides, cut for a team.
//
// Owned by the kernel that made it. Threads: one call at a time per workspace; the team is the
// caller's. Invariants: Run allocates nothing; a sum runs over k in order, in blocks of
// kGemmDepth, so its bits do not depend on the team. Measured against oneDNN 3.2: kernels/cpu/products_benchmark.cc.
// Read next: kernels/cpu/panel_gemm.h, kernels/cpu/micro_kernels.h.
#ifndef ONEFLOW_KERNELS_CPU_GEMM_H_
#define ONEFLOW_KERNELS_CPU_GEMM_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/cpu/gemm_problem.h"
#include "kernels/cpu/micro_kernels.h"
#include "kernels/cpu/panel_gemm.h"

namespace oneflow::kernels {

class Gemm {
 public:
  Gemm(const GemmProblem& problem, const MicroKernels& kernels, int threads);

  int64_t workspace_bytes() const {
    return workspace_floats_ * static_cast<int64_t>(sizeof(float));
  }
  // `workspace` is 64-byte aligned.
  void Run(const float* a, const float* b, float* c, void* workspace) const;

 private:
  void PackA(const float* a, float* packed) const;
  void PackStrip(const float* b, const ColumnStrip& strip, int64_t p, int64_t depth,
                 float* packed) const;
  // Rows [begin, end) of one strip and one block of k.
  void Multiply(const float* a, int64_t begin, int64_t end, const ColumnStrip& strip, int64_t p,
                int64_t depth, const float* packed_b, const float* packed_a, float* c) const;
  void RunByColumns(const float* a, const float* b, float* c, const float* packed_a,
                    float* space) const;
  void RunByRows(const float* a, const float* b, float* c, const float* packed_a,
                 float* space) const;

  GemmProblem problem_;
  MicroKernels kernels_;
  int parts_ = 1;
  std::optional<PanelGemm> panels_;  // a large product is all its; else what follows
  bool pack_a_ = false;              // a's terms lie far apart: copied once into tiles
  bool by_columns_ =
      true;  // the team shares columns, each strip of b packed where it is used; else rows
  std::vector<std::vector<ColumnStrip>> strips_;  // by columns: per part; by rows: one list
  int64_t packed_a_floats_ = 0;
  int64_t space_floats_ = 0;  // by columns: per part
  int64_t workspace_floats_ = 0;
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_GEMM_H_
