// Bf16Gemm: c = a . b in bf16 with sums in f32, for one problem of fixed sizes and strides, cut for a
// team: one rectangle of the result for each thread, which packs what it needs by itself.
//
// A rectangle goes by in blocks of rows, panels of columns and spans of terms. Of a span, a is packed
// for the block of rows (unless it lies as the instructions take it), b strip by strip where it is
// used, some hundreds of terms at a time, which stay in the first cache while the rows pass by; so sums wait in the
// workspace until their next terms come.
// Owned by the kernel that made it. Threads: one call at a time per workspace; the team is the
// caller's. Invariants: Run allocates nothing; its bits depend on neither the team nor the cut; the
// workspace is bounded for each thread, whatever the problem. Measured:
// kernels/cpu/products_benchmark.cc. Read next: kernels/cpu/bf16_tiles.h.
#ifndef ONEFLOW_KERNELS_CPU_BF16_GEMM_H_
#define ONEFLOW_KERNELS_CPU_BF16_GEMM_H_

#include <cstdint>

#include "kernels/cpu/bf16_packing.h"
#include "kernels/cpu/bf16_tiles.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/micro_kernels.h"
#include "kernels/cpu/team_grid.h"
#include "kernels/scalar/types.h"

namespace oneflow::kernels {

class Bf16Gemm {
 public:
  // `vectors` moves pairs of bf16 as if they were floats.
  Bf16Gemm(const GemmProblem& problem, const Bf16Tiles& tiles, const MicroKernels& vectors,
           int threads);

  int64_t workspace_bytes() const { return parts_ * part_bytes_; }
  // `workspace` is 64-byte aligned.
  void Run(const BF16* a, const BF16* b, BF16* c, void* workspace) const;

 private:
  // Of one thread.
  struct Workspace {
    uint16_t* packed_a;
    uint16_t* packed_b;
    float* sums;
  };
  // Rows and columns of the result, and the span of terms that is added to it.
  struct Piece {
    int64_t row, rows, column, columns, p, depth;
  };
  void RunRectangle(const TeamRectangle& rectangle, const uint16_t* a, const uint16_t* b,
                    uint16_t* c, const Workspace& space) const;
  void PackA(const uint16_t* a, const Piece& piece, uint16_t* packed) const;
  void Multiply(const uint16_t* a, const uint16_t* b, uint16_t* c, const Piece& piece,
                const Workspace& space) const;
  // One strip by up to terms_ of the span, from its term p on; `fetch` are lines of b that are needed next.
  void MultiplyStrip(const uint16_t* a, uint16_t* c, const Piece& piece, int64_t column, int64_t p,
                     const Workspace& space, float* sums, const Bf16Matrix& next, int64_t next_rows,
                     int64_t next_columns) const;

  GemmProblem problem_;
  Bf16Tiles tiles_;
  Bf16Packing packing_;
  int parts_ = 1;
  TeamGrid grid_;
  bool pack_a_ = true;
  int64_t row_block_ = 0;     // a multiple of a pair of tiles
  int64_t column_panel_ = 0;  // a multiple of a strip
  int64_t span_ = 0;          // of terms; a multiple of
  int64_t terms_ = 0;         // those of a packed strip of b
  int64_t strips_together_ = 0;
  int64_t packed_a_bytes_ = 0;
  int64_t sums_bytes_ = 0;
  int64_t part_bytes_ = 0;
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_BF16_GEMM_H_
