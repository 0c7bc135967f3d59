// Optimizer updates over several steps against the formulas of their papers in double.
#include <cmath>

#include "kernels/cpu/kernel_case.h"

namespace oneflow::kernels {
namespace {

constexpr int64_t kSize = 140001;

struct SgdRow {
  double momentum, weight_decay, dampening;
  bool nesterov;
};

TEST(Sgd, FollowsTorch) {
  for (const SgdRow& row : std::vector<SgdRow>{{0, 0, 0, false},
                                               {0, 0.1, 0, false},
                                               {0.9, 0, 0, false},
                                               {0.9, 0.01, 0.5, false},
                                               {0.8, 0.01, 0, true}}) {
    for (const int threads : {1, 2}) {
      const TestTensor p = RandomTensor({kSize}, 1);
      std::vector<float> start = p.Values<float>();
      std::vector<double> expected(start.begin(), start.end());
      std::vector<double> m(kSize, 0);
      // The slot's first contents must not matter.
      const TestTensor slot = TestTensor::Of<float>({kSize}, std::vector<float>(kSize, NAN));
      for (int64_t step = 0; step < 3; ++step) {
        const TestTensor g = RandomTensor({kSize}, static_cast<uint32_t>(10 + step));
        const std::vector<float> gv = g.Values<float>();
        const double lr = 0.1 / static_cast<double>(step + 1);
        for (int64_t i = 0; i < kSize; ++i) {
          double grad = gv[i] + row.weight_decay * expected[i];
          if (row.momentum != 0) {
            m[i] = step == 0 ? grad : row.momentum * m[i] + (1 - row.dampening) * grad;
            grad = row.nesterov ? grad + row.momentum * m[i] : m[i];
          }
          expected[i] -= lr * grad;
        }
        std::vector<TestTensor> inputs = {p, g, TestTensor::Of<float>({}, {static_cast<float>(lr)}),
                                          TestTensor::Of<int64_t>({}, {step})};
        std::vector<TestTensor> outputs = {p};
        if (row.momentum != 0) {
          inputs.push_back(slot);
          outputs.push_back(slot);
        }
        KernelCase test("sgd_update",
                        {{"momentum", row.momentum},
                         {"weight_decay", row.weight_decay},
                         {"dampening", row.dampening},
                         {"nesterov", row.nesterov}},
                        inputs, outputs, threads);
        test.Run();
        EXPECT_TRUE(test.needs().MayAlias(0, 0));
        EXPECT_EQ(test.needs().MayAlias(1, 4), row.momentum != 0);
      }
      ExpectClose(p.Values<float>(), expected, 2e-6, 1e-6);
      if (row.momentum != 0) ExpectClose(slot.Values<float>(), m, 2e-6, 1e-6);
    }
  }
}

TEST(AdamW, FollowsTorch) {
  for (const int threads : {1, 2}) {
    const TestTensor p = RandomTensor({kSize}, 1);
    const TestTensor m = TestTensor::Of<float>({kSize}, std::vector<float>(kSize, 0));
    const TestTensor v = TestTensor::Of<float>({kSize}, std::vector<float>(kSize, 0));
    const std::vector<float> start = p.Values<float>();
    std::vector<double> ep(start.begin(), start.end()), em(kSize, 0), ev(kSize, 0);
    for (int64_t step = 0; step < 4; ++step) {
      const TestTensor g = RandomTensor({kSize}, static_cast<uint32_t>(20 + step));
      const std::vector<float> gv = g.Values<float>();
      const double lr = 0.01;
      const double t = static_cast<double>(step + 1);
      for (int64_t i = 0; i < kSize; ++i) {
        ep[i] *= 1 - lr * 0.05;
        em[i] = 0.9 * em[i] + 0.1 * gv[i];
        ev[i] = 0.99 * ev[i] + 0.01 * gv[i] * gv[i];
        ep[i] -= lr * em[i] / (1 - std::pow(0.9, t)) /
                 (std::sqrt(ev[i] / (1 - std::pow(0.99, t))) + 1e-8);
      }
      KernelCase test(
          "adamw_update", {{"beta1", 0.9}, {"beta2", 0.99}, {"eps", 1e-8}, {"weight_decay", 0.05}},
          {p, g, m, v, TestTensor::Of<float>({}, {0.01f}), TestTensor::Of<int64_t>({}, {step})},
          {p, m, v}, threads);
      test.Run();
    }
    ExpectClose(p.Values<float>(), ep, 2e-6, 1e-6);
    ExpectClose(m.Values<float>(), em, 2e-6, 1e-6);
    ExpectClose(v.Values<float>(), ev, 2e-6, 1e-6);
  }
}

// A narrow gradient, infinite and not a number too, gives the bits of the cast and the update.
TEST(Optimizers, NarrowGradientsAreWidenedFirst) {
  const TestTensor lr = TestTensor::Of<float>({}, {0.01f});
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    for (const int64_t now : {int64_t{0}, int64_t{5}}) {
      for (const int64_t n : {int64_t{1}, int64_t{301}, kSize}) {
        const TestTensor step = TestTensor::Of<int64_t>({}, {now});
        const TestTensor p = RandomTensor({n}, 1), m = RandomTensor({n}, 2);
        const TestTensor v = RandomTensor({n}, 3, 0, 1);
        TestTensor g = TestTensor::Empty(dtype, {n}), wide = RandomTensor({n}, 4);
        if (n > 4) {
          float* at = static_cast<float*>(wide.bytes->data());
          at[1] = INFINITY, at[2] = NAN, at[3] = 1e-7f;
        }
        const auto cast = [](const TestTensor& from, const TestTensor& to) {
          KernelCase test("cast", {{"dtype", std::string(NameOf(to.type.dtype))}}, {from}, {to});
          test.Run();
        };
        cast(wide, g);
        cast(g, wide);
        const auto same = [&](const std::string& op, const Attrs& attrs, bool slots, bool adam) {
          std::vector<std::vector<int32_t>> bits[2];
          for (const TestTensor& gradient : {g, wide}) {
            std::vector<TestTensor> inputs = {p, gradient},
                                    outputs = {TestTensor::Empty(DType::kF32, {n})};
            if (adam) inputs.insert(inputs.end(), {m, v});
            inputs.insert(inputs.end(), {lr, step});
            if (slots && !adam) inputs.push_back(m);
            for (int i = 0; i < (adam ? 2 : slots ? 1 : 0); ++i) {
              outputs.push_back(TestTensor::Empty(DType::kF32, {n}));
            }
            KernelCase test(op, attrs, inputs, outputs, 2);
            test.Run();
            for (const TestTensor& out : outputs) {
              bits[gradient.type.dtype == DType::kF32].push_back(out.Values<int32_t>());
            }
          }
          EXPECT_EQ(bits[0], bits[1]) << op << " " << NameOf(dtype) << " " << n;
        };
        same("sgd_update", {{"weight_decay", 0.1}}, false, false);
        same("sgd_update", {{"momentum", 0.9}, {"dampening", 0.2}}, true, false);
        same("sgd_update", {{"momentum", 0.9}, {"nesterov", true}}, true, false);
        same("adamw_update", {{"beta1", 0.9}, {"weight_decay", 0.05}}, true, true);
      }
    }
  }
}

// One call for several parameters gives the bits of a call for each, in place or not.
TEST(Optimizers, JoinedUpdatesHaveTheBitsOfEach) {
  const Attrs attrs = {{"beta1", 0.9}, {"beta2", 0.99}, {"weight_decay", 0.05}};
  const TestTensor lr = TestTensor::Of<float>({}, {0.01f});
  const TestTensor step = TestTensor::Of<int64_t>({}, {3});
  std::vector<TestTensor> inputs = {lr, step}, outputs, expected;
  uint32_t seed = 0;
  for (const auto& [n, dtype] :
       {std::pair(int64_t{7}, DType::kF32), std::pair(int64_t{0}, DType::kF32),
        std::pair(kSize, DType::kBF16), std::pair(int64_t{33}, DType::kF16)}) {
    const TestTensor wide = RandomTensor({n}, ++seed);
    TestTensor g = TestTensor::Empty(dtype, {n});
    KernelCase cast("cast", {{"dtype", std::string(NameOf(dtype))}}, {wide}, {g});
    cast.Run();
    const std::vector<TestTensor> own = {RandomTensor({n}, ++seed), g, RandomTensor({n}, ++seed),
                                         RandomTensor({n}, ++seed, 0, 1)};
    inputs.insert(inputs.end(), own.begin(), own.end());
    std::vector<TestTensor> alone;
    for (int i = 0; i < 3; ++i) {
      outputs.push_back(TestTensor::Empty(DType::kF32, {n}));
      alone.push_back(TestTensor::Empty(DType::kF32, {n}));
    }
    KernelCase one("adamw_update", attrs, {own[0], own[1], own[2], own[3], lr, step}, alone, 2);
    one.Run();
    expected.insert(expected.end(), alone.begin(), alone.end());
  }
  KernelCase joined("adamw_updates", attrs, inputs, outputs, 2);
  joined.Run();
  for (size_t i = 0; i < outputs.size(); ++i) {
    EXPECT_EQ(outputs[i].Values<int32_t>(), expected[i].Values<int32_t>()) << i;
    const int in = static_cast<int>(2 + i / 3 * 4 + (i % 3 == 0 ? 0 : i % 3 + 1));
    EXPECT_TRUE(joined.needs().MayAlias(static_cast<int>(i), in));
    EXPECT_FALSE(joined.needs().MayAlias(static_cast<int>(i), in + 1));
  }
}

TEST(Optimizers, EmptyShard) {
  const TestTensor empty = TestTensor::Of<float>({0, 3}, {});
  const TestTensor lr = TestTensor::Of<float>({}, {0.1f});
  const TestTensor step = TestTensor::Of<int64_t>({}, {0});
  KernelCase sgd("sgd_update", {}, {empty, empty, lr, step}, {empty});
  sgd.Run();
  KernelCase adamw("adamw_update", {}, {empty, empty, empty, empty, lr, step},
                   {empty, empty, empty});
  adamw.Run();
}

}  // namespace
}  // namespace oneflow::kernels
