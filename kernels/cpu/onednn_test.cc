// Our matmul and convolutions against oneDNN's on problems too large for loops in double.
#include "kernels/cpu/onednn.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/convolution.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/kernel_case.h"

namespace oneflow::kernels {
namespace {

// 2-norm of the difference over the 2-norm of what is expected.
double RelativeError(const std::vector<float>& actual, const std::vector<float>& expected) {
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    difference += std::pow(static_cast<double>(actual[i]) - expected[i], 2);
    norm += std::pow(static_cast<double>(expected[i]), 2);
  }
  return std::sqrt(difference / norm);
}

TEST(AgainstOnednn, Matmul) {
  struct Row {
    int64_t m, n, k;
  };
  for (const Row& row : std::vector<Row>{{256, 1024, 1024}, {1024, 770, 300}, {3000, 65, 577}}) {
    const std::vector<float> a = RandomFloats(row.m * row.k, 1);
    const std::vector<float> b = RandomFloats(row.k * row.n, 2);
    for (const bool transposed : {false, true}) {
      const int64_t a_row = transposed ? 1 : row.k;
      const int64_t a_column = transposed ? row.m : 1;
      const int64_t b_row = transposed ? 1 : row.n;
      const int64_t b_column = transposed ? row.k : 1;
      std::vector<float> ours(row.m * row.n), theirs(row.m * row.n);
      const Gemm gemm({row.m, row.n, row.k, a_row, a_column, b_row, b_column, row.n},
                      HostMicroKernels(), 2);
      const GuardedBytes space(gemm.workspace_bytes());
      gemm.Run(a.data(), b.data(), ours.data(), space.data());
      EXPECT_TRUE(space.Intact());
      const auto onednn =
          MakeOnednnMatmul({{row.m, row.k}, {a_row, a_column}}, {{row.k, row.n}, {b_row, b_column}},
                           {{row.m, row.n}, {row.n, 1}}, 2);
      ASSERT_TRUE(onednn.ok()) << MessageOf(onednn.status());
      const GuardedBytes their_space((*onednn)->workspace_bytes());
      (*onednn)->Run(a.data(), b.data(), theirs.data(), their_space.data());
      EXPECT_LT(RelativeError(ours, theirs), 1e-6) << row.m << "x" << row.n << "x" << row.k;
    }
  }
}

TEST(AgainstOnednn, Convolution) {
  struct Row {
    int64_t n, size, c, k, kernel, stride, padding, groups;
  };
  for (const Row& row : std::vector<Row>{{8, 32, 64, 64, 3, 1, 1, 1},
                                         {8, 17, 48, 80, 3, 2, 1, 1},
                                         {2, 56, 3, 64, 7, 2, 3, 1},
                                         {8, 16, 64, 96, 3, 1, 1, 2}}) {
    ConvolutionProblem problem;
    problem.n = row.n;
    problem.h = problem.w = row.size;
    problem.c = row.c;
    problem.k = row.k;
    problem.r = problem.s = row.kernel;
    problem.p = problem.q = (row.size + 2 * row.padding - row.kernel) / row.stride + 1;
    problem.groups = row.groups;
    problem.stride = {row.stride, row.stride};
    problem.padding = {row.padding, row.padding};
    const std::vector<float> x = RandomFloats(row.n * row.size * row.size * row.c, 1);
    const std::vector<float> w =
        RandomFloats(row.k * row.c / row.groups * row.kernel * row.kernel, 2);
    const std::vector<float> dy = RandomFloats(row.n * problem.p * problem.q * row.k, 3);
    for (const ConvolutionPass pass :
         {ConvolutionPass::kForward, ConvolutionPass::kGradInput, ConvolutionPass::kGradWeight}) {
      const std::vector<float>& first = pass == ConvolutionPass::kGradInput ? dy : x;
      const std::vector<float>& second = pass == ConvolutionPass::kGradWeight ? dy : w;
      const size_t size = pass == ConvolutionPass::kForward     ? dy.size()
                          : pass == ConvolutionPass::kGradInput ? x.size()
                                                                : w.size();
      std::vector<float> ours(size), theirs(size);
      const auto run = [&](const auto& made) {
        const GuardedBytes space(made.workspace_bytes());
        made.Run(first.data(), second.data(), ours.data(), space.data());
        EXPECT_TRUE(space.Intact());
      };
      if (pass == ConvolutionPass::kGradWeight) {
        run(WeightGradient(problem, HostMicroKernels(), 2));
      } else {
        run(TapConvolution(pass == ConvolutionPass::kForward
                               ? TapConvolution::Direction::kForward
                               : TapConvolution::Direction::kGradInput,
                           problem, HostMicroKernels(), 2));
      }
      const auto onednn = MakeOnednnConvolution(pass, problem, 2);
      ASSERT_TRUE(onednn.ok()) << MessageOf(onednn.status());
      const GuardedBytes their_space((*onednn)->workspace_bytes());
      (*onednn)->Run(first.data(), second.data(), theirs.data(), their_space.data());
      EXPECT_LT(RelativeError(ours, theirs), 2e-6)
          << row.c << "->" << row.k << " pass " << static_cast<int>(pass);
    }
  }
}

}  // namespace
}  // namespace oneflow::kernels
