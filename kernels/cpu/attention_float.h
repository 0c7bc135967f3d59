// FloatProducts: the products of attention in f32, by the micro-kernels of this machine. bf16 and f16
// are widened block by block.
//
// Owned by the kernel that made it, const. Threads: any, each with a Space of its own. Invariants:
// allocates nothing; a sum runs over its terms in order within a block and over blocks in order. Keys
// and values are packed once for each head that a thread takes up. Read next: kernels/cpu/attention.cc.
#ifndef ONEFLOW_KERNELS_CPU_ATTENTION_FLOAT_H_
#define ONEFLOW_KERNELS_CPU_ATTENTION_FLOAT_H_

#include <cstdint>
#include <vector>

#include "kernels/cpu/attention_problem.h"
#include "kernels/cpu/attention_scores.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/gemm.h"

namespace oneflow::kernels {

// Rows of floats, `row` apart.
struct FloatRows {
  float* data = nullptr;
  int64_t row = 0;
};
struct ConstFloatRows {
  const float* data = nullptr;
  int64_t row = 0;
};

// What all products of one kind, of `columns` columns each, need: strips of columns of a matrix b.
class FloatProduct {
 public:
  FloatProduct(const MicroKernels& kernels, int64_t columns);

  // Floats of b packed, of so many terms.
  int64_t packed(int64_t terms) const { return terms * columns_up_; }
  // b(p, j) = rows.data[p * row + j], or [j * row + p] if `transposed`.
  void Pack(ConstFloatRows b, bool transposed, int64_t terms, float* packed) const;
  // Row i of c (+)= sum of a(i, p) * b(p, ..) over p < the most terms, Seen(i), of its tile's rows. c may
  // have fewer columns.
  void Multiply(ConstFloatRows a, const ScorePlace& seen, const float* packed, FloatRows c,
                bool accumulate) const;
  // As Multiply, but it is the columns that a row does not see that are left out.
  void MultiplySeen(ConstFloatRows a, int64_t terms, const ScorePlace& seen, const float* packed,
                    FloatRows c) const;
  // Row j of c += sum of a(p, j) * b(p, ..) over rows p of a that see column j.
  void MultiplyTransposed(ConstFloatRows a, const ScorePlace& seen, ConstFloatRows b,
                          FloatRows c) const;

 private:
  // terms_of(strip, last row of a tile): how many terms it sums, below 0 to leave it out.
  template <typename TermsOf>
  void MultiplyTiles(ConstFloatRows a, int64_t rows, int64_t terms, const float* packed,
                     FloatRows c, bool accumulate, const TermsOf& terms_of) const;

  MicroKernels kernels_;
  int64_t columns_up_;
  std::vector<ColumnStrip> strips_;
};

class FloatProducts {
 public:
  // `dtype`: f32, bf16 or f16.
  FloatProducts(const AttentionProblem& problem, AttentionPass pass, DType dtype);

  struct Space {
    Space(const FloatProducts& products, AttentionSpace* space);
    float *k_columns, *v_columns;  // packed: columns are keys
    float *k_rows, *v_rows;        // packed: terms are keys
    float* wide_keys;              // one block of k or v, widened
    float *wide_q, *wide_out, *wide_dout;
    float *result, *dk, *dv;  // where the operands are not f32
    ConstFloatRows q, dout;
    FloatRows out, dq, key_gradients, value_gradients;
  };
  void Begin() const {}
  void End() const {}

  // Keys and values of a head; elements are `k_row` and `v_row` apart.
  void TakeKeys(const void* k, const void* v, Space* space) const;
  void TakeQueries(const void* q, int64_t rows, Space* space) const;
  // Where the weighted values of a block of queries are summed: the result itself if it is f32.
  FloatRows TakeResult(void* out, Space* space) const;
  void StoreResult(void* out, int64_t rows, Space* space) const;
  void Scores(const ScorePlace& at, const Space& space, float* scores) const;
  void AddValues(const ScorePlace& at, const Space& space, const float* weights, bool first) const;

  // Backward. Out and dout of a block of queries, as floats.
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
  ConstFloatRows Widened(const void* rows, int64_t count, int64_t row, int64_t columns,
                         float* space) const;
  void Narrowed(FloatRows from, int64_t count, int64_t columns, void* to, int64_t row) const;
  const void* Row(const void* rows, int64_t elements) const {
    return static_cast<const char*>(rows) + elements * bytes_;
  }

  AttentionProblem problem_;
  AttentionPass pass_;
  int64_t bytes_;  // of an element
  Narrow narrow_;
  FloatProduct by_width_, by_value_width_;
  FloatProduct whole_block_, last_block_;  // columns are the keys of a block
  const FloatProduct& OfKeys(int64_t keys) const {
    return keys == kKeyBlock ? whole_block_ : last_block_;
  }
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_ATTENTION_FLOAT_H_
