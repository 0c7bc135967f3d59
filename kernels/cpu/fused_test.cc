// fused: a chain has the bits of its ops run one by one by their own kernels, for every type, layout, team and alias.
#include "plan/fused.h"

#include <cmath>

#include "kernels/cpu/kernel_case.h"

namespace oneflow::kernels {
namespace {

// A step of a test: the op, what it reads beside the value, and its own attributes.
struct Step {
  std::string op;
  std::vector<TestTensor> beside;
  Attrs attrs;
  bool reversed = false;
  DType dtype = DType::kInvalid;  // of a cast
};

Attrs ChainAttrs(const std::vector<Step>& chain, DType dtype) {
  Attrs attrs;
  std::vector<FusedStep> steps;
  int next = 1;
  for (const Step& step : chain) {
    if (step.dtype != DType::kInvalid) dtype = step.dtype;
    FusedStep fused{step.op, *FusedRoleOf(step.op), 0, step.reversed, 0, dtype};
    if (!step.beside.empty()) fused.read = next;
    next += static_cast<int>(step.beside.size());
    if (step.attrs.Has("value")) fused.value = step.attrs.Float("value");
    for (const char* name : {"p", "seed", "key"}) {
      if (step.attrs.Has(name)) attrs.Set(name, step.attrs.values().at(name));
    }
    steps.push_back(fused);
  }
  SetFusedSteps(steps, &attrs);
  attrs.Set("dtype", std::string(NameOf(dtype)));
  return attrs;
}

std::vector<TestTensor> ChainInputs(const TestTensor& x, const std::vector<Step>& chain) {
  std::vector<TestTensor> inputs = {x};
  for (const Step& step : chain) {
    inputs.insert(inputs.end(), step.beside.begin(), step.beside.end());
  }
  return inputs;
}

// Of the shape of x and placed as it is.
TestTensor Result(const TestTensor& x, DType dtype) {
  TestTensor result = TestTensor::Empty(dtype, x.type.shape);
  result.type = x.type;
  result.type.dtype = dtype;
  return result;
}

std::string BytesOf(const TestTensor& tensor) {
  return {static_cast<const char*>(tensor.bytes->data()),
          static_cast<size_t>(NumElements(tensor.type.shape) * SizeOf(tensor.type.dtype))};
}

TestTensor OneByOne(const TestTensor& x, const std::vector<Step>& chain, uint32_t micro = 0) {
  TestTensor value = x;
  for (const Step& step : chain) {
    std::vector<TestTensor> inputs = {value};
    inputs.insert(step.reversed ? inputs.begin() : inputs.end(), step.beside.begin(),
                  step.beside.end());
    const bool cast = step.dtype != DType::kInvalid;
    const TestTensor result = Result(x, cast ? step.dtype : value.type.dtype);
    KernelCase test(step.op, step.attrs, inputs, {result});
    test.Run(micro);
    value = result;
  }
  return value;
}

TestTensor Fused(const TestTensor& x, const std::vector<Step>& chain, int threads,
                 uint32_t micro = 0) {
  const Attrs attrs = ChainAttrs(chain, x.type.dtype);
  const TestTensor result = Result(x, *ParseDType(attrs.String("dtype")));
  KernelCase test("fused", attrs, ChainInputs(x, chain), {result}, threads);
  test.Run(micro);
  return result;
}

void ExpectSame(const TestTensor& x, const std::vector<Step>& chain, uint32_t micro = 0) {
  const std::string expected = BytesOf(OneByOne(x, chain, micro));
  for (const int threads : {1, 2}) {
    EXPECT_EQ(BytesOf(Fused(x, chain, threads, micro)), expected) << threads << " threads";
  }
}

TestTensor Random(DType dtype, const Shape& shape, uint32_t seed) {
  const TestTensor floats = RandomTensor(shape, seed, -3, 3);
  if (dtype == DType::kF32) return floats;
  TestTensor narrow = TestTensor::Empty(dtype, shape);
  KernelCase("cast", {{"dtype", std::string(NameOf(dtype))}}, {floats}, {narrow}).Run();
  return narrow;
}

const Attrs kDropout = {{"p", 0.3}, {"seed", int64_t{42}}, {"key", int64_t{7}}};

TEST(Fused, HasTheBitsOfItsOps) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    for (const int64_t n : {1, 5, 1023, 1024, 1025, 300001}) {
      const TestTensor x = Random(dtype, {n}, 1);
      const TestTensor a = Random(dtype, {n}, 2);
      const TestTensor b = Random(dtype, {n}, 3);
      const TestTensor one = Random(dtype, {1}, 4);
      const TestTensor step = TestTensor::Of<int64_t>({}, {5});
      ExpectSame(x, {{"add", {a}, {}}, {"relu", {}, {}}});
      ExpectSame(x, {{"sub", {a}, {}, true}, {"div", {one}, {}}, {"mul", {one}, {}, true}});
      ExpectSame(x, {{"add", {a}, {}}, {"relu_grad", {b}, {}, true}});
      ExpectSame(x, {{"gelu", {}, {}}, {"dropout", {step}, kDropout}, {"add", {b}, {}}});
      ExpectSame(x, {{"mul_scalar", {}, {{"value", 0.3}}},
                     {"leaky_relu", {}, {{"value", 0.1}}},
                     {"add_scalar", {}, {{"value", 1.7}}},
                     {"silu_grad", {a}, {}, true},
                     {"tanh", {}, {}},
                     {"square", {}, {}},
                     {"maximum", {b}, {}},
                     {"neg", {}, {}}});
    }
  }
}

TEST(Fused, CastsRoundWhereTheyStand) {
  const TestTensor x = Random(DType::kF32, {5000}, 1);
  const TestTensor wide = Random(DType::kF32, {5000}, 2);
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    const Attrs to{{"dtype", std::string(NameOf(dtype))}};
    const Attrs back{{"dtype", std::string("f32")}};
    const TestTensor narrow = Random(dtype, {5000}, 3);
    ExpectSame(x, {{"add", {wide}, {}}, {"cast", {}, to, false, dtype}});
    ExpectSame(x, {{"cast", {}, to, false, dtype},
                   {"mul", {narrow}, {}},
                   {"cast", {}, back, false, DType::kF32},
                   {"add", {wide}, {}}});
  }
}

// Every op that may stand in a chain, before and behind another.
TEST(Fused, RunsEveryOpOfTheList) {
  int met = 0;
  const TestTensor x = Random(DType::kF32, {2000}, 1);
  const TestTensor a = Random(DType::kF32, {2000}, 2);
  for (const std::string& op : CpuKernels().ops()) {
    const std::optional<FusedRole> role = FusedRoleOf(op);
    if (!role.has_value()) continue;
    ++met;
    const bool scalar = op.ends_with("_scalar") || op.starts_with("leaky_relu");
    const Attrs attrs = scalar ? Attrs{{"value", 0.25}} : Attrs{};
    Step step{op, {}, attrs};
    if (*role == FusedRole::kBinary) step.beside = {a};
    if (*role != FusedRole::kUnary && *role != FusedRole::kBinary) continue;  // tests of their own
    SCOPED_TRACE(op);
    ExpectSame(x, {step, {"relu", {}, {}}});
    ExpectSame(x, {{"neg", {}, {}}, step});
    step.reversed = *role == FusedRole::kBinary;
    if (step.reversed) ExpectSame(x, {{"neg", {}, {}}, step});
  }
  EXPECT_EQ(met, 40);
}

TEST(Fused, DropoutSeesTheLogicalIndices) {
  const TestTensor step = TestTensor::Of<int64_t>({}, {9});
  struct Row {
    Shape begin, shape;
    int64_t micro_stride;
    uint32_t micro;
  };
  for (const Row& row : std::vector<Row>{{{2, 0, 0}, {3, 6, 500}, 0, 0},
                                         {{0, 1, 0}, {8, 3, 500}, 0, 0},
                                         {{0, 0, 2}, {8, 6, 1}, 0, 0},
                                         {{1, 2, 3}, {2, 2, 201}, 0, 0},
                                         {{0, 0, 3}, {2, 6, 222}, 2, 2}}) {
    TestTensor x = Random(DType::kBF16, row.shape, 1);
    x.type.logical_shape = {8, 6, 500};
    x.type.begin = row.begin;
    x.type.micro_stride = row.micro_stride;
    const TestTensor a = Random(DType::kBF16, row.shape, 2);
    ExpectSame(x, {{"dropout", {step}, kDropout}, {"add", {a}, {}}}, row.micro);
    const Attrs all = {{"p", 1.0}, {"seed", int64_t{1}}, {"key", int64_t{2}}};
    ExpectSame(x, {{"dropout_grad", {step}, all}, {"add", {a}, {}}}, row.micro);
  }
}

TEST(Fused, BatchNormSeesChannelsAndGroups) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const int64_t c : {3, 64, 1000, 1500}) {
      for (const int64_t groups : {1, 2, 4}) {
        const Shape shape = {4, 3, 5, c};
        TestTensor x = Random(dtype, shape, 1);
        const TestTensor mean = RandomTensor({groups, c}, 2);
        const TestTensor rstd = RandomTensor({groups, c}, 3);
        const TestTensor weight = RandomTensor({c}, 4);
        const TestTensor bias = RandomTensor({c}, 5);
        const TestTensor skip = Random(dtype, shape, 6);
        const Step norm{"bn_apply", {mean, rstd, weight, bias}, {}};
        ExpectSame(x, {norm, {"relu", {}, {}}});
        ExpectSame(x, {norm, {"add", {skip}, {}}, {"relu", {}, {}}});
        ExpectSame(x, {{"add", {skip}, {}}, norm, {"relu6", {}, {}}});
      }
    }
  }
}

// A shard of half a group: its rows begin within the group of the first statistics.
TEST(Fused, BatchNormOfAShardFindsItsGroups) {
  TestTensor x = Random(DType::kF32, {3, 2, 7}, 1);
  x.type.logical_shape = {8, 2, 7};
  x.type.begin = {3, 0, 0};
  TestTensor mean = RandomTensor({2, 7}, 2);
  TestTensor rstd = RandomTensor({2, 7}, 3);
  for (TestTensor* stats : {&mean, &rstd}) {
    stats->type.logical_shape = {4, 7};
    stats->type.begin = {1, 0};
  }
  ExpectSame(x, {{"bn_apply", {mean, rstd, RandomTensor({7}, 4), RandomTensor({7}, 5)}, {}},
                 {"relu", {}, {}}});
}

TEST(Fused, MayRunInPlaceOfItsOperands) {
  const TestTensor x = Random(DType::kF32, {3000}, 1);
  const TestTensor a = Random(DType::kF32, {3000}, 2);
  const std::vector<Step> chain = {{"add", {a}, {}}, {"relu", {}, {}}};
  const std::string expected = BytesOf(OneByOne(x, chain));
  KernelCase over_value("fused", ChainAttrs(chain, DType::kF32), {x, a}, {x});
  ASSERT_TRUE(over_value.Make());
  EXPECT_TRUE(over_value.needs().MayAlias(0, 0) && over_value.needs().MayAlias(0, 1));
  over_value.Run();
  EXPECT_EQ(BytesOf(x), expected);
  const Attrs narrow =
      ChainAttrs({{"add", {a}, {}}, {"cast", {}, {}, false, DType::kBF16}}, DType::kF32);
  KernelCase cast("fused", narrow, {x, a}, {TestTensor::Empty(DType::kBF16, {3000})});
  ASSERT_TRUE(cast.Make());
  EXPECT_TRUE(cast.needs().aliases.empty());
}

TEST(Fused, EmptyAndScalar) {
  for (const Shape& shape : std::vector<Shape>{{}, {0, 4}, {1}}) {
    const TestTensor x = Random(DType::kBF16, shape, 1);
    ExpectSame(x, {{"add", {Random(DType::kBF16, shape, 2)}, {}}, {"relu", {}, {}}});
  }
}

TEST(Fused, RefusesWhatIsNoChain) {
  const TestTensor x = RandomTensor({4, 6}, 1);
  const TestTensor row = RandomTensor({6}, 2);
  const auto refused = [&](const Attrs& attrs, std::vector<TestTensor> inputs) {
    KernelCase test("fused", attrs, std::move(inputs), {TestTensor::Empty(DType::kF32, {4, 6})});
    return !test.Make();
  };
  const Attrs good = ChainAttrs({{"add", {x}, {}}, {"relu", {}, {}}}, DType::kF32);
  EXPECT_FALSE(refused(good, {x, x}));
  EXPECT_TRUE(refused(good, {x, row}));
  EXPECT_TRUE(refused(good, {x}));
  EXPECT_TRUE(refused(good, {x, x, x}));
  const auto with = [&](const std::string& name, AttrValue value) {
    Attrs attrs = good;
    attrs.Set(name, std::move(value));
    return attrs;
  };
  using Texts = std::vector<std::string>;
  using Ints = std::vector<int64_t>;
  EXPECT_TRUE(refused(with("ops", Texts{"add", "matmul"}), {x, x}));
  EXPECT_TRUE(refused(with("ops", Texts{"add"}), {x, x}));
  EXPECT_TRUE(refused(with("reads", Ints{2, 0}), {x, x}));
  EXPECT_TRUE(refused(with("reads", Ints{1}), {x, x}));
  EXPECT_TRUE(refused(with("reversed", Ints{0, 1}), {x, x}));
  EXPECT_TRUE(refused(with("types", Texts{"f32", "f64"}), {x, x}));
  EXPECT_TRUE(refused(with("types", Texts{"bf16", "f32"}), {x, x}));
  EXPECT_TRUE(refused(with("values", std::vector<double>{}), {x, x}));
}

}  // namespace
}  // namespace oneflow::kernels
