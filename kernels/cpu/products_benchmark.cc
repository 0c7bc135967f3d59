// Our matmul and convolutions beside oneDNN's: GFLOP/s of one thread, the best of several calls in
// processor time, the two taking turns.
//
//   ninja -C build oneflow_kernels_benchmark && ./build/kernels/oneflow_kernels_benchmark
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "kernels/cpu/bf16_convolution.h"
#include "kernels/cpu/bf16_gemm.h"
#include "kernels/cpu/bf16_weight_gradient.h"
#include "kernels/cpu/convolution.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/onednn.h"

namespace oneflow::kernels {
namespace {

double ProcessorSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

struct Free {
  void operator()(float* p) const { std::free(p); }
};
using Floats = std::unique_ptr<float, Free>;
Floats Make(int64_t floats) {
  Floats block(static_cast<float*>(std::aligned_alloc(64, (floats * 4 + 127) / 64 * 64)));
  for (int64_t i = 0; i < floats; ++i) {
    block.get()[i] = static_cast<float>(i % 17) * 0.1f - 0.7f;
  }
  return block;
}

template <typename Ours, typename Theirs>
void Compare(double flops, const Ours& ours, const Theirs& theirs) {
  const auto seconds = [](const auto& run) {
    const double start = ProcessorSeconds();
    run();
    return ProcessorSeconds() - start;
  };
  seconds(ours);
  seconds(theirs);
  double best_ours = 1e9;
  double best_theirs = 1e9;
  for (int i = 0; i < (flops > 2e8 ? 10 : 60); ++i) {
    best_ours = std::min(best_ours, seconds(ours));
    best_theirs = std::min(best_theirs, seconds(theirs));
  }
  std::printf("  %6.1f / %6.1f = %4.2f", flops / best_ours * 1e-9, flops / best_theirs * 1e-9,
              best_theirs / best_ours);
}

struct MatmulRow {
  int64_t m, n, k;
  bool transpose_a, transpose_b;
};

GemmProblem ProblemOf(const MatmulRow& row) {
  return {row.m,
          row.n,
          row.k,
          row.transpose_a ? 1 : row.k,
          row.transpose_a ? row.m : 1,
          row.transpose_b ? 1 : row.n,
          row.transpose_b ? row.k : 1,
          row.n};
}

void CompareMatmul(const MatmulRow& row) {
  const GemmProblem g = ProblemOf(row);
  const Floats a = Make(g.m * g.k);
  const Floats b = Make(g.k * g.n);
  const Floats c = Make(g.m * g.n);
  const Gemm gemm(g, HostMicroKernels(), 1);
  const auto onednn =
      MakeOnednnMatmul({{g.m, g.k}, {g.a_row, g.a_column}}, {{g.k, g.n}, {g.b_row, g.b_column}},
                       {{g.m, g.n}, {g.n, 1}}, 1);
  if (!onednn.ok()) return;
  const Floats space =
      Make(std::max(gemm.workspace_bytes(), (*onednn)->workspace_bytes()) / 4 + 16);
  std::printf("matmul %5ld %5ld %5ld %c%c", g.m, g.n, g.k, row.transpose_a ? 't' : 'n',
              row.transpose_b ? 't' : 'n');
  Compare(
      2.0 * static_cast<double>(g.m * g.n * g.k),
      [&] { gemm.Run(a.get(), b.get(), c.get(), space.get()); },
      [&] { (*onednn)->Run(a.get(), b.get(), c.get(), space.get()); });
  std::printf("\n");
}

// Each instruction set for bf16 that the machine has, beside oneDNN's choice.
void CompareBf16(const MatmulRow& row) {
  const GemmProblem g = ProblemOf(row);
  const auto operand = [](int64_t rows, int64_t columns, int64_t row, int64_t column) {
    return StridedOperand{{rows, columns}, {row, column}, DType::kBF16};
  };
  // Small numbers in both halves of each float.
  const Floats a = Make(g.m * g.k / 2 + 1);
  const Floats b = Make(g.k * g.n / 2 + 1);
  const Floats c = Make(g.m * g.n / 2 + 1);
  const auto onednn =
      MakeOnednnMatmul(operand(g.m, g.k, g.a_row, g.a_column),
                       operand(g.k, g.n, g.b_row, g.b_column), operand(g.m, g.n, g.n, 1), 1);
  if (!onednn.ok()) return;
  std::printf("bf16   %5ld %5ld %5ld %c%c", g.m, g.n, g.k, row.transpose_a ? 't' : 'n',
              row.transpose_b ? 't' : 'n');
  const auto bits = [](const Floats& floats) { return reinterpret_cast<BF16*>(floats.get()); };
  const auto compare = [&](const Bf16Tiles& tiles) {
    const Bf16Gemm gemm(g, tiles, HostMicroKernels(), 1);
    const Floats space =
        Make(std::max(gemm.workspace_bytes(), (*onednn)->workspace_bytes()) / 4 + 16);
    Compare(
        2.0 * static_cast<double>(g.m * g.n * g.k),
        [&] { gemm.Run(bits(a), bits(b), bits(c), space.get()); },
        [&] { (*onednn)->Run(a.get(), b.get(), c.get(), space.get()); });
  };
  if (HostHasAmxBf16()) compare(AmxBf16Tiles());
  if (HostHasAvx512Bf16()) compare(Avx512Bf16Tiles());
  std::printf("\n");
}

struct ConvolutionRow {
  int64_t n, size, c, k, kernel, stride, padding;
};

ConvolutionProblem ProblemOf(const ConvolutionRow& row) {
  ConvolutionProblem p;
  p.n = row.n;
  p.h = p.w = row.size;
  p.c = row.c;
  p.k = row.k;
  p.r = p.s = row.kernel;
  p.p = p.q = (row.size + 2 * row.padding - row.kernel) / row.stride + 1;
  p.stride = {row.stride, row.stride};
  p.padding = {row.padding, row.padding};
  return p;
}

// The three passes; `T` is float or BF16. make(pass, f) calls f with our object of the pass.
template <typename T, typename MakeOurs>
void CompareConvolution(const char* name, const ConvolutionRow& row, DType dtype,
                        const MakeOurs& make_ours) {
  const ConvolutionProblem p = ProblemOf(row);
  // Of bf16 small numbers in both halves of each float.
  const auto operand = [](int64_t elements) {
    return Make(elements * static_cast<int64_t>(sizeof(T)) / 4 + 1);
  };
  const Floats x = operand(p.n * p.h * p.w * p.c);
  const Floats y = operand(p.n * p.p * p.q * p.k);
  const Floats w = operand(p.k * p.c * p.r * p.s);
  const double flops = 2.0 * static_cast<double>(p.n * p.p * p.q * p.k * p.c * p.r * p.s);
  std::printf("%s %3ldx%3ldx%4ld -> %4ld %ldx%ld s%ld", name, p.n, p.h, p.c, p.k, p.r, p.s,
              row.stride);
  const auto typed = [](const Floats& floats) { return reinterpret_cast<T*>(floats.get()); };
  const auto compare = [&](ConvolutionPass pass, const Floats& a, const Floats& b,
                           const Floats& out) {
    const auto onednn = MakeOnednnConvolution(pass, p, 1, dtype);
    if (!onednn.ok()) return;
    make_ours(pass, p, [&](const auto& ours) {
      const Floats space =
          Make(std::max(ours.workspace_bytes(), (*onednn)->workspace_bytes()) / 4 + 16);
      Compare(
          flops, [&] { ours.Run(typed(a), typed(b), typed(out), space.get()); },
          [&] { (*onednn)->Run(a.get(), b.get(), out.get(), space.get()); });
    });
  };
  compare(ConvolutionPass::kForward, x, w, y);
  compare(ConvolutionPass::kGradInput, y, w, x);
  compare(ConvolutionPass::kGradWeight, x, y, w);
  std::printf("\n");
}

TapConvolution::Direction DirectionOf(ConvolutionPass pass) {
  return pass == ConvolutionPass::kForward ? TapConvolution::Direction::kForward
                                           : TapConvolution::Direction::kGradInput;
}

void CompareF32(const ConvolutionRow& row) {
  CompareConvolution<float>("conv", row, DType::kF32,
                            [](ConvolutionPass pass, const ConvolutionProblem& p, const auto& f) {
                              const MicroKernels& kernels = HostMicroKernels();
                              if (pass == ConvolutionPass::kGradWeight) {
                                f(WeightGradient(p, kernels, 1));
                              } else {
                                f(TapConvolution(DirectionOf(pass), p, kernels, 1));
                              }
                            });
}

// REQUIRES: the machine multiplies bf16.
void CompareBf16(const ConvolutionRow& row) {
  CompareConvolution<BF16>("bf16", row, DType::kBF16,
                           [](ConvolutionPass pass, const ConvolutionProblem& p, const auto& f) {
                             const Bf16Tiles& tiles = *HostBf16Tiles();
                             if (pass == ConvolutionPass::kGradWeight) {
                               f(Bf16WeightGradient(p, tiles, HostMicroKernels(), 1));
                             } else {
                               f(Bf16Convolution(DirectionOf(pass), p, tiles, 1));
                             }
                           });
}

}  // namespace
}  // namespace oneflow::kernels

int main() {
  using namespace oneflow::kernels;
  std::printf("GFLOP/s of one thread, ours / oneDNN; convolutions: forward, dx, dweight\n");
  for (const MatmulRow& row : std::vector<MatmulRow>{{256, 1024, 1024, false, true},
                                                     {256, 1024, 1024, false, false},
                                                     {1024, 1024, 256, true, false},
                                                     {256, 10, 1024, false, true},
                                                     {512, 512, 512, false, false},
                                                     {2048, 2048, 2048, false, false},
                                                     {4096, 64, 576, false, false},
                                                     {1024, 3072, 768, false, true}}) {
    CompareMatmul(row);
  }
  if (HostBf16Tiles() != nullptr) std::printf("bf16: AMX, AVX-512 BF16 (those that are here)\n");
  for (const MatmulRow& row : std::vector<MatmulRow>{{1024, 768, 768, false, true},
                                                     {1024, 768, 768, false, false},
                                                     {768, 768, 1024, true, false},
                                                     {1024, 3072, 768, false, true},
                                                     {1024, 768, 3072, false, true},
                                                     {3072, 768, 1024, true, false},
                                                     {128, 128, 64, false, true},
                                                     {128, 64, 128, false, false},
                                                     {2048, 2048, 2048, false, false}}) {
    if (HostBf16Tiles() != nullptr) CompareBf16(row);
  }
  for (const ConvolutionRow& row : std::vector<ConvolutionRow>{{64, 8, 1, 32, 3, 1, 1},
                                                               {64, 8, 32, 32, 3, 1, 1},
                                                               {64, 8, 32, 64, 3, 2, 1},
                                                               {64, 8, 32, 64, 1, 2, 0},
                                                               {64, 4, 64, 64, 3, 1, 1},
                                                               {64, 4, 64, 128, 3, 2, 1},
                                                               {64, 2, 128, 128, 3, 1, 1},
                                                               {64, 16, 32, 32, 3, 1, 1},
                                                               {16, 56, 64, 64, 3, 1, 1},
                                                               {16, 14, 256, 1024, 1, 1, 0},
                                                               {4, 224, 3, 64, 7, 2, 3}}) {
    CompareF32(row);
  }
  for (const ConvolutionRow& row : std::vector<ConvolutionRow>{{16, 56, 64, 64, 3, 1, 1},
                                                               {16, 56, 64, 256, 1, 1, 0},
                                                               {16, 28, 128, 128, 3, 1, 1},
                                                               {16, 28, 128, 128, 3, 2, 1},
                                                               {16, 14, 256, 256, 3, 1, 1},
                                                               {16, 14, 256, 1024, 1, 1, 0},
                                                               {16, 7, 512, 512, 3, 1, 1},
                                                               {4, 224, 3, 64, 7, 2, 3}}) {
    if (HostBf16Tiles() != nullptr) CompareBf16(row);
  }
  return 0;
}
