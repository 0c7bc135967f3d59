// AttentionScores: what happens to a block of scores between the products of attention: scale, mask,
// softmax over blocks of keys, dropout, and the gradient of all that.
//
// Owned by the kernel that made it, const. Threads: any, each with a ScoreBlock of its own.
// Invariants: allocates nothing; what a row becomes depends on the row and on the cut of the keys into
// blocks of kKeyBlock alone. Softmax over blocks: M. Milakov, N. Gimelshein, "Online normalizer
// calculation for softmax", 2018. Read next: kernels/cpu/attention.cc.
#ifndef ONEFLOW_KERNELS_CPU_ATTENTION_SCORES_H_
#define ONEFLOW_KERNELS_CPU_ATTENTION_SCORES_H_

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/attention_problem.h"
#include "kernels/kernel.h"

namespace oneflow::kernels {

// Which scores a thread has before it.
struct ScorePlace {
  int64_t batch = 0, head = 0;
  int64_t query = 0, rows = 0;
  int64_t key = 0, keys = 0;
  // Row i sees keys key .. key + Seen(i) - 1.
  int64_t seen = 0;  // by row 0
  bool causal = false;

  int64_t Seen(int64_t row) const {
    return std::clamp<int64_t>(causal ? seen + row : keys, 0, keys);
  }
};

// A thread's buffers: rows of kKeyBlock floats, and numbers of rows.
struct ScoreBlock {
  ScoreBlock(const AttentionProblem& problem, AttentionPass pass, AttentionSpace* space);

  float* scores;            // scores, then weights (after dropout)
  float* slopes = nullptr;  // backward: dout v', then the gradient of the scaled products
  float* bias = nullptr;    // of the mask
  float* keep = nullptr;    // of dropout
  float *most, *sum;        // forward: of the softmax so far
  float *lse, *dot;         // backward
};

class AttentionScores {
 public:
  explicit AttentionScores(const AttentionProblem& problem);

  // Scores to weights less a factor that FinishRows knows; `out`, the rows of weights times values so
  // far, is brought to the same factor, null for the first block of keys.
  void Weigh(const KernelArgs& args, const ScorePlace& at, const ScoreBlock& block, float* out,
             int64_t out_row) const;
  // Divides the rows by the sums of their weights, and writes their logarithms.
  void FinishRows(const ScorePlace& at, const ScoreBlock& block, float* out, int64_t out_row,
                  float* lse) const;
  // Scores and slopes to weights and gradients of the products.
  void Slope(const KernelArgs& args, const ScorePlace& at, const ScoreBlock& block) const;
  // dot = sum(out * dout) - dlse, and the rows' lse. Null: absent.
  void PrepareRows(const ScorePlace& at, const ScoreBlock& block, const float* out, int64_t out_row,
                   const float* dout, int64_t dout_row, const float* lse, const float* dlse) const;

 private:
  // The block's bias and keep; the distance of the rows of bias is 0 if they are all the same.
  int64_t Prepare(const KernelArgs& args, const ScorePlace& at, const ScoreBlock& block) const;

  AttentionProblem problem_;
  void (*mask_row_)(const void* mask, int64_t stride, float* bias, int64_t n) = nullptr;
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_ATTENTION_SCORES_H_
