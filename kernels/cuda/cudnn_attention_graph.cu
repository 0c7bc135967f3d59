#include <utility>

#include "base/dtype.h"
#include "kernels/cuda/cudnn_attention_graph.h"
#include "kernels/cuda/cudnn_operations.h"

namespace oneflow::kernels::cudnn {
namespace {

// Makes the tensors and the operations of one graph.
class AttentionGraph {
 public:
  explicit AttentionGraph(const CudaAttention& a)
      : a_(a), type_(DataTypeOf(static_cast<DType>(a.dtype))) {}

  Operations Forward() {
    const Owned q = Heads(kQueries, a_.queries, a_.heads, a_.q_pitch);
    const Owned v = Heads(kValues, a_.keys, a_.key_heads, a_.v_pitch);
    const Owned scores = Masked(Scaled(Product(q, Turned(kKeys, a_.k_pitch))));
    const Owned most = Row(), sum = Row(), log = Row();
    Add(Reduce(kLargest, scores, most));
    const Owned weights = Of({kExp}, Of({kSub}, scores, &most));
    Add(Reduce(kAddAll, weights, sum));
    Add(Pointwise({kLog}, sum, nullptr, log));
    Add(Pointwise({kAdd}, most, &log, Row(kLse, false)));
    const Owned shares = Pairs(type_);
    Add(Pointwise({kDiv}, weights, &sum, shares));
    Add(Matmul(shares, v, OutLike(kOut)));
    return std::move(operations_);
  }

  Operations Backward() {
    const Owned q = Heads(kQueries, a_.queries, a_.heads, a_.q_pitch);
    const Owned k = Turned(kKeys, a_.k_pitch);
    const Owned out = OutLike(kOut), dout = OutLike(kDout);
    const Owned lse = Row(kLse, false), rows = Row(kRows, false);
    Add(Pointwise({kMul}, Rows(out, dout), &one_, rows));
    const Owned scores = Scaled(Product(q, k));
    const Owned weights = Of({kExp}, Masked(Of({kSub}, scores, &lse)));
    KeyGradient(weights, dout, kDv, a_.v_pitch);
    const Owned gradients = Product(dout, Turned(kValues, a_.v_pitch));
    const Owned apart = Of({kSub}, gradients, &rows);
    const Owned slopes = Scaled(Of({kMul}, apart, &weights));
    KeyGradient(slopes, q, kDk, a_.k_pitch);
    const Owned keys = Heads(next_++, a_.keys, a_.key_heads, a_.k_pitch, true);
    Add(Reshape(k, keys));
    Add(Matmul(slopes, keys, Heads(kDq, a_.queries, a_.heads, a_.q_pitch)));
    return std::move(operations_);
  }

 private:
  void Add(Owned operation) { operations_.list.push_back(std::move(operation)); }

  // ---- Tensors ----

  // [batch, heads, tokens, width] of [batch, tokens, heads, width].
  Owned Heads(int64_t id, int64_t tokens, int64_t heads, int64_t pitch, bool passing = false) {
    return Tensor({id,
                   type_,
                   {a_.batch, heads, tokens, a_.width},
                   {tokens * pitch, a_.width, pitch, 1},
                   passing});
  }
  // [batch, heads, width, keys] of the same.
  Owned Turned(int64_t id, int64_t pitch) {
    return Tensor({id,
                   type_,
                   {a_.batch, a_.key_heads, a_.width, a_.keys},
                   {a_.keys * pitch, a_.width, 1, pitch}});
  }
  Owned OutLike(int64_t id) { return Heads(id, a_.queries, a_.heads, a_.heads * a_.width); }
  // A number of each query.
  Owned Row(int64_t id, bool passing) {
    return Tensor({id,
                   kFloat,
                   {a_.batch, a_.heads, a_.queries, 1},
                   {a_.heads * a_.queries, a_.queries, 1, 1},
                   passing});
  }
  Owned Row() { return Row(next_++, true); }
  // One of each pair of a query and a key, in no memory.
  Owned Pairs(int type = kFloat) {
    const int64_t pairs = a_.queries * a_.keys;
    return Tensor({next_++,
                   type,
                   {a_.batch, a_.heads, a_.queries, a_.keys},
                   {a_.heads * pairs, pairs, a_.keys, 1},
                   true});
  }
  static Owned Number(int64_t id) {
    return Tensor({id, kFloat, {1, 1, 1, 1}, {1, 1, 1, 1}, false, true});
  }

  // ---- Operations ----

  Owned Of(const PointwiseLook& look, const Owned& x, const Owned* b = nullptr, int type = kFloat) {
    Owned y = Pairs(type);
    Add(Pointwise(look, x, b, y));
    return y;
  }
  Owned Product(const Owned& rows, const Owned& columns) {
    Owned y = Pairs();
    Add(Matmul(rows, columns, y));
    return y;
  }
  Owned Scaled(const Owned& x) { return Of({kMul}, x, &scale_); }
  Owned Masked(Owned x) {
    if (!a_.causal) return x;
    const Owned row = Of({kIndex, kInt32, 2}, x, nullptr, kInt32);
    const Owned column = Of({kIndex, kInt32, 3}, x, nullptr, kInt32);
    const Owned seen = Of({kNotLess, kBoolean}, row, &column, kBoolean);
    Owned y = Pairs();
    Add(Pointwise({kSelect}, x, &masked_, y, &seen));
    return y;
  }
  Owned Rows(const Owned& out, const Owned& dout) {
    const int64_t pitch = a_.heads * a_.width;
    const Owned product = Tensor({next_++,
                                  kFloat,
                                  {a_.batch, a_.heads, a_.queries, a_.width},
                                  {a_.queries * pitch, a_.queries * a_.width, a_.width, 1},
                                  true});
    Add(Pointwise({kMul}, dout, &out, product));
    Owned sums = Row();
    Add(Reduce(kAddAll, product, sums));
    return sums;
  }
  // pairs' of_queries, of [batch, heads, queries, keys] and [batch, heads, queries, width]; over the heads of q that share
  // one of k.
  void KeyGradient(const Owned& pairs, const Owned& of_queries, int64_t id, int64_t pitch) {
    const int64_t count = a_.queries * a_.keys;
    const Owned turned = Tensor({next_++,
                                 type_,
                                 {a_.batch, a_.heads, a_.keys, a_.queries},
                                 {a_.heads * count, count, 1, a_.keys},
                                 true});
    Add(Reshape(pairs, turned));
    const Owned result = Heads(id, a_.keys, a_.key_heads, pitch);
    if (a_.heads == a_.key_heads) {
      Add(Matmul(turned, of_queries, result));
      return;
    }
    const int64_t head = a_.keys * a_.width;
    const Owned each = Tensor({next_++,
                               type_,
                               {a_.batch, a_.heads, a_.keys, a_.width},
                               {a_.heads * head, head, a_.width, 1},
                               true});
    Add(Matmul(turned, of_queries, each));
    Add(Reduce(kAddAll, each, result));
  }

  const CudaAttention& a_;
  const int type_;
  int64_t next_ = kFirstPassing;
  const Owned scale_ = Number(kScale), one_ = Number(kOne), masked_ = Number(kMasked);
  Operations operations_;
};

EngineSearch SearchOf(const CudaAttention& a, const GraphPlace& place, int64_t workspace_bytes) {
  AttentionGraph graph(a);
  return {a.backward ? graph.Backward() : graph.Forward(), static_cast<DType>(a.dtype),
          /*compiled=*/true, place, workspace_bytes};
}

}  // namespace

std::optional<EnginePlan> PlanAttention(const CudaAttention& a, const GraphPlace& place,
                                        int64_t workspace_bytes, const std::string& name) {
  if (!OpenedLibrary().found) return std::nullopt;
  return FirstPlan(SearchOf(a, place, workspace_bytes), name);
}

std::vector<std::string> OfferedForAttention(const CudaAttention& a, const GraphPlace& place,
                                             int64_t workspace_bytes, size_t most) {
  if (!OpenedLibrary().found) return {};
  return EngineNames(SearchOf(a, place, workspace_bytes), most);
}

}  // namespace oneflow::kernels::cudnn
