// Each instruction set that the machine has, through whole products: the sets that are not the
// host's best are run nowhere else.
#include "kernels/cpu/micro_kernels.h"

#include "kernels/cpu/convolution.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/kernel_case.h"
#include "kernels/cpu/simd.h"

namespace oneflow::kernels {
namespace {

std::vector<MicroKernels> AllOfThisMachine() {
  std::vector<MicroKernels> all = {PortableMicroKernels()};
  if (HostIsa() != Isa::kPortable) all.push_back(Avx2MicroKernels());
  if (HostIsa() == Isa::kAvx512) all.push_back(Avx512MicroKernels());
  return all;
}

TEST(MicroKernels, ProductsOfEveryTileSize) {
  for (const MicroKernels& kernels : AllOfThisMachine()) {
    for (int64_t m = 1; m <= 2 * kernels.rows; ++m) {
      for (const int64_t n : {1, 3, 4, 5, 8, 12, 15, 16, 17, 32, 47, 48, 49, 64, 65, 100}) {
        const int64_t k = 37;
        const std::vector<float> a = RandomFloats(m * k, 1);
        const std::vector<float> b = RandomFloats(k * n, 2);
        std::vector<double> expected(m * n, 0);
        for (int64_t i = 0; i < m; ++i) {
          for (int64_t p = 0; p < k; ++p) {
            for (int64_t j = 0; j < n; ++j) {
              expected[i * n + j] += static_cast<double>(a[i * k + p]) * b[p * n + j];
            }
          }
        }
        const Gemm gemm({m, n, k, k, 1, n, 1, n}, kernels, 1);
        const GuardedBytes space(gemm.workspace_bytes());
        const TestTensor out = TestTensor::Empty(DType::kF32, {m, n});
        gemm.Run(a.data(), b.data(), static_cast<float*>(out.bytes->data()), space.data());
        ExpectClose(
            out.Values<float>(), expected, 1e-5, 1e-5,
            std::to_string(kernels.width) + " " + std::to_string(m) + "x" + std::to_string(n));
        EXPECT_TRUE(out.bytes->Intact() && space.Intact());
      }
    }
  }
}

// Panels have remainders of their own (rows of 14, columns of 32, terms of 256, chunks of rows, strips
// that go together), and add in the order of a product without them: AVX2's bits are theirs, with any
// team.
TEST(MicroKernels, PanelsHaveTheBitsOfTiles) {
  if (HostIsa() != Isa::kAvx512) GTEST_SKIP() << "no AVX-512 on this machine";
  struct Case {
    int64_t m, n, k;
  };
  for (const Case& c : {Case{96, 128, 32}, Case{97, 131, 257}, Case{131, 200, 256},
                        Case{1040, 129, 300}, Case{107, 192, 700}, Case{99, 2170, 290}}) {
    const std::vector<float> a = RandomFloats(c.m * c.k, 1);
    const std::vector<float> b = RandomFloats(c.k * c.n, 2);
    for (const bool transpose_a : {false, true}) {
      for (const bool transpose_b : {false, true}) {
        GemmProblem problem{c.m, c.n, c.k, c.k, 1, c.n, 1, c.n};
        if (transpose_a) problem.a_row = 1, problem.a_column = c.m;
        if (transpose_b) problem.b_row = 1, problem.b_column = c.k;
        const auto run = [&](const MicroKernels& kernels, int threads) {
          const Gemm gemm(problem, kernels, threads);
          const GuardedBytes space(gemm.workspace_bytes());
          const TestTensor out = TestTensor::Empty(DType::kF32, {c.m, c.n});
          gemm.Run(a.data(), b.data(), static_cast<float*>(out.bytes->data()), space.data());
          EXPECT_TRUE(out.bytes->Intact() && space.Intact());
          return out.Values<float>();
        };
        ASSERT_TRUE(PanelGemm::Suits(problem, Avx512MicroKernels()));
        const std::vector<float> tiles = run(Avx2MicroKernels(), 1);
        for (const int threads : {1, 2, 3, 4}) {
          EXPECT_EQ(run(Avx512MicroKernels(), threads), tiles)
              << c.m << " " << transpose_a << transpose_b << " " << threads;
        }
      }
    }
  }
}

TEST(MicroKernels, WeightGradientsOfEveryTileSize) {
  for (const MicroKernels& kernels : AllOfThisMachine()) {
    for (const int64_t c : {1, 7, 8, 9, 20, 33}) {
      for (const int64_t k : {1, 5, 8, 11}) {
        ConvolutionProblem problem;
        problem.n = 2;
        problem.h = problem.p = 3;
        problem.w = problem.q = 4;
        problem.c = c;
        problem.k = k;
        problem.r = problem.s = 1;
        const std::vector<float> x = RandomFloats(24 * c, 1);
        const std::vector<float> dy = RandomFloats(24 * k, 2);
        std::vector<double> expected(k * c, 0);
        for (int64_t p = 0; p < 24; ++p) {
          for (int64_t i = 0; i < k; ++i) {
            for (int64_t j = 0; j < c; ++j) {
              expected[i * c + j] += static_cast<double>(dy[p * k + i]) * x[p * c + j];
            }
          }
        }
        const WeightGradient gradient(problem, kernels, 1);
        const GuardedBytes space(gradient.workspace_bytes());
        const TestTensor out = TestTensor::Empty(DType::kF32, {k, c, 1, 1});
        gradient.Run(x.data(), dy.data(), static_cast<float*>(out.bytes->data()), space.data());
        ExpectClose(out.Values<float>(), expected, 1e-5, 1e-5);
        EXPECT_TRUE(out.bytes->Intact() && space.Intact());
      }
    }
  }
}

TEST(MicroKernels, TransposeOfOddSizes) {
  for (const MicroKernels& kernels : AllOfThisMachine()) {
    for (const int64_t k : {1, 7, 8, 9, 31}) {
      for (const int64_t columns : {1, 8, 15, 48}) {
        const std::vector<float> source = RandomFloats(columns * (k + 3), 1);
        std::vector<float> out(k * (columns + 2), -1);
        kernels.transpose(source.data(), k + 3, k, columns, out.data(), columns + 2);
        for (int64_t p = 0; p < k; ++p) {
          for (int64_t j = 0; j < columns + 2; ++j) {
            EXPECT_EQ(out[p * (columns + 2) + j], j < columns ? source[j * (k + 3) + p] : -1);
          }
        }
      }
    }
  }
}

TEST(CutIntoStrips, LeavesNoLoneVector) {
  const auto widths = [](int64_t columns) {
    std::vector<int> vectors;
    for (const ColumnStrip& strip : CutIntoStrips(0, columns, 16)) vectors.push_back(strip.vectors);
    return vectors;
  };
  EXPECT_EQ(widths(0), (std::vector<int>{}));
  EXPECT_EQ(widths(1), (std::vector<int>{1}));
  EXPECT_EQ(widths(17), (std::vector<int>{2}));
  EXPECT_EQ(widths(48), (std::vector<int>{3}));
  EXPECT_EQ(widths(64), (std::vector<int>{2, 2}));
  EXPECT_EQ(widths(80), (std::vector<int>{3, 2}));
  EXPECT_EQ(widths(112), (std::vector<int>{3, 2, 2}));
}

}  // namespace
}  // namespace oneflow::kernels
