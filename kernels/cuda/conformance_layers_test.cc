// Cases of the layers' kernels: norms, indices, images, attention.
#include "kernels/cuda/conformance_case_for_test.h"

namespace oneflow::kernels {
namespace {

TestTensor Positive(const Shape& shape, uint32_t seed) {
  return RandomTensor(shape, seed, 0.3f, 2.0f);
}

void AddNorms(std::vector<Case>* cases) {
  struct Rows {
    Shape shape;
    int64_t dims;
  };
  const std::vector<Rows> all = {
      {{5, 7}, 1},
      {{3, 2, 40}, 1},
      {{4, 3, 5}, 2},
      {{2, 300}, 1},
      {{0, 6}, 1},
      {{200, 3}, 1},
      {{2, 1024}, 1},
      {{2, 1028}, 1},
      {{2, 2048}, 1},
      {{2, 2056}, 1},
      // Of layer_norm_grads: not all lanes have as many packs, several rows a warp.
      {{0, 512}, 1},
      {{29, 260}, 1},
      {{3, 9, 520}, 1},
      {{2, 9, 50, 12}, 2}};
  for (const auto& [shape, dims] : all) {
    const DType f32 = DType::kF32;
    const Shape lead(shape.begin(), shape.end() - dims);
    const Shape tail(shape.end() - dims, shape.end());
    const TestTensor x = RandomTensor(shape, 1), dy = RandomTensor(shape, 2);
    const TestTensor weight = RandomTensor(tail, 3), bias = RandomTensor(tail, 4);
    const TestTensor mean = RandomTensor(lead, 5, -0.2f, 0.2f), rstd = Positive(lead, 6);
    const Attrs attrs = {{"dims", dims}, {"eps", 1e-3}};
    const std::vector<TestTensor> centred = {Of(f32, shape), Of(f32, lead), Of(f32, lead)};
    const std::vector<TestTensor> plain = {Of(f32, shape), Of(f32, lead)};
    cases->push_back({"layer_norm", attrs, {x}, centred, 4e-6});
    cases->push_back({"layer_norm", attrs, {x, weight}, centred, 4e-6});
    cases->push_back({"layer_norm", attrs, {x, weight, bias}, centred, 4e-6});
    cases->push_back({"rms_norm", attrs, {x}, plain, 4e-6});
    cases->push_back({"rms_norm", attrs, {x, weight}, plain, 4e-6});
    cases->push_back({"layer_norm_grad", attrs, {x, dy, mean, rstd}, {Of(f32, shape)}, 4e-6});
    cases->push_back(
        {"layer_norm_grad", attrs, {x, dy, mean, rstd, weight}, {Of(f32, shape)}, 4e-6});
    cases->push_back({"rms_norm_grad", attrs, {x, dy, rstd}, {Of(f32, shape)}, 4e-6});
    cases->push_back({"rms_norm_grad", attrs, {x, dy, rstd, weight}, {Of(f32, shape)}, 4e-6});
    cases->push_back({"layer_norm_weight_grad",
                      attrs,
                      {x, dy, mean, rstd},
                      {Of(f32, tail), Of(f32, tail)},
                      4e-6});
    const std::vector<TestTensor> all_of = {Of(f32, shape), Of(f32, tail), Of(f32, tail)};
    cases->push_back({"layer_norm_grads", attrs, {x, dy, mean, rstd}, all_of, 4e-6});
    cases->push_back({"layer_norm_grads", attrs, {x, dy, mean, rstd, weight}, all_of, 4e-6});
    cases->push_back({"rms_norm_weight_grad", attrs, {x, dy, rstd}, {Of(f32, tail)}, 4e-6});
  }
}

// Whole batches, several groups, and a part of the batch that holds one and a half of them.
void AddBatchNorms(std::vector<Case>* cases) {
  struct Batch {
    Shape x;
    int64_t groups, samples, begin, first_group;  // of the logical batch
  };
  const std::vector<Batch> all = {{{4, 3, 5}, 1, 4, 0, 0},
                                  {{6, 2, 2, 7}, 3, 6, 0, 0},
                                  {{3, 4, 33}, 2, 8, 2, 0},
                                  {{40, 5, 6}, 1, 40, 0, 0},
                                  {{3, 4, 24}, 2, 8, 2, 0},  // by 16 bytes of channels
                                  {{70, 4, 24}, 1, 70, 0, 0},
                                  {{0, 4}, 1, 3, 0, 0},
                                  // Several shares of a sample, and of the rows.
                                  {{2, 1300, 72}, 1, 2, 0, 0},
                                  {{1, 700, 260}, 1, 1, 0, 0}};
  for (const Batch& batch : all) {
    const DType f32 = DType::kF32;
    const int64_t c = batch.x.back();
    const Shape stats = {batch.groups, c};
    const auto placed = [&](TestTensor tensor) {
      tensor.type.logical_shape[0] = batch.samples;
      tensor.type.begin[0] = batch.begin;
      return tensor;
    };
    const TestTensor x = placed(RandomTensor(batch.x, 1)), dy = placed(RandomTensor(batch.x, 2));
    const TestTensor mean = RandomTensor(stats, 3, -0.3f, 0.3f), rstd = Positive(stats, 4);
    const TestTensor weight = RandomTensor({c}, 5), bias = RandomTensor({c}, 6);
    const TestTensor sum = RandomTensor(stats, 7), along = RandomTensor(stats, 8);
    const Attrs attrs = {{"groups", batch.groups}, {"count", 12.0}};
    const TestTensor y = placed(Of(f32, batch.x));
    // The CPU adds blocks of 128 rows in f32, of what may be 2 apart.
    const double of_sums = batch.x[1] > 100 ? 2e-4 : 4e-6;
    cases->push_back({"bn_sum", attrs, {x}, {Of(f32, stats)}, of_sums});
    cases->push_back({"bn_sq_sum", attrs, {x, mean}, {Of(f32, stats)}, of_sums});
    const Shape samples = {batch.x[0], c};
    cases->push_back({"bn_sample_sums", {}, {x}, {Of(f32, samples), Of(f32, samples)}, of_sums});
    cases->push_back({"bn_join_squares",
                      attrs,
                      {placed(RandomTensor(samples, 9)), placed(Positive(samples, 10)), mean},
                      {Of(f32, stats)},
                      of_sums});
    cases->push_back(
        {"bn_grad_sums", attrs, {x, dy, mean, rstd}, {Of(f32, stats), Of(f32, stats)}, of_sums});
    cases->push_back({"bn_apply", attrs, {x, mean, rstd, weight, bias}, {y}, 2e-6});
    cases->push_back({"bn_grad_input", attrs, {x, dy, mean, rstd, weight, sum, along}, {y}, 2e-6});
  }
  cases->push_back({"running_update",
                    {{"momentum", 0.1}},
                    {RandomTensor({7}, 1), RandomTensor({3, 7}, 2)},
                    {Of(DType::kF32, {7})}});
}

void AddIndexCases(std::vector<Case>* cases) {
  const DType f32 = DType::kF32;
  // Rows 4 to 10 of a table of 12; 12 and -3 are wrong, 5 comes often.
  const std::vector<int64_t> names = {5, 0, 5, 11, 4, 5, 5, 9, 12, 10, 7, 5, -3, 4};
  std::vector<int32_t> narrow(names.begin(), names.end());
  std::vector<int64_t> legal;
  for (const int64_t name : names) legal.push_back(name < 0 ? 6 : name % 12);
  for (const int64_t features : {int64_t{1}, int64_t{7}, int64_t{40}}) {
    TestTensor table = RandomTensor({7, features}, 1);
    table.type.logical_shape[0] = 12;
    table.type.begin[0] = 4;
    TestTensor grad = Of(f32, {7, features});
    grad.type.logical_shape[0] = 12;
    grad.type.begin[0] = 4;
    const TestTensor dy = RandomTensor({2, 7, features}, 2);
    const auto both = [&](const TestTensor& index) {
      cases->push_back({"embedding", {}, {table, index}, {Of(f32, {2, 7, features})}});
      cases->push_back({"embedding_grad",
                        {{"rows", int64_t{7}}, {"padding_idx", int64_t{9}}},
                        {dy, index},
                        {grad},
                        1e-6});
    };
    both(TestTensor::Of<int64_t>({2, 7}, names));
    both(TestTensor::Of<int32_t>({2, 7}, narrow));
    both(TestTensor::Of<int64_t>({2, 7}, legal));
  }
  // Long enough for shares of the indices.
  std::vector<int64_t> many(300);
  for (size_t i = 0; i < many.size(); ++i) many[i] = static_cast<int64_t>(i * i % 3);
  cases->push_back({"embedding_grad",
                    {{"rows", int64_t{3}}},
                    {RandomTensor({300, 5}, 3), TestTensor::Of<int64_t>({300}, many)},
                    {Of(f32, {3, 5})},
                    2e-6});

  // More rows than blocks: a block has several, whose names come in turns.
  std::vector<int64_t> turns(90);
  for (size_t i = 0; i < turns.size(); ++i) turns[i] = static_cast<int64_t>(i / 2 * 7 % 40);
  cases->push_back({"embedding_grad",
                    {{"rows", int64_t{40}}},
                    {RandomTensor({90, 5}, 3), TestTensor::Of<int64_t>({90}, turns)},
                    {Of(f32, {40, 5})},
                    2e-6});

  const auto index = [](const Shape& shape, int64_t bound, bool wrong) {
    std::vector<int64_t> values(static_cast<size_t>(NumElements(shape)));
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<int64_t>(i * 5 + i / 3) % bound;
    if (wrong && values.size() > 2) values[2] = bound;
    return TestTensor::Of<int64_t>(shape, values);
  };
  for (const DType dtype : {DType::kF32, DType::kI64, DType::kU8, DType::kBool}) {
    for (const bool wrong : {false, true}) {
      for (const int64_t dim : {int64_t{0}, int64_t{1}, int64_t{-1}}) {
        const Shape x = {4, 5, 3};
        const Shape shape = dim == 1 ? Shape{4, 9, 2} : dim == 0 ? Shape{6, 5, 3} : Shape{2, 5, 8};
        const int64_t bound = x[static_cast<size_t>(dim < 0 ? 2 : dim)];
        const TestTensor at = index(shape, bound, wrong);
        cases->push_back({"gather", {{"dim", dim}}, {Values(dtype, x, 1), at}, {Of(dtype, shape)}});
        if (dtype == DType::kBool) continue;
        cases->push_back({"scatter_add",
                          {{"dim", dim}},
                          {Values(dtype, x, 2), at, Values(dtype, shape, 3)},
                          {Of(dtype, x)}});
      }
    }
  }
  cases->push_back({"scatter_add",
                    {{"dim", int64_t{0}}},
                    {RandomTensor({6}, 4), index({50}, 6, false), RandomTensor({50}, 5)},
                    {Of(f32, {6})}});

  for (const DType dtype : {DType::kF32, DType::kI64, DType::kU8}) {
    for (const bool reverse : {false, true}) {
      for (const auto& [shape, dim] : std::vector<std::pair<Shape, int64_t>>{
               {{3, 7}, 1}, {{3, 7}, 0}, {{2, 150}, -1}, {{0, 4}, 1}, {{5}, 0}}) {
        cases->push_back({"cumsum",
                          {{"dim", dim}, {"reverse", reverse}},
                          {Values(dtype, shape, 6)},
                          {Of(dtype, shape)},
                          1e-6});
        cases->push_back({"sort",
                          {{"dim", dim}, {"descending", reverse}},
                          {Values(dtype, shape, 7)},
                          {Of(dtype, shape), Of(DType::kI64, shape)}});
      }
    }
  }
  const float inf = INFINITY;
  cases->push_back({"sort",
                    {{"dim", int64_t{0}}, {"descending", false}},
                    {TestTensor::Of<float>({7}, {2, NAN, -inf, 1, inf, NAN, 1})},
                    {Of(f32, {7}), Of(DType::kI64, {7})}});
}

// -2 to 2.
TestTensor WholeNumbers(const Shape& shape, uint32_t seed) {
  std::vector<float> values = RandomTensor(shape, seed, -2.5f, 2.5f).Values<float>();
  for (float& value : values) value = std::nearbyint(value);
  return TestTensor::Of<float>(shape, values);
}

void AddConvolutions(std::vector<Case>* cases) {
  struct Images {
    Shape x, weight;
    Longs stride, padding, dilation;
    Shape y;
  };
  const std::vector<Images> all = {
      {{2, 6, 5, 3}, {4, 3, 3, 3}, {1, 1}, {1, 1}, {1, 1}, {2, 6, 5, 4}},
      {{2, 6, 7, 8}, {16, 8, 3, 3}, {1, 1}, {1, 1}, {1, 1}, {2, 6, 7, 16}},   // tiles
      {{1, 9, 8, 16}, {24, 8, 3, 2}, {2, 1}, {1, 0}, {1, 2}, {1, 5, 6, 24}},  // two groups
      {{3, 5, 5, 20}, {9, 20, 1, 1}, {1, 1}, {0, 0}, {1, 1}, {3, 5, 5, 9}},
      {{2, 7, 7, 6}, {6, 1, 3, 3}, {2, 2}, {1, 1}, {1, 1}, {2, 4, 4, 6}},  // depthwise
      {{2, 7, 6, 4}, {8, 1, 2, 2}, {1, 2}, {0, 1}, {2, 1}, {2, 5, 4, 8}},
      {{16, 9, 9, 9}, {8, 9, 1, 1}, {1, 1}, {0, 0}, {1, 1}, {16, 9, 9, 8}},  // shares of pixels
      {{8, 6, 6, 2}, {3, 2, 1, 1}, {1, 1}, {0, 0}, {1, 1}, {8, 6, 6, 3}},
      {{2, 6, 6, 16}, {8, 16, 1, 1}, {2, 2}, {0, 0}, {1, 1}, {2, 3, 3, 8}},  // pixels nobody reads
      {{1, 9, 9, 8}, {8, 8, 5, 3}, {3, 2}, {2, 1}, {1, 2}, {1, 3, 4, 8}},
      {{0, 4, 4, 8}, {8, 8, 1, 1}, {1, 1}, {0, 0}, {1, 1}, {0, 4, 4, 8}},
      {{4, 12, 12, 8}, {8, 1, 3, 3}, {1, 1}, {1, 1}, {1, 1}, {4, 12, 12, 8}},  // long sums
  };
  for (const Images& images : all) {
    const Attrs attrs = {{"stride", images.stride},
                         {"padding", images.padding},
                         {"dilation", images.dilation},
                         {"groups", images.x[3] / images.weight[1]}};
    Attrs input = attrs, weight = attrs;
    input.Set("h", images.x[1]);
    input.Set("w", images.x[2]);
    weight.Set("kh", images.weight[2]);
    weight.Set("kw", images.weight[3]);
    const DType f32 = DType::kF32;
    const TestTensor x = RandomTensor(images.x, 1), w = RandomTensor(images.weight, 2);
    const TestTensor dy = RandomTensor(images.y, 3);
    cases->push_back({"conv2d", attrs, {x, w}, {Of(f32, images.y)}, 8e-6});
    // Of whole numbers, which are summed exactly in every type.
    for (const int64_t parts : {int64_t{1}, images.y[0]}) {
      const Shape sums = {std::max<int64_t>(1, parts), images.y[3]};
      cases->push_back({"conv2d_sums",
                        attrs,
                        {WholeNumbers(images.x, 4), WholeNumbers(images.weight, 5)},
                        {Of(f32, images.y), Of(f32, sums), Of(f32, sums)},
                        2e-6});
    }
    cases->push_back({"conv2d_grad_input", input, {dy, w}, {Of(f32, images.x)}, 8e-6});
    // A library adds the products of all pixels one after the other; our kernels and the CPU's in shares.
    const int64_t pixels = images.y[0] * images.y[1] * images.y[2];
    const double tolerance = pixels > 500 ? 8e-5 : 2e-5;
    cases->push_back({"conv2d_grad_weight", weight, {x, dy}, {Of(f32, images.weight)}, tolerance});
  }
}

void AddPools(std::vector<Case>* cases) {
  struct Pooling {
    Shape x;
    Longs kernel, stride, padding;
    Shape y;
  };
  const std::vector<Pooling> all = {
      {{2, 6, 5, 3}, {2, 2}, {2, 2}, {0, 0}, {2, 3, 2, 3}},
      {{1, 7, 8, 5}, {3, 3}, {2, 2}, {1, 1}, {1, 4, 4, 5}},
      {{2, 5, 5, 2}, {3, 2}, {1, 1}, {1, 0}, {2, 5, 4, 2}},
      {{1, 7, 8, 8}, {3, 3}, {2, 2}, {1, 1}, {1, 4, 4, 8}},  // packs of channels
      {{2, 5, 5, 16}, {3, 2}, {1, 1}, {1, 0}, {2, 5, 4, 16}},
      {{1, 5, 6, 4}, {2, 3}, {3, 4}, {0, 0}, {1, 2, 1, 4}},  // windows with gaps
      {{0, 4, 4, 2}, {2, 2}, {2, 2}, {0, 0}, {0, 2, 2, 2}},
  };
  for (const Pooling& pool : all) {
    const DType f32 = DType::kF32;
    const Attrs attrs = {
        {"kernel", pool.kernel}, {"stride", pool.stride}, {"padding", pool.padding}};
    Attrs grad = attrs;
    grad.Set("h", pool.x[1]);
    grad.Set("w", pool.x[2]);
    // Few values, so that maxima come twice.
    const TestTensor x = Values(DType::kF32, pool.x, 1);
    TestTensor coarse = Of(f32, pool.x);
    for (int64_t i = 0; i < NumElements(pool.x); ++i) {
      static_cast<float*>(coarse.bytes->data())[i] = static_cast<float>(i * i % 5);
    }
    TestTensor y = Of(f32, pool.y);
    KernelCase forward("max_pool2d", attrs, {coarse}, {y});
    forward.Run();
    const TestTensor dy = RandomTensor(pool.y, 2);
    cases->push_back({"max_pool2d", attrs, {x}, {Of(f32, pool.y)}});
    cases->push_back({"avg_pool2d", attrs, {x}, {Of(f32, pool.y)}});
    cases->push_back({"max_pool2d_grad", attrs, {coarse, y, dy}, {Of(f32, pool.x)}});
    cases->push_back({"avg_pool2d_grad", grad, {dy}, {Of(f32, pool.x)}});
  }
}

struct Heads {
  int64_t batch, queries, keys, heads, key_heads, width, value_width;
  bool causal;
  double p;
  Shape mask;  // empty: none
  DType mask_dtype = DType::kBool;
  double scale = 0.4;
  bool packed = false;  // of one tensor: keys behind values, then queries
};

// The calls of one problem: forward, and backward from what the CPU's forward gives.
void AddAttention(std::vector<Case>* cases, const Heads& heads, int64_t begin_query,
                  int64_t begin_head) {
  const DType f32 = DType::kF32;
  const Shape q_shape = {heads.batch, heads.queries, heads.heads, heads.width};
  const Shape out = {heads.batch, heads.queries, heads.heads, heads.value_width};
  const Shape rows = {heads.batch, heads.heads, heads.queries};
  const auto placed = [&](TestTensor tensor) {
    tensor.type.logical_shape[1] += begin_query;
    tensor.type.logical_shape[2] += 2 * begin_head;
    tensor.type.begin = {0, begin_query, begin_head, 0};
    return tensor;
  };
  TestTensor q = placed(RandomTensor(q_shape, 1));
  TestTensor k = RandomTensor({heads.batch, heads.keys, heads.key_heads, heads.width}, 2);
  TestTensor v = RandomTensor({heads.batch, heads.keys, heads.key_heads, heads.value_width}, 3);
  if (heads.packed) {
    const int64_t all = heads.heads + 2 * heads.key_heads;
    q = k = v = RandomTensor({heads.batch, heads.keys, all, heads.width}, 1);
  }
  Attrs attrs = {{"causal", heads.causal}, {"scale", heads.scale}};
  if (heads.packed) {
    const int64_t count = heads.key_heads;
    attrs.Set("packed", Longs{2 * count, count, 0, heads.heads, count});
  }
  if (heads.p > 0) {
    attrs.Set("p", heads.p);
    attrs.Set("seed", int64_t{3});
    attrs.Set("key", std::string("layer.0"));
  }
  std::vector<TestTensor> more;
  if (heads.p > 0 || !heads.mask.empty()) more.push_back(TestTensor::Of<int64_t>({}, {6}));
  if (!heads.mask.empty()) {
    TestTensor mask = Values(heads.mask_dtype, heads.mask, 4);
    if (heads.mask_dtype == DType::kBool) {
      for (int64_t i = 0; i < NumElements(heads.mask); ++i) {
        static_cast<uint8_t*>(mask.bytes->data())[i] = i % 3 != 1;
      }
    }
    more.push_back(mask);
  }
  std::vector<TestTensor> inputs = {q, k, v};
  inputs.insert(inputs.end(), more.begin(), more.end());
  const std::vector<TestTensor> outputs = {Of(f32, out), Of(f32, rows)};
  cases->push_back({"attention", attrs, inputs, outputs, 5e-6});

  const std::vector<TestTensor> saved = {Of(f32, out), Of(f32, rows)};
  KernelCase forward("attention", attrs, inputs, saved);
  forward.Run();
  inputs = {q, k, v, saved[0], saved[1], RandomTensor(out, 5)};
  inputs.insert(inputs.end(), more.begin(), more.end());
  if (more.size() == 2) inputs.push_back(RandomTensor(rows, 6));  // the gradient of lse
  std::vector<TestTensor> gradients = {Of(f32, q.type.shape)};
  if (!heads.packed)
    gradients.insert(gradients.end(), {Of(f32, k.type.shape), Of(f32, v.type.shape)});
  cases->push_back({"attention_grad", attrs, inputs, gradients, 2e-5});
}

void AddAttentions(std::vector<Case>* cases) {
  AddAttention(cases, {2, 5, 5, 2, 2, 4, 4, false, 0, {}}, 0, 0);
  AddAttention(cases, {1, 20, 20, 2, 1, 8, 8, true, 0, {}}, 0, 0);      // tiles, a shared head of k
  AddAttention(cases, {1, 7, 37, 4, 2, 18, 20, false, 0.3, {}}, 0, 0);  // wider than a tile
  AddAttention(cases, {2, 18, 18, 1, 1, 6, 5, true, 0.25, {2, 1, 1, 18}}, 0, 0);
  AddAttention(cases, {1, 9, 33, 2, 2, 8, 8, false, 0, {1, 2, 9, 33}, DType::kF32}, 0, 0);
  AddAttention(cases, {2, 4, 6, 2, 2, 8, 8, false, 0.5, {1, 1, 4, 6}}, 0, 0);
  AddAttention(cases, {1, 4, 19, 2, 2, 8, 8, true, 0.4, {}}, 6,
               2);  // a shard, of queries and heads
  // The tiles of keys, of 16 or 64, that the last query sees and the first does not.
  AddAttention(cases, {1, 8, 70, 1, 1, 4, 4, true, 0, {}}, 60, 0);
  AddAttention(cases, {1, 3, 4, 1, 1, 4, 4, false, 0, {1, 1, 3, 1}}, 0, 0);  // a row sees nothing
  AddAttention(cases, {2, 20, 20, 4, 2, 6, 6, true, 0.3, {}, DType::kBool, 0.4, true}, 0, 0);
}

}  // namespace

void AddTensorAttentionCases(std::vector<Case>* cases) {
  // Tiles have 128 queries (64 of wide heads) by 64 keys forward, 64 (32) by 128 backward.
  const auto add = [&](Heads heads, int64_t begin_query, int64_t begin_head) {
    heads.scale = 0.1;  // sums of many products, rounded to bf16
    AddAttention(cases, heads, begin_query, begin_head);
  };
  add({1, 20, 150, 2, 2, 64, 64, false, 0, {}}, 0, 0);
  add({1, 70, 260, 1, 1, 16, 16, true, 0, {}}, 190, 0);  // two shares of the keys, one of two tiles
  add({1, 70, 140, 2, 1, 16, 16, true, 0.3, {}}, 70, 2);  // a shard, a shared head
  add({2, 18, 37, 1, 1, 80, 80, false, 0.25, {2, 1, 1, 37}}, 0, 0);
  add({1, 35, 70, 2, 1, 128, 128, true, 0.5, {1, 2, 35, 70}, DType::kF32}, 35, 0);
  add({1, 3, 4, 1, 1, 32, 32, false, 0, {1, 1, 3, 1}}, 0, 0);  // a row sees nothing
  for (const int64_t width : {48, 128}) {                      // of one tensor
    add({2, 70, 70, 2, 1, width, width, true, 0.3, {}, DType::kBool, 0.4, true}, 0, 0);
  }
  add({1, 135, 135, 2, 2, 64, 64, false, 0, {1, 1, 1, 135}, DType::kBool, 0.4, true}, 0, 0);
}

void AddLayerCases(std::vector<Case>* cases) {
  AddNorms(cases);
  AddBatchNorms(cases);
  AddIndexCases(cases);
  AddConvolutions(cases);
  AddPools(cases);
  AddAttentions(cases);
}

}  // namespace oneflow::kernels
