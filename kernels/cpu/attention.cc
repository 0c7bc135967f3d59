// attention: out = dropout(softmax(scale * q k' + mask)) v for each head, and attention_grad, which
// computes the weights again from the logarithm of their sum (lse).
//
//   p = exp(scale * q k' + mask - lse)     dv = (p * keep)' dout
//   dp = (dout v') * keep                  ds = p * (dp - sum(out * dout) + dlse) * scale
//   dq = ds k, dk = ds' q                  keep: 0 or 1 / (1 - dropout)
//
// Operands are [batch, tokens, heads, width] and are read by strides: no permute, and no slices of a
// tensor that is q, k and v (plan/packed_heads.h). Scores exist for a
// block of 64 queries by 96 keys at a time, in the nearest caches. A head's keys and values are packed
// once for the products, so a thread's workspace is O(keys * width), never O(queries * keys). Sums,
// softmax and lse are f32; products f32 (kernels/cpu/attention_float.h) or bf16 by its instructions,
// where the weights are rounded to bf16 as operands (kernels/cpu/attention_bf16.h).
//
// Bytes: each operand once (k and v once more for each thread that shares their head). Operations for
// a pair of a query and a key: forward 2 (d + e) + 20, backward 2 (3 d + 2 e) + 20; causal half the
// pairs, in steps of a tile.
//
// Beside the composed form, forward and backward of GPT-2's heads ([4, s, 12, 64], causal, one thread
// of a Xeon with other load, ./dev bench attention): 2.0 times as fast at s = 256 and 2.6 at 1024 in
// f32, 1.8 and 3.0 in bf16.
//
// Forward items are blocks of queries; backward items are heads of k, whose gradients are sums over
// queries and, in order, over the heads of q in the group. So the bits depend on no team, and backward
// uses at most batch * key_heads threads.
#include <algorithm>
#include <cstdint>
#include <limits>

#include "kernels/cpu/attention_bf16.h"
#include "kernels/cpu/attention_double.h"
#include "kernels/cpu/attention_float.h"
#include "kernels/cpu/attention_problem.h"
#include "kernels/cpu/attention_scores.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/parallel.h"

namespace oneflow::kernels {
namespace {

// Pairs of a query and a key below which a team costs more than it saves.
constexpr double kPairsPerPart = 2048;

const char* At(const KernelArgs& args, int input, int64_t bytes) {
  return static_cast<const char*>(args.inputs[input]) + bytes;
}
char* To(const KernelArgs& args, int output, int64_t bytes) {
  return static_cast<char*>(args.outputs[output]) + bytes;
}

// One of the passes by one kind of products: FloatProducts, Bf16Products.
template <typename Products>
class BlockedAttention {
 public:
  BlockedAttention(const AttentionProblem& problem, AttentionPass pass, DType dtype, int threads)
      : problem_(problem),
        pass_(pass),
        bytes_(SizeOf(dtype)),
        products_(problem, pass, dtype),
        scores_(problem) {
    const double pairs = static_cast<double>(problem.queries) * static_cast<double>(problem.keys) *
                         static_cast<double>(problem.batch * problem.heads);
    if (pairs >= 2 * kPairsPerPart) parts_ = threads;
    AttentionSpace space(nullptr);
    TakeSpace(&space);
    part_bytes_ = space.used();
  }

  int64_t workspace_bytes() const { return parts_ * part_bytes_; }

  void Run(const KernelArgs& given) const {
    const AttentionArgs placed(problem_, pass_, given);
    const KernelArgs& args = placed.get();
    const bool forward = pass_ == AttentionPass::kForward;
    const int64_t items = forward ? problem_.batch * problem_.heads * problem_.query_blocks()
                                  : problem_.batch * problem_.key_heads;
    ForEachPart(parts_, items, [&](int part, int64_t begin, int64_t end) {
      if (begin == end) return;
      AttentionSpace space(static_cast<char*>(args.workspace) + part * part_bytes_);
      auto [products, block] = TakeSpace(&space);
      products_.Begin();
      if (forward) {
        Forward(args, begin, end, &products, block);
      } else {
        for (int64_t item = begin; item < end; ++item) Backward(args, item, &products, block);
      }
      products_.End();
    });
  }

 private:
  using Space = typename Products::Space;

  std::pair<Space, ScoreBlock> TakeSpace(AttentionSpace* space) const {
    const Space products(products_, space);
    return {products, ScoreBlock(problem_, pass_, space)};
  }

  // The block of queries from `query` on; of keys there is none yet.
  ScorePlace PlaceOf(int64_t b, int64_t h, int64_t query) const {
    ScorePlace at;
    at.batch = b, at.head = h, at.query = query;
    at.rows = std::min(kQueryBlock, problem_.queries - query);
    at.causal = problem_.causal;
    return at;
  }
  // Moves to the block of keys from `key` on; false if no row sees any of it.
  bool MoveTo(int64_t key, const KernelArgs& args, ScorePlace* at) const {
    if (key >= problem_.keys) return false;
    at->key = key;
    at->keys = std::min(kKeyBlock, problem_.keys - key);
    at->seen = problem_.FirstQuery(args.micro) + at->query + 1 - key;
    return at->Seen(at->rows - 1) > 0;
  }

  void TakeKeys(const KernelArgs& args, int64_t b, int64_t g, Space* space) const {
    products_.TakeKeys(At(args, 1, problem_.k_at(b, g) * bytes_),
                       At(args, 2, problem_.v_at(b, g) * bytes_), space);
  }

  void Forward(const KernelArgs& args, int64_t begin, int64_t end, Space* space,
               const ScoreBlock& block) const {
    const int64_t blocks = problem_.query_blocks();
    int64_t taken = -1;  // the head of k
    for (int64_t item = begin; item < end; ++item) {
      const int64_t b = item / blocks / problem_.heads;
      const int64_t h = item / blocks % problem_.heads;
      const int64_t g = h / problem_.group();
      if (taken != b * problem_.key_heads + g) TakeKeys(args, b, g, space);
      taken = b * problem_.key_heads + g;
      // Causal blocks cost more the later they stand: one from each end in turn.
      const int64_t turn = item % blocks;
      ScorePlace at =
          PlaceOf(b, h, (turn % 2 == 0 ? turn / 2 : blocks - 1 - turn / 2) * kQueryBlock);
      std::fill_n(block.most, at.rows, -std::numeric_limits<float>::infinity());
      std::fill_n(block.sum, at.rows, 0.0f);
      const int64_t row = problem_.out_at(b, h) + at.query * problem_.out_row();
      products_.TakeQueries(
          At(args, 0, (problem_.q_at(b, h) + at.query * problem_.q_row()) * bytes_), at.rows,
          space);
      const FloatRows out = products_.TakeResult(To(args, 0, row * bytes_), space);
      for (int64_t key = 0; MoveTo(key, args, &at); key += kKeyBlock) {
        products_.Scores(at, *space, block.scores);
        scores_.Weigh(args, at, block, key == 0 ? nullptr : out.data, out.row);
        products_.AddValues(at, *space, block.scores, key == 0);
      }
      float* lse = static_cast<float*>(args.outputs[1]) +
                   (b * problem_.heads + h) * problem_.queries + at.query;
      scores_.FinishRows(at, block, out.data, out.row, lse);
      products_.StoreResult(To(args, 0, row * bytes_), at.rows, space);
    }
  }

  // All of one head of k.
  void Backward(const KernelArgs& args, int64_t item, Space* space, const ScoreBlock& block) const {
    const int64_t b = item / problem_.key_heads;
    const int64_t g = item % problem_.key_heads;
    char* const dk = To(args, 1, problem_.k_at(b, g) * bytes_);
    char* const dv = To(args, 2, problem_.v_at(b, g) * bytes_);
    TakeKeys(args, b, g, space);
    products_.TakeKeyGradients(dk, dv, space);
    for (int64_t h = g * problem_.group(); h < (g + 1) * problem_.group(); ++h) {
      for (int64_t query = 0; query < problem_.queries; query += kQueryBlock) {
        ScorePlace at = PlaceOf(b, h, query);
        const int64_t q = (problem_.q_at(b, h) + query * problem_.q_row()) * bytes_;
        const int64_t out = (problem_.out_at(b, h) + query * problem_.out_row()) * bytes_;
        const int64_t row = (b * problem_.heads + h) * problem_.queries + query;
        ConstFloatRows out_rows, dout_rows;
        products_.TakeQueries(At(args, 0, q), at.rows, space);
        products_.TakeSlopes(At(args, 3, out), At(args, 5, out), at.rows, space, &out_rows,
                             &dout_rows);
        scores_.PrepareRows(
            at, block, out_rows.data, out_rows.row, dout_rows.data, dout_rows.row,
            In<float>(args, 4) + row,
            problem_.dlse_input < 0 ? nullptr : In<float>(args, problem_.dlse_input) + row);
        products_.TakeQueryGradients(To(args, 0, q), at.rows, space);
        for (int64_t key = 0; MoveTo(key, args, &at); key += kKeyBlock) {
          products_.Scores(at, *space, block.scores);
          products_.Slopes(at, *space, block.slopes);
          scores_.Slope(args, at, block);
          products_.AddGradients(at, *space, block, key == 0);
        }
        products_.StoreQueryGradients(To(args, 0, q), at.rows, space);
      }
    }
    products_.StoreKeyGradients(dk, dv, space);
  }

  AttentionProblem problem_;
  AttentionPass pass_;
  int64_t bytes_;  // of an element
  Products products_;
  AttentionScores scores_;
  int parts_ = 1;
  int64_t part_bytes_ = 0;
};

// Nothing to read and to write: an empty shard.
bool IsEmpty(const AttentionProblem& a, AttentionPass pass) {
  if (a.batch == 0 || a.heads == 0) return true;
  return a.queries == 0 && (pass == AttentionPass::kForward || a.keys == 0);
}

// use(products): BlockedAttention of the spec's dtype.
template <typename Use>
auto WithProducts(const AttentionProblem& problem, AttentionPass pass, const KernelSpec& spec,
                  const Use& use) {
  const DType dtype = spec.inputs[0].dtype;
  if (dtype == DType::kBF16 && HostBf16Tiles() != nullptr) {
    return use(BlockedAttention<Bf16Products>(problem, pass, dtype, spec.threads));
  }
  return use(BlockedAttention<FloatProducts>(problem, pass, dtype, spec.threads));
}

absl::StatusOr<Needs> Describe(const KernelSpec& spec, AttentionPass pass) {
  const AttentionProblem problem = AttentionProblem::Of(spec, pass);
  if (IsEmpty(problem, pass)) return Needs{};
  if (spec.inputs[0].dtype == DType::kF64) {
    return Needs{DoubleAttentionBytes(problem, spec.threads), {}};
  }
  return WithProducts(problem, pass, spec, [](const auto& attention) {
    return Needs{attention.workspace_bytes(), {}};
  });
}

KernelOr Make(const KernelSpec& spec, AttentionPass pass) {
  const AttentionProblem problem = AttentionProblem::Of(spec, pass);
  if (IsEmpty(problem, pass)) return KernelOf([](const KernelArgs&) {});
  if (spec.inputs[0].dtype == DType::kF64) return MakeDoubleAttention(problem, pass, spec.threads);
  return WithProducts(problem, pass, spec, [](auto attention) -> KernelOr {
    return KernelOf(
        [attention = std::move(attention)](const KernelArgs& args) { attention.Run(args); });
  });
}

template <AttentionPass kPass>
KernelDef Row(const char* op) {
  return {op, [](const KernelSpec& spec) { return CheckAttention(spec, kPass); },
          [](const KernelSpec& spec) { return Describe(spec, kPass); },
          [](const KernelSpec& spec) { return Make(spec, kPass); }};
}

}  // namespace

std::vector<KernelDef> AttentionKernels() {
  return {Row<AttentionPass::kForward>("attention"),
          Row<AttentionPass::kBackward>("attention_grad")};
}

}  // namespace oneflow::kernels
