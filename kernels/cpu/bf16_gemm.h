// Bf16Gemm: c = a . b in bf16 with sums in f32, for one problem of fixed sizes and strides, cut for a
// team. b is copied into the order in which the instructions take it, and so is a unless it lies so.
//
// Owned by the kernel that made it. Threads: one call at a time per workspace; the team is the
// caller's. Invariants: Run allocates nothing; its bits depend on neither the team nor the cut. Bytes
// moved beside the operands: each is written once and read once per block of the other
// (kernels/cpu/bf16_gemm.cc). Measured: kernels/cpu/products_benchmark.cc. Read next:
// kernels/cpu/bf16_tiles.h.
#ifndef ONEFLOW_KERNELS_CPU_BF16_GEMM_H_
#define ONEFLOW_KERNELS_CPU_BF16_GEMM_H_

#include <cstdint>

#include "kernels/cpu/bf16_packing.h"
#include "kernels/cpu/bf16_tiles.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/micro_kernels.h"
#include "kernels/scalar/types.h"

namespace oneflow::kernels {

class Bf16Gemm {
 public:
  // `vectors` moves pairs of bf16 as if they were floats.
  Bf16Gemm(const GemmProblem& problem, const Bf16Tiles& tiles, const MicroKernels& vectors,
           int threads);

  int64_t workspace_bytes() const { return workspace_bytes_; }
  // `workspace` is 64-byte aligned.
  void Run(const BF16* a, const BF16* b, BF16* c, void* workspace) const;

 private:
  // Rows and columns of the product whose operands are packed; a is, if pack_a_.
  struct Piece {
    const uint16_t* a;
    const uint16_t* b;
    uint16_t* c;
    int64_t rows, columns;
  };
  // Row tiles [begin, end) of the piece by its strips [first, last).
  void Multiply(const Piece& piece, int64_t begin, int64_t end, int64_t first, int64_t last) const;

  GemmProblem problem_;
  Bf16Tiles tiles_;
  Bf16Packing packing_;
  int parts_ = 1;
  bool pack_a_ = true;
  int64_t row_tiles_ = 0;
  int64_t strips_ = 0;
  int64_t tiles_together_ = 0;   // packed at a time; all of them, or
  int64_t strips_together_ = 0;  // all of these
  int64_t blocks_ = 0;           // of k
  int64_t workspace_bytes_ = 0;
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_BF16_GEMM_H_
