// PackAttention: which calls read one tensor and which must not; that bits stay is tested where kernels are
// (kernels/cpu/attention_test.cc) and on whole steps (tests/e2e/test_fused.py).
#include "compiler/passes/pack_attention.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "compiler/passes/decided_step_for_test.h"

namespace oneflow {
namespace {

using Longs = std::vector<int64_t>;
constexpr int64_t kBatch = 4, kTokens = 8, kWidth = 16;

struct Heads {
  int64_t first[3] = {0, 2, 4};  // of q, k and v
  int64_t heads = 2, key_heads = 2;
  int64_t all = 6;
};

// Heads [begin, begin + count) of qkv.
ValueId Part(StepBuilder* b, ValueId qkv, int64_t begin, int64_t count) {
  const ValueId part = b->Op("slice", {qkv},
                             {{"dim", AttrValue(int64_t{2})},
                              {"start", AttrValue(begin * kWidth)},
                              {"stop", AttrValue((begin + count) * kWidth)}});
  return b->Op("reshape", {part}, {{"shape", AttrValue(Longs{kBatch, kTokens, count, kWidth})}});
}

struct Layer {
  StepBuilder b;
  ValueId qkv = -1, q = -1, k = -1, v = -1, out = -1;
};
Layer LayerOf(const Heads& n = {}, const StepBuilder::Annotation& annotation = {}) {
  Layer layer;
  StepBuilder& b = layer.b;
  layer.qkv = b.Linear(b.Input("x", {kBatch, kTokens, 12}),
                       b.Parameter("w", {12, n.all * kWidth}, annotation));
  layer.q = Part(&b, layer.qkv, n.first[0], n.heads);
  layer.k = Part(&b, layer.qkv, n.first[1], n.key_heads);
  layer.v = Part(&b, layer.qkv, n.first[2], n.key_heads);
  layer.out = b.OpN("attention", {layer.q, layer.k, layer.v}, {{"scale", AttrValue(0.25)}})[0];
  return layer;
}

struct Result {
  std::map<std::string, int> ops;
  std::vector<Longs> packed;  // of each call that is
};
Result Packed(const StepBuilder& traced, std::vector<Axis> axes = {{"dp", 1}},
              int micro_batches = 1, bool joins = true) {
  DecidedStep step(traced.graph, std::move(axes), micro_batches, joins);
  EXPECT_EQ(PackAttention(&step.graph, &step.decisions), absl::OkStatus());
  step.ExpectSound("pack_attention");
  Result result;
  for (const NodeId id : step.graph.order()) {
    const Node& node = step.graph.node(id);
    ++result.ops[node.op];
    for (const ValueId value : node.outputs) {
      const Value& output = step.graph.value(value);
      EXPECT_EQ(output.sharding.units.size(), output.type.shape.size()) << node.op;
    }
    if (node.attrs.Has("packed") && !node.attrs.Ints("packed").empty()) {
      result.packed.push_back(node.attrs.Ints("packed"));
      EXPECT_EQ(std::set<ValueId>(node.inputs.begin(), node.inputs.begin() + 3).size(), 1u);
    }
  }
  return result;
}

TEST(PackAttentionTest, BothPassesReadOneTensor) {
  Layer layer = LayerOf();
  layer.b.Train(layer.b.Mean(layer.out));
  for (int dp : {1, 2}) {
    for (int micro : {1, 2}) {
      Result result = Packed(layer.b, {{"dp", dp}}, micro);
      EXPECT_EQ(result.packed, (std::vector<Longs>{{0, 2, 4, 2, 2}, {0, 2, 4, 2, 2}}));
      EXPECT_EQ(result.ops["slice"] + result.ops["cat"], 0);
      EXPECT_EQ(result.ops["reshape"], 2 + 2);  // and of the product's gradient
    }
  }
}

TEST(PackAttentionTest, WithoutAGradientToo) {
  Layer layer = LayerOf();
  layer.b.Output("out", layer.out);
  EXPECT_EQ(Packed(layer.b).packed.size(), 1u);
}

TEST(PackAttentionTest, InAnyOrderAndWithGroups) {
  Layer layer = LayerOf({{2, 0, 6}, 4, 2, 8});
  layer.b.Train(layer.b.Mean(layer.out));
  EXPECT_EQ(Packed(layer.b).packed, (std::vector<Longs>{{2, 0, 6, 4, 2}, {2, 0, 6, 4, 2}}));
}

TEST(PackAttentionTest, WhatDoesNotFillTheTensorStays) {
  for (const Heads& heads : {Heads{{0, 2, 4}, 2, 2, 7}, Heads{{0, 2, 2}, 2, 2, 6}}) {
    Layer layer = LayerOf(heads);
    layer.b.Train(layer.b.Mean(layer.out));
    EXPECT_TRUE(Packed(layer.b).packed.empty());
  }
}

TEST(PackAttentionTest, WhatOthersReadStays) {
  for (int read = 0; read < 2; ++read) {
    Layer layer = LayerOf();
    layer.b.Output(
        "part",
        read == 0 ? layer.k : layer.b.graph.node(layer.b.graph.value(layer.v).producer).inputs[0]);
    layer.b.Train(layer.b.Mean(layer.out));
    EXPECT_TRUE(Packed(layer.b).packed.empty()) << read;
  }
}

TEST(PackAttentionTest, AGradientThatIsNoCatStays) {
  Layer apart = LayerOf();
  apart.b.Train(apart.b.Mean(apart.out));
  EXPECT_TRUE(Packed(apart.b, {{"dp", 1}}, 1, /*joins=*/false).packed.empty());
  Layer layer = LayerOf();
  layer.b.Train(layer.b.Op("add", {layer.b.Mean(layer.out), layer.b.Mean(layer.q)}));
  EXPECT_TRUE(Packed(layer.b).packed.empty());
}

// It is read where it lies.
TEST(PackAttentionTest, TheTensorItselfMayHaveOtherReaders) {
  Layer layer = LayerOf();
  layer.b.Output("qkv", layer.qkv);
  layer.b.Train(layer.b.Mean(layer.out));
  EXPECT_EQ(Packed(layer.b).packed.size(), 2u);
}

TEST(PackAttentionTest, WhatIsSplitOverHeadsStays) {
  Layer layer = LayerOf({}, {{"tp", Sbp::S(1)}});
  layer.b.graph.mutable_value(layer.q).annotation = {{"tp", Sbp::S(2)}};
  layer.b.Train(layer.b.Mean(layer.out));
  EXPECT_TRUE(Packed(layer.b, {{"tp", 2}}).packed.empty());
}

}  // namespace
}  // namespace oneflow
