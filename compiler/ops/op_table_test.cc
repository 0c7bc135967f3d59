#include "compiler/ops/op_table.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "compiler/ops/op_cases_for_test.h"

namespace oneflow {
namespace {

// From docs/architecture.md, written by hand: an op that goes missing here is noticed.
const char* const kNames[] = {"input",
                              "state_read",
                              "state_write",
                              "output",
                              "constant",
                              "reshard",
                              "neg",
                              "abs",
                              "exp",
                              "log",
                              "sqrt",
                              "rsqrt",
                              "tanh",
                              "sigmoid",
                              "relu",
                              "square",
                              "stop_gradient",
                              "cast",
                              "add_scalar",
                              "mul_scalar",
                              "pow_scalar",
                              "relu_grad",
                              "tanh_grad",
                              "sigmoid_grad",
                              "abs_grad",
                              "add",
                              "sub",
                              "mul",
                              "div",
                              "maximum",
                              "minimum",
                              "eq",
                              "ne",
                              "lt",
                              "le",
                              "gt",
                              "ge",
                              "logical_and",
                              "layer_norm",
                              "layer_norm_grad",
                              "layer_norm_weight_grad",
                              "layer_norm_grads",
                              "rms_norm",
                              "rms_norm_grad",
                              "rms_norm_weight_grad",
                              "embedding",
                              "embedding_grad",
                              "gather",
                              "scatter_add",
                              "cumsum",
                              "sort",
                              "exp2",
                              "expm1",
                              "log2",
                              "log10",
                              "log1p",
                              "reciprocal",
                              "sin",
                              "cos",
                              "tan",
                              "asin",
                              "acos",
                              "atan",
                              "sinh",
                              "cosh",
                              "asinh",
                              "acosh",
                              "atanh",
                              "erf",
                              "erfc",
                              "erfinv",
                              "lgamma",
                              "digamma",
                              "gelu",
                              "gelu_tanh",
                              "silu",
                              "softplus",
                              "logsigmoid",
                              "mish",
                              "relu6",
                              "hardsigmoid",
                              "hardswish",
                              "exp2_grad",
                              "expm1_grad",
                              "log2_grad",
                              "log10_grad",
                              "log1p_grad",
                              "reciprocal_grad",
                              "sin_grad",
                              "cos_grad",
                              "tan_grad",
                              "asin_grad",
                              "acos_grad",
                              "atan_grad",
                              "sinh_grad",
                              "cosh_grad",
                              "asinh_grad",
                              "acosh_grad",
                              "atanh_grad",
                              "erf_grad",
                              "erfc_grad",
                              "erfinv_grad",
                              "lgamma_grad",
                              "digamma_grad",
                              "gelu_grad",
                              "gelu_tanh_grad",
                              "silu_grad",
                              "softplus_grad",
                              "logsigmoid_grad",
                              "mish_grad",
                              "relu6_grad",
                              "hardsigmoid_grad",
                              "hardswish_grad",
                              "elu",
                              "leaky_relu",
                              "elu_grad",
                              "leaky_relu_grad",
                              "sign",
                              "floor",
                              "ceil",
                              "round",
                              "trunc",
                              "pow",
                              "atan2",
                              "fmod",
                              "remainder",
                              "floor_divide",
                              "logical_or",
                              "logical_xor",
                              "bitwise_and",
                              "bitwise_or",
                              "bitwise_xor",
                              "where",
                              "sum",
                              "amax",
                              "argmax",
                              "reshape",
                              "permute",
                              "broadcast_to",
                              "cat",
                              "slice",
                              "slice_grad",
                              "matmul",
                              "linear",
                              "linear_gelu",
                              "matmul_gelu_grad",
                              "matmul_sums",
                              "attention",
                              "attention_grad",
                              "conv2d",
                              "conv2d_sums",
                              "conv2d_grad_input",
                              "conv2d_grad_weight",
                              "max_pool2d",
                              "max_pool2d_grad",
                              "avg_pool2d",
                              "avg_pool2d_grad",
                              "bn_sum",
                              "bn_sq_sum",
                              "bn_sample_sums",
                              "bn_join_squares",
                              "bn_apply",
                              "bn_grad_sums",
                              "bn_grad_input",
                              "running_update",
                              "softmax",
                              "softmax_grad",
                              "log_softmax",
                              "log_softmax_grad",
                              "cross_entropy",
                              "cross_entropy_grad",
                              "uniform",
                              "normal",
                              "dropout",
                              "dropout_grad",
                              "fused",
                              "sgd_update",
                              "adamw_update",
                              "adamw_updates"};

TEST(OpTableTest, HoldsTheOpsOfTheArchitecture) {
  for (const char* name : kNames) EXPECT_NE(FindOp(name), nullptr) << name;
  EXPECT_EQ(FindOp("nonsense"), nullptr);
  for (size_t i = 1; i < Ops().size(); ++i) EXPECT_LT(Ops()[i - 1].name, Ops()[i].name);
}

TEST(OpTableTest, EveryOpHasACase) {
  std::set<std::string> covered = {"state_read", "state_write"};
  for (const OpCase& op_case : OpCases()) covered.insert(op_case.op);
  for (const OpDef& op : Ops()) EXPECT_TRUE(covered.contains(op.name)) << op.name;
}

TEST(OpTableTest, EveryOpIsDocumented) {
  for (const OpDef& op : Ops()) {
    EXPECT_GE(op.doc.size(), 5u) << op.name;
    EXPECT_EQ(op.doc.back(), '.') << op.name;
    std::set<std::string> names;
    for (const ArgDef& arg : op.inputs) {
      EXPECT_FALSE(arg.doc.empty()) << op.name << " " << arg.name;
      EXPECT_FALSE(arg.dtypes.empty()) << op.name << " " << arg.name;
      EXPECT_TRUE(names.insert(arg.name).second) << op.name << " " << arg.name;
    }
    for (const ArgDef& arg : op.outputs)
      EXPECT_FALSE(arg.doc.empty()) << op.name << " " << arg.name;
    for (const AttrDef& attr : op.attrs) {
      EXPECT_FALSE(attr.doc.empty()) << op.name << " " << attr.name;
      EXPECT_TRUE(names.insert(attr.name).second) << op.name << " " << attr.name;
      EXPECT_EQ(attr.kind == "enum", !attr.words.empty()) << op.name << " " << attr.name;
    }
  }
}

TEST(OpTableTest, CostsAreThoseOfTheFormulas) {
  Attrs attrs{{"transpose_a", false}, {"transpose_b", true}};
  const OpCost matmul = FindOp("matmul")->cost({attrs, {F32({4, 6}), F32({5, 6})}, {F32({4, 5})}});
  EXPECT_EQ(matmul.flops, 2 * 4 * 5 * 6);
  EXPECT_EQ(matmul.bytes, 4 * (4 * 6 + 5 * 6 + 4 * 5));
  const Attrs none;
  const OpCost conv =
      FindOp("conv2d")->cost({none, {F32({2, 8, 8, 6}), F32({4, 3, 3, 3})}, {F32({2, 6, 6, 4})}});
  EXPECT_EQ(conv.flops, 2 * (2 * 6 * 6 * 4) * (3 * 3 * 3));
  const OpCost conv_grad =
      FindOp("conv2d_grad_weight")
          ->cost({none, {F32({2, 8, 8, 6}), F32({2, 6, 6, 4})}, {F32({4, 3, 3, 3})}});
  EXPECT_EQ(conv_grad.flops, conv.flops);
  const OpCost add = FindOp("add")->cost({none, {F32({4, 6}), F32({6})}, {F32({4, 6})}});
  EXPECT_EQ(add.flops, 24);
  EXPECT_EQ(add.bytes, 4 * (24 + 6 + 24));
  const OpCost view = FindOp("reshape")->cost({none, {F32({4, 6})}, {F32({24})}});
  EXPECT_EQ(view.bytes, 0);
}

}  // namespace
}  // namespace oneflow
