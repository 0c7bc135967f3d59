// Bf16Products: the products of attention in bf16 by the instructions of this machine for it (AMX,
// AVX-512 BF16), sums in f32. Weights and gradients of scores are rounded to bf16 as operands; what is
// summed over blocks of keys or queries stays f32 and is rounded once.
//
// Owned by the kernel that made it, const. Threads: any, each with a Space of its own. Invariants:
// allocates nothing; a sum runs over its terms in order. The gradients of k and v are summed
// transposed, so that blocks of weights are operands as they lie and no block is transposed. Read next:
// kernels/cpu/attention.cc, kernels/cpu/bf16_tiles.h.
#ifndef ONEFLOW_KERNELS_CPU_ATTENTION_BF16_H_
#define ONEFLOW_KERNELS_CPU_ATTENTION_BF16_H_

#include <cstdint>

#include "kernels/cpu/attention_float.h"
#include "kernels/cpu/attention_problem.h"
#include "kernels/cpu/attention_scores.h"
#include "kernels/cpu/bf16_packing.h"
#include "kernels/cpu/bf16_tiles.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/micro_kernels.h"

namespace oneflow::kernels {

class Bf16Products {
 public:
  // REQUIRES: dtype is bf16 and the machine multiplies it.
  Bf16Products(const AttentionProblem& problem, AttentionPass pass, DType dtype);

  struct Space {
    Space(const Bf16Products& products, AttentionSpace* space);
    uint16_t *k_columns, *v_columns;     // b: columns are keys
    uint16_t *k_rows, *v_rows;           // b: terms are keys
    uint16_t *q_rows, *dout_rows;        // a: terms are columns of a head
    uint16_t *q_columns, *dout_columns;  // a: terms are queries
    uint16_t* weight_rows;               // a: weights or slopes, terms are keys
    uint16_t *weights, *slopes;          // b: terms are queries
    float *wide_out, *wide_dout;
    float* result;   // of a block of queries
    float *dk, *dv;  // transposed
    float* keys;     // rows of dk or dv of one block
  };
  void Begin() const { tiles_.begin(); }
  void End() const { tiles_.end(); }

  // What FloatProducts has.
  void TakeKeys(const void* k, const void* v, Space* space) const;
  void TakeQueries(const void* q, int64_t rows, Space* space) const;
  FloatRows TakeResult(void* out, Space* space) const;
  void StoreResult(void* out, int64_t rows, Space* space) const;
  void Scores(const ScorePlace& at, const Space& space, float* scores) const;
  void AddValues(const ScorePlace& at, const Space& space, const float* weights, bool first) const;
  void TakeSlopes(const void* out, const void* dout, int64_t rows, Space* space,
                  ConstFloatRows* out_rows, ConstFloatRows* dout_rows) const;
  void TakeKeyGradients(void* dk, void* dv, Space* space) const;
  void TakeQueryGradients(void* dq, int64_t rows, Space* space) const;
  void Slopes(const ScorePlace& at, const Space& space, float* slopes) const;
  void AddGradients(const ScorePlace& at, const Space& space, const ScoreBlock& block,
                    bool first) const;
  void StoreQueryGradients(void* dq, int64_t rows, Space* space) const;
  void StoreKeyGradients(void* dk, void* dv, Space* space) const;

 private:
  // Columns of a head, in tiles.
  struct Width {
    explicit Width(int64_t columns)
        : columns(columns), blocks((columns + kBf16Depth - 1) / kBf16Depth) {}
    int64_t columns;
    int64_t blocks;  // of 32
    int64_t up() const { return blocks * kBf16Depth; }
  };

  int64_t keys_up() const { return problem_.key_blocks() * kKeyBlock; }
  // Rows of a block of queries as operand a, by rows and by columns.
  void PackQueries(const void* rows, int64_t count, int64_t row, const Width& width,
                   uint16_t* by_rows, uint16_t* by_columns) const;
  void PackKeyColumns(const void* rows, int64_t row, const Width& width, uint16_t* packed) const;
  void PackKeyRows(const void* rows, int64_t row, const Width& width, uint16_t* packed) const;
  // to(query, key) = sum over a head's columns.
  void MultiplySeen(const ScorePlace& at, const Width& width, const uint16_t* rows,
                    const uint16_t* key_columns, float* to) const;
  // to(query, column) (+)= sum over keys of the packed weights and rows of k or v.
  void MultiplyKeys(const ScorePlace& at, const Width& width, const uint16_t* weights,
                    const uint16_t* key_rows, float* to, bool accumulate) const;
  // to(column, key) += sum over queries.
  void MultiplyQueries(const ScorePlace& at, const Width& width, const uint16_t* columns,
                       const uint16_t* weights, float* to) const;
  void StoreRows(const float* from, int64_t from_row, int64_t count, const Width& width, void* to,
                 int64_t row) const;
  void StoreTransposed(const float* from, const Width& width, float* keys, void* to,
                       int64_t row) const;

  AttentionProblem problem_;
  AttentionPass pass_;
  Bf16Tiles tiles_;
  Bf16Packing packing_;
  TransposeKernel transpose_;
  void (*widen_)(const void* x, float* y, int64_t n);
  Width width_, value_width_;
  void (*round_)(const float* x, uint16_t* to, int64_t n);
  void (*pack_rows_)(const float* block, int64_t rows, uint16_t* tiles);
  void (*pack_pairs_)(const float* block, int64_t rows, uint32_t* strips);
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_ATTENTION_BF16_H_
