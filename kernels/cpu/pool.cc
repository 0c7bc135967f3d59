// Pooling over NHWC images: max_pool2d, avg_pool2d and their gradients, of any float type T.
//
// Loops run over channels, which lie side by side. Padding never wins a maximum; avg_pool2d divides
// by kernel height * width, padding included (as PyTorch by default). The gradient of a maximum
// goes to the first element of the window, in row-major order, that equals it. The gradients add
// overlapping windows image by image, in order, so threads share images, not windows. What is added
// is added in the compute type C of T: of bf16 and f16 in the workspace of a thread, narrowed once it is whole.
#include <algorithm>
#include <cstdint>
#include <limits>

#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/parallel.h"

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
  check->SameDType().Takes(image, {DType::kF32, DType::kF64, DType::kBF16, DType::kF16});
  check->Rank(image, 4, 4).Rank(result, 4, 4);
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

template <typename T>
struct MaxLoop {
  OF_LOOP static void Run(const T* x, T* y, int64_t c) {
#pragma omp simd
    for (int64_t j = 0; j < c; ++j) {
      const Compute<T> value = x[j];
      const Compute<T> most = y[j];
      Store(value > most || value != value ? value : most, y + j);
    }
  }
};
template <typename From, typename C>
struct AddLoop {
  OF_LOOP static void Run(const From* x, C* y, C factor, int64_t c) {
#pragma omp simd
    for (int64_t j = 0; j < c; ++j) y[j] += static_cast<C>(x[j]) * factor;
  }
};
// dx += dy where x is the window's maximum y and no earlier element was.
template <typename T>
struct MaxGradLoop {
  using C = Compute<T>;
  OF_LOOP static void Run(const T* x, const T* y, const T* dy, C* dx, C* left, int64_t c) {
#pragma omp simd
    for (int64_t j = 0; j < c; ++j) {
      const C value = x[j];
      const C most = y[j];
      const bool wins = value == most || (value != value && most != most);
      const C share = wins ? left[j] : C{0};
      dx[j] += share * static_cast<C>(dy[j]);
      left[j] -= share;
    }
  }
};

// Sums of n elements that become elements of T: added where these lie, or in a thread's space.
template <typename T>
class Sums {
 public:
  using C = Compute<T>;
  static constexpr bool kCopies = !std::is_same_v<T, C>;
  Sums(DType dtype, int64_t n) : type_(NarrowOf(dtype)), n_(n) {}

  // The space of one thread.
  static int64_t Space(int64_t n) { return kCopies ? n : 0; }
  C* Begin(T* out, C* space) const {
    C* sums;
    if constexpr (kCopies) {
      sums = space;
    } else {
      sums = out;
    }
    std::fill_n(sums, n_, C{0});
    return sums;
  }
  void End(const C* sums, T* out) const {
    if constexpr (kCopies) type_.narrow(sums, out, n_);
  }

 private:
  Narrow type_;
  int64_t n_;
};

// Bytes of `n` sums and `more` other numbers of the compute type for each thread.
Needs SumsOfThreads(const KernelSpec& spec, int64_t n, int64_t more) {
  const DType dtype = spec.outputs.at(0).dtype;
  const int64_t numbers = (SizeOf(dtype) == 2 ? n : 0) + more;
  return Needs{spec.threads * numbers * SizeOf(StatsType(dtype)), {}};
}

template <typename T>
std::unique_ptr<Kernel> MakeMaxPool(const KernelSpec& spec) {
  const Pool pool = PoolOf(spec, spec.inputs[0].shape, spec.outputs[0].shape);
  const auto loop = LoopFor<MaxLoop<T>, Compute<T>>();
  return KernelOf([=](const KernelArgs& args) {
    ParallelFor(pool.threads, pool.n * pool.p, pool.grain(), [&](int64_t begin, int64_t end) {
      for (int64_t line = begin; line < end; ++line) {
        const T* x = In<T>(args, 0) + line / pool.p * pool.image();
        for (int64_t j = 0; j < pool.q; ++j) {
          T* y = Out<T>(args, 0) + (line * pool.q + j) * pool.c;
          std::fill_n(y, pool.c, T(-std::numeric_limits<float>::infinity()));
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

// (x, y, dy) -> dx. Workspace: an image of sums per thread and c numbers, 1 until a window's maximum
// has been found.
absl::StatusOr<Needs> DescribeMaxPoolGrad(const KernelSpec& spec) {
  const Pool pool = PoolOf(spec, spec.inputs.at(0).shape, spec.inputs.at(1).shape);
  return SumsOfThreads(spec, pool.image(), pool.c);
}

template <typename T>
std::unique_ptr<Kernel> MakeMaxPoolGrad(const KernelSpec& spec) {
  using C = Compute<T>;
  const Pool pool = PoolOf(spec, spec.inputs[0].shape, spec.inputs[1].shape);
  const Sums<T> sums(spec.inputs[0].dtype, pool.image());
  const auto loop = LoopFor<MaxGradLoop<T>, C>();
  return KernelOf([=](const KernelArgs& args) {
    const int parts = PartsOf(pool.threads, pool.n, pool.grain());
    ForEachPart(parts, pool.n, [&](int part, int64_t begin, int64_t end) {
      C* left = static_cast<C*>(args.workspace) + part * (pool.c + sums.Space(pool.image()));
      for (int64_t n = begin; n < end; ++n) {
        const T* x = In<T>(args, 0) + n * pool.image();
        const T* y = In<T>(args, 1) + n * pool.result();
        const T* dy = In<T>(args, 2) + n * pool.result();
        C* dx = sums.Begin(Out<T>(args, 0) + n * pool.image(), left + pool.c);
        for (int64_t i = 0; i < pool.p; ++i) {
          for (int64_t j = 0; j < pool.q; ++j) {
            const int64_t out = (i * pool.q + j) * pool.c;
            std::fill_n(left, pool.c, C{1});
            const Pool::Window window = pool.At(i, j);
            for (int64_t a = window.h0; a < window.h1; ++a) {
              for (int64_t b = window.w0; b < window.w1; ++b) {
                const int64_t in = (a * pool.w + b) * pool.c;
                loop(x + in, y + out, dy + out, dx + in, left, pool.c);
              }
            }
          }
        }
        sums.End(dx, Out<T>(args, 0) + n * pool.image());
      }
    });
  });
}

// A place's sums per thread.
absl::StatusOr<Needs> DescribeAvgPool(const KernelSpec& spec) {
  return SumsOfThreads(spec, spec.inputs.at(0).shape.at(3), 0);
}

template <typename T>
std::unique_ptr<Kernel> MakeAvgPool(const KernelSpec& spec) {
  using C = Compute<T>;
  const Pool pool = PoolOf(spec, spec.inputs[0].shape, spec.outputs[0].shape);
  const Sums<T> sums(spec.inputs[0].dtype, pool.c);
  const C factor = C{1} / static_cast<C>(pool.kernel[0] * pool.kernel[1]);
  const auto loop = LoopFor<AddLoop<T, C>, C>();
  return KernelOf([=](const KernelArgs& args) {
    const int parts = PartsOf(pool.threads, pool.n * pool.p, pool.grain());
    ForEachPart(parts, pool.n * pool.p, [&](int part, int64_t begin, int64_t end) {
      C* space = static_cast<C*>(args.workspace) + part * sums.Space(pool.c);
      for (int64_t line = begin; line < end; ++line) {
        const T* x = In<T>(args, 0) + line / pool.p * pool.image();
        for (int64_t j = 0; j < pool.q; ++j) {
          T* out = Out<T>(args, 0) + (line * pool.q + j) * pool.c;
          C* y = sums.Begin(out, space);
          const Pool::Window window = pool.At(line % pool.p, j);
          for (int64_t a = window.h0; a < window.h1; ++a) {
            for (int64_t b = window.w0; b < window.w1; ++b) {
              loop(x + (a * pool.w + b) * pool.c, y, factor, pool.c);
            }
          }
          sums.End(y, out);
        }
      }
    });
  });
}

// dy -> dx. Workspace: an image of sums per thread.
absl::StatusOr<Needs> DescribeAvgPoolGrad(const KernelSpec& spec) {
  return SumsOfThreads(spec,
                       PoolOf(spec, spec.outputs.at(0).shape, spec.inputs.at(0).shape).image(), 0);
}

template <typename T>
std::unique_ptr<Kernel> MakeAvgPoolGrad(const KernelSpec& spec) {
  using C = Compute<T>;
  const Pool pool = PoolOf(spec, spec.outputs[0].shape, spec.inputs[0].shape);
  const Sums<T> sums(spec.inputs[0].dtype, pool.image());
  const C factor = C{1} / static_cast<C>(pool.kernel[0] * pool.kernel[1]);
  const auto loop = LoopFor<AddLoop<T, C>, C>();
  return KernelOf([=](const KernelArgs& args) {
    const int parts = PartsOf(pool.threads, pool.n, pool.grain());
    ForEachPart(parts, pool.n, [&](int part, int64_t begin, int64_t end) {
      C* space = static_cast<C*>(args.workspace) + part * sums.Space(pool.image());
      for (int64_t n = begin; n < end; ++n) {
        const T* dy = In<T>(args, 0) + n * pool.result();
        C* dx = sums.Begin(Out<T>(args, 0) + n * pool.image(), space);
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
        sums.End(dx, Out<T>(args, 0) + n * pool.image());
      }
    });
  });
}

}  // namespace

std::vector<KernelDef> PoolKernels() {
  const auto row = [](const char* op, auto check, auto describe, auto make) {
    return KernelDef{op, check, describe, [make](const KernelSpec& spec) {
                       return DispatchFloats(spec, [&]<typename T>() -> KernelOr {
                         return make.template operator()<T>(spec);
                       });
                     }};
  };
  return {
      row("max_pool2d", CheckPool, NeedsNothing,
          []<typename T>(const KernelSpec& spec) { return MakeMaxPool<T>(spec); }),
      row("max_pool2d_grad", CheckMaxPoolGrad, DescribeMaxPoolGrad,
          []<typename T>(const KernelSpec& spec) { return MakeMaxPoolGrad<T>(spec); }),
      row("avg_pool2d", CheckPool, DescribeAvgPool,
          []<typename T>(const KernelSpec& spec) { return MakeAvgPool<T>(spec); }),
      row("avg_pool2d_grad", CheckAvgPoolGrad, DescribeAvgPoolGrad,
          []<typename T>(const KernelSpec& spec) { return MakeAvgPoolGrad<T>(spec); }),
  };
}

}  // namespace oneflow::kernels
