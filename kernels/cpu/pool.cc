// Pooling over NHWC images: max_pool2d, avg_pool2d and their gradients, f32.
//
// Loops run over channels, which lie side by side. Padding never wins a maximum; avg_pool2d divides
// by kernel height * width, padding included (as PyTorch by default). The gradient of a maximum
// goes to the first element of the window, in row-major order, that equals it. The gradients add
// overlapping windows image by image, in order, so threads share images, not windows.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/cpu/definition.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"

namespace oneflow::kernels {
namespace {

// Images [n, h, w, c], results [n, p, q, c].
struct Pool {
  int64_t n, h, w, c, p, q;
  std::array<int64_t, 2> kernel, stride, padding;
  int threads;

  // The part of window (i, j) that lies in the image.
  struct Window {
    int64_t h0, h1, w0, w1;
  };
  Window At(int64_t i, int64_t j) const {
    const int64_t top = i * stride[0] - padding[0];
    const int64_t left = j * stride[1] - padding[1];
    return {std::max<int64_t>(0, top), std::min(h, top + kernel[0]), std::max<int64_t>(0, left),
            std::min(w, left + kernel[1])};
  }
  int64_t image() const { return h * w * c; }
  int64_t result() const { return p * q * c; }
  // Images worth a second thread.
  int64_t grain() const { return kGrain / 4 / std::max<int64_t>(1, image()) + 1; }
};

// `result` is what the window gives over `image`.
void CheckWindow(SpecCheck* check, const Operand& image, const Operand& result) {
  check->AllF32().Rank(image, 4, 4).Rank(result, 4, 4);
  const std::array<int64_t, 2> kernel = check->Pair("kernel", 1, kMaxWindow);
  const std::array<int64_t, 2> stride = check->Pair("stride", 1, kMaxWindow);
  const std::array<int64_t, 2> padding = check->Pair("padding", 0, kMaxWindow);
  if (!check->ok()) return;
  check->Require(image.shape[0] == result.shape[0] && image.shape[3] == result.shape[3],
                 "image and result have one batch and the same channels");
  for (size_t d = 0; d < 2; ++d) {
    check->Require(result.shape[1 + d] ==
                       WindowExtent(image.shape[1 + d], kernel[d], stride[d], padding[d], 1),
                   "the window slides over the image");
  }
}

absl::Status CheckPool(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(1).Outputs(1);
  CheckWindow(&check, check.in(0), check.out(0));
  return check.status();
}

absl::Status CheckMaxPoolGrad(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(3).Outputs(1).Same(check.in(0), check.out(0)).Same(check.in(1), check.in(2));
  CheckWindow(&check, check.in(0), check.in(1));
  return check.status();
}

absl::Status CheckAvgPoolGrad(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(1).Outputs(1);
  CheckWindow(&check, check.out(0), check.in(0));
  return check.status();
}

Pool PoolOf(const KernelSpec& spec, const Shape& image, const Shape& result) {
  Pool pool{image[0], image[1], image[2], image[3], result[1], result[2], {}, {}, {}, spec.threads};
  pool.kernel = PairAttr(spec.attrs, "kernel");
  pool.stride = PairAttr(spec.attrs, "stride");
  pool.padding = PairAttr(spec.attrs, "padding");
  return pool;
}

struct MaxLoop {
  OF_LOOP static void Run(const float* x, float* y, int64_t c) {
#pragma omp simd
    for (int64_t j = 0; j < c; ++j) y[j] = x[j] > y[j] || x[j] != x[j] ? x[j] : y[j];
  }
};
struct AddLoop {
  OF_LOOP static void Run(const float* x, float* y, float factor, int64_t c) {
#pragma omp simd
    for (int64_t j = 0; j < c; ++j) y[j] += x[j] * factor;
  }
};
// dx += dy where x is the window's maximum y and no earlier element was.
struct MaxGradLoop {
  OF_LOOP static void Run(const float* x, const float* y, const float* dy, float* dx, float* left,
                          int64_t c) {
#pragma omp simd
    for (int64_t j = 0; j < c; ++j) {
      const bool wins = x[j] == y[j] || (x[j] != x[j] && y[j] != y[j]);
      const float share = wins ? left[j] : 0.0f;
      dx[j] += share * dy[j];
      left[j] -= share;
    }
  }
};

KernelOr MakeMaxPool(const KernelSpec& spec) {
  const Pool pool = PoolOf(spec, spec.inputs[0].shape, spec.outputs[0].shape);
  const auto loop = Vectorised<MaxLoop>();
  return KernelOf([=](const KernelArgs& args) {
    ParallelFor(pool.threads, pool.n * pool.p, pool.grain(), [&](int64_t begin, int64_t end) {
      for (int64_t line = begin; line < end; ++line) {
        const float* x = In<float>(args, 0) + line / pool.p * pool.image();
        for (int64_t j = 0; j < pool.q; ++j) {
          float* y = Out<float>(args, 0) + (line * pool.q + j) * pool.c;
          std::fill_n(y, pool.c, -std::numeric_limits<float>::infinity());
          const Pool::Window window = pool.At(line % pool.p, j);
          for (int64_t a = window.h0; a < window.h1; ++a) {
            for (int64_t b = window.w0; b < window.w1; ++b) {
              loop(x + (a * pool.w + b) * pool.c, y, pool.c);
            }
          }
        }
      }
    });
  });
}

// (x, y, dy) -> dx. Workspace: per thread c floats, 1 until a window's maximum has been found.
absl::StatusOr<Needs> DescribeMaxPoolGrad(const KernelSpec& spec) {
  return Needs{spec.threads * spec.inputs.at(0).shape.back() * static_cast<int64_t>(sizeof(float)),
               {}};
}

KernelOr MakeMaxPoolGrad(const KernelSpec& spec) {
  const Pool pool = PoolOf(spec, spec.inputs[0].shape, spec.inputs[1].shape);
  const auto loop = Vectorised<MaxGradLoop>();
  return KernelOf([=](const KernelArgs& args) {
    const int parts = PartsOf(pool.threads, pool.n, pool.grain());
    ForEachPart(parts, pool.n, [&](int part, int64_t begin, int64_t end) {
      float* left = static_cast<float*>(args.workspace) + part * pool.c;
      for (int64_t n = begin; n < end; ++n) {
        const float* x = In<float>(args, 0) + n * pool.image();
        const float* y = In<float>(args, 1) + n * pool.result();
        const float* dy = In<float>(args, 2) + n * pool.result();
        float* dx = Out<float>(args, 0) + n * pool.image();
        std::memset(dx, 0, pool.image() * sizeof(float));
        for (int64_t i = 0; i < pool.p; ++i) {
          for (int64_t j = 0; j < pool.q; ++j) {
            const int64_t out = (i * pool.q + j) * pool.c;
            std::fill_n(left, pool.c, 1.0f);
            const Pool::Window window = pool.At(i, j);
            for (int64_t a = window.h0; a < window.h1; ++a) {
              for (int64_t b = window.w0; b < window.w1; ++b) {
                const int64_t in = (a * pool.w + b) * pool.c;
                loop(x + in, y + out, dy + out, dx + in, left, pool.c);
              }
            }
          }
        }
      }
    });
  });
}

KernelOr MakeAvgPool(const KernelSpec& spec) {
  const Pool pool = PoolOf(spec, spec.inputs[0].shape, spec.outputs[0].shape);
  const float factor = 1.0f / static_cast<float>(pool.kernel[0] * pool.kernel[1]);
  const auto loop = Vectorised<AddLoop>();
  return KernelOf([=](const KernelArgs& args) {
    ParallelFor(pool.threads, pool.n * pool.p, pool.grain(), [&](int64_t begin, int64_t end) {
      for (int64_t line = begin; line < end; ++line) {
        const float* x = In<float>(args, 0) + line / pool.p * pool.image();
        for (int64_t j = 0; j < pool.q; ++j) {
          float* y = Out<float>(args, 0) + (line * pool.q + j) * pool.c;
          std::fill_n(y, pool.c, 0.0f);
          const Pool::Window window = pool.At(line % pool.p, j);
          for (int64_t a = window.h0; a < window.h1; ++a) {
            for (int64_t b = window.w0; b < window.w1; ++b) {
              loop(x + (a * pool.w + b) * pool.c, y, factor, pool.c);
            }
          }
        }
      }
    });
  });
}

// dy -> dx
KernelOr MakeAvgPoolGrad(const KernelSpec& spec) {
  const Pool pool = PoolOf(spec, spec.outputs[0].shape, spec.inputs[0].shape);
  const float factor = 1.0f / static_cast<float>(pool.kernel[0] * pool.kernel[1]);
  const auto loop = Vectorised<AddLoop>();
  return KernelOf([=](const KernelArgs& args) {
    ParallelFor(pool.threads, pool.n, pool.grain(), [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        const float* dy = In<float>(args, 0) + n * pool.result();
        float* dx = Out<float>(args, 0) + n * pool.image();
        std::memset(dx, 0, pool.image() * sizeof(float));
        for (int64_t i = 0; i < pool.p; ++i) {
          for (int64_t j = 0; j < pool.q; ++j) {
            const Pool::Window window = pool.At(i, j);
            for (int64_t a = window.h0; a < window.h1; ++a) {
              for (int64_t b = window.w0; b < window.w1; ++b) {
                loop(dy + (i * pool.q + j) * pool.c, dx + (a * pool.w + b) * pool.c, factor,
                     pool.c);
              }
            }
          }
        }
      }
    });
  });
}

}  // namespace

std::vector<KernelDef> PoolKernels() {
  return {
      {"max_pool2d", CheckPool, NeedsNothing, MakeMaxPool},
      {"max_pool2d_grad", CheckMaxPoolGrad, DescribeMaxPoolGrad, MakeMaxPoolGrad},
      {"avg_pool2d", CheckPool, NeedsNothing, MakeAvgPool},
      {"avg_pool2d_grad", CheckAvgPoolGrad, NeedsNothing, MakeAvgPoolGrad},
  };
}

}  // namespace oneflow::kernels
