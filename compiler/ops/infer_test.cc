#include "compiler/ops/infer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "base/status.h"
#include "compiler/ops/op_cases_for_test.h"

namespace oneflow {
namespace {

using ::testing::HasSubstr;

TensorType Of(DType dtype, Shape shape) { return {dtype, std::move(shape)}; }

// "f32[2,3] i64[2]", or the error.
std::string Infer(const std::string& op, const std::vector<TensorType>& inputs, Attrs attrs = {}) {
  auto types = InferOutputs(*FindOp(op), inputs, &attrs);
  if (!types.ok()) return MessageOf(types.status());
  std::string text;
  for (const TensorType& type : *types) text += (text.empty() ? "" : " ") + type.ToString();
  return text;
}

ErrorKind KindOfFailure(const std::string& op, const std::vector<TensorType>& inputs,
                        Attrs attrs = {}) {
  return KindOf(InferOutputs(*FindOp(op), inputs, &attrs).status());
}

TEST(InferTest, Shapes) {
  EXPECT_EQ(Infer("add", {F32({4, 1, 3}), F32({2, 1})}), "f32[4,2,3]");
  EXPECT_EQ(Infer("lt", {I64({4}), I64({})}), "bool[4]");
  EXPECT_EQ(Infer("where", {BoolOf({4, 1}), F32({3}), F32({})}), "f32[4,3]");
  EXPECT_EQ(Infer("cast", {F32({2})}, {{"dtype", std::string("i64")}}), "i64[2]");
  EXPECT_EQ(Infer("sum", {F32({4, 5, 6})}, {{"dims", Ints{2, 0}}}), "f32[5]");
  EXPECT_EQ(Infer("sum", {F32({4, 5})}, {{"dims", Ints{1}}, {"keepdim", true}}), "f32[4,1]");
  EXPECT_EQ(Infer("sum", {F32({4, 5})}, {{"dims", Ints{}}}), "f32[4,5]");
  EXPECT_EQ(Infer("argmax", {F32({4, 5})}, {{"dim", int64_t{1}}}), "i64[4]");
  EXPECT_EQ(Infer("reshape", {F32({4, 6})}, {{"shape", Ints{2, 12}}}), "f32[2,12]");
  EXPECT_EQ(Infer("permute", {F32({4, 5, 6})}, {{"dims", Ints{2, 0, 1}}}), "f32[6,4,5]");
  EXPECT_EQ(Infer("cat", {F32({4, 2}), F32({4, 3})}, {{"dim", int64_t{1}}}), "f32[4,5]");
  EXPECT_EQ(
      Infer(
          "slice", {F32({4, 7})},
          {{"dim", int64_t{1}}, {"start", int64_t{1}}, {"stop", int64_t{6}}, {"step", int64_t{2}}}),
      "f32[4,3]");
  EXPECT_EQ(Infer("matmul", {F32({3, 1, 4, 6}), F32({2, 5, 6})}, {{"transpose_b", true}}),
            "f32[3,2,4,5]");
  EXPECT_EQ(Infer("conv2d", {F32({2, 9, 8, 6}), F32({4, 3, 3, 2})},
                  {{"stride", Ints{2, 1}},
                   {"padding", Ints{1, 0}},
                   {"dilation", Ints{2, 1}},
                   {"groups", int64_t{2}}}),
            "f32[2,4,7,4]");
  EXPECT_EQ(
      Infer("max_pool2d", {F32({2, 9, 8, 6})}, {{"kernel", Ints{3, 2}}, {"stride", Ints{2, 2}}}),
      "f32[2,4,4,6]");
  EXPECT_EQ(Infer("cross_entropy", {F32({4, 10}), I64({4})}), "f32[4] f32[4]");
  EXPECT_EQ(Infer("cross_entropy", {TensorType{DType::kBF16, {4, 10}}, I64({4})}), "f32[4] f32[4]");
  EXPECT_EQ(Infer("sgd_update", {F32({4}), F32({4}), F32({}), I64({})}), "f32[4]");
  EXPECT_EQ(
      Infer("sgd_update", {F32({4}), F32({4}), F32({}), I64({}), F32({4})}, {{"momentum", 0.9}}),
      "f32[4] f32[4]");
  EXPECT_EQ(Infer("adamw_update", {F32({4}), F32({4}), F32({4}), F32({4}), F32({}), I64({})}),
            "f32[4] f32[4] f32[4]");
}

TEST(InferTest, FillsDefaultsAndWidensIntsToFloats) {
  Attrs attrs{{"value", int64_t{3}}};
  ASSERT_TRUE(InferOutputs(*FindOp("mul_scalar"), {F32({2})}, &attrs).ok());
  EXPECT_EQ(attrs.Float("value"), 3.0);
  Attrs conv;
  ASSERT_TRUE(InferOutputs(*FindOp("conv2d"), {F32({1, 5, 5, 2}), F32({3, 2, 3, 3})}, &conv).ok());
  EXPECT_EQ(conv.Ints("stride"), (Ints{1, 1}));
  EXPECT_EQ(conv.Int("groups"), 1);
}

TEST(InferTest, DTypesFollowFromTheSchema) {
  const auto bf16 = [](Shape shape) { return Of(DType::kBF16, std::move(shape)); };
  EXPECT_EQ(Infer("layer_norm", {bf16({4, 6}), bf16({6}), bf16({6})}), "bf16[4,6] f32[4] f32[4]");
  EXPECT_EQ(Infer("layer_norm", {Of(DType::kF64, {4, 6})}), "f64[4,6] f64[4] f64[4]");
  EXPECT_EQ(Infer("rms_norm_grad", {bf16({4, 6}), bf16({4, 6}), F32({4})}), "bf16[4,6]");
  EXPECT_EQ(Infer("softmax_grad", {bf16({4, 6}), bf16({4, 6})}, {{"dim", int64_t{1}}}),
            "bf16[4,6]");
  EXPECT_EQ(Infer("sort", {bf16({4})}, {{"dim", int64_t{0}}}), "bf16[4] i64[4]");
  EXPECT_EQ(Infer("gather", {bf16({4}), I64({2})}, {{"dim", int64_t{0}}}), "bf16[2]");
  EXPECT_EQ(
      Infer("constant", {}, {{"value", 1.0}, {"dtype", std::string("i16")}, {"shape", Ints{2}}}),
      "i16[2]");
  EXPECT_EQ(Infer("reshard", {bf16({4}), bf16({2})}), "bf16[4] bf16[2]");
}

// Of every op, whatever its family: one input of a type variable gets another dtype than the rest.
TEST(InferTest, InputsOfOneTypeVariableHaveOneDType) {
  int compared = 0;
  for (const OpCase& op_case : OpCases()) {
    const OpDef& def = *FindOp(op_case.op);
    const auto arg = [&](size_t i) { return def.inputs[std::min(i, def.inputs.size() - 1)]; };
    for (size_t i = 0; i < op_case.inputs.size(); ++i) {
      for (size_t j = 0; j < op_case.inputs.size(); ++j) {
        if (i == j || arg(i).type.empty() || arg(i).type != arg(j).type) continue;
        for (const DType other : arg(i).dtypes) {
          if (other == op_case.inputs[i].dtype) continue;
          std::vector<TensorType> inputs = op_case.inputs;
          inputs[i].dtype = other;
          const std::string message = Infer(op_case.op, inputs, op_case.attrs);
          EXPECT_EQ(KindOfFailure(op_case.op, inputs, op_case.attrs), ErrorKind::kDType) << message;
          EXPECT_THAT(message, HasSubstr(op_case.op + ": "));
          EXPECT_THAT(message, HasSubstr(".to("));
          ++compared;
        }
      }
    }
  }
  EXPECT_GT(compared, 500);
}

// What a user can do wrong: the message names op and argument, shows the types, says what to do.
struct Mistake {
  std::string op;
  std::vector<TensorType> inputs;
  Attrs attrs;
  ErrorKind kind;
  std::vector<std::string> says;
};

TEST(InferTest, MistakesNameOpArgumentTypesAndCure) {
  const Attrs pool{{"kernel", Ints{3, 3}}, {"stride", Ints{1, 1}}};
  const std::vector<Mistake> mistakes = {
      {"matmul",
       {F32({4, 6}), F32({5, 7})},
       {},
       ErrorKind::kShape,
       {"matmul", "f32[4,6]", "f32[5,7]", "6 columns", "5 rows", "in_features"}},
      {"matmul",
       {F32({6}), F32({6, 7})},
       {},
       ErrorKind::kShape,
       {"matmul: a is f32[6]", "unsqueeze"}},
      {"matmul",
       {F32({3, 4, 6}), F32({2, 6, 5})},
       {},
       ErrorKind::kShape,
       {"the batch of a", "f32[3]", "f32[2]"}},
      {"add",
       {F32({4, 3}), F32({4})},
       {},
       ErrorKind::kShape,
       {"add: a is f32[4,3] and b is f32[4]", "dim -1 is 3 in one and 4", "unsqueeze"}},
      {"add",
       {F32({4}), I64({4})},
       {},
       ErrorKind::kDType,
       {"add: a is f32[4] and b is i64[4]", "one dtype", "b.to(a.dtype)"}},
      {"cat",
       {F32({4}), F32({4}), I64({4})},
       {{"dim", int64_t{0}}},
       ErrorKind::kDType,
       {"cat: tensors[0] is f32[4] and tensors[2] is i64[4]", "tensors[2].to(tensors[0].dtype)"}},
      {"where",
       {BoolOf({4}), F32({4}), I64({})},
       {},
       ErrorKind::kDType,
       {"where: a is f32[4] and b is i64[]", "b.to(a.dtype)"}},
      {"layer_norm",
       {Of(DType::kBF16, {4, 6}), F32({6})},
       {},
       ErrorKind::kDType,
       {"layer_norm: x is bf16[4,6] and weight is f32[6]", "weight.to(x.dtype)"}},
      {"layer_norm_grad",
       {Of(DType::kBF16, {4, 6}), Of(DType::kBF16, {4, 6}), Of(DType::kF64, {4}), F32({4})},
       {},
       ErrorKind::kDType,
       {"layer_norm_grad: x is bf16[4,6] and mean is f64[4]", "beside bf16 mean must be f32"}},
      {"input",
       {},
       {{"name", std::string("x")},
        {"dtype", std::string("f32")},
        {"shape", Ints{4}},
        {"kind", std::string("batches")}},
       ErrorKind::kError,
       {"input: attribute kind is \"batches\" but must be \"batch\", \"whole\" or \"scalar\""}},
      {"input",
       {},
       {{"name", std::string("x")},
        {"dtype", std::string("f32")},
        {"shape", Ints{4}},
        {"kind", int64_t{1}}},
       ErrorKind::kError,
       {"attribute kind must be of kind enum"}},
      {"exp", {I64({4})}, {}, ErrorKind::kDType, {"exp: argument x is i64[4]", "f32", ".to("}},
      {"add", {F32({4})}, {}, ErrorKind::kError, {"add: takes (a, b), got 1 tensor"}},
      {"sum",
       {F32({4, 3})},
       {{"dims", Ints{2}}},
       ErrorKind::kShape,
       {"sum: x is f32[4,3] and has no dim 2", "0 to 1"}},
      {"sum", {F32({4, 3})}, {{"dims", Ints{1, 1}}}, ErrorKind::kShape, {"dim 1 is listed twice"}},
      {"amax", {F32({4, 0})}, {{"dims", Ints{1}}}, ErrorKind::kShape, {"f32[4,0]", "empty"}},
      {"reshape",
       {F32({4, 6})},
       {{"shape", Ints{5, 5}}},
       ErrorKind::kShape,
       {"reshape: x is f32[4,6] with 24 elements", "[5,5] with 25"}},
      {"permute",
       {F32({4, 6})},
       {{"dims", Ints{0, 0}}},
       ErrorKind::kShape,
       {"permute", "[0,0]", "each of its 2 dims once"}},
      {"broadcast_to",
       {F32({4})},
       {{"shape", Ints{4, 6}}},
       ErrorKind::kShape,
       {"f32[4] and cannot become [4,6]"}},
      {"cat",
       {F32({4, 2}), F32({5, 2})},
       {{"dim", int64_t{1}}},
       ErrorKind::kShape,
       {"tensors[1] is f32[5,2]", "[4,2]", "but 1"}},
      {"slice",
       {F32({4})},
       {{"dim", int64_t{0}}, {"start", int64_t{2}}, {"stop", int64_t{5}}},
       ErrorKind::kShape,
       {"2:5:1 of dim 0 with extent 4"}},
      {"conv2d",
       {F32({2, 8, 8, 3}), F32({4, 4, 3, 3})},
       {},
       ErrorKind::kShape,
       {"3 channels", "4 per group", "in_channels"}},
      {"conv2d",
       {F32({2, 2, 8, 3}), F32({4, 3, 3, 3})},
       {},
       ErrorKind::kShape,
       {"height", "smaller than the window of 3", "padding"}},
      {"conv2d",
       {F32({8, 8, 3}), F32({4, 3, 3, 3})},
       {},
       ErrorKind::kShape,
       {"x is f32[8,8,3]", "4 dims"}},
      {"max_pool2d", {F32({2, 2, 2, 3})}, pool, ErrorKind::kShape, {"smaller than the window"}},
      {"bn_sum",
       {F32({7, 3})},
       {{"groups", int64_t{2}}},
       ErrorKind::kShape,
       {"7 samples", "groups = 2"}},
      {"cross_entropy",
       {F32({4, 10}), I64({5})},
       {},
       ErrorKind::kShape,
       {"4 samples but 5 labels"}},
      {"cross_entropy", {F32({4, 10}), F32({4})}, {}, ErrorKind::kDType, {"labels", "i64"}},
      {"dropout",
       {F32({4}), I64({})},
       {{"p", 1.5}, {"seed", int64_t{0}}, {"key", int64_t{0}}},
       ErrorKind::kError,
       {"p is 1.5", "from 0 to 1"}},
      {"sgd_update",
       {F32({4}), F32({4}), F32({}), I64({})},
       {{"momentum", 0.9}},
       ErrorKind::kError,
       {"slot m is missing"}},
      {"mul_scalar", {F32({4})}, {}, ErrorKind::kError, {"attribute value is missing"}},
      {"mul_scalar",
       {F32({4})},
       {{"value", std::string("x")}},
       ErrorKind::kError,
       {"attribute value must be of kind float"}},
      {"relu", {F32({4})}, {{"alpha", 1.0}}, ErrorKind::kError, {"no attribute alpha"}},
      {"broadcast_to",
       {F32({1})},
       {{"shape", Ints{int64_t{1} << 62}}},
       ErrorKind::kShape,
       {"too large"}},
  };
  for (const Mistake& mistake : mistakes) {
    const std::string message = Infer(mistake.op, mistake.inputs, mistake.attrs);
    for (const std::string& text : mistake.says) EXPECT_THAT(message, HasSubstr(text));
    EXPECT_EQ(KindOfFailure(mistake.op, mistake.inputs, mistake.attrs), mistake.kind) << message;
  }
}

}  // namespace
}  // namespace oneflow
