// Ops that the compiler makes, for conformance_test.cc: joined updates, products with a bias, and chains of elementwise
// ops: every op that may stand in one, each element type, dropout on shards, batch norm with whole packs of channels and
// without.
#include <optional>

#include "kernels/cuda/conformance_case_for_test.h"
#include "plan/fused.h"

namespace oneflow::kernels {
namespace {

// A chain whose values all have that type.
Attrs Chain(DType dtype, const Strings& ops, const Longs& reads, const Longs& reversed) {
  return {{"ops", ops},
          {"reads", reads},
          {"reversed", reversed},
          {"values", std::vector<double>(ops.size(), 0.25)},
          {"types", Strings(ops.size(), std::string(NameOf(dtype)))},
          {"dtype", std::string(NameOf(dtype))},
          {"p", 0.3},
          {"seed", int64_t{5}},
          {"key", std::string("layer.1")}};
}

}  // namespace

// More parameters than a launch takes, of every kind.
void AddJoinedUpdates(std::vector<Case>* cases) {
  for (const int count : {1, 3, 100}) {
    Case joined = {"adamw_updates", {{"beta1", 0.9}, {"beta2", 0.99}, {"weight_decay", 0.05}}};
    joined.inputs = {TestTensor::Of<float>({}, {0.05f}), TestTensor::Of<int64_t>({}, {4})};
    for (int i = 0; i < count; ++i) {
      const Shape shape = {i % 7 == 3 ? 0 : i % 5 == 2 ? 2101 : i % 11 + 1};
      const DType dtype = i % 3 == 0 ? DType::kF32 : i % 3 == 1 ? DType::kBF16 : DType::kF16;
      const uint32_t seed = static_cast<uint32_t>(4 * i);
      joined.inputs.push_back(RandomTensor(shape, seed));
      joined.inputs.push_back(Values(dtype, shape, seed + 1));
      joined.inputs.push_back(RandomTensor(shape, seed + 2));
      joined.inputs.push_back(RandomTensor(shape, seed + 3, 0, 1));
      for (int k = 0; k < 3; ++k) joined.outputs.push_back(Of(DType::kF32, shape));
    }
    joined.tolerance = 1e-6;
    cases->push_back(std::move(joined));
  }
}

void AddLinear(std::vector<Case>* cases) {
  const auto add = [&](const Shape& a, const Shape& b, const Shape& out, bool ta, bool tb,
                       double tolerance = 2e-6) {
    cases->push_back({"linear",
                      {{"transpose_a", ta}, {"transpose_b", tb}},
                      {RandomTensor(a, 1), RandomTensor(b, 2), RandomTensor({out.back()}, 3)},
                      {Of(DType::kF32, out)},
                      tolerance});
  };
  add({5, 7}, {7, 3}, {5, 3}, false, false);
  add({64, 32}, {48, 32}, {64, 48}, false, true);
  add({7, 5}, {3, 7}, {5, 3}, true, true);
  add({2, 3, 4, 5}, {5, 6}, {2, 3, 4, 6}, false, false);
  add({2, 3, 4, 5}, {2, 3, 5, 6}, {2, 3, 4, 6}, false, false);
  add({3, 4, 5}, {2, 3, 5, 6}, {2, 3, 4, 6}, false, false);    // several calls
  add({131, 136}, {133, 136}, {131, 133}, false, true, 1e-5);  // a copy of the result
  add({131, 137}, {136, 137}, {131, 136}, false, true, 1e-5);  // of operands alone
  add({0, 4}, {4, 3}, {0, 3}, false, false);
  add({2, 0}, {0, 3}, {2, 3}, false, false);  // the bias alone
}

// In 16 bits the product does the activation, where rows of x begin on 16 bytes and nothing is copied or strided over;
// else a kernel behind it.
void AddMatmulGelu(std::vector<Case>* cases) {
  const auto add = [&](const Shape& a, const Shape& b, const Shape& out, bool ta, bool tb) {
    const Attrs attrs = {{"transpose_a", ta}, {"transpose_b", tb}};
    const TestTensor left = RandomTensor(a, 1), right = RandomTensor(b, 2);
    for (const bool saves : {false, true}) {
      Attrs saving = attrs;
      saving.Set("saves", saves);
      cases->push_back({"linear_gelu",
                        saving,
                        {left, right, RandomTensor({out.back()}, 3)},
                        std::vector<TestTensor>(1, Of(DType::kF32, out)),
                        1e-5});
      if (saves) cases->back().outputs.push_back(Of(DType::kF32, out));
    }
    cases->push_back({"matmul_gelu_grad",
                      attrs,
                      {left, right, RandomTensor(out, 4, -4, 4)},
                      {Of(DType::kF32, out)},
                      1e-5});
  };
  add({5, 7}, {7, 8}, {5, 8}, false, false);
  add({5, 7}, {7, 9}, {5, 9}, false, false);
  add({64, 32}, {48, 32}, {64, 48}, false, true);
  add({7, 5}, {16, 7}, {5, 16}, true, true);
  add({2, 3, 4, 5}, {5, 8}, {2, 3, 4, 8}, false, false);
  add({2, 3, 4, 5}, {2, 3, 5, 8}, {2, 3, 4, 8}, false, false);
  add({3, 4, 5}, {2, 3, 5, 8}, {2, 3, 4, 8}, false, false);  // several calls
  add({131, 136}, {133, 136}, {131, 133}, false, true);      // a copy of the result
  add({131, 137}, {136, 137}, {131, 136}, false, true);      // of operands alone
  add({0, 4}, {4, 3}, {0, 3}, false, false);
  add({4, 3}, {3, 0}, {4, 0}, false, false);
  add({2, 0}, {0, 8}, {2, 8}, false, false);  // the bias alone, or nothing
}

// In 16 bits the product makes the sums, if nothing is copied; else a kernel behind it.
void AddMatmulSums(std::vector<Case>* cases) {
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      const auto add = [&](int64_t m, int64_t n, int64_t k, const char* of) {
        cases->push_back({"matmul_sums",
                          {{"transpose_a", ta}, {"transpose_b", tb}, {"of", std::string(of)}},
                          {RandomTensor(ta ? Shape{k, m} : Shape{m, k}, 1),
                           RandomTensor(tb ? Shape{n, k} : Shape{k, n}, 2)},
                          {Of(DType::kF32, {m, n}), Of(DType::kF32, {of[0] == 'a' ? m : n})},
                          1e-5});
      };
      for (const char* of : {"a", "b"}) {
        add(5, 3, 7, of);
        add(24, 40, 130, of);
        add(0, 5, 6, of);  // the sums alone, or nothing
        add(5, 0, 6, of);
        add(4, 3, 0, of);  // of nothing
      }
      add(131, 136, 133, "a");  // through copies
    }
  }
}

void AddFusedCases(std::vector<Case>* cases) {
  constexpr double kClose = 4e-6;
  const TestTensor step = TestTensor::Of<int64_t>({}, {3});
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    for (const Shape& shape : {Shape{7}, Shape{4, 9, 5}, Shape{0, 3}, Shape{1024}, Shape{}}) {
      const TestTensor x = Values(dtype, shape, 1);
      const TestTensor a = Values(dtype, shape, 2);
      const TestTensor one = Values(dtype, {1}, 3);
      const TestTensor out = Of(dtype, shape);
      cases->push_back({"fused",
                        Chain(dtype, {"add", "relu", "mul", "sub"}, {1, 0, 2, 3}, {0, 0, 1, 1}),
                        {x, a, one, a},
                        {out}});
      cases->push_back({"fused", Chain(dtype, {"mul", "relu"}, {1, 0}, {1, 0}), {x, one}, {out}});
      cases->push_back({"fused",
                        Chain(dtype, {"gelu", "dropout", "add"}, {0, 1, 2}, {0, 0, 0}),
                        {x, step, a},
                        {out},
                        kClose,
                        2});
      Attrs rounds = Chain(dtype, {"cast", "relu_grad", "cast"}, {0, 1, 0}, {0, 1, 0});
      rounds.Set("types", Strings{"bf16", "bf16", "f32"});
      rounds.Set("dtype", std::string("f32"));
      cases->push_back(
          {"fused", rounds, {x, Values(DType::kBF16, shape, 4)}, {Of(DType::kF32, shape)}});
    }
  }
  // Every op that may stand in a chain.
  for (const std::string& op : CpuKernels().ops()) {
    const std::optional<FusedRole> role = FusedRoleOf(op);
    if (role != FusedRole::kUnary && role != FusedRole::kBinary) continue;
    const bool binary = role == FusedRole::kBinary;
    const TestTensor x = RandomTensor({3, 11}, 1, 0.2f, 3);
    std::vector<TestTensor> inputs = {x};
    if (binary) inputs.push_back(RandomTensor({3, 11}, 2, 0.2f, 3));
    for (const int64_t reversed : {0, 1}) {
      if (reversed > 0 && !binary) continue;
      cases->push_back({"fused",
                        Chain(DType::kF32, {op, "neg"}, {binary ? 1 : 0, 0}, {reversed, 0}),
                        inputs,
                        {Of(DType::kF32, {3, 11})},
                        kClose});
    }
  }
  TestTensor shard = RandomTensor({2, 6}, 2);  // of [8,13], in micro-batches of two rows
  shard.type.logical_shape = {8, 13};
  shard.type.begin = {4, 3};
  shard.type.micro_stride = 2;
  cases->push_back({"fused",
                    Chain(DType::kF32, {"dropout", "add"}, {1, 2}, {0, 0}),
                    {shard, step, RandomTensor({2, 6}, 3)},
                    {Of(DType::kF32, {2, 6})},
                    0,
                    2});
  // The last two: more than threads take at once, in channels that they stay in, and not.
  for (const Shape& shape :
       {Shape{4, 3, 5}, Shape{4, 3, 8}, Shape{4, 3, 32}, Shape{4, 320, 32}, Shape{4, 400, 24}}) {
    for (const int64_t groups : {1, 2}) {
      const int64_t c = shape.back();
      for (const DType dtype : {DType::kF32, DType::kBF16}) {
        cases->push_back(
            {"fused",
             Chain(dtype, {"bn_apply", "add", "relu"}, {1, 5, 0}, {0, 0, 0}),
             {Values(dtype, shape, 1), RandomTensor({groups, c}, 2), RandomTensor({groups, c}, 3),
              RandomTensor({c}, 4), RandomTensor({c}, 5), Values(dtype, shape, 6)},
             {Of(dtype, shape)},
             2e-6});
      }
    }
  }
}

}  // namespace oneflow::kernels
