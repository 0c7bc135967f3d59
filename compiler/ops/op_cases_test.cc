#include <string>

#include "compiler/ops/op_cases_for_test.h"

namespace oneflow {
namespace {

void AddElementwise(std::vector<OpCase>* cases) {
  const TensorType x = F32({4, 6});
  for (const char* op : {"neg", "mul_scalar", "cast"}) {
    OpCase linear{op, {x}, {}, {"B->B", "S(0)->S(0)", "S(1)->S(1)", "P->P"}, {}};
    if (linear.op == "mul_scalar") linear.attrs.Set("value", 0.5);
    if (linear.op == "cast") linear.attrs.Set("dtype", std::string("f32"));
    cases->push_back(linear);
  }
  cases->push_back({"stop_gradient", {x}, {}, {"B->B", "S(0)->S(0)", "S(1)->S(1)", "P->P"}, {}});
  cases->push_back({"cast", {x}, {{"dtype", std::string("i64")}}, {"S(0)->S(0)"}, {"P->P"}});
  for (const char* op :
       {"abs",        "exp",    "log",    "sqrt",        "rsqrt",     "tanh",  "sigmoid",
        "relu",       "square", "exp2",   "expm1",       "log2",      "log10", "log1p",
        "reciprocal", "sin",    "cos",    "tan",         "asin",      "acos",  "atan",
        "sinh",       "cosh",   "asinh",  "acosh",       "atanh",     "erf",   "gelu",
        "erfc",       "erfinv", "lgamma", "digamma",     "gelu_tanh", "silu",  "softplus",
        "logsigmoid", "mish",   "relu6",  "hardsigmoid", "hardswish", "sign",  "floor",
        "ceil",       "round",  "trunc"}) {
    cases->push_back({op, {x}, {}, {"S(0)->S(0)", "S(1)->S(1)"}, {"P->P"}});
  }
  for (const char* op : {"add_scalar", "pow_scalar", "elu", "leaky_relu"}) {
    cases->push_back({op, {x}, {{"value", 3.0}}, {"S(0)->S(0)", "S(1)->S(1)"}, {"P->P"}});
  }
  for (const char* op : {"relu_grad",      "tanh_grad",        "sigmoid_grad",    "abs_grad",
                         "exp2_grad",      "expm1_grad",       "log2_grad",       "log10_grad",
                         "log1p_grad",     "reciprocal_grad",  "sin_grad",        "cos_grad",
                         "tan_grad",       "asin_grad",        "acos_grad",       "atan_grad",
                         "sinh_grad",      "cosh_grad",        "asinh_grad",      "acosh_grad",
                         "atanh_grad",     "erf_grad",         "gelu_grad",       "erfc_grad",
                         "erfinv_grad",    "lgamma_grad",      "digamma_grad",    "gelu_tanh_grad",
                         "silu_grad",      "softplus_grad",    "logsigmoid_grad", "mish_grad",
                         "relu6_grad",     "hardsigmoid_grad", "hardswish_grad",  "elu_grad",
                         "leaky_relu_grad"}) {
    const bool has_value =
        std::string(op).starts_with("elu") || std::string(op).starts_with("leaky");
    cases->push_back({op,
                      {x, x},
                      has_value ? Attrs{{"value", 0.5}} : Attrs{},
                      {"S(0),S(0)->S(0)", "S(1),S(1)->S(1)", "B,P->P"},
                      {"P,B->P", "P,P->P"}});
  }
  const TensorType row = F32({6});
  for (const char* op : {"add", "sub"}) {
    cases->push_back(
        {op, {x, row}, {}, {"S(0),B->S(0)", "S(1),S(0)->S(1)", "P,P->P"}, {"P,B->P", "B,P->P"}});
  }
  cases->push_back(
      {"mul", {x, row}, {}, {"S(0),B->S(0)", "S(1),S(0)->S(1)", "P,B->P", "B,P->P"}, {"P,P->P"}});
  cases->push_back({"mul", {F32({}), x}, {}, {"B,S(0)->S(0)", "P,B->P", "B,P->P"}, {}});
  cases->push_back({"mul", {F32({4, 1}), x}, {}, {"S(0),S(0)->S(0)", "B,S(1)->S(1)"}, {}});
  cases->push_back(
      {"div", {x, row}, {}, {"S(0),B->S(0)", "S(1),S(0)->S(1)", "P,B->P"}, {"B,P->P", "P,P->P"}});
  for (const char* op : {"maximum", "minimum", "pow", "atan2", "fmod", "remainder", "floor_divide",
                         "eq", "ne", "lt", "le", "gt", "ge"}) {
    cases->push_back({op, {x, row}, {}, {"S(0),B->S(0)", "S(1),S(0)->S(1)"}, {"P,P->P", "P,B->P"}});
  }
  for (const char* op :
       {"logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor"}) {
    cases->push_back(
        {op, {BoolOf({4, 6}), BoolOf({6})}, {}, {"S(0),B->S(0)", "S(1),S(0)->S(1)"}, {}});
  }
  cases->push_back({"where",
                    {BoolOf({4, 1}), x, row},
                    {},
                    {"S(0),S(0),B->S(0)", "B,S(1),S(0)->S(1)", "B,P,P->P"},
                    {"P,B,B->P"}});
}

using Texts = std::vector<std::string>;

// A chain of ops whose values all have type f32.
Attrs Chain(const Texts& ops, const Ints& reads) {
  return {{"ops", ops},
          {"reads", reads},
          {"reversed", Ints(ops.size())},
          {"values", std::vector<double>(ops.size(), 0.5)},
          {"types", Texts(ops.size(), "f32")},
          {"dtype", std::string("f32")}};
}

void AddFused(std::vector<OpCase>* cases) {
  const TensorType x = F32({4, 6});
  cases->push_back({"fused",
                    {x, x, F32({1})},
                    Chain({"add", "relu", "mul"}, {1, 0, 2}),
                    {"B,B,B->B", "S(0),S(0),B->S(0)", "S(1),S(1),B->S(1)"},
                    {"P,P,B->P", "S(0),B,B->S(0)", "P,B,B->P"}});
  Attrs drops = Chain({"dropout", "add"}, {1, 2});
  drops.Set("p", 0.3);
  cases->push_back(
      {"fused", {x, I64({}), x}, drops, {"S(0),B,S(0)->S(0)", "S(1),B,S(1)->S(1)"}, {"P,B,P->P"}});
  const TensorType image = F32({4, 3, 3, 6});
  const TensorType channels = F32({6});
  for (const int64_t groups : {1, 2}) {
    const TensorType stats = F32({groups, 6});
    OpCase norm{"fused",
                {image, stats, stats, channels, channels, image},
                Chain({"bn_apply", "add", "relu"}, {1, 5, 0}),
                {"S(3),S(1),S(1),S(0),S(0),S(3)->S(3)", "S(1),B,B,B,B,S(1)->S(1)"},
                {"P,B,B,B,B,P->P", "S(3),B,B,B,B,S(3)->S(3)"}};
    norm.must.push_back(groups == 1 ? "S(0),B,B,B,B,S(0)->S(0)" : "S(0),S(0),S(0),B,B,S(0)->S(0)");
    cases->push_back(norm);
  }
}

void AddNormsAndIndices(std::vector<OpCase>* cases) {
  const TensorType x = F32({4, 6, 5});
  const TensorType lead = F32({4, 6});
  const TensorType tail = F32({5});
  const Attrs last{{"dims", int64_t{1}}};
  cases->push_back({"layer_norm",
                    {x, tail, tail},
                    last,
                    {"S(0),B,B->S(0),S(0),S(0)", "S(1),B,B->S(1),S(1),S(1)"},
                    {"S(2),S(0),S(0)->S(2),B,B", "P,B,B->P,P,P"}});
  cases->push_back({"layer_norm", {x}, {{"dims", int64_t{2}}}, {"S(0)->S(0),S(0),S(0)"}, {}});
  cases->push_back({"layer_norm_grad",
                    {x, x, lead, lead, tail},
                    last,
                    {"S(0),S(0),S(0),S(0),B->S(0)", "B,P,B,B,B->P"},
                    {"P,B,B,B,B->P"}});
  cases->push_back({"layer_norm_weight_grad",
                    {x, x, lead, lead},
                    last,
                    {"S(0),S(0),S(0),S(0)->P,P", "S(2),S(2),B,B->S(0),S(0)", "B,P,B,B->P,P"},
                    {"P,B,B,B->P,P"}});
  cases->push_back(
      {"layer_norm_grads",
       {x, x, lead, lead, tail},
       last,
       {"S(0),S(0),S(0),S(0),B->S(0),P,P", "S(1),S(1),S(1),S(1),B->S(1),P,P", "B,P,B,B,B->P,P,P"},
       {"P,B,B,B,B->P,P,P", "S(2),S(2),B,B,S(0)->S(2),S(0),S(0)"}});
  cases->push_back({"layer_norm_grads",
                    {x, x, F32({4}), F32({4})},
                    {{"dims", int64_t{2}}},
                    {"S(0),S(0),S(0),S(0)->S(0),P,P", "B,P,B,B->P,P,P"},
                    {"S(1),S(1),B,B->S(1),S(0),S(0)"}});
  cases->push_back({"rms_norm",
                    {x, tail},
                    last,
                    {"S(0),B->S(0),S(0)", "S(1),B->S(1),S(1)"},
                    {"S(2),S(0)->S(2),B"}});
  cases->push_back({"rms_norm_grad",
                    {x, x, lead, tail},
                    last,
                    {"S(0),S(0),S(0),B->S(0)", "B,P,B,B->P"},
                    {"P,B,B,B->P"}});
  cases->push_back(
      {"rms_norm_weight_grad", {x, x, lead}, last, {"S(0),S(0),S(0)->P", "S(2),S(2),B->S(0)"}, {}});
  const TensorType index = I64({4, 6});
  // Over the vocabulary, the tokens, and the features.
  cases->push_back({"embedding",
                    {F32({7, 5}), index},
                    {},
                    {"S(0),B->P", "S(1),B->S(2)", "B,S(0)->S(0)", "B,S(1)->S(1)"},
                    {"S(0),B->S(0)", "P,B->P"}});
  cases->push_back({"embedding_grad",
                    {x, index},
                    {{"rows", int64_t{7}}},
                    {"S(0),S(0)->P", "S(1),S(1)->P", "S(2),B->S(1)", "B,B->S(0)", "P,B->P"},
                    {"S(0),B->S(0)"}});
  const Attrs along{{"dim", int64_t{1}}};
  const TensorType wide = I64({4, 9, 5});
  cases->push_back({"gather",
                    {x, wide},
                    along,
                    {"S(0),S(0)->S(0)", "S(2),S(2)->S(2)", "B,S(1)->S(1)", "P,B->P"},
                    {"S(1),S(1)->S(1)", "S(1),B->P"}});
  cases->push_back({"scatter_add",
                    {x, wide, F32({4, 9, 5})},
                    along,
                    {"S(0),S(0),S(0)->S(0)", "S(2),S(2),S(2)->S(2)", "P,B,P->P"},
                    {"B,S(1),S(1)->B", "B,S(1),S(1)->P"}});
  cases->push_back(
      {"sort", {x}, along, {"S(0)->S(0),S(0)", "S(2)->S(2),S(2)"}, {"S(1)->S(1),S(1)", "P->P,P"}});
  cases->push_back({"cumsum", {x}, along, {"S(0)->S(0)", "S(2)->S(2)", "P->P"}, {"S(1)->S(1)"}});
}

void AddReductionsAndShapes(std::vector<OpCase>* cases) {
  const TensorType x = F32({4, 6, 5});
  cases->push_back({"sum",
                    {x},
                    {{"dims", Ints{0, 2}}, {"keepdim", false}},
                    {"S(0)->P", "S(2)->P", "S(1)->S(0)", "P->P"},
                    {}});
  cases->push_back({"sum",
                    {x},
                    {{"dims", Ints{0, 1, 2}}, {"keepdim", false}},
                    {"S(0)->P", "S(1)->P", "S(2)->P", "P->P"},
                    {}});
  cases->push_back({"sum",
                    {x},
                    {{"dims", Ints{1}}, {"keepdim", true}},
                    {"S(0)->S(0)", "S(1)->P", "S(2)->S(2)", "P->P"},
                    {"S(1)->S(1)"}});
  cases->push_back({"amax",
                    {x},
                    {{"dims", Ints{1}}, {"keepdim", false}},
                    {"S(0)->S(0)", "S(1)->P(max)", "S(2)->S(1)"},
                    {"P->P", "S(1)->P"}});
  cases->push_back({"argmax",
                    {x},
                    {{"dim", int64_t{1}}},
                    {"S(0)->S(0)", "S(2)->S(1)"},
                    {"S(1)->P", "S(1)->B", "P->P"}});
  cases->push_back({"reshape",
                    {x},
                    {{"shape", Ints{24, 5}}},
                    {"S(0)->S(0)", "S(2)->S(1)", "P->P"},
                    {"S(1)->S(0)"}});
  cases->push_back({"reshape",
                    {F32({24, 5})},
                    {{"shape", Ints{4, 6, 5}}},
                    {"S(0)->S(0)", "S(1)->S(2)", "P->P"},
                    {"S(0)->S(1)"}});
  cases->push_back(
      {"reshape", {F32({12, 2})}, {{"shape", Ints{3, 8}}}, {"S(0)->S(0)", "P->P"}, {"S(1)->S(1)"}});
  cases->push_back(
      {"reshape", {F32({6, 4})}, {{"shape", Ints{4, 6}}}, {"S(0)->S(0)", "P->P"}, {"S(1)->S(1)"}});
  cases->push_back({"reshape",
                    {F32({4, 1, 6})},
                    {{"shape", Ints{1, 4, 6, 1}}},
                    {"S(0)->S(1)", "S(2)->S(2)"},
                    {}});
  cases->push_back({"reshape", {F32({1, 1})}, {{"shape", Ints{}}}, {"P->P", "B->B"}, {}});
  cases->push_back({"reshape",
                    {F32({0, 6})},
                    {{"shape", Ints{3, 0, 2}}},
                    {"B->B"},
                    {"S(0)->S(0)", "S(0)->S(1)"}});
  cases->push_back({"permute",
                    {x},
                    {{"dims", Ints{2, 0, 1}}},
                    {"S(0)->S(1)", "S(1)->S(2)", "S(2)->S(0)", "P->P"},
                    {"S(0)->S(0)"}});
  cases->push_back({"broadcast_to",
                    {F32({6, 1})},
                    {{"shape", Ints{4, 6, 5}}},
                    {"B->S(0)", "S(0)->S(1)", "B->S(2)", "P->P"},
                    {"S(0)->S(0)"}});
  cases->push_back({"broadcast_to", {F32({})}, {{"shape", Ints{4}}}, {"B->S(0)", "P->P"}, {}});
  cases->push_back({"cat",
                    {F32({4, 2}), F32({4, 3}), F32({4, 0})},
                    {{"dim", int64_t{1}}},
                    {"S(0),S(0),S(0)->S(0)", "P,P,P->P"},
                    {"S(1),S(1),S(1)->S(1)"}});
  const Attrs cut{
      {"dim", int64_t{1}}, {"start", int64_t{1}}, {"stop", int64_t{6}}, {"step", int64_t{2}}};
  const Attrs full{{"dim", int64_t{1}}, {"start", int64_t{0}}, {"stop", int64_t{6}}};
  cases->push_back({"slice", {x}, cut, {"S(0)->S(0)", "S(2)->S(2)", "P->P"}, {"S(1)->S(1)"}});
  cases->push_back({"slice", {x}, full, {"S(0)->S(0)", "S(1)->S(1)", "P->P"}, {}});
  Attrs cut_grad = cut;
  cut_grad.Set("extent", int64_t{6});
  Attrs full_grad = full;
  full_grad.Set("extent", int64_t{6});
  cases->push_back({"slice_grad",
                    {F32({4, 3, 5})},
                    cut_grad,
                    {"S(0)->S(0)", "S(2)->S(2)", "P->P"},
                    {"S(1)->S(1)"}});
  cases->push_back({"slice_grad", {x}, full_grad, {"S(1)->S(1)", "P->P"}, {}});
}

void AddMatmul(std::vector<OpCase>* cases) {
  const std::vector<std::string> linear = {"P,B->P", "B,P->P"};
  for (bool transpose_a : {false, true}) {
    for (bool transpose_b : {false, true}) {
      OpCase product{
          "matmul",
          {transpose_a ? F32({6, 4}) : F32({4, 6}), transpose_b ? F32({5, 6}) : F32({6, 5})},
          {{"transpose_a", transpose_a}, {"transpose_b", transpose_b}},
          linear,
          {"P,P->P", "S(0),S(1)->S(0)"}};
      const std::string m = transpose_a ? "S(1)" : "S(0)";
      const std::string k_of_a = transpose_a ? "S(0)" : "S(1)";
      const std::string k_of_b = transpose_b ? "S(1)" : "S(0)";
      const std::string n = transpose_b ? "S(0)" : "S(1)";
      product.must.push_back(m + ",B->S(0)");
      product.must.push_back("B," + n + "->S(1)");
      product.must.push_back(k_of_a + "," + k_of_b + "->P");
      cases->push_back(product);
    }
  }
  cases->push_back({"matmul",
                    {F32({3, 4, 6}), F32({6, 5})},
                    {},
                    {"S(0),B->S(0)", "S(1),B->S(1)", "B,S(1)->S(2)", "S(2),S(0)->P"},
                    {}});
  cases->push_back({"matmul",
                    {F32({3, 1, 4, 6}), F32({2, 6, 5})},
                    {},
                    {"S(0),B->S(0)", "B,S(0)->S(1)", "S(2),B->S(2)", "S(3),S(1)->P"},
                    {}});
}

void AddLinear(std::vector<OpCase>* cases) {
  cases->push_back({"linear",
                    {F32({4, 6}), F32({6, 5}), F32({5})},
                    {},
                    {"S(0),B,B->S(0)", "B,S(1),S(0)->S(1)"},
                    {"S(1),S(0),B->P", "P,B,P->P", "S(0),B,S(0)->S(0)"}});
  cases->push_back({"linear",
                    {F32({3, 4, 6}), F32({5, 6}), F32({5})},
                    {{"transpose_b", true}},
                    {"S(0),B,B->S(0)", "S(1),B,B->S(1)", "B,S(0),S(0)->S(2)"},
                    {"S(2),S(1),B->P"}});
}

// Of whole sums alone, in parts of rows and columns; x lies as y does.
void AddLinearGelu(std::vector<OpCase>* cases) {
  for (const bool saves : {false, true}) {
    const auto results = [&](const std::string& y) { return saves ? y + "," + y : y; };
    cases->push_back(
        {"linear_gelu",
         {F32({4, 6}), F32({6, 5}), F32({5})},
         {{"saves", saves}},
         {"S(0),B,B->" + results("S(0)"), "B,S(1),S(0)->" + results("S(1)")},
         {"S(1),S(0),B->" + results("P"), "P,B,P->" + results("P"), "S(0),B,B->" + results("B")}});
    cases->push_back({"linear_gelu",
                      {F32({3, 4, 6}), F32({5, 6}), F32({5})},
                      {{"transpose_b", true}, {"saves", saves}},
                      {"S(0),B,B->" + results("S(0)"), "S(1),B,B->" + results("S(1)"),
                       "B,S(0),S(0)->" + results("S(2)")},
                      {"S(2),S(1),B->" + results("P")}});
  }
  cases->push_back({"matmul_gelu_grad",
                    {F32({4, 6}), F32({5, 6}), F32({4, 5})},
                    {{"transpose_b", true}},
                    {"S(0),B,S(0)->S(0)", "B,S(0),S(1)->S(1)"},
                    {"S(1),S(1),B->P", "P,B,B->P", "P,B,P->P", "S(0),B,B->S(0)"}});
  cases->push_back({"matmul_gelu_grad",
                    {F32({3, 4, 6}), F32({6, 5}), F32({3, 4, 5})},
                    {},
                    {"S(0),B,S(0)->S(0)", "S(1),B,S(1)->S(1)", "B,S(1),S(2)->S(2)"},
                    {"S(2),S(0),B->P", "B,S(1),B->S(2)"}});
}

// A layer's gradients: dW = dy^T x or x^T dy, and the sums of dy. A rule has no word for sums that are whole where
// the other operand is cut.
void AddMatmulSums(std::vector<OpCase>* cases) {
  cases->push_back({"matmul_sums",
                    {F32({6, 4}), F32({6, 5})},
                    {{"transpose_a", true}, {"of", std::string("a")}},
                    {"S(0),S(0)->P,P", "S(1),B->S(0),S(0)", "P,B->P,P"},
                    {"S(0),S(0)->P,B", "B,P->P,P", "S(1),B->S(0),B", "B,S(1)->S(1),B"}});
  cases->push_back({"matmul_sums",
                    {F32({4, 6}), F32({5, 6})},
                    {{"transpose_b", true}, {"of", std::string("b")}},
                    {"S(1),S(1)->P,P", "B,S(0)->S(1),S(0)", "B,P->P,P"},
                    {"P,B->P,P", "S(1),S(1)->S(0),P", "S(0),B->S(0),B"}});
}

void AddAttention(std::vector<OpCase>* cases) {
  const TensorType step = I64({});
  const TensorType lse = F32({2, 4, 6});
  // As many heads of k as of q: batch, queries and heads may be split.
  const TensorType q = F32({2, 6, 4, 5});
  const TensorType k = F32({2, 7, 4, 5});
  const TensorType v = F32({2, 7, 4, 3});
  const TensorType out = F32({2, 6, 4, 3});
  const Attrs scaled{{"scale", 0.4}};
  Attrs dropped = scaled;
  for (const auto& [name, value] : {std::pair{"seed", 1}, std::pair{"key", 2}}) {
    dropped.Set(name, int64_t{value});
  }
  dropped.Set("p", 0.25);
  Attrs causal = dropped;
  causal.Set("causal", true);
  const std::vector<std::string> no_keys = {"B,S(1),S(1)->P,B", "B,S(1),S(1)->B,B", "B,B,P->P,B",
                                            "S(3),S(3),B->B,B"};
  cases->push_back(
      {"attention",
       {q, k, v},
       scaled,
       {"S(0),S(0),S(0)->S(0),S(0)", "S(2),S(2),S(2)->S(2),S(1)", "S(1),B,B->S(1),S(2)"},
       no_keys});
  cases->push_back(
      {"attention",
       {q, k, v, step},
       causal,
       {"S(0),S(0),S(0),B->S(0),S(0)", "S(2),S(2),S(2),B->S(2),S(1)", "S(1),B,B,B->S(1),S(2)"},
       {}});
  cases->push_back({"attention",
                    {q, k, v, step, F32({1, 4, 1, 7})},
                    dropped,
                    {"S(0),S(0),S(0),B,B->S(0),S(0)", "S(2),S(2),S(2),B,S(1)->S(2),S(1)",
                     "S(1),B,B,B,B->S(1),S(2)"},
                    {}});
  // A head of k for two of q, and one for all.
  cases->push_back({"attention",
                    {q, F32({2, 7, 2, 5}), F32({2, 7, 2, 3}), step, BoolOf({2, 1, 6, 7})},
                    causal,
                    {"S(0),S(0),S(0),B,S(0)->S(0),S(0)", "S(2),S(2),S(2),B,B->S(2),S(1)",
                     "S(1),B,B,B,S(2)->S(1),S(2)"},
                    {"S(2),B,B,B,B->S(2),S(1)"}});
  cases->push_back({"attention",
                    {q, F32({2, 7, 1, 5}), F32({2, 7, 1, 3})},
                    scaled,
                    {"S(2),B,B->S(2),S(1)"},
                    {}});
  cases->push_back({"attention_grad",
                    {q, k, v, out, lse, out},
                    scaled,
                    {"S(0),S(0),S(0),S(0),S(0),S(0)->S(0),S(0),S(0)",
                     "S(2),S(2),S(2),S(2),S(1),S(2)->S(2),S(2),S(2)",
                     "S(1),B,B,S(1),S(2),S(1)->S(1),P,P", "B,B,B,B,B,P->P,P,P"},
                    {"B,B,B,P,B,B->P,P,P", "B,S(1),S(1),B,B,B->P,S(1),S(1)"}});
  cases->push_back(
      {"attention_grad",
       {q, F32({2, 7, 1, 5}), F32({2, 7, 1, 3}), out, lse, out, step, BoolOf({2, 4, 6, 1}), lse},
       causal,
       {"S(2),B,B,S(2),S(1),S(2),B,S(1),S(1)->S(2),P,P",
        "S(1),B,B,S(1),S(2),S(1),B,S(2),S(2)->S(1),P,P", "B,B,B,B,B,P,B,B,P->P,P,P"},
       {"B,B,B,B,B,P,B,B,B->P,P,P"}});
  // One tensor for all three: split over the batch alone.
  const TensorType all = F32({2, 6, 8, 5});
  const TensorType of_q = F32({2, 6, 4, 5});
  Attrs packed = causal;
  packed.Set("packed", Ints{0, 4, 6, 4, 2});
  cases->push_back({"attention",
                    {all, all, all, step},
                    packed,
                    {"S(0),S(0),S(0),B->S(0),S(0)"},
                    {"S(2),S(2),S(2),B->S(2),S(1)", "S(1),S(1),S(1),B->S(1),S(2)",
                     "S(1),B,B,B->S(1),S(2)", "B,B,B,B->P,B"}});
  cases->push_back({"attention_grad",
                    {all, all, all, of_q, lse, of_q, step},
                    packed,
                    {"S(0),S(0),S(0),S(0),S(0),S(0),B->S(0)", "B,B,B,B,B,P,B->P"},
                    {"S(2),S(2),S(2),S(2),S(1),S(2),B->S(2)", "B,B,B,P,B,B,B->P"}});
}

void AddImages(std::vector<OpCase>* cases) {
  const Attrs geometry{{"stride", Ints{2, 1}}, {"padding", Ints{1, 0}}};
  const std::vector<std::string> product = {"P,B->P", "B,P->P"};
  const auto with = [](Attrs attrs, std::initializer_list<std::pair<std::string, int64_t>> more) {
    for (const auto& [name, value] : more) attrs.Set(name, value);
    return attrs;
  };
  const std::vector<std::string> no_space = {"S(1),B->S(1)", "S(2),B->S(2)", "S(1),B->P"};
  cases->push_back({"conv2d",
                    {F32({4, 7, 6, 6}), F32({8, 6, 3, 2})},
                    geometry,
                    {"S(0),B->S(0)", "B,S(0)->S(3)", "S(3),S(1)->P", "P,B->P", "B,P->P"},
                    no_space});
  cases->push_back({"conv2d",
                    {F32({4, 7, 6, 6}), F32({4, 3, 3, 2})},
                    with(geometry, {{"groups", 2}}),
                    {"S(0),B->S(0)", "S(3),S(0)->S(3)"},
                    {"S(3),S(1)->P", "B,S(0)->S(3)"}});
  cases->push_back({"conv2d",
                    {F32({4, 7, 6, 6}), F32({6, 1, 3, 2})},
                    with(geometry, {{"groups", 6}}),
                    {"S(0),B->S(0)", "S(3),S(0)->S(3)"},
                    {}});
  // Squares about a part's own mean are of whole sums, over whole parts.
  cases->push_back({"conv2d_sums",
                    {F32({4, 7, 6, 6}), F32({8, 6, 3, 2})},
                    with(geometry, {{"parts", 2}}),
                    {"S(0),B->S(0),S(0),S(0)", "B,S(0)->S(3),S(1),S(1)"},
                    {"S(3),S(1)->P,P,P", "P,B->P,P,P", "S(0),B->S(0),P,P"}});
  cases->push_back({"conv2d_sums",
                    {F32({4, 7, 6, 6}), F32({4, 3, 3, 2})},
                    with(geometry, {{"groups", 2}, {"parts", 1}}),
                    {"S(3),S(0)->S(3),S(1),S(1)"},
                    {"S(0),B->S(0),P,P", "S(0),B->S(0),S(0),S(0)", "B,S(0)->S(3),S(1),S(1)"}});
  cases->push_back({"conv2d_grad_input",
                    {F32({4, 4, 5, 8}), F32({8, 6, 3, 2})},
                    with(geometry, {{"h", 7}, {"w", 6}}),
                    {"S(0),B->S(0)", "S(3),S(0)->P", "B,S(1)->S(3)", "P,B->P", "B,P->P"},
                    no_space});
  cases->push_back({"conv2d_grad_input",
                    {F32({4, 4, 5, 4}), F32({4, 3, 3, 2})},
                    with(geometry, {{"h", 7}, {"w", 6}, {"groups", 2}}),
                    {"S(0),B->S(0)", "S(3),S(0)->S(3)"},
                    {"S(3),S(0)->P"}});
  cases->push_back({"conv2d_grad_weight",
                    {F32({4, 7, 6, 6}), F32({4, 4, 5, 8})},
                    with(geometry, {{"kh", 3}, {"kw", 2}}),
                    {"S(0),S(0)->P", "S(3),B->S(1)", "B,S(3)->S(0)", "P,B->P", "B,P->P"},
                    no_space});
  cases->push_back({"conv2d_grad_weight",
                    {F32({4, 7, 6, 6}), F32({4, 4, 5, 4})},
                    with(geometry, {{"kh", 3}, {"kw", 2}, {"groups", 2}}),
                    {"S(0),S(0)->P", "S(3),S(3)->S(0)"},
                    {"B,S(3)->S(0)"}});
  const Attrs pool{{"kernel", Ints{3, 2}}, {"stride", Ints{2, 2}}, {"padding", Ints{1, 0}}};
  const TensorType image = F32({4, 7, 6, 6});
  const TensorType pooled = F32({4, 4, 3, 6});
  cases->push_back(
      {"max_pool2d", {image}, pool, {"S(0)->S(0)", "S(3)->S(3)"}, {"S(1)->S(1)", "P->P"}});
  cases->push_back(
      {"avg_pool2d", {image}, pool, {"S(0)->S(0)", "S(3)->S(3)", "P->P"}, {"S(1)->S(1)"}});
  cases->push_back({"max_pool2d_grad",
                    {image, pooled, pooled},
                    pool,
                    {"S(0),S(0),S(0)->S(0)", "S(3),S(3),S(3)->S(3)", "B,B,P->P"},
                    {"P,B,B->P"}});
  cases->push_back({"avg_pool2d_grad",
                    {pooled},
                    with(pool, {{"h", 7}, {"w", 6}}),
                    {"S(0)->S(0)", "S(3)->S(3)", "P->P"},
                    {"S(1)->S(1)"}});
}

void AddBatchNorm(std::vector<OpCase>* cases) {
  for (int64_t groups : {1, 2}) {
    const TensorType x = F32({12, 3, 2, 6});
    const TensorType s = F32({groups, 6});
    const TensorType c = F32({6});
    const Attrs attrs{{"groups", groups}};
    Attrs counted = attrs;
    counted.Set("count", 12 / groups * 6);
    OpCase sum{"bn_sum", {x}, attrs, {"S(3)->S(1)", "S(1)->P", "S(2)->P", "P->P"}, {}};
    OpCase sq_sum{"bn_sq_sum", {x, s}, attrs, {"S(3),S(1)->S(1)", "S(1),B->P"}, {"P,P->P"}};
    OpCase apply{
        "bn_apply", {x, s, s, c, c}, counted, {"S(3),S(1),S(1),S(0),S(0)->S(3)"}, {"P,B,B,B,B->P"}};
    OpCase grad_sums{"bn_grad_sums",
                     {x, x, s, s},
                     attrs,
                     {"S(3),S(3),S(1),S(1)->S(1),S(1)", "B,P,B,B->P,P"},
                     {}};
    OpCase grad_input{"bn_grad_input",
                      {x, x, s, s, c, s, s},
                      counted,
                      {"S(3),S(3),S(1),S(1),S(0),S(1),S(1)->S(3)"},
                      {}};
    const TensorType samples = F32({12, 6});
    Attrs joined = attrs;
    joined.Set("count", 6);
    OpCase join{"bn_join_squares",
                {samples, samples, s},
                joined,
                {"S(1),S(1),S(1)->S(1)"},
                {"P,P,B->P", "P,P,P->P"}};
    if (groups == 1) {
      join.must.push_back("S(0),S(0),B->P");
      sum.must.push_back("S(0)->P");
      sq_sum.must.push_back("S(0),B->P");
      apply.must.push_back("S(0),B,B,B,B->S(0)");
      grad_sums.must.push_back("S(0),S(0),B,B->P,P");
      grad_input.must.push_back("S(0),S(0),B,B,B,B,B->S(0)");
    } else {
      join.must.push_back("S(0),S(0),S(0)->S(0)");
      join.must_not.push_back("S(0),S(0),B->P");
      sum.must.push_back("S(0)->S(0)");
      sum.must_not.push_back("S(0)->P");
      sq_sum.must.push_back("S(0),S(0)->S(0)");
      apply.must.push_back("S(0),S(0),S(0),B,B->S(0)");
      grad_sums.must.push_back("S(0),S(0),S(0),S(0)->S(0),S(0)");
      grad_input.must.push_back("S(0),S(0),S(0),S(0),B,S(0),S(0)->S(0)");
    }
    for (const OpCase& op_case : {sum, sq_sum, join, apply, grad_sums, grad_input}) {
      cases->push_back(op_case);
    }
  }
  cases->push_back({"bn_sum", {F32({4, 6})}, {}, {"S(0)->P", "S(1)->S(1)"}, {}});
  // Squares about a part's own mean are no sums of parts: a sample stays whole.
  cases->push_back({"bn_sample_sums",
                    {F32({12, 3, 2, 6})},
                    {},
                    {"S(0)->S(0),S(0)", "S(3)->S(1),S(1)"},
                    {"S(1)->P,P", "S(2)->P,P", "P->P,P"}});
  cases->push_back({"running_update",
                    {F32({6}), F32({3, 6})},
                    {{"momentum", 0.1}, {"steps", int64_t{3}}},
                    {"S(0),S(1)->S(0)"},
                    {"B,S(0)->B", "B,S(0)->P"}});
}

void AddRest(std::vector<OpCase>* cases) {
  const TensorType x = F32({4, 6});
  for (const char* op : {"softmax", "log_softmax"}) {
    cases->push_back({op, {x}, {{"dim", int64_t{1}}}, {"S(0)->S(0)"}, {"S(1)->S(1)", "P->P"}});
    cases->push_back({std::string(op) + "_grad",
                      {x, x},
                      {{"dim", int64_t{1}}},
                      {"S(0),S(0)->S(0)", "B,P->P"},
                      {"S(1),S(1)->S(1)", "P,B->P"}});
  }
  for (const int64_t classes : {0, 5}) {
    const Attrs attrs = {{"classes", classes}};
    cases->push_back({"cross_entropy",
                      {x, I64({4})},
                      attrs,
                      {"S(0),S(0)->S(0),S(0)"},
                      {"S(1),B->P,B", "S(1),B->B,B", "P,B->P,P"}});
    cases->push_back({"cross_entropy_grad",
                      {x, I64({4}), F32({4}), F32({4})},
                      attrs,
                      {"S(0),S(0),S(0),S(0)->S(0)", "B,B,B,P->P"},
                      {"S(1),B,B,B->S(1)", "B,B,P,B->P"}});
  }
  cases->push_back({"cross_entropy_grad",
                    {x, I64({4}), F32({4}), F32({4}), F32({4})},
                    {},
                    {"S(0),S(0),S(0),S(0),S(0)->S(0)", "B,B,B,P,P->P"},
                    {"S(1),B,B,B,B->S(1)", "B,B,B,P,B->P", "B,B,B,B,P->P"}});
  const TensorType frames = F32({6, 4, 7}), labels = I64({4, 5}), each = I64({4});
  cases->push_back({"ctc_loss",
                    {frames, labels, each, each},
                    {{"blank", int64_t{0}}},
                    {"S(1),S(0),S(0),S(0)->S(0),S(0)"},
                    {"S(0),B,B,B->B,S(1)", "S(2),B,B,B->P,P", "P,B,B,B->P,P"}});
  cases->push_back({"ctc_loss_grad",
                    {frames, labels, each, each, F32({4, 6, 11}), F32({4}), F32({4})},
                    {{"blank", int64_t{6}}},
                    {"S(1),S(0),S(0),S(0),S(0),S(0),S(0)->S(1)"},
                    {"S(2),B,B,B,B,B,B->S(2)", "B,B,B,B,B,B,P->P"}});
  const Attrs random{{"p", 0.25}, {"seed", int64_t{1}}, {"key", int64_t{2}}};
  for (const char* op : {"dropout", "dropout_grad"}) {
    cases->push_back(
        {op, {x, I64({})}, random, {"S(0),B->S(0)", "S(1),B->S(1)", "P,B->P"}, {"B,P->P"}});
  }
  const Attrs stream{{"seed", int64_t{1}}, {"key", int64_t{2}}};
  for (const char* op : {"uniform", "normal"}) {
    cases->push_back(
        {op, {x, I64({})}, stream, {"S(0),B->S(0)", "S(1),B->S(1)"}, {"P,B->P", "B,P->P"}});
  }
  const TensorType lr = F32({});
  const TensorType step = I64({});
  cases->push_back({"sgd_update", {x, x, lr, step}, {}, {"S(0),S(0),B,B->S(0)"}, {"P,P,B,B->P"}});
  cases->push_back({"sgd_update",
                    {x, x, lr, step, x},
                    {{"momentum", 0.9}},
                    {"S(0),S(0),B,B,S(0)->S(0),S(0)", "S(1),S(1),B,B,S(1)->S(1),S(1)"},
                    {}});
  cases->push_back({"adamw_update",
                    {x, x, x, x, lr, step},
                    {},
                    {"S(0),S(0),S(0),S(0),B,B->S(0),S(0),S(0)"},
                    {"B,P,B,B,B,B->B,B,B"}});
  const TensorType narrow{DType::kBF16, {4, 6}};
  cases->push_back({"adamw_updates",
                    {lr, step, x, narrow, x, x, F32({5}), F32({5}), F32({5}), F32({5})},
                    {},
                    {},
                    {"B,B,S(0),S(0),S(0),S(0),S(0),S(0),S(0),S(0)->S(0),S(0),S(0),S(0),S(0),S(0)",
                     "B,B,S(0),S(0),S(0),S(0),B,B,B,B->S(0),S(0),S(0),B,B,B",
                     "B,B,B,P,B,B,B,B,B,B->B,B,B,B,B,B"}});
  cases->push_back({"adamw_updates",
                    {lr, step, x, narrow, x, x},
                    {},
                    {"B,B,S(1),S(1),S(1),S(1)->S(1),S(1),S(1)"},
                    {}});
  cases->push_back({"adamw_update",
                    {x, narrow, x, x, lr, step},
                    {},
                    {"S(1),S(1),S(1),S(1),B,B->S(1),S(1),S(1)"},
                    {"B,P,B,B,B,B->B,B,B"}});
  cases->push_back(
      {"input",
       {},
       {{"name", std::string("x")}, {"dtype", std::string("f32")}, {"shape", Ints{4, 6}}},
       {"->B", "->S(0)", "->S(1)"},
       {}});
  cases->push_back({"constant",
                    {},
                    {{"value", 1.0}, {"dtype", std::string("f32")}, {"shape", Ints{4, 6}}},
                    {"->B", "->S(0)", "->S(1)"},
                    {}});
  cases->push_back({"output", {x}, {{"name", std::string("y")}}, {"B->", "S(0)->"}, {}});
  cases->push_back({"reshard", {x}, {}, {"B->B"}, {}});
}

}  // namespace

std::vector<OpCase> OpCases() {
  std::vector<OpCase> cases;
  AddElementwise(&cases);
  AddFused(&cases);
  AddNormsAndIndices(&cases);
  AddReductionsAndShapes(&cases);
  AddMatmul(&cases);
  AddLinear(&cases);
  AddLinearGelu(&cases);
  AddMatmulSums(&cases);
  AddAttention(&cases);
  AddImages(&cases);
  AddBatchNorm(&cases);
  AddRest(&cases);
  return cases;
}

}  // namespace oneflow
