// The sharding rules against a list of signatures written by hand, and against the ops' own shapes:
// a shard must be a call of the same op on the local shapes.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/status.h"
#include "compiler/ops/op_cases_for_test.h"

namespace oneflow {
namespace {

struct Bound {
  Attrs attrs;
  std::vector<TensorType> outputs;
  BoundRule rule;
};

std::vector<Shape> ShapesOf(const std::vector<TensorType>& types) {
  std::vector<Shape> shapes;
  for (const TensorType& type : types) shapes.push_back(type.shape);
  return shapes;
}

std::string Describe(const OpCase& op_case) {
  std::string text = op_case.op + "(";
  for (const TensorType& type : op_case.inputs) text += " " + type.ToString();
  return text + " ) " + op_case.attrs.ToString();
}

Bound Bind(const OpCase& op_case) {
  const OpDef* def = FindOp(op_case.op);
  EXPECT_NE(def, nullptr) << op_case.op;
  Bound bound;
  bound.attrs = op_case.attrs;
  auto outputs = InferOutputs(*def, op_case.inputs, &bound.attrs);
  EXPECT_TRUE(outputs.ok()) << Describe(op_case) << ": " << MessageOf(outputs.status());
  bound.outputs = *outputs;
  const std::string text = def->rule({bound.attrs, op_case.inputs, bound.outputs});
  auto rule = BoundRule::Bind(text, ShapesOf(op_case.inputs), ShapesOf(bound.outputs));
  EXPECT_TRUE(rule.ok()) << Describe(op_case) << ": " << MessageOf(rule.status());
  bound.rule = *std::move(rule);
  return bound;
}

// Local types of one side at one place of the axes.
std::vector<TensorType> Local(const std::vector<TensorType>& types,
                              const std::vector<Sharding>& shardings, const std::vector<Axis>& axes,
                              const std::vector<int64_t>& coordinates) {
  std::vector<TensorType> local;
  for (size_t i = 0; i < types.size(); ++i) {
    local.push_back(
        {types[i].dtype, SliceOf(shardings[i], axes, types[i].shape, coordinates).extent});
  }
  return local;
}

// Each shard infers, from its local inputs and localised attributes, the local outputs that the
// sharding of the outputs promises.
void ExpectShardsInfer(const OpCase& op_case, const Bound& bound, const std::vector<int>& choice,
                       const std::vector<Axis>& axes) {
  const OpDef& def = *FindOp(op_case.op);
  const NodeShardings shardings = bound.rule.Apply(
      choice, axes, std::vector<const Sharding*>(op_case.inputs.size(), nullptr), 0);
  std::string why;
  EXPECT_TRUE(bound.rule.IsLegal(shardings, axes, &why)) << Describe(op_case) << ": " << why;
  int64_t places = 1;
  for (const Axis& axis : axes) places *= axis.size;
  for (int64_t place = 0; place < places; ++place) {
    std::vector<int64_t> coordinates(axes.size());
    int64_t rest = place;
    for (size_t i = axes.size(); i-- > 0; rest /= axes[i].size)
      coordinates[i] = rest % axes[i].size;
    const auto inputs = Local(op_case.inputs, shardings.inputs, axes, coordinates);
    const auto outputs = Local(bound.outputs, shardings.outputs, axes, coordinates);
    Attrs attrs = def.localize ? def.localize(bound.attrs, inputs, outputs) : bound.attrs;
    if (op_case.op == "input") attrs.Set("shape", outputs[0].shape);  // fed by the executor
    // A shard without a sample or a channel has nothing to compute.
    if (std::any_of(outputs.begin(), outputs.end(),
                    [](const TensorType& type) { return NumElements(type.shape) == 0; })) {
      continue;
    }
    auto inferred = InferOutputs(def, inputs, &attrs);
    ASSERT_TRUE(inferred.ok()) << Describe(op_case) << " shard " << place << ": "
                               << MessageOf(inferred.status());
    EXPECT_EQ(inferred->size(), outputs.size());
    for (size_t i = 0; i < outputs.size(); ++i) {
      EXPECT_EQ((*inferred)[i].ToString(), outputs[i].ToString())
          << Describe(op_case) << " shard " << place;
    }
    const OpCost cost = def.cost({attrs, inputs, outputs});
    EXPECT_GE(cost.flops, 0);
    EXPECT_GE(cost.bytes, 0);
  }
}

TEST(RulesTest, HaveTheSignaturesThatTheyMustAndNoUnsoundOnes) {
  for (const OpCase& op_case : OpCases()) {
    const Bound bound = Bind(op_case);
    std::vector<std::string> signatures;
    for (const AxisSignature& signature : bound.rule.signatures()) {
      signatures.push_back(signature.ToString());
    }
    const auto count = [&](const std::string& text) {
      return std::count(signatures.begin(), signatures.end(), text);
    };
    for (const std::string& text : op_case.must) {
      EXPECT_EQ(count(text), 1) << Describe(op_case) << " must allow " << text;
    }
    for (const std::string& text : op_case.must_not) {
      EXPECT_EQ(count(text), 0) << Describe(op_case) << " must not allow " << text;
    }
    ASSERT_FALSE(signatures.empty());
    EXPECT_EQ(signatures[0].find_first_of("SP"), std::string::npos) << Describe(op_case);
  }
}

// The list is written by hand: an op without a required split in it would pass by replicating all.
TEST(RulesTest, TheListRequiresASplitOfEveryOp) {
  std::set<std::string> required;
  for (const OpCase& op_case : OpCases()) {
    for (const std::string& text : op_case.must) {
      if (text.find("S(") != std::string::npos) required.insert(op_case.op);
    }
  }
  for (const OpDef& op : Ops()) {
    if (op.structural || op.name == "constant") continue;
    EXPECT_EQ(required.count(op.name), 1u) << op.name;
  }
}

TEST(RulesTest, EveryShardIsACallOfTheSameOp) {
  for (const OpCase& op_case : OpCases()) {
    const Bound bound = Bind(op_case);
    for (int64_t size : {2, 3}) {
      const std::vector<Axis> axes = {{"micro", 1}, {"dp", size}};
      for (int i = 0; i < static_cast<int>(bound.rule.signatures().size()); ++i) {
        ExpectShardsInfer(op_case, bound, {0, i}, axes);
      }
    }
  }
}

TEST(RulesTest, BatchNormGroupsSplitOverMicroAndSamplesOverDp) {
  size_t seen = 0;
  for (const OpCase& op_case : OpCases()) {
    if (op_case.op.rfind("bn_", 0) != 0 || op_case.attrs.values().empty() ||
        op_case.attrs.Int("groups") != 2) {
      continue;
    }
    const Bound bound = Bind(op_case);
    const std::vector<Axis> axes = {{"micro", 2}, {"dp", 2}};
    int on_micro = -1;
    const auto& signatures = bound.rule.signatures();
    for (int i = 0; i < static_cast<int>(signatures.size()); ++i) {
      if (signatures[i].inputs[0] == Sbp::S(0)) on_micro = i;
    }
    ASSERT_GE(on_micro, 0) << Describe(op_case);
    const int nested = static_cast<int>(signatures.size());
    ASSERT_EQ(bound.rule.nested_signatures().size(), 1u) << Describe(op_case);
    const AxisSignature& on_dp = bound.rule.nested_signatures()[0];
    EXPECT_EQ(on_dp.inputs[0], Sbp::S(0)) << Describe(op_case);
    // The sums of a part of a group are Partial; what has a row for each sample stays split.
    const bool sums = bound.outputs[0].shape.size() == 2;
    EXPECT_EQ(on_dp.outputs[0], sums ? Sbp::P() : Sbp::S(0)) << Describe(op_case);
    EXPECT_TRUE(bound.rule.IsLegalChoice({on_micro, nested}, axes));
    EXPECT_FALSE(bound.rule.IsLegalChoice({0, nested}, axes))
        << "without micro dp would cut across the groups";
    ExpectShardsInfer(op_case, bound, {on_micro, nested}, axes);
    ++seen;
  }
  EXPECT_EQ(seen, 6u);
}

TEST(RulesTest, UnevenSamplesStayTogetherThroughAReshape) {
  // [7,32,5].view(-1,5) under dp=2: 4 and 3 samples, which are 128 and 96 rows.
  const OpCase op_case{"reshape", {F32({7, 32, 5})}, {{"shape", Ints{224, 5}}}, {}, {}};
  const Bound bound = Bind(op_case);
  const std::vector<Axis> axes = {{"micro", 1}, {"dp", 2}};
  int split = -1;
  for (int i = 0; i < static_cast<int>(bound.rule.signatures().size()); ++i) {
    if (bound.rule.signatures()[i].ToString() == "S(0)->S(0)") split = i;
  }
  ASSERT_GE(split, 0);
  const NodeShardings shardings = bound.rule.Apply({0, split}, axes, {nullptr}, 0);
  EXPECT_EQ(SliceOf(shardings.outputs[0], axes, {224, 5}, {0, 0}).extent, (Shape{128, 5}));
  EXPECT_EQ(SliceOf(shardings.outputs[0], axes, {224, 5}, {0, 1}).extent, (Shape{96, 5}));
}

}  // namespace
}  // namespace oneflow
