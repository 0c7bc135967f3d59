// Untrusted specs: a correct call of every kernel, and random changes of it as a plan file may hold them:
// attributes of other values and types, other extents, dtypes, places, operands.
//
// Test code only; functions. Threads: any, with a generator of their own. Read next:
// kernels/cpu/untrusted_spec_test.cc, kernels/cuda/untrusted_cuda_spec_test.cc.
#ifndef ONEFLOW_KERNELS_CPU_UNTRUSTED_SPEC_FOR_TEST_H_
#define ONEFLOW_KERNELS_CPU_UNTRUSTED_SPEC_FOR_TEST_H_

#include <algorithm>
#include <limits>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cpu/kernel_case.h"

namespace oneflow::kernels::untrusted {

using Longs = std::vector<int64_t>;
using Texts = std::vector<std::string>;

struct Row {
  std::string op;
  Attrs attrs;
  std::vector<Operand> inputs;
  std::vector<Operand> outputs;
};

inline Operand Of(DType dtype, const Shape& shape) { return TestTensor::Empty(dtype, shape).type; }
inline Operand F(const Shape& shape) { return Of(DType::kF32, shape); }
inline Operand H(const Shape& shape) { return Of(DType::kBF16, shape); }
inline Operand I(const Shape& shape) { return Of(DType::kI64, shape); }
inline Operand B(const Shape& shape) { return Of(DType::kBool, shape); }

inline std::vector<Row> Rows() {
  const Operand lr = F({});
  const Operand step = I({});
  const Operand a = F({4, 6});
  const Operand image = F({2, 5, 5, 4});
  const Operand stats = F({2, 4}), samples = F({2, 4});
  const Operand channels = F({4});
  const Attrs groups = {{"groups", int64_t{2}}, {"count", int64_t{25}}};
  const Attrs conv = {{"stride", Longs{2, 1}}, {"padding", Longs{1, 1}}, {"dilation", Longs{1, 1}}};
  const Attrs pool = {{"kernel", Longs{3, 3}}, {"stride", Longs{2, 2}}, {"padding", Longs{1, 1}}};
  const Attrs dropout = {{"p", 0.5}, {"seed", int64_t{1}}, {"key", std::string("k")}};
  const Attrs attention = {{"causal", true},
                           {"scale", 0.5},
                           {"p", 0.5},
                           {"seed", int64_t{1}},
                           {"key", std::string("k")}};
  const Attrs chain = {{"ops", Texts{"mul", "gelu", "relu_grad", "dropout", "cast"}},
                       {"reads", Longs{1, 0, 2, 3, 0}},
                       {"reversed", Longs{1, 0, 1, 0, 0}},
                       {"values", std::vector<double>(5)},
                       {"types", Texts{"f32", "f32", "f32", "f32", "bf16"}},
                       {"dtype", std::string("bf16")},
                       {"p", 0.5},
                       {"seed", int64_t{1}},
                       {"key", std::string("k")}};
  const Attrs normed = {{"ops", Texts{"bn_apply", "add"}}, {"reads", Longs{1, 5}},
                        {"reversed", Longs{0, 0}},         {"values", std::vector<double>(2)},
                        {"types", Texts{"f32", "f32"}},    {"dtype", std::string("f32")}};
  const Operand q = F({2, 5, 4, 3});
  const Operand k = F({2, 6, 2, 3});
  const Operand v = F({2, 6, 2, 7});
  const Operand out = F({2, 5, 4, 7});
  const Operand lse = F({2, 4, 5});
  const Attrs packed = {{"packed", Longs{2, 0, 6, 4, 2}}, {"causal", true}};
  const Operand heads = F({2, 5, 8, 3});  // of q, k and v
  const Operand one_width = F({2, 5, 4, 3});
  const Attrs ring = {{"dim", int64_t{0}},           {"units", int64_t{0}},
                      {"parts", int64_t{3}},         {"base", int64_t{1}},
                      {"reduce_chunks", int64_t{1}}, {"mode", std::string("sum")}};
  const Attrs slice = {
      {"dim", int64_t{1}}, {"start", int64_t{1}}, {"end", int64_t{6}}, {"step", int64_t{2}}};
  const Attrs blank = {{"blank", int64_t{1}}};
  const Operand frames = F({4, 2, 5});
  std::vector<Row> rows = {
      {"where", {}, {B({6}), a, F({})}, {a}},
      {"cast", {}, {a}, {I({4, 6})}},
      {"sum", {{"dims", Longs{0}}, {"keepdim", false}}, {a}, {F({6})}},
      {"sum", {{"dims", Longs{1}}, {"keepdim", true}}, {a}, {F({4, 1})}},
      {"amax", {{"dims", Longs{0, 1}}, {"keepdim", false}}, {a}, {F({})}},
      {"argmax", {{"dim", int64_t{1}}, {"keepdim", false}}, {a}, {I({4})}},
      {"permute", {{"dims", Longs{2, 0, 1}}}, {F({2, 3, 4})}, {F({4, 2, 3})}},
      {"broadcast_to", {{"shape", Longs{4, 6}}}, {F({6})}, {a}},
      {"cat", {{"dim", int64_t{0}}}, {a, F({2, 6})}, {F({6, 6})}},
      {"slice", slice, {a}, {F({4, 3})}},
      {"slice_grad", slice, {F({4, 3})}, {a}},
      {"constant", {{"value", 1.5}}, {}, {a}},
      {"matmul", {{"transpose_a", false}, {"transpose_b", true}}, {a, F({5, 6})}, {F({4, 5})}},
      {"matmul", {}, {F({3, 4, 6}), F({6, 5})}, {F({3, 4, 5})}},
      {"linear", {{"transpose_b", true}}, {a, F({5, 6}), F({5})}, {F({4, 5})}},
      {"linear", {}, {H({4, 6}), H({6, 5}), H({5})}, {H({4, 5})}},
      {"linear_gelu", {{"transpose_b", true}}, {a, F({5, 6}), F({5})}, {F({4, 5})}},
      {"linear_gelu", {{"saves", true}}, {H({4, 6}), H({6, 8}), H({8})}, {H({4, 8}), H({4, 8})}},
      {"matmul_gelu_grad", {{"transpose_b", true}}, {a, F({5, 6}), F({4, 5})}, {F({4, 5})}},
      {"matmul_gelu_grad", {}, {H({4, 6}), H({6, 8}), H({4, 8})}, {H({4, 8})}},
      {"matmul_sums",
       {{"transpose_a", true}, {"of", std::string("b")}},
       {a, F({4, 5})},
       {F({6, 5}), F({5})}},
      {"matmul_sums", {{"of", std::string("a")}}, {H({4, 6}), H({6, 5})}, {H({4, 5}), H({4})}},
      {"conv2d", conv, {image, F({6, 2, 3, 3})}, {F({2, 3, 5, 6})}},
      {"conv2d_sums", conv, {image, F({6, 2, 3, 3})}, {F({2, 3, 5, 6}), F({2, 6}), F({2, 6})}},
      {"conv2d_sums",
       conv,
       {H({2, 5, 5, 4}), H({6, 2, 3, 3})},
       {H({2, 3, 5, 6}), F({1, 6}), F({1, 6})}},
      {"conv2d_grad_input", conv, {F({2, 3, 5, 6}), F({6, 2, 3, 3})}, {image}},
      {"conv2d_grad_weight", conv, {image, F({2, 3, 5, 6})}, {F({6, 2, 3, 3})}},
      {"conv2d", conv, {H({2, 5, 5, 4}), H({6, 2, 3, 3})}, {H({2, 3, 5, 6})}},
      {"conv2d", conv, {H({2, 5, 5, 4}), H({4, 1, 3, 3})}, {H({2, 3, 5, 4})}},
      {"conv2d_grad_input", conv, {H({2, 3, 5, 6}), H({6, 2, 3, 3})}, {H({2, 5, 5, 4})}},
      {"conv2d_grad_input", conv, {H({2, 3, 5, 4}), H({4, 1, 3, 3})}, {H({2, 5, 5, 4})}},
      {"conv2d_grad_weight", conv, {H({2, 5, 5, 4}), H({2, 3, 5, 6})}, {H({6, 2, 3, 3})}},
      {"conv2d_grad_weight", conv, {H({2, 5, 5, 4}), H({2, 3, 5, 4})}, {H({4, 1, 3, 3})}},
      {"max_pool2d", pool, {image}, {F({2, 3, 3, 4})}},
      {"max_pool2d_grad", pool, {image, F({2, 3, 3, 4}), F({2, 3, 3, 4})}, {image}},
      {"avg_pool2d", pool, {image}, {F({2, 3, 3, 4})}},
      {"avg_pool2d_grad", pool, {F({2, 3, 3, 4})}, {image}},
      {"bn_sum", groups, {image}, {stats}},
      {"bn_sq_sum", groups, {image, stats}, {stats}},
      {"bn_sample_sums", {}, {image}, {samples, samples}},
      {"bn_join_squares", groups, {samples, samples, stats}, {stats}},
      {"bn_grad_sums", groups, {image, image, stats, stats}, {stats, stats}},
      {"bn_apply", groups, {image, stats, stats, channels, channels}, {image}},
      {"bn_grad_input", groups, {image, image, stats, stats, channels, stats, stats}, {image}},
      {"running_update", {{"momentum", 0.1}}, {channels, stats}, {channels}},
      {"softmax", {{"dim", int64_t{0}}}, {a}, {a}},
      {"log_softmax", {{"dim", int64_t{-1}}}, {a}, {a}},
      {"softmax_grad", {{"dim", int64_t{1}}}, {a, a}, {a}},
      {"log_softmax_grad", {{"dim", int64_t{0}}}, {a, a}, {a}},
      {"cross_entropy", {}, {a, I({4})}, {F({4}), F({4})}},
      {"cross_entropy", {{"classes", int64_t{5}}}, {H({4, 6}), I({4})}, {F({4}), F({4})}},
      {"cross_entropy_grad", {}, {a, I({4}), F({4}), F({4})}, {a}},
      {"cross_entropy_grad",
       {{"classes", int64_t{5}}},
       {H({4, 6}), I({4}), F({4}), F({4}), F({4})},
       {H({4, 6})}},
      {"ctc_loss", blank, {frames, I({2, 3}), I({2}), I({2})}, {F({2}), F({2, 4, 7})}},
      {"ctc_loss_grad",
       blank,
       {frames, I({2, 3}), I({2}), I({2}), F({2, 4, 7}), F({2}), F({2})},
       {frames}},
      {"attention", {{"scale", 0.5}}, {q, k, v}, {out, lse}},
      {"attention", attention, {q, k, v, step, B({1, 4, 1, 6})}, {out, lse}},
      {"attention_grad", {{"causal", true}}, {q, k, v, out, lse, out}, {q, k, v}},
      {"attention_grad",
       attention,
       {q, k, v, out, lse, out, step, F({2, 1, 5, 6}), lse},
       {q, k, v}},
      {"attention", packed, {heads, heads, heads}, {one_width, lse}},
      {"attention_grad", packed, {heads, heads, heads, one_width, lse, one_width}, {heads}},
      {"dropout", dropout, {a, step}, {a}},
      {"dropout_grad", dropout, {a, step}, {a}},
      {"fused", chain, {a, F({1}), a, step}, {H({4, 6})}},
      {"fused", normed, {image, stats, stats, channels, channels, image}, {image}},
      {"uniform", {{"seed", int64_t{1}}, {"key", int64_t{2}}}, {a, step}, {a}},
      {"normal", {{"seed", int64_t{1}}, {"key", int64_t{2}}}, {a, step}, {a}},
      {"sgd_update", {{"momentum", 0.0}}, {a, a, lr, step}, {a}},
      {"sgd_update", {{"momentum", 0.9}, {"nesterov", true}}, {a, a, lr, step, a}, {a, a}},
      {"adamw_update", {{"beta1", 0.9}}, {a, a, a, a, lr, step}, {a, a, a}},
      {"sgd_update", {}, {a, H({4, 6}), lr, step}, {a}},
      {"adamw_update", {}, {a, H({4, 6}), a, a, lr, step}, {a, a, a}},
      {"adamw_updates",
       {},
       {lr, step, a, H({4, 6}), a, a, F({3}), F({3}), F({3}), F({3})},
       {a, a, a, F({3}), F({3}), F({3})}},
      {"pack", {{"begin", Longs{1, 2}}, {"extent", Longs{2, 3}}}, {a}, {F({2, 3})}},
      {"assemble",
       {{"piece_input", Longs{0, 1}},
        {"src_begin", Longs{0, 0, 1, 1}},
        {"dst_begin", Longs{0, 0, 2, 0}},
        {"extent", Longs{2, 3, 2, 2}},
        {"rank", int64_t{2}},
        {"piece_mode", Texts{"copy", "sum"}},
        {"zero", true}},
       {F({2, 3}), a},
       {a}},
      {"ring_send", ring, {a}, {F({2, 6})}},
      {"ring_reduce", ring, {a, F({2, 6})}, {a}},
      {"accumulate", {{"mode", std::string("sum")}}, {a}, {a}},
      {"micro_slice", {{"dim", int64_t{0}}, {"parts", int64_t{4}}}, {a}, {F({1, 6})}},
      {"micro_concat", {{"dim", int64_t{1}}, {"parts", int64_t{2}}}, {F({4, 3})}, {a}},
      {"layer_norm",
       {{"dims", int64_t{1}}, {"eps", 1e-5}},
       {a, F({6}), F({6})},
       {a, F({4}), F({4})}},
      {"layer_norm_grad", {{"dims", int64_t{1}}}, {a, a, F({4}), F({4}), F({6})}, {a}},
      {"layer_norm_weight_grad", {{"dims", int64_t{1}}}, {a, a, F({4}), F({4})}, {F({6}), F({6})}},
      {"layer_norm_grads",
       {{"dims", int64_t{1}}},
       {a, a, F({4}), F({4}), F({6})},
       {a, F({6}), F({6})}},
      {"rms_norm", {{"dims", int64_t{1}}, {"eps", 1e-5}}, {a, F({6})}, {a, F({4})}},
      {"rms_norm_grad", {{"dims", int64_t{1}}}, {a, a, F({4}), F({6})}, {a}},
      {"rms_norm_weight_grad", {{"dims", int64_t{1}}}, {a, a, F({4})}, {F({6})}},
      {"embedding", {}, {a, I({3})}, {F({3, 6})}},
      {"embedding_grad", {{"rows", int64_t{4}}}, {F({3, 6}), I({3})}, {a}},
      {"gather", {{"dim", int64_t{1}}}, {a, I({4, 3})}, {F({4, 3})}},
      {"scatter_add", {{"dim", int64_t{0}}}, {a, I({2, 6}), F({2, 6})}, {a}},
      {"sort", {{"dim", int64_t{0}}, {"descending", true}}, {a}, {a, I({4, 6})}},
      {"cumsum", {{"dim", int64_t{1}}, {"reverse", true}}, {a}, {a}},
      {"micro_mask", {}, {a}, {a}},
  };
  // The others are elementwise: the first of these that they take.
  const Attrs value = {{"value", 2.5}};
  const std::vector<Row> elementwise = {{"", value, {a}, {a}},
                                        {"", value, {a, F({6})}, {a}},
                                        {"", value, {a, a}, {a}},
                                        {"", value, {a, F({4, 1})}, {B({4, 6})}},
                                        {"", value, {I({4, 6}), I({6})}, {I({4, 6})}}};
  std::set<std::string> met;
  for (const Row& row : rows) met.insert(row.op);
  for (const std::string& op : CpuKernels().ops()) {
    if (met.contains(op)) continue;
    const auto takes = [&](const Row& row) {
      return CpuKernels().Make({op, row.attrs, row.inputs, row.outputs, 1}).ok();
    };
    const auto row = std::find_if(elementwise.begin(), elementwise.end(), takes);
    EXPECT_TRUE(row != elementwise.end()) << op << " needs a row here";
    if (row == elementwise.end()) continue;
    rows.push_back(*row);
    rows.back().op = op;
  }
  return rows;
}

// Numbers at which arithmetic and loops go wrong.
inline int64_t OddNumber(std::mt19937& random) {
  static constexpr int64_t kOdd[] = {std::numeric_limits<int64_t>::min(),
                                     -1'000'000'000,
                                     -7,
                                     -2,
                                     -1,
                                     0,
                                     1,
                                     2,
                                     3,
                                     4,
                                     5,
                                     6,
                                     7,
                                     1'000'000'000,
                                     int64_t{1} << 31,
                                     int64_t{1} << 40,
                                     int64_t{1} << 62,
                                     std::numeric_limits<int64_t>::max()};
  return kOdd[random() % std::size(kOdd)];
}

inline AttrValue OddValue(std::mt19937& random) {
  switch (random() % 8) {
    case 0:
      return static_cast<double>(OddNumber(random)) * 1.5;
    case 1:
      return std::numeric_limits<double>::quiet_NaN();
    case 2:
      return std::string("max");
    case 3:
      return random() % 2 == 0;
    case 4:
      return Longs(random() % 5, OddNumber(random));
    case 5:
      return Texts(random() % 3, "sum");
    case 6:
      return std::vector<double>(random() % 3, 0.5);
    default:
      return OddNumber(random);
  }
}

inline void ChangeAttrs(Attrs* attrs, std::mt19937& random) {
  if (attrs->values().empty()) return attrs->Set("dim", OddValue(random));
  auto attr = attrs->values().begin();
  std::advance(attr, random() % attrs->values().size());
  const std::string name = attr->first;
  const Longs* list = std::get_if<Longs>(&attr->second);
  switch (random() % 4) {
    case 0:
      return attrs->Remove(name);
    case 1:
      return attrs->Set(name, OddValue(random));
    default:
      if (list != nullptr && !list->empty()) {
        Longs changed = *list;
        changed[random() % changed.size()] = OddNumber(random);
        return attrs->Set(name, std::move(changed));
      }
      attrs->Set(name, OddNumber(random));
  }
}

inline void ChangeShape(Shape* shape, std::mt19937& random) {
  if (shape->empty() || random() % 8 == 0) {
    shape->push_back(OddNumber(random));
  } else if (random() % 8 == 0) {
    shape->pop_back();
  } else {
    (*shape)[random() % shape->size()] = OddNumber(random);
  }
}

inline void ChangeOperands(std::vector<Operand>* operands, std::mt19937& random) {
  if (operands->empty() || random() % 8 == 0) return operands->push_back(F({4, 6}));
  Operand& operand = (*operands)[random() % operands->size()];
  switch (random() % 8) {
    case 0:
      return operands->pop_back();
    case 1:
      operand.dtype = static_cast<DType>(random() % 9);
      return;
    case 2:
      return ChangeShape(&operand.logical_shape, random);
    case 3:
      return ChangeShape(&operand.begin, random);
    case 4:
      operand.micro_dim = static_cast<int>(OddNumber(random));
      operand.micro_stride = OddNumber(random);
      return;
    default:
      ChangeShape(&operand.shape, random);
      // Most of the time as a plan has it: whole, or a shard somewhere.
      if (random() % 4 > 0) {
        operand.logical_shape = operand.shape;
        operand.begin = Shape(operand.shape.size(), 0);
      }
  }
}

inline void Change(KernelSpec* spec, std::mt19937& random) {
  switch (random() % 8) {
    case 0:
      spec->threads = static_cast<int>(OddNumber(random));
      return;
    case 1:
    case 2:
    case 3:
      return ChangeAttrs(&spec->attrs, random);
    case 4:
      return ChangeOperands(&spec->outputs, random);
    default:
      return ChangeOperands(&spec->inputs, random);
  }
}

}  // namespace oneflow::kernels::untrusted

#endif  // ONEFLOW_KERNELS_CPU_UNTRUSTED_SPEC_FOR_TEST_H_
